"""`medfuse train`: one config, one run."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.progress import TaskID

    from medfuse.config.schema import TrainConfig
    from medfuse.domain import Rejected
    from medfuse.training import Studies
    from medfuse.training.loop import Losses, Validation
    from medfuse.training.state import Progress as TrainingProgress
    from medfuse.training.trainer import TrainingResult


def train(
    config: Annotated[Path, typer.Argument(help="YAML file of the run.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Run folder to write.", show_default=False)],
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value: dotted.key=value. May be repeated.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole epoch of the run folder.")
    ] = False,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Train one model a fold, each with another test set.", show_default=False)
    ] = None,
) -> None:
    """Train a model from one YAML file.

    Writes RUN/best and RUN/last (checkpoints), RUN/splits.csv, RUN/config.yaml, RUN/losses.csv and RUN/log
    (TensorBoard). With --folds K these stand in RUN/fold-0 to K-1, each fold as data.test_fold makes it; medfuse
    evaluate and medfuse score take such a RUN as a whole. Exit code 1 when a study of the manifest could not be used.
    """
    check_output(output, resume=resume)

    from rich.console import Console

    console = Console(stderr=True)
    with console.status("loading"):
        from medfuse.config.load import load_config
        from medfuse.config.schema import TrainConfig

        settings = load_config(config, [*(override or []), *fold_settings(folds)], TrainConfig)
    if folds is None:
        rejected = run(settings, output, resume=resume).rejected
    else:
        rejected = run_folds(settings, output, resume=resume)
    for study in rejected:
        console.print(f"left out: {study.study_instance_uid}: {study.reason}: {study.detail}", markup=False)
    if rejected:
        raise typer.Exit(1)


def fold_settings(folds: int | None) -> list[str]:
    """What `--folds` means as `--set` options."""
    return [] if folds is None else [f"data.folds={folds}", "data.test_fold=0"]


def run(
    settings: "TrainConfig", output: Path, *, resume: bool = False, studies: "Studies | None" = None
) -> "TrainingResult":
    """Train, with progress bars, and say what came of it.

    Args:
        settings: The run.
        output: The run folder.
        resume: Go on from its last whole epoch.
        studies: What was read of its manifest before.

    Raises:
        MedfuseError: As `medfuse.training.train`.
    """
    from medfuse.training import train as train_plan

    plan = settings.plan()
    _check_single(output)
    with Bars() as bars:
        result = train_plan(plan, output, bars, resume=resume, studies=studies)
    _say(plan.name, result)
    return result


def run_folds(
    settings: "TrainConfig", output: Path, *, resume: bool = False, studies: "Studies | None" = None
) -> "tuple[Rejected, ...]":
    """Train every fold of `settings.data.folds`, with progress bars; gives the studies that could not be used.

    Args:
        settings: The run; its `data.test_fold` is of no account.
        output: The folder of the folds.
        resume: Leave finished folds alone, and go on with the one that was stopped.
        studies: What was read of its manifest before.

    Raises:
        MedfuseError: As `medfuse.training.train_folds`.
    """
    from medfuse.training import train_folds

    plans = [settings.with_test_fold(fold).plan() for fold in range(settings.data.folds)]
    with Bars() as bars:
        result = train_folds(plans, output, bars, resume=resume, studies=studies)
    for fold in result.kept:
        _console().print(f"fold {fold} was trained before", markup=False)
    for trained in result.trained.values():
        _say(settings.name, trained)
    return next((trained.rejected for trained in result.trained.values()), ())


def _say(name: str, result: "TrainingResult") -> None:
    counts = ", ".join(f"{count} {split}" for split, count in result.counts.items())
    _console().print(f"trained {name} on {counts} studies; the best epoch was {result.best_epoch + 1}", markup=False)
    _console().print(f"checkpoint: {result.output / 'best'}", markup=False, soft_wrap=True)


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, quiet=not _is_first_process())


class Bars(AbstractContextManager["Bars"]):
    """Progress bars of a run: studies read, then steps, with the time left and the last figures."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=_console(),
        )
        self._task: TaskID | None = None
        self._epochs = 0
        self._fold = ""

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_studies(self, total: int) -> None:
        """Reading begins."""
        self._task = self._progress.add_task("reading studies", total=total, figures="")

    def on_study(self) -> None:
        """One study is read."""
        if self._task is not None:
            self._progress.advance(self._task)

    def on_fold(self, fold: int, folds: int) -> None:
        """A fold of a cross-validation begins."""
        self._fold = f"fold {fold} of 0 to {folds - 1}, "

    def on_training(self, progress: "TrainingProgress", epochs: int, steps_per_epoch: int) -> None:
        """Training begins."""
        self._epochs = epochs
        self._task = self._progress.add_task(
            f"{self._fold}epoch {min(progress.epoch + 1, epochs)}/{epochs}",
            total=epochs * steps_per_epoch,
            completed=progress.step,
            figures="",
        )

    def on_step(self, loss: float) -> None:
        """One step is done."""
        if self._task is not None:
            self._progress.advance(self._task)

    def on_epoch(self, epoch: int, losses: "Losses", validation: "Validation | None") -> None:
        """One epoch is done."""
        figures = f"loss {losses.total:.3f}"
        if validation is not None:
            figures += f", validation loss {validation.losses.total:.3f}"
            figures += "" if validation.dice is None else f", Dice {validation.dice:.3f}"
            figures += "" if validation.auroc is None else f", AUROC {validation.auroc:.3f}"
        self._show(epoch, figures)

    def on_figures(self, epoch: int, figures: "Mapping[str, float]") -> None:
        """One epoch of a pre-training is done."""
        self._show(epoch, ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items()))

    def _show(self, epoch: int, figures: str) -> None:
        if self._task is not None:
            description = f"{self._fold}epoch {min(epoch + 2, self._epochs)}/{self._epochs}"
            self._progress.update(self._task, description=description, figures=figures)


def _is_first_process() -> bool:
    """Whether this is the process of torchrun that speaks; the only one without torchrun."""
    return os.environ.get("RANK", "0") == "0"


def _check_single(output: Path) -> None:
    if (output / "fold-0").is_dir():
        raise UsageError(f"{output} holds the folds of a cross-validation; go on with them with --folds and --resume")


def check_output(output: Path, *, resume: bool) -> None:
    """Refuse a place that is no folder, or one that holds something and is not to be gone on with."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; expected a folder to write the run to")
    if not resume and output.is_dir() and any(output.iterdir()):
        raise UsageError(
            f"--output {output} is not empty; add --resume to go on with that run, or choose another folder"
        )
