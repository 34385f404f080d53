"""`medfuse calibrate`: a trained run learns anew what its probabilities mean, and what it is used to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from medfuse.metrics.operating_point import PointRule
    from medfuse.training.calibrate import CalibrationResult


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder that medfuse train wrote.", show_default=False)],
    manifest: Annotated[Path, typer.Option(help="Manifest that it was trained from.", show_default=False)],
    method: Annotated[str, typer.Option(help="How probabilities are scaled: temperature, or platt.")] = "temperature",
    operating_point: Annotated[
        str, typer.Option(help="How operating points are chosen: youden, sensitivity=0.95, specificity=0.9, cost=5.")
    ] = "youden",
    alpha: Annotated[float, typer.Option(help="Rate of error of prediction sets, above 0 and below 1.")] = 0.1,
    false_alarms: Annotated[
        float, typer.Option(help="Share of studies like the training set's that may count as unfamiliar.")
    ] = 0.01,
    device: Annotated[str, typer.Option(help="Device of the model: auto, cpu, cuda.")] = "auto",
) -> None:
    """Fit scaling, operating points, prediction sets and familiarity of a trained run anew; the weights stay.

    A run is calibrated on its validation split. Of a cross-validation (medfuse train --folds), each fold is calibrated
    on the answers of the other folds to their own test sets, and the ensemble on all of them. Each checkpoint is
    written anew whole, or not at all. Results that were scored before do not change: score again. Exit code 1 when a
    study of the run could not be used.
    """
    rule = _rule(operating_point)
    chosen = _method(method)
    for name, rate in (("--alpha", alpha), ("--false-alarms", false_alarms)):
        if not 0 < rate < 1:
            raise UsageError(f"{name} {rate:g} is no rate; expected above 0 and below 1")

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from medfuse.inference.predictor import device_of
    from medfuse.training.calibrate import CalibrationOptions
    from medfuse.training.calibrate import calibrate as fit

    options = CalibrationOptions(method=chosen, rule=rule, alpha=alpha, false_alarms=false_alarms)
    on = str(device_of(device))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("calibrating", total=None)
        result = fit(
            run,
            manifest,
            options,
            device=on,
            on_start=lambda total: progress.update(task, total=total),
            on_case=lambda: progress.advance(task),
        )
    _show(result)
    if result.rejected:
        raise typer.Exit(1)


def _rule(text: str) -> "PointRule":
    from medfuse.metrics.operating_point import PointRule

    try:
        return PointRule.parse(text)
    except ValueError as error:
        raise UsageError(f"--operating-point: {error}") from error


def _method(name: str) -> 'Literal["temperature", "platt"]':
    if name == "temperature":
        return "temperature"
    if name == "platt":
        return "platt"
    raise UsageError(f"--method {name!r} is unknown; expected temperature or platt")


def _show(result: "CalibrationResult") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for place, checkpoint in result.checkpoints.items():
        table = Table(title=escape(f"{place}: {result.held_out[place]} held-out studies"), title_justify="left")
        for column in ("finding", "slope", "intercept", "operating point", "ruled out PRESENT", "ruled out ABSENT"):
            table.add_column(column, justify="left" if column == "finding" else "right")
        for finding, fitted in checkpoint.calibration.items():
            sets = fitted.conformal
            slope = fitted.slope if fitted.slope is not None else 1 / fitted.temperature if fitted.temperature else None
            table.add_row(
                escape(finding),
                _number(slope),
                _number(fitted.intercept if fitted.slope is not None else None),
                _number(fitted.operating_point),
                "never" if sets is None or sets.present is None else f"p < {1 - sets.present:.3f}",
                "never" if sets is None or sets.absent is None else f"p > {sets.absent:.3f}",
            )
        console.print(table)
        known = checkpoint.familiarity
        said = "not measured" if known is None else f"unfamiliar from a distance of {known.threshold:.2f} on"
        console.print(f"familiarity: {said}", highlight=False)
    for study in result.rejected:
        console.print(f"left out: {study.study_instance_uid}: {study.reason}: {study.detail}", markup=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
