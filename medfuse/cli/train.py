"""`medfuse train`: one config, one run."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from medfuse.config.schema import TrainConfig
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
) -> None:
    """Train a model from one YAML file.

    Writes RUN/best and RUN/last (checkpoints), RUN/splits.csv, RUN/config.yaml and RUN/log (TensorBoard). Exit code 1
    when a study of the manifest could not be used.
    """
    _check_output(output, resume=resume)

    from rich.console import Console

    console = Console(stderr=True)
    with console.status("loading"):
        from medfuse.config.load import load_config
        from medfuse.config.schema import TrainConfig

        settings = load_config(config, override or [], TrainConfig)
    result = run(settings, output, resume=resume)
    for study in result.rejected:
        console.print(f"left out: {study.study_instance_uid}: {study.reason}: {study.detail}", markup=False)
    if result.rejected:
        raise typer.Exit(1)


def run(settings: "TrainConfig", output: Path, *, resume: bool = False) -> "TrainingResult":
    """Train, with progress bars, and say what came of it.

    Args:
        settings: The run.
        output: The run folder.
        resume: Go on from its last whole epoch.

    Raises:
        MedfuseError: As `medfuse.training.train`.
    """
    from rich.console import Console

    from medfuse.training import train as train_plan

    plan = settings.plan()
    with Bars() as bars:
        result = train_plan(plan, output, bars, resume=resume)
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    console = Console(stderr=True, quiet=not _is_first_process())
    console.print(f"trained {plan.name} on {counts} studies; the best epoch was {result.best_epoch + 1}", markup=False)
    console.print(f"checkpoint: {output / 'best'}", markup=False, soft_wrap=True)
    return result


class Bars(AbstractContextManager["Bars"]):
    """Progress bars of a run: studies read, then steps, with the time left and the last figures."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True, quiet=not _is_first_process()),
        )
        self._task: TaskID | None = None
        self._epochs = 0

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

    def on_training(self, progress: "TrainingProgress", epochs: int, steps_per_epoch: int) -> None:
        """Training begins."""
        self._epochs = epochs
        self._task = self._progress.add_task(
            f"epoch {progress.epoch + 1}/{epochs}", total=epochs * steps_per_epoch, completed=progress.step, figures=""
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
        if self._task is not None:
            self._progress.update(
                self._task, description=f"epoch {min(epoch + 2, self._epochs)}/{self._epochs}", figures=figures
            )


def _is_first_process() -> bool:
    """Whether this is the process of torchrun that speaks; the only one without torchrun."""
    return os.environ.get("RANK", "0") == "0"


def _check_output(output: Path, *, resume: bool) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; expected a folder to write the run to")
    if not resume and output.is_dir() and any(output.iterdir()):
        raise UsageError(
            f"--output {output} is not empty; add --resume to go on with that run, or choose another folder"
        )
