"""An evaluation for the terminal: rich tables that fit 80 columns; each figure with its interval and its n."""

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medfuse.evaluation.report import EvaluationReport, FindingFigures, FoldFigures, SegmentFigures
from medfuse.metrics import Estimate


def render(report: EvaluationReport) -> RenderableType:
    """The report as something that a rich console prints."""
    parts: list[RenderableType] = [Text(title(report), style="bold")]
    parts += [Text(f"! {note}", style="bold red") for note in report.notes]
    if report.findings:
        parts.append(_finding_table(report))
    if report.segments:
        parts.append(_segment_table(report))
    if report.folds:
        parts.append(_fold_table(report))
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


def _figure_table(subject: str, confidence: float) -> Table:
    table = Table(highlight=False, show_lines=True)
    table.add_column(subject, overflow="fold")
    table.add_column("measure", no_wrap=True)
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


def _of_finding(figures: FindingFigures) -> dict[str, Estimate]:
    return {
        "AUROC": figures.auroc,
        "average precision": figures.average_precision,
        "sensitivity": figures.sensitivity,
        "specificity": figures.specificity,
    }


def _of_segment(figures: SegmentFigures) -> dict[str, Estimate]:
    return {"Dice": figures.dice, "HD95 mm": figures.hd95_mm}
