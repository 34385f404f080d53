"""Predictions against the truth: figures with intervals by patient, as JSON and as a table.

`read_split` says which studies of a run are to be measured, `collect_cases` scores them and lays them beside their
labels and delineations, `evaluate` makes the figures, `write_evaluation` and `render` give them out. `stored` keeps
the cases beside the run, so that figures are made again without the network; `paired` and `comparison` hold runs
against one another. `figures` explains every field of the JSON, and `evaluation_schema` is its JSON Schema.
"""

from medfuse.evaluation.cases import Case
from medfuse.evaluation.compare import Difference, compare
from medfuse.evaluation.evaluate import Asked, Subject, evaluate
from medfuse.evaluation.figures import FindingFigures, FoldFigures, SegmentFigures, TargetFigures
from medfuse.evaluation.folds import evaluate_folds
from medfuse.evaluation.report import (
    EvaluationReport,
    evaluation_schema,
    read_evaluation,
    write_evaluation,
)
from medfuse.evaluation.table import render

__all__ = [
    "Asked",
    "Case",
    "Difference",
    "EvaluationReport",
    "FindingFigures",
    "FoldFigures",
    "SegmentFigures",
    "Subject",
    "TargetFigures",
    "compare",
    "evaluate",
    "evaluate_folds",
    "evaluation_schema",
    "read_evaluation",
    "render",
    "write_evaluation",
]
