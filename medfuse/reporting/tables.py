"""The tables of a report: every figure with its interval, its n and its patients."""

from collections.abc import Mapping

from medfuse.evaluation.figures import FindingFigures, FoldFigures, GroupFigures, SegmentFigures, TargetFigures
from medfuse.metrics import Estimate
from medfuse.reporting.document import Cell, Table


def finding_table(figures: FindingFigures, confidence: float) -> Table:
    """Discrimination, calls, calibration, selective prediction and prediction sets of a finding."""
    shown: dict[str, Estimate | None] = {
        "AUROC": figures.auroc,
        "average precision": figures.average_precision,
        "sensitivity": figures.sensitivity,
        "specificity": figures.specificity,
        "PPV": figures.ppv,
        "NPV": figures.npv,
        "F1": figures.f1,
        "MCC": figures.mcc,
    }
    if figures.uncalibrated is not None:
        shown["ECE before scaling"] = figures.uncalibrated.ece
    if figures.calibration is not None:
        shown |= {
            "ECE": figures.calibration.ece,
            "Brier score": figures.calibration.brier,
            "calibration slope": figures.calibration.slope,
            "calibration intercept": figures.calibration.intercept,
        }
    if figures.selective is not None:
        shown |= {"share of wrong calls": figures.selective.risk, "area under risk": figures.selective.area}
    if figures.conformal is not None:
        sets = figures.conformal
        shown |= {
            "set coverage": sets.coverage,
            "set coverage, PRESENT": sets.coverage_present,
            "set coverage, ABSENT": sets.coverage_absent,
            "sets of one value": sets.sure,
            "sets of both": sets.unsure,
            "empty sets": sets.empty,
            "sets of one value that are right": sets.sure_and_right,
        }
    return _estimates(f"{figures.name}: figures", shown, confidence, _of_calls(figures))


def segment_table(figures: SegmentFigures, confidence: float) -> Table:
    """Overlap, surfaces, volumes and lesions of a segment."""
    shown: dict[str, Estimate | None] = {
        "Dice": figures.dice,
        "HD95 (mm)": figures.hd95_mm,
        f"surface Dice at {figures.tolerance_mm or 0:g} mm": figures.surface_dice,
        "volume error (mm3)": figures.volume_error_mm3,
        "absolute volume error (mm3)": figures.volume_absolute_error_mm3,
        "relative volume error": figures.volume_relative_error,
    }
    if figures.detection is not None:
        shown |= {
            "lesions found": figures.detection.sensitivity,
            "false alarms a study": figures.detection.false_positives,
            "FROC score": figures.detection.froc_score,
        }
    note = (
        f"Empty masks: {figures.both_empty} studies with neither (Dice 1), {figures.missed} where only the prediction "
        f"and {figures.invented} where only the reference is empty (Dice 0); {figures.without_reference} without a "
        "reference take no part."
    )
    return _estimates(f"{figures.name}: figures", shown, confidence, note)


def target_tables(figures: TargetFigures, confidence: float) -> tuple[Table, ...]:
    """The measures of a class, grade or number, and the confusion of classes and grades."""
    unit = f" ({figures.unit})" if figures.unit else ""
    tables = [_estimates(f"{figures.name}{unit}: figures", figures.measures, confidence, "")]
    if figures.confusion:
        rows = zip(figures.classes, figures.confusion, strict=True)
        tables.append(
            Table(
                title=f"{figures.name}: truth in rows, answer in columns",
                columns=("truth", *figures.classes),
                rows=tuple((name, *counts) for name, counts in rows),
            )
        )
    return tuple(tables)


def group_table(title: str, groups: tuple[GroupFigures, ...], confidence: float) -> Table:
    """One row a group and measure; what rests on few patients is marked."""
    rows: list[tuple[Cell, ...]] = []
    for group in groups:
        for measure, estimate in group.measures.items():
            remark = "few patients: not to be compared" if measure in group.few else estimate.reason
            if group.unseen is False:
                remark = "; ".join(filter(None, ("this group was seen in training", remark)))
            rows.append((group.value, measure, *_figure(estimate), remark))
    return Table(title=title, columns=("group", "measure", *_columns(confidence), "remark"), rows=tuple(rows))


def fold_table(folds: tuple[FoldFigures, ...], confidence: float) -> Table:
    """One row a fold and measure, each fold on its own test set."""
    rows: list[tuple[Cell, ...]] = []
    for fold in folds:
        figures = {f"{name}, AUROC": estimate for name, estimate in fold.auroc.items()}
        figures |= {f"{name}, Dice": estimate for name, estimate in fold.dice.items()}
        figures |= {f"{name}, ECE": estimate for name, estimate in fold.ece.items()}
        figures |= {f"{name}, set coverage": estimate for name, estimate in fold.coverage.items()}
        rows += [(fold.name, measure, *_figure(estimate), estimate.reason) for measure, estimate in figures.items()]
    return Table(
        title="Each fold on its own test set",
        columns=("fold", "measure", *_columns(confidence), "remark"),
        rows=tuple(rows),
    )


def _estimates(title: str, shown: Mapping[str, Estimate | None], confidence: float, note: str) -> Table:
    rows = tuple(
        (measure, *_figure(estimate), estimate.reason or (estimate.method or ""))
        for measure, estimate in shown.items()
        if estimate is not None
    )
    return Table(title=title, columns=("measure", *_columns(confidence), "interval by"), rows=rows, note=note)


def _columns(confidence: float) -> tuple[str, ...]:
    return ("value", f"{confidence:.0%} from", "to", "n", "patients")


def _figure(estimate: Estimate) -> tuple[Cell, ...]:
    return estimate.value, estimate.low, estimate.high, estimate.n, estimate.patients


def _of_calls(figures: FindingFigures) -> str:
    told = [
        f"{figures.present} PRESENT and {figures.absent} ABSENT; {figures.uncertain} uncertain and "
        f"{figures.not_assessed} not assessed take no part."
    ]
    if figures.operating_point is not None:
        told.append(f"Called from a probability of {figures.operating_point:.3f}.")
    if figures.calls is not None:
        calls = figures.calls
        told.append(
            f"{calls.true_positives} true and {calls.false_positives} false positives, {calls.true_negatives} true and "
            f"{calls.false_negatives} false negatives."
        )
    calibration = figures.calibration
    if calibration is not None and calibration.ece_by_chance_95 is not None:
        told.append(f"At this n, an ECE above {calibration.ece_by_chance_95:.3f} speaks against calibration.")
    told.append("PPV and NPV hold at this prevalence only.")
    return " ".join(told)
