"""`medfuse pretrain`: encoders that have seen the data before they are taught."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from medfuse.pretraining import PretrainingResult


def pretrain(
    config: Annotated[Path, typer.Argument(help="YAML file of the run.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Run folder to write.", show_default=False)],
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value: dotted.key=value. May be repeated.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole epoch of the run folder.")
    ] = False,
) -> None:
    """Train encoders without labels, by hidden blocks of the images or by images and their reports.

    CONFIG is that of the training run that follows, with a section `pretraining`; both hold out the same patients.
    Writes RUN/best and RUN/last (the encoders), RUN/splits.csv, RUN/config.yaml and RUN/losses.csv. Then: medfuse train
    CONFIG --set training.start_from=RUN. Exit code 1 when a study of the manifest could not be used.
    """
    from rich.console import Console

    from medfuse.cli.train import Bars, check_output

    check_output(output, resume=resume)
    console = Console(stderr=True)
    with console.status("loading"):
        from medfuse.config.load import load_config
        from medfuse.config.pretraining import PretrainConfig
        from medfuse.pretraining import pretrain as run

        plan = load_config(config, override or [], PretrainConfig).pretraining_plan()
    with Bars() as bars:
        result = run(plan, output, bars, resume=resume)
    _say(plan.run.name, result, console)
    if result.rejected:
        raise typer.Exit(1)


def _say(name: str, result: "PretrainingResult", console: "Console") -> None:
    counts = ", ".join(f"{count} {split}" for split, count in result.counts.items())
    console.print(f"pre-trained {name} on {counts} studies; the best epoch was {result.best_epoch + 1}", markup=False)
    console.print(", ".join(figures_in_words(result.figures)), markup=False)
    console.print(f"weights: {result.output / 'best'}", markup=False, soft_wrap=True)
    for study in result.rejected:
        console.print(f"left out: {study.study_instance_uid}: {study.reason}: {study.detail}", markup=False)


def figures_in_words(figures: Mapping[str, float]) -> list[str]:
    """`name value` of each figure, in the order of the loss curve."""
    return [f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items()]
