"""Training: a loop that reads aloud, exact resume, calibration on validation, folds."""

from medfuse.training.folds import FoldsResult, FoldWatcher, train_folds
from medfuse.training.options import DataOptions, TrainingOptions, TrainingPlan
from medfuse.training.studies import Studies, read_studies
from medfuse.training.trainer import TrainingResult, train

__all__ = [
    "DataOptions",
    "FoldWatcher",
    "FoldsResult",
    "Studies",
    "TrainingOptions",
    "TrainingPlan",
    "TrainingResult",
    "read_studies",
    "train",
    "train_folds",
]
