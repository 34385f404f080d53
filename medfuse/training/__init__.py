"""Training: a loop that reads aloud, exact resume, calibration on validation."""

from medfuse.training.options import DataOptions, TrainingOptions, TrainingPlan
from medfuse.training.trainer import TrainingResult, train

__all__ = ["DataOptions", "TrainingOptions", "TrainingPlan", "TrainingResult", "train"]
