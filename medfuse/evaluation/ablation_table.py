"""An ablation for the terminal and as markdown: the figures, then the paired differences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medfuse.evaluation.ablation import AblationReport, Comparison, Variant
from medfuse.evaluation.compare import Difference
from medfuse.metrics import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """One table as text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_ablation(report: AblationReport) -> RenderableType:
    """The report as something that a rich console prints; cells have two lines, so that it fits a terminal."""
    return Group(*(_rich(cells) for cells in _tables(report, "\n")))


def ablation_markdown(report: AblationReport) -> str:
    """The report as markdown tables."""
    return "\n".join(_markdown(cells) for cells in _tables(report, " "))


def _tables(report: AblationReport, between: str) -> tuple[_Cells, _Cells]:
    interval = f"{report.confidence:.0%} intervals by patient, {report.draws} resamples"
    figures = _Cells(
        title=f"What each part adds ({report.folds}; {interval})",
        header=("model", "minutes", "studies", *_measures(report)),
        rows=tuple(_figures(variant, report, between) for variant in report.variants),
    )
    differences = _Cells(
        title="Paired differences on the same studies: above zero the first is better, and undecided where the "
        "interval holds zero",
        header=("model less model", *_measures(report)),
        rows=tuple(_differences(comparison, between) for comparison in report.comparisons),
    )
    return figures, differences


def _measures(report: AblationReport) -> list[str]:
    return [*(f"AUROC {name}" for name in report.findings), *(["mean Dice"] if report.segments else [])]


def _figures(variant: Variant, report: AblationReport, between: str) -> tuple[str, ...]:
    minutes = "" if variant.minutes is None else f"{variant.minutes:.1f}"
    estimates = [variant.auroc.get(name) for name in report.findings]
    estimates += [variant.mean_dice] if report.segments else []
    cells = [_cell(estimate, between, "{:.3f}".format) for estimate in estimates]
    return (variant.name, minutes, str(variant.studies), *cells)


def _differences(comparison: Comparison, between: str) -> tuple[str, ...]:
    return (
        f"{comparison.name}{between}less {comparison.against}",
        *(_difference(one, between) for one in comparison.differences),
    )


def _difference(one: Difference, between: str) -> str:
    if one.estimate.value is None:
        return "-"
    return f"{_cell(one.estimate, between, '{:+.3f}'.format)}{between}{one.verdict}"


def _cell(estimate: Estimate | None, between: str, form: Callable[[float], str]) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return form(estimate.value)
    return f"{form(estimate.value)}{between}({form(estimate.low)} to {form(estimate.high)})"


def _rich(cells: _Cells) -> Table:
    table = Table(title=Text(cells.title), title_justify="left", highlight=False, show_lines=True)
    for heading in cells.header:
        table.add_column(Text(heading), overflow="fold")
    for row in cells.rows:
        table.add_row(*map(Text, row))
    return table


def _markdown(cells: _Cells) -> str:
    lines = [_line(cells.header), _line(["---"] * len(cells.header)), *map(_line, cells.rows)]
    return "\n".join([f"{cells.title}.", "", *lines, ""])


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
