"""The answer on one page of PDF, through reportlab: findings, segments, what is odd, one key slice, who said it.

The page names no patient, so that it can be shown around: it belongs to a study by its UID alone. The same answer gives
the same bytes. Scripts that the page's own font lacks are set in the fonts that every PDF reader has for them.
"""

import io
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from medfuse.domain import Finding, Prediction, TargetPrediction
from medfuse.outputs.colours import rgb_of
from medfuse.outputs.json import RESEARCH_USE
from medfuse.outputs.key_slices import KeySlice
from medfuse.outputs.measurements import SegmentMeasurement

_MARGIN = 42
_PICTURE_HEIGHT = 210
_MOST_ROWS = 14
_HEADER_COLOUR = (0.15, 0.2, 0.3)
_CJK_FONTS = (("STSong-Light", "gb18030"), ("HeiseiMin-W3", "shift_jis"), ("HYSMyeongJo-Medium", "euc_kr"))


def prediction_pdf(
    prediction: Prediction,
    *,
    measurements: Sequence[SegmentMeasurement] = (),
    pictures: Sequence[KeySlice] = (),
    notes: Sequence[str] = (),
) -> bytes:
    """The page of a prediction.

    Long lists are cut, and the page says by how much: `prediction.json` holds everything.

    Args:
        prediction: What the model says.
        measurements: Of its segments.
        pictures: Key slices; the one of the largest segment is shown.
        notes: What a reader should know beside it.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import KeepInFrame, SimpleDocTemplate

    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title="medfuse result (research use only)",
        author="medfuse",
        subject=RESEARCH_USE,
        invariant=True,
    )
    story = _story(prediction, measurements, pictures, notes)
    document.build([KeepInFrame(document.width - 12, document.height - 12, story, mode="shrink")])
    return buffer.getvalue()


def _story(
    prediction: Prediction,
    measurements: Sequence[SegmentMeasurement],
    pictures: Sequence[KeySlice],
    notes: Sequence[str],
) -> list[Any]:
    model = prediction.model
    story = [
        _paragraph("medfuse: result of a model", size=16, bold=True),
        _paragraph(RESEARCH_USE, size=10, bold=True, colour=(0.7, 0.1, 0.1)),
        _paragraph(f"Study {prediction.study_instance_uid}", size=8),
        _paragraph(f"Model {model.name} {model.version}, weights {model.weights_sha256[:16]}", size=8),
        _paragraph(f"Made {prediction.created_at}", size=8),
    ]
    if model.leakage_allowed:
        story.append(_paragraph("Trained on report sections that state the answer.", size=9, bold=True))
    if prediction.findings:
        rows = [_finding_row(finding) for finding in prediction.findings]
        story += _table(("Finding", "Probability", "Spread", "Called", "Cannot rule out"), rows)
    if prediction.targets:
        story += _table(("Target", "Answer", "Probability"), [_target_row(target) for target in prediction.targets])
    if measurements:
        head = ("", "Segment", "Volume", "Axial diameter", "3D diameter", "Mean")
        rows = [_segment_row(one) for one in measurements]
        story += _table(head, rows, swatches=True)
    story += [_paragraph(line, size=8) for line in _remarks(prediction, notes)]
    if pictures:
        story.append(_picture(max(pictures, key=lambda one: one.segment.volume_mm3)))
    return story


def _finding_row(finding: Finding) -> tuple[str, ...]:
    called = {None: "", True: "present", False: "absent"}[finding.present]
    spread = "" if finding.spread is None else f"{finding.spread:.3f}"
    left = "" if finding.prediction_set is None else ", ".join(finding.prediction_set).lower() or "neither"
    calibrated = "" if finding.calibrated else " (not calibrated)"
    return finding.name, f"{finding.probability:.3f}{calibrated}", spread, called, left


def _target_row(target: TargetPrediction) -> tuple[str, ...]:
    if target.most_probable is None:
        value = "" if target.value is None else f"{target.value:.6g} {target.unit}".strip()
        return target.name, value, ""
    return target.name, target.most_probable, f"{max(target.probabilities):.3f}"


def _segment_row(one: SegmentMeasurement) -> tuple[str, ...]:
    def millimetres(value: float | None) -> str:
        return "" if value is None else f"{value:.1f} mm"

    unit = "" if one.quantity is None or one.quantity.value == "arbitrary" else f" {one.quantity.value}"
    mean = "" if one.mean is None else f"{one.mean:.4g}{unit}"
    volume = f"{one.volume_mm3 / 1000:.2f} ml"
    return "", one.name, volume, millimetres(one.axial_diameter_mm), millimetres(one.diameter_mm), mean


def _remarks(prediction: Prediction, notes: Sequence[str]) -> list[str]:
    remarks = [f"{flag.code}: {flag.detail}" for flag in prediction.quality]
    if prediction.familiarity is not None and prediction.familiarity.is_unfamiliar:
        remarks.append("The study is unlike those that the model was trained on.")
    if prediction.missing:
        remarks.append(f"Missing: {', '.join(prediction.missing)}.")
    return [*remarks, *notes]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, swatches: bool = False) -> list[Any]:
    from reportlab.lib import colors
    from reportlab.platypus import Spacer, Table

    shown = rows[:_MOST_ROWS]
    cells = [[_paragraph(cell, size=8, bold=True, colour=(1, 1, 1)) for cell in head]]
    cells += [[_paragraph(cell, size=8) for cell in row] for row in shown]
    style: list[tuple[Any, ...]] = [
        ("BACKGROUND", (0, 0), (-1, 0), colors.Color(*_HEADER_COLOUR)),
        ("GRID", (0, 0), (-1, -1), 0.25, colors.grey),
        ("TOPPADDING", (0, 0), (-1, -1), 1),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ]
    if swatches:
        for n in range(1, len(shown) + 1):
            red, green, blue = (value / 255 for value in rgb_of(n))
            style.append(("BACKGROUND", (0, n), (0, n), colors.Color(red, green, blue)))
    widths = [14, None, *[None] * (len(head) - 2)] if swatches else None
    table = [Spacer(1, 6), Table(cells, colWidths=widths, style=style, hAlign="LEFT")]
    if len(rows) > len(shown):
        table.append(_paragraph(f"and {len(rows) - len(shown)} more; prediction.json holds them all", size=7))
    return table


def _picture(one: KeySlice) -> Any:
    from PIL import Image as Pictures
    from reportlab.platypus import Image

    buffer = io.BytesIO()
    Pictures.fromarray(one.pixels).save(buffer, format="PNG")
    buffer.seek(0)
    height, width = one.pixels.shape[:2]
    return Image(buffer, width=_PICTURE_HEIGHT * width / height, height=_PICTURE_HEIGHT, hAlign="LEFT")


def _paragraph(words: str, *, size: int, bold: bool = False, colour: tuple[float, float, float] = (0, 0, 0)) -> Any:
    from reportlab.lib import colors
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        "medfuse",
        fontName=_font(words, bold=bold),
        fontSize=size,
        leading=size * 1.25,
        textColor=colors.Color(*colour),
    )
    return Paragraph(escape(words), style)


def _font(words: str, *, bold: bool) -> str:
    """A font that has every character: Helvetica, or the first of the usual fonts of East Asia."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont

    if _fits(words, "cp1252"):
        return "Helvetica-Bold" if bold else "Helvetica"
    name = next((name for name, encoding in _CJK_FONTS if _fits(words, encoding)), _CJK_FONTS[0][0])
    if name not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return name


def _fits(words: str, encoding: str) -> bool:
    try:
        words.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
