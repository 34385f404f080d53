"""The plots of an evaluation and of a training, from the points that their files hold; nothing is drawn here."""

from collections.abc import Iterator, Mapping, Sequence

from medfuse.evaluation.cases import Case
from medfuse.evaluation.figures import (
    BlandAltman,
    CalibrationFigures,
    Curve,
    FindingFigures,
    SegmentFigures,
    TargetFigures,
)
from medfuse.reporting.document import Line, Plot

_UNIT = (0.0, 1.0)
_DIAGONAL = Line(name="", x=_UNIT, y=_UNIT, style="reference")


def finding_plots(figures: FindingFigures) -> tuple[Plot, ...]:
    """ROC, precision and recall, reliability, decision and selective prediction; those that the evaluation holds."""
    return tuple(_of_finding(figures))


def _of_finding(figures: FindingFigures) -> Iterator[Plot]:
    name = figures.name
    if figures.roc is not None:
        yield Plot(
            title=f"ROC: {name}",
            x_label="1 - specificity",
            y_label="sensitivity",
            lines=(_DIAGONAL, _line(figures.roc, "model")),
            note="Above the diagonal is better than chance.",
            x_range=_UNIT,
            y_range=_UNIT,
        )
    if figures.precision_recall is not None:
        share = figures.present / max(1, figures.present + figures.absent)
        chance = Line(name="prevalence", x=_UNIT, y=(share, share), style="reference")
        yield Plot(
            title=f"Precision and recall: {name}",
            x_label="sensitivity (recall)",
            y_label="PPV (precision)",
            lines=(chance, _line(figures.precision_recall, "model", steps=True)),
            note="The dashed line is what calling at random gives.",
            x_range=_UNIT,
            y_range=_UNIT,
        )
    if figures.calibration is not None:
        yield _reliability(figures.calibration, figures.uncalibrated, name)
    if figures.decision is not None:
        yield _decision(figures.decision, figures.decision_all, name)
    if figures.selective is not None:
        risk = figures.selective.risk.value
        whole = () if risk is None else (Line(name="every study", x=_UNIT, y=(risk, risk), style="reference"),)
        yield Plot(
            title=f"Risk against coverage: {name}",
            x_label="share of studies answered",
            y_label="share of wrong calls",
            lines=(*whole, _line(figures.selective.curve, "the surest first")),
            note="A confidence that means something leaves few wrong calls among the studies answered first.",
            x_range=_UNIT,
            y_range=(0.0, max(figures.selective.curve.y, default=1.0)),
        )


def _reliability(now: CalibrationFigures, before: CalibrationFigures | None, name: str) -> Plot:
    lines = [_DIAGONAL]
    if before is not None:
        lines.append(_bins(before, "before scaling", intervals=False))
    lines.append(_bins(now, "as reported", intervals=True))
    return Plot(
        title=f"Reliability: {name}",
        x_label="mean probability of the bin",
        y_label="share PRESENT",
        lines=tuple(lines),
        note="On the diagonal, probabilities mean what they say; the bars are Wilson intervals.",
        x_range=_UNIT,
        y_range=_UNIT,
    )


def _bins(figures: CalibrationFigures, name: str, *, intervals: bool) -> Line:
    told = [
        (each.predicted, each.observed, each.observed_low, each.observed_high)
        for each in figures.bins
        if each.predicted is not None and each.observed is not None
    ]
    known = intervals and all(low is not None and high is not None for _, _, low, high in told)
    return Line(
        name=name,
        x=tuple(x for x, _, _, _ in told),
        y=tuple(y for _, y, _, _ in told),
        style="points",
        y_low=tuple(low or 0.0 for _, _, low, _ in told) if known else (),
        y_high=tuple(high or 0.0 for _, _, _, high in told) if known else (),
    )


