"""An evaluation for the terminal: rich tables that fit 80 columns; each figure with its interval and its n.

The terminal shows what a reader asks first; curves, bins and points are in the JSON.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medfuse.evaluation.figures import (
    FindingFigures,
    FoldFigures,
    GroupFigures,
    SegmentFigures,
    SiteFigures,
    Subgroups,
)
from medfuse.evaluation.report import EvaluationReport
from medfuse.metrics import Estimate

LONGEST_GROUP = 20
"""Characters of a group's name that the terminal shows."""


def render(report: EvaluationReport) -> RenderableType:
    """The report as something that a rich console prints."""
    parts: list[RenderableType] = [Text(title(report), style="bold")]
    parts += [Text(f"! {note}", style="bold red") for note in report.notes]
    if report.findings:
        parts.append(_finding_table(report))
    if report.segments:
        parts.append(_segment_table(report))
    if report.targets:
        parts.append(_target_table(report))
    if report.folds:
        parts.append(_fold_table(report))
    for subgroups in report.subgroups:
        parts += [_group_table(subgroups, report), *(Text(line) for line in gap_lines(subgroups))]
    if report.sites is not None:
        parts += [_site_table(report.sites, report), *(Text(line) for line in site_lines(report.sites))]
    parts += [Text(f"  {line}", style="dim") for line in _reasons(report)]
    if report.rejected:
        parts.append(_rejected_table(report))
    return Group(*parts)


def title(report: EvaluationReport) -> str:
    """One line: which model on which data; training data is called that."""
    who = report.model.name if report.model else "predictions"
    data = "TRAINING data (train split)" if report.split == "train" else f"{report.split} split"
    interval = f"{report.confidence:.0%} intervals by patient, {report.draws} resamples"
    return f"{who} on its {data}: {report.studies} studies of {report.patients} patients; {interval}"


def render_value(estimate: Estimate, digits: int = 3) -> tuple[str, str, str, str]:
    """Value, interval, n and patients of a figure as text; n/a where undefined."""
    value = "n/a" if estimate.value is None else f"{estimate.value:.{digits}f}"
    interval = "n/a"
    if estimate.low is not None and estimate.high is not None:
        interval = f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"
    return value, interval, str(estimate.n), str(estimate.patients)


def _finding_table(report: EvaluationReport) -> Table:
    table = _figure_table("finding", report.confidence)
    for figures in report.findings:
        point = "no operating point" if figures.operating_point is None else f"from {figures.operating_point:.3f}"
        if report.folds and figures.sensitivity.value is not None:
            point = "each fold's own point"
        about = (figures.name, f"{figures.present} present", f"{figures.absent} absent", point)
        _add(table, about, _of_finding(figures))
    return table


def _segment_table(report: EvaluationReport) -> Table:
    table = _figure_table("segment", report.confidence)
    for figures in report.segments:
        counts = {"missed": figures.missed, "invented": figures.invented, "both empty": figures.both_empty}
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        _add(table, (figures.name, told), _of_segment(figures))
    if report.mean_dice is not None and len(report.segments) > 1:
        _add(table, ("mean of segments",), {"Dice": report.mean_dice})
    return table


def _target_table(report: EvaluationReport) -> Table:
    table = _figure_table("target", report.confidence)
    for figures in report.targets:
        unit = f", {figures.unit}" if figures.unit else ""
        _add(table, (figures.name, f"{figures.kind.lower()}{unit}"), figures.measures)
    return table


def _group_table(subgroups: Subgroups, report: EvaluationReport) -> Table:
    return _tabled(f"by {subgroups.column}", subgroups.groups, report)


def _site_table(sites: SiteFigures, report: EvaluationReport) -> Table:
    return _tabled(f"left-out {sites.column}", sites.sites, report)


def _tabled(heading: str, groups: Sequence[GroupFigures], report: EvaluationReport) -> Table:
    """One row a measure, one line a group; what rests on few patients is marked."""
    table = _figure_table(heading, report.confidence, "group")
    for measure in groups[0].measures if groups else ():
        marked = {_marked(each, measure): each.measures[measure] for each in groups}
        _add(table, (measure,), marked)
    return table


def _marked(group: GroupFigures, measure: str) -> str:
    """The name of a group on one line, with a star where the figure rests on few patients."""
    name = group.value if len(group.value) <= LONGEST_GROUP else f"{group.value[: LONGEST_GROUP - 3]}..."
    return f"{name} *" if measure in group.few else name


def gap_lines(subgroups: Subgroups) -> list[str]:
    """What the gaps between groups come to, in words."""
    few = any(group.few for group in subgroups.groups)
    lines = ["  *: rests on too few patients to be compared"] if few else []
    first = [gap for gap in subgroups.gaps if gap.measure == subgroups.worst]
    if not first:
        return [*lines, f"  by {subgroups.column}: no two groups can be compared"]
    gap = first[0]
    value, interval, _, _ = render_value(gap.difference)
    certain = gap.difference.low is not None and gap.difference.low > 0
    said = "zero is outside its interval" if certain else "it may be chance"
    return [
        *lines,
        f"  worst gap by {subgroups.column}: {gap.measure}, {value} ({interval}) between {gap.best} and {gap.worst}; "
        f"{said}, and it is the largest of {gap.pairs} pairs",
    ]


