"""What a study shows a reader, in words and stretches of text; the dashboard only draws it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from medfuse.domain import Evidence, Prediction, Report, Series, Study

SEGMENT_COLOURS: tuple[tuple[int, int, int], ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (120, 140, 255),
    (180, 220, 160),
)
"""RGB of segment 1, 2, …, told apart by colour-blind readers (Okabe and Ito 2008, two added); they repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of text and how much the model attended to it: a weight in [0, 1], 0 for not at all."""

    text: str
    weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesChoice:
    """A series that can be shown: its label for a person, and whether the model read it."""

    label: str
    series: Series
    read_by_model: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentView:
    """A segment of the overlay: number in the label map, name, volume and colour (RGB, 0 to 255)."""

    number: int
    name: str
    volume_mm3: float
    colour: tuple[int, int, int]


def readable(name: str) -> str:
    """A name of the label set for a person: underscores become spaces."""
    return name.replace("_", " ")


def segment_views(prediction: Prediction) -> tuple[SegmentView, ...]:
    """The segments of the overlay; segment `n` of the label map is the n-th of the label set."""
    return tuple(
        SegmentView(
            number=number,
            name=readable(segment.name),
            volume_mm3=segment.volume_mm3,
            colour=SEGMENT_COLOURS[(number - 1) % len(SEGMENT_COLOURS)],
        )
        for number, segment in enumerate(prediction.segment_volumes, start=1)
    )


def series_choices(study: Study, prediction: Prediction | None) -> tuple[SeriesChoice, ...]:
    """The series of a study: first those that the model read, by channel, then the others."""
    by_key = {series.key: series for series in study.series}
    used = dict(prediction.series_used) if prediction else {}
    read = [
        SeriesChoice(label=_label(by_key[key], channel), series=by_key[key], read_by_model=True)
        for channel, key in used.items()
        if key in by_key
    ]
    rest = [
        SeriesChoice(label=_label(series), series=series, read_by_model=False)
        for key, series in by_key.items()
        if key not in used.values()
    ]
    return (*read, *rest)


def highlighted(text: str, evidence: Sequence[Evidence]) -> tuple[Span, ...]:
    """`text` cut where evidence begins and ends; where stretches overlap the greatest weight holds.

    Offsets outside the text are cut to it. The spans together are always the whole text.
    """
    places = {0, len(text)}
    for item in evidence:
        places |= {min(max(item.start, 0), len(text)), min(max(item.end, 0), len(text))}
    cuts = sorted(places)
    spans = []
    for start, end in pairwise(cuts):
        weight = max((item.weight for item in evidence if item.start < end and item.end > start), default=0.0)
        spans.append(Span(text=text[start:end], weight=min(max(weight, 0.0), 1.0)))
    return tuple(spans)


def placed_sections(reports: Sequence[Report], text_input: str) -> tuple[tuple[int | None, ...], ...]:
    """Where the body of each section of each report begins in the model's input; None for one that was not read.

    The model's input holds the bodies of some sections in the order of the reports, so each body is looked for behind
    the one before it. A body that is not found was not read. In a stored prediction what names the patient may be
    overwritten with `X`, length for length (`medfuse.outputs`); such an input still matches.
    """
    position = 0
    places = []
    for report in reports:
        of_report: list[int | None] = []
        for section in report.sections:
            body = report.body(section)
            found = _find(body, text_input, position)
            if found >= 0:
                position = found + len(body)
            of_report.append(found if found >= 0 else None)
        places.append(tuple(of_report))
    return tuple(places)


def _find(body: str, text_input: str, position: int) -> int:
    """Where `body` begins in the model's input from `position` on, any character being `X` there; -1 for nowhere."""
    if not body or len(text_input) - position < len(body):
        return -1
    pattern = "".join(re.escape(c) if c.isspace() else f"[X{re.escape(c)}]" for c in body)
    match = re.compile(pattern).search(text_input, position)
    return match.start() if match else -1


def _label(series: Series, channel: str | None = None) -> str:
    words = [channel.upper() if channel else series.modality.value, series.description, series.part.replace("_", " ")]
    number = f" · series {series.number}" if series.number is not None else ""
    return " · ".join(word for word in words if word) + number
