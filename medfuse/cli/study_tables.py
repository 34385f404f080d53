"""The tables of `medfuse inspect`. Text of headers is shown as it stands, never as markup or control codes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from medfuse.domain import Series, Study
    from medfuse.ingest.scan import ScanResult
    from medfuse.preprocess import ChannelRule
    from medfuse.preprocess.channels import Candidate, ChannelDecision

RUNNERS_UP = 3
SHOWN_OTHERS = 12
"""How many runners-up of a channel, and how many series that may not fill it, are shown; --json shows all."""

LONGEST_CELL = 48
LONGEST_LINE = 400
PIPED_WIDTH = 160
"""Width of what is piped into a file or a pager; a terminal has its own."""


def show(studies: "Sequence[Study]", found: "ScanResult", rules: "Sequence[ChannelRule] | None") -> None:
    """Print everything that is known of some studies, then what the folder holds beside studies.

    Args:
        studies: The studies to show.
        found: The scan that they come from.
        rules: The channels to fill; None for the presets that fit.
    """
    from medfuse.preprocess.channels import decide_or_suggest

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    for study in studies:
        console.print(Text(f"Study {study.study_instance_uid}", style="bold"))
        if study.series:
            console.print(_series_table(study.series))
        else:
            console.print("no image series")
        _list(console, "left out", study.problems)
        _list(console, "reports", [_report(study, number) for number in range(len(study.reports))])
        _list(console, "segmentations", [path.name for path in study.segmentations])
        for decision in decide_or_suggest(study.series, rules):
            _show_channel(console, decision)
        console.print()
    _list(console, "studies that cannot be used", [f"{one.reason}: {one.detail}" for one in found.rejected])
    _list(console, "files left out", [f"{reason}: {count}" for reason, count in found.skipped_files.items()])


def visible(text: str, longest: int = LONGEST_CELL) -> Text:
    """Text of a header on one line: control characters shown as `?`, cut to a length, and never read as markup."""
    line = " ".join(text.split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return Text(line if len(line) <= longest else f"{line[: longest - 3]}...")


def _series_table(series: "Sequence[Series]") -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in (
        "series",
        "modality",
        "description",
        "orientation",
        "slices",
        "spacing mm",
        "image type",
        "made with",
    ):
        table.add_column(column, no_wrap=column == "series", justify="right" if column == "slices" else "left")
    for one in series:
        made = one.acquisition
        table.add_row(
            visible(name_of(one)),
            one.modality.value,
            visible(named(one)),
            visible(made.orientation),
            _slices(one),
            Text("" if made.spacing_mm is None else " x ".join(f"{mm:.3g}" for mm in made.spacing_mm)),
            visible("\\".join(made.image_type), 32),
            visible(_made_with(one), 60),
        )
    return table


def name_of(series: "Series") -> str:
    """The series number and the part; the end of the UID where there is no number."""
    number = f"#{series.number}" if series.number is not None else f"..{series.series_instance_uid[-8:]}"
    return f"{number}/{series.part}" if series.part else number


def named(series: "Series") -> str:
    """The description; in brackets the protocol name, or the name of a NIfTI file, where there is none."""
    other = series.acquisition.protocol or (series.files[0].name if series.is_nifti else "")
    return series.description or (f"({other})" if other else "")


def _slices(series: "Series") -> str:
    from medfuse.preprocess.channels import slices_of

    return str(slices_of(series))


def _made_with(series: "Series") -> str:
    made = series.acquisition
    times = [
        ("TE", made.echo_time_ms),
        ("TR", made.repetition_time_ms),
        ("TI", made.inversion_time_ms),
        ("b", made.b_value),
    ]
    said = [made.sequence, f"kernel {made.kernel}" if made.kernel else "", "contrast agent" if made.contrast else ""]
    said += [f"{name} {value:g}" for name, value in times if value is not None]
    return " ".join(part for part in said if part)


def _report(study: "Study", number: int) -> str:
    report = study.reports[number]
    sections = ", ".join(f"{section.name.value} ({len(report.body(section))})" for section in report.sections)
    return f"{number + 1}: {len(report.text)} characters: {sections}"


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    if lines:
        console.print(Text(f"{title}:", style="bold"))
        for line in lines:
            console.print(Text("  ").append_text(visible(line, LONGEST_LINE)))


def _show_channel(console: Console, decision: "ChannelDecision") -> None:
    chosen = decision.chosen
    title = Text(f"channel {decision.rule.name}: ", style="bold")
    console.print(title.append_text(Text("no series") if chosen is None else _name(decision.candidates[0])))
    console.print(Text("  ").append_text(visible(decision.reason, LONGEST_LINE)))
    fitting = [one for one in decision.candidates if one.fits]
    for place, one in enumerate(fitting[1 : RUNNERS_UP + 1], start=2):
        _line(console, f"  {place}. ", one, f"{one.points:g} points: {_parts(one)}")
    if len(fitting) > RUNNERS_UP + 1:
        console.print(f"  and {len(fitting) - RUNNERS_UP - 1} more that may fill it")
    others = decision.candidates[len(fitting) :]
    for one in others[:SHOWN_OTHERS]:
        more = f" (and {len(one.obstacles) - 1} more)" if len(one.obstacles) > 1 else ""
        _line(console, "  not ", one, f"{one.obstacles[0]}{more}")
    if len(others) > SHOWN_OTHERS:
        console.print(f"  nor {len(others) - SHOWN_OTHERS} more")


def _line(console: Console, start: str, candidate: "Candidate", why: str) -> None:
    console.print(Text(start).append_text(_name(candidate)).append(": ").append_text(visible(why, LONGEST_LINE)))


def _name(candidate: "Candidate") -> Text:
    series = candidate.series
    return visible(f"{name_of(series)} {named(series)}".rstrip())


def _parts(candidate: "Candidate") -> str:
    return ", ".join(f"{part.name} {part.points:+g}" for part in candidate.parts) or "none of the preferences"