def site_lines(sites: SiteFigures) -> list[str]:
    """The mean over sites and their spread."""
    lines = []
    for name, mean in sites.mean.items():
        spread = f", standard deviation {sites.spread[name]:.3f}" if name in sites.spread else ""
        lines.append(
            f"  {name} of sites: mean {mean:.3f}{spread}, from {sites.lowest[name]:.3f} to {sites.highest[name]:.3f}"
        )
    return lines


def _fold_table(report: EvaluationReport) -> Table:
    """One row a fold and figure: the measure may be long, so that it has the first column."""
    table = _figure_table("of each fold", report.confidence)
    for measure in _of_fold(report.folds[0]):
        values = {fold.name: _of_fold(fold)[measure] for fold in report.folds}
        _add(table, (measure,), values)
    return table


def _of_fold(fold: FoldFigures) -> dict[str, Estimate]:
    figures = {f"{name}, AUROC": estimate for name, estimate in fold.auroc.items()}
    figures |= {f"{name}, Dice": estimate for name, estimate in fold.dice.items()}
    if fold.mean_dice is not None and len(fold.dice) > 1:
        figures["mean of segments, Dice"] = fold.mean_dice
    return figures


def _add(table: Table, about: Iterable[str], figures: Mapping[str, Estimate]) -> None:
    """One row of as many lines as it has figures."""
    values = [render_value(estimate, 2 if "mm" in name else 3) for name, estimate in figures.items()]
    columns = [list(figures), *(list(column) for column in zip(*values, strict=True))]
    table.add_row(Text("\n".join(filter(None, about))), *(Text("\n".join(column)) for column in columns))


def _figure_table(subject: str, confidence: float, second: str = "measure") -> Table:
    table = Table(highlight=False, show_lines=True)
    table.add_column(Text(subject), overflow="fold")
    table.add_column(second, no_wrap=True)
    for column in ("value", f"{confidence:.0%} interval", "n", "patients"):
        table.add_column(column, no_wrap=True, justify="right")
    return table


def _rejected_table(report: EvaluationReport) -> Table:
    table = Table(highlight=False)
    for column in ("rejected study", "reason", "detail"):
        table.add_column(column, overflow="fold")
    for study in report.rejected:
        table.add_row(Text(study.study_instance_uid), Text(study.reason), Text(study.detail))
    return table


def _reasons(report: EvaluationReport) -> list[str]:
    """Why figures are missing or rest on fewer resamples, and how many labels took no part; one line each."""
    lines = [f"{name}: {estimate.reason}" for name, estimate in _named(report) if estimate.reason]
    for figures in report.findings:
        if figures.uncertain or figures.not_assessed:
            left_out = f"{figures.uncertain} uncertain and {figures.not_assessed} not assessed"
            lines.append(f"{figures.name}: {left_out} labels take no part")
    return lines


def _named(report: EvaluationReport) -> Iterable[tuple[str, Estimate]]:
    for finding in report.findings:
        yield from ((f"{finding.name}, {measure}", estimate) for measure, estimate in _of_finding(finding).items())
    for segment in report.segments:
        yield from ((f"{segment.name}, {measure}", estimate) for measure, estimate in _of_segment(segment).items())
    for target in report.targets:
        yield from ((f"{target.name}, {measure}", estimate) for measure, estimate in target.measures.items())


def _of_finding(figures: FindingFigures) -> dict[str, Estimate]:
    shown: dict[str, Estimate | None] = {
        "AUROC": figures.auroc,
        "average precision": figures.average_precision,
        "sensitivity": figures.sensitivity,
        "specificity": figures.specificity,
    }
    if figures.calls is not None:
        shown |= {"PPV": figures.ppv, "NPV": figures.npv, "F1": figures.f1, "MCC": figures.mcc}
    if figures.calibration is not None and figures.auroc.n:
        if figures.uncalibrated is not None:
            shown["ECE before scaling"] = figures.uncalibrated.ece
        shown |= {
            "ECE": figures.calibration.ece,
            "Brier": figures.calibration.brier,
            "calibration slope": figures.calibration.slope,
        }
    if figures.selective is not None:
        shown["area under risk"] = figures.selective.area
    if figures.conformal is not None:
        shown |= {"set coverage": figures.conformal.coverage, "sets of one": figures.conformal.sure}
    return {name: estimate for name, estimate in shown.items() if estimate is not None}


def _of_segment(figures: SegmentFigures) -> dict[str, Estimate]:
    shown: dict[str, Estimate | None] = {"Dice": figures.dice, "HD95 mm": figures.hd95_mm}
    if figures.surface_dice is not None and figures.surface_dice.n:
        shown[f"surface Dice {figures.tolerance_mm:g} mm"] = figures.surface_dice
    if figures.volume_relative_error is not None and figures.volume_relative_error.n:
        shown["relative volume error"] = figures.volume_relative_error
    if figures.detection is not None:
        shown |= {
            "lesions found": figures.detection.sensitivity,
            "false alarms a study": figures.detection.false_positives,
            "FROC score": figures.detection.froc_score,
        }
    return {name: estimate for name, estimate in shown.items() if estimate is not None}
