"""Predictions against the truth: figures with intervals by patient, as JSON and as a table.

`read_split` says which studies of a run are to be measured, `collect_cases` scores them and lays them beside their
labels and delineations, `evaluate` makes the figures, `write_evaluation` and `render` give them out.
"""

from medfuse.evaluation.cases import Case
from medfuse.evaluation.evaluate import Subject, evaluate
from medfuse.evaluation.report import (
    EvaluationReport,
    FindingFigures,
    SegmentFigures,
    read_evaluation,
    write_evaluation,
)
from medfuse.evaluation.table import render

__all__ = [
    "Case",
    "EvaluationReport",
    "FindingFigures",
    "SegmentFigures",
    "Subject",
    "evaluate",
    "read_evaluation",
    "render",
    "write_evaluation",
]
