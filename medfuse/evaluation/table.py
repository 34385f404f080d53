"""An evaluation for the terminal: rich tables, plain characters, what a number rests on beside it."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medfuse.evaluation.report import EvaluationReport
from medfuse.metrics import Estimate


def render(report: EvaluationReport) -> RenderableType:
    """The report as something that a rich console prints."""
    parts: list[RenderableType] = [Text(title(report), style="bold")]
    parts += [Text(f"! {note}", style="bold red") for note in report.notes]
    if report.findings:
        parts.append(_finding_table(report))
    if report.segments:
        parts.append(_segment_table(report))
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


def cell(estimate: Estimate, digits: int = 3) -> str:
    """A figure as `value [low, high]`; n/a where it is undefined."""
    if estimate.value is None:
        return "n/a"
    value = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return f"{value} [n/a]"
    return f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def _finding_table(report: EvaluationReport) -> Table:
    table = _table("finding", "n (present)", "AUROC", "average precision", "sensitivity", "specificity", "from")
    for figures in report.findings:
        point = "n/a" if figures.operating_point is None else f"{figures.operating_point:.3f}"
        estimates = (figures.auroc, figures.average_precision, figures.sensitivity, figures.specificity)
        count = f"{figures.auroc.n} ({figures.present})"
        table.add_row(Text(figures.name), count, *(Text(cell(estimate)) for estimate in estimates), point)
    return table


def _segment_table(report: EvaluationReport) -> Table:
    table = _table("segment", "n", "Dice", "HD95 mm", "missed", "invented", "both empty")
    for figures in report.segments:
        counts = (figures.missed, figures.invented, figures.both_empty)
        estimates = (Text(cell(figures.dice)), Text(cell(figures.hd95_mm, 2)))
        table.add_row(Text(figures.name), str(figures.dice.n), *estimates, *map(str, counts))
    if report.mean_dice is not None and len(report.segments) > 1:
        table.add_section()
        table.add_row("mean", str(report.mean_dice.n), Text(cell(report.mean_dice)), "", "", "", "")
    return table


def _rejected_table(report: EvaluationReport) -> Table:
    table = _table("rejected study", "reason", "detail")
    for study in report.rejected:
        table.add_row(Text(study.study_instance_uid), Text(study.reason), Text(study.detail))
    return table


def _table(*columns: str) -> Table:
    table = Table(title_justify="left", highlight=False)
    for column in columns:
        table.add_column(column, overflow="fold")
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
        yield f"{finding.name}, AUROC", finding.auroc
        yield f"{finding.name}, average precision", finding.average_precision
        yield f"{finding.name}, sensitivity", finding.sensitivity
        yield f"{finding.name}, specificity", finding.specificity
    for segment in report.segments:
        yield f"{segment.name}, Dice", segment.dice
        yield f"{segment.name}, HD95", segment.hd95_mm
