"""A cross-validation: the folds' test sets pooled, each study once, and each fold by itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from medfuse.domain import ModelIdentity
from medfuse.errors import UsageError
from medfuse.evaluation.cases import Case
from medfuse.evaluation.evaluate import NOTHING_MORE, Asked, evaluate
from medfuse.evaluation.figures import FoldFigures
from medfuse.evaluation.findings import auroc_of, conformal_of, told
from medfuse.evaluation.report import EvaluationReport
from medfuse.evaluation.resampling import Resampling
from medfuse.evaluation.run import Collected
from medfuse.evaluation.segments import mean_dice, segment_dice
from medfuse.metrics.weighted import weighted_calibration_error

POOLED = "OUT-OF-FOLD: each study is scored by the fold that did not train on it, at that fold's operating points"


def pool(collected: Mapping[str, Collected], model: ModelIdentity) -> Collected:
    """The cases of all folds as those of one model; each keeps the operating points of the fold that scored it.

    Args:
        collected: Fold -> its test set, scored by its model.
        model: The identity of the whole.

    Raises:
        UsageError: A study is in the test sets of two folds.
    """
    cases: list[Case] = []
    for fold in collected.values():
        points = {name: point for name, point in fold.subject.operating_points.items() if point is not None}
        cases += [replace(case, operating_points=points) for case in fold.cases]
    repeated = len(cases) - len({case.study_instance_uid for case in cases})
    if repeated:
        raise UsageError(f"{repeated} studies are in the test sets of two folds; the folds are not of one manifest")
    subjects = [fold.subject for fold in collected.values()]
    calibrated = frozenset.intersection(*(subject.calibrated for subject in subjects))
    subject = replace(subjects[0], operating_points={}, calibrated=calibrated, model=model)
    rejected = tuple(study for fold in collected.values() for study in fold.rejected)
    return Collected(cases=tuple(cases), rejected=rejected, subject=subject)


def evaluate_folds(
    collected: Mapping[str, Collected],
    model: ModelIdentity,
    *,
    asked: Asked = NOTHING_MORE,
    draws: int = 2000,
    seed: int = 0,
    on_progress: Callable[[], None] | None = None,
) -> EvaluationReport:
    """Figures of the pooled test sets, and of each fold.

    Args:
        collected: Fold -> its test set, scored by its model.
        model: The identity of the whole.
        asked: What is wanted beside the usual figures.
        draws: Number of bootstrap resamples.
        seed: Of the resampling.
        on_progress: Called after each finding and each segment.

    Raises:
        UsageError: A study is in the test sets of two folds.
    """
    pooled = pool(collected, model)
    report = evaluate(
        pooled.cases,
        pooled.subject,
        rejected=pooled.rejected,
        asked=asked,
        draws=draws,
        seed=seed,
        on_progress=on_progress,
    )
    resampling = Resampling(draws=draws, seed=seed)
    folds = tuple(_figures(name, fold.cases, pooled, resampling) for name, fold in collected.items())
    return replace(report, notes=(*report.notes, POOLED), folds=folds)


def _figures(name: str, cases: Sequence[Case], pooled: Collected, resampling: Resampling) -> FoldFigures:
    labels = pooled.subject.label_set
    used = {finding: told(finding, cases) for finding in labels.findings}
    conformal = {finding: conformal_of(finding, each, resampling) for finding, each in used.items()}
    return FoldFigures(
        name=name,
        studies=len(cases),
        patients=len({case.patient_key for case in cases}),
        auroc={finding: auroc_of(each, resampling) for finding, each in used.items()},
        dice={segment: segment_dice(segment, cases, resampling) for segment in labels.segments},
        mean_dice=mean_dice(labels.segments, cases, resampling),
        coverage={finding: sets.coverage for finding, sets in conformal.items() if sets is not None},
        ece={
            finding: resampling.weigh(weighted_calibration_error(each.truth, each.said), each.cases, each.one_class)
            for finding, each in used.items()
        },
    )
