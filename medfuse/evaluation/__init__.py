"""Predictions against the truth: figures with intervals by patient, as JSON and as a table.

`read_split` says which studies of a run are to be measured, `collect_cases` scores them and lays them beside their
labels and delineations, `evaluate` makes the figures, `write_evaluation` and `render` give them out.
"""

from medfuse.evaluation.cases import Case
from medfuse.evaluation.compare import Difference, compare
from medfuse.evaluation.evaluate import Subject, evaluate
from medfuse.evaluation.folds import evaluate_folds
from medfuse.evaluation.report import (
    EvaluationReport,
    FindingFigures,
    FoldFigures,
    SegmentFigures,
    read_evaluation,
    write_evaluation,
)
from medfuse.evaluation.table import render

__all__ = [
    "Case",
    "Difference",
    "EvaluationReport",
    "FindingFigures",
    "FoldFigures",
    "SegmentFigures",
    "Subject",
    "compare",
    "evaluate",
    "evaluate_folds",
    "read_evaluation",
    "render",
    "write_evaluation",
]