def _decision(model: Curve, everyone: Curve | None, name: str) -> Plot:
    lines = [Line(name="call nobody", x=_UNIT, y=(0.0, 0.0), style="reference"), _line(model, "model")]
    if everyone is not None:
        lines.insert(1, _line(everyone, "call everyone"))
    top = max(model.y, default=0.0)
    return Plot(
        title=f"Decision curve: {name}",
        x_label="threshold probability",
        y_label="net benefit",
        lines=tuple(lines),
        note="The model is of use where it lies above both other lines.",
        x_range=_UNIT,
        y_range=(-0.1, max(0.1, top * 1.15)),
    )


def segment_plots(figures: SegmentFigures, cases: Sequence[Case]) -> tuple[Plot, ...]:
    """Dice of every study, agreement of volumes, and FROC; those that the evaluation holds."""
    return tuple(_of_segment(figures, cases))


def _of_segment(figures: SegmentFigures, cases: Sequence[Case]) -> Iterator[Plot]:
    dice = sorted(value for case in cases if (value := case.dice.get(figures.name)) is not None)
    if dice:
        ranks = tuple(float(rank) for rank in range(1, len(dice) + 1))
        yield Plot(
            title=f"Dice of each study: {figures.name}",
            x_label="studies, the worst first",
            y_label="Dice",
            lines=(Line(name="", x=ranks, y=tuple(dice), style="points"),),
            note="One point a study.",
            y_range=_UNIT,
        )
    if figures.volume_agreement is not None:
        yield _agreement(figures.volume_agreement, f"Volume: {figures.name}", "ml", 1000.0)
    detection = figures.detection
    if detection is not None and detection.curve is not None:
        yield Plot(
            title=f"FROC: {figures.name}",
            x_label="false alarms a study",
            y_label="share of lesions found",
            lines=(_line(detection.curve, f"ranked by {detection.ranked_by}", steps=True),),
            note="Left and high is better.",
            y_range=_UNIT,
        )


def target_plots(figures: TargetFigures) -> tuple[Plot, ...]:
    """Agreement of a number; classes and grades have a table."""
    if figures.agreement is None:
        return ()
    return (_agreement(figures.agreement, f"Agreement: {figures.name}", figures.unit, 1.0),)


def _agreement(data: BlandAltman, title: str, unit: str, scale: float) -> Plot:
    """Source: Bland and Altman, Lancet 1986; 327:307-310."""
    ends = (min(data.mean, default=0.0) / scale, max(data.mean, default=0.0) / scale)
    levels = {"lower limit": data.low, "bias": data.bias, "upper limit": data.high}
    drawn = [
        Line(name=f"{name} {level / scale:.3g}", x=ends, y=(level / scale, level / scale), style="reference")
        for name, level in levels.items()
        if level is not None
    ]
    points = Line(
        name="studies",
        x=tuple(value / scale for value in data.mean),
        y=tuple(value / scale for value in data.difference),
        style="points",
    )
    of_unit = f" ({unit})" if unit else ""
    return Plot(
        title=title,
        x_label=f"mean of predicted and true{of_unit}",
        y_label=f"predicted less true{of_unit}",
        lines=(*drawn, points),
        note="Bland and Altman: the limits hold 95 % of the differences if these are normal.",
    )


def loss_plots(losses: Mapping[str, Sequence[tuple[int, float]]]) -> tuple[Plot, ...]:
    """The losses of a training by epoch, and what was measured on the validation split."""
    kinds = {
        "Loss": [column for column in losses if column.endswith("/total")],
        "Validation": [column for column in losses if column in ("validation/dice", "validation/auroc")],
    }
    return tuple(
        Plot(
            title=f"{kind} by epoch",
            x_label="epoch",
            y_label=kind.lower(),
            lines=tuple(
                Line(
                    name=column,
                    x=tuple(float(epoch) for epoch, _ in losses[column]),
                    y=tuple(value for _, value in losses[column]),
                )
                for column in columns
            ),
            note="From losses.csv. The validation split helps to choose and to calibrate: its figures flatter.",
        )
        for kind, columns in kinds.items()
        if columns
    )


def _line(curve: Curve, name: str, *, steps: bool = False) -> Line:
    return Line(
        name=name,
        x=curve.x,
        y=curve.y,
        style="steps" if steps and not curve.y_low else "line",
        y_low=curve.y_low,
        y_high=curve.y_high,
    )
