"""An ablation for the terminal and as markdown: figures, and paired differences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medfuse.evaluation.ablation import AblationReport, Comparison, Variant
from medfuse.evaluation.compare import Difference
from medfuse.metrics import Estimate

_PAIRED = "Differences are paired on the same studies: above zero the first is better, undecided if zero is within."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """One table as text."""

    title: str = ""
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_ablation(report: AblationReport) -> RenderableType:
    """The report as something that a rich console prints: a table a measure, which fits 80 columns."""
    tables = [_rich(_of_measure(report, position, name)) for position, name in enumerate(_measures(report))]
    further = [one for one in report.comparisons if one.against != report.reference]
    if further:
        tables.append(_rich(_further(report, further)))
    return Group(Text(_title(report), style="bold"), *tables)


def ablation_markdown(report: AblationReport) -> str:
    """The report as markdown: the figures, then the paired differences, a column a measure."""
    figures = _Cells(
        title=_title(report),
        header=("model", "minutes", "studies", *_measures(report)),
        rows=tuple(
            (one.name, _minutes(one), str(one.studies), *(_cell(each, " ") for each in _estimates(one, report)))
            for one in report.variants
        ),
    )
    differences = _Cells(
        title="The paired differences:",
        header=("model less model", *_measures(report)),
        rows=tuple(
            (f"{one.name} less {one.against}", *(f"{_change(each, ' ')} {each.verdict}" for each in one.differences))
            for one in report.comparisons
        ),
    )
    return "\n".join(_markdown(cells) for cells in (figures, differences))


def _title(report: AblationReport) -> str:
    interval = f"{report.confidence:.0%} intervals by patient, {report.draws} resamples"
    return f"What each part adds ({report.folds}; {interval}). {_PAIRED}"


def _of_measure(report: AblationReport, position: int, measure: str) -> _Cells:
    """One measure: each model's figure beside its difference from the full model."""
    against = {one.name: one.differences[position] for one in report.comparisons if one.against == report.reference}
    rows = []
    for variant in report.variants:
        change = against.get(variant.name)
        told = ("", "") if change is None else (_change(change, "\n"), change.verdict)
        about = f"{variant.studies} studies" + (f", {_minutes(variant)} min" if variant.minutes is not None else "")
        rows.append((f"{variant.name}\n{about}", _cell(_estimates(variant, report)[position], "\n"), *told))
    return _Cells(header=("model", measure, f"less {report.reference}", "which is"), rows=tuple(rows))


def _further(report: AblationReport, comparisons: Sequence[Comparison]) -> _Cells:
    rows = [
        (f"{one.name}\nless {one.against}", measure, _change(each, "\n"), each.verdict)
        for one in comparisons
        for measure, each in zip(_measures(report), one.differences, strict=True)
    ]
    return _Cells(header=("model less model", "measure", "difference", "which is"), rows=tuple(rows))


def _measures(report: AblationReport) -> list[str]:
    return [*(f"AUROC {name}" for name in report.findings), *(["mean Dice"] if report.segments else [])]


def _estimates(variant: Variant, report: AblationReport) -> list[Estimate | None]:
    """A row's figures in the order of the measures."""
    return [*map(variant.auroc.get, report.findings), *([variant.mean_dice] if report.segments else [])]


def _minutes(variant: Variant) -> str:
    return "" if variant.minutes is None else f"{variant.minutes:.1f}"


def _change(one: Difference, between: str) -> str:
    return _cell(one.estimate, between, "{:+.3f}".format)


def _cell(estimate: Estimate | None, between: str, form: Callable[[float], str] = "{:.3f}".format) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return form(estimate.value)
    return f"{form(estimate.value)}{between}({form(estimate.low)} to {form(estimate.high)})"


def _rich(cells: _Cells) -> Table:
    table = Table(highlight=False, show_lines=True)
    for heading in cells.header:
        table.add_column(Text(heading), overflow="fold")
    for row in cells.rows:
        table.add_row(*map(Text, row))
    return table


def _markdown(cells: _Cells) -> str:
    lines = [_line(cells.header), _line(["---"] * len(cells.header)), *map(_line, cells.rows)]
    return "\n".join([cells.title, "", *lines, ""])


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
