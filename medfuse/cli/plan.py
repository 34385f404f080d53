"""`medfuse plan`: the data's fingerprint, and the config that fits it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from medfuse.planning import Plan


def plan(
    manifest: Annotated[Path, typer.Argument(help="The manifest of medfuse index.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The config to write, a .yaml file.", show_default=False)
    ],
    time: Annotated[
        float | None, typer.Option("--time", help="Minutes that training may take on this machine.", show_default=False)
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            "--memory", help="GiB that a step of training may take; default from the device.", show_default=False
        ),
    ] = None,
    studies: Annotated[
        int, typer.Option("--studies", help="Read at most so many studies, drawn from the manifest.", min=1)
    ] = 200,
) -> None:
    """Write a training config that fits the data of a manifest and this machine.

    Reads spacings, sizes, intensities, segments, labels and reports, and decides on channels, spacing, input size,
    network, batch, augmentation, schedule and splits; every value in the file says why. `medfuse train` takes it as it
    is. With --time a few steps are timed here. CONFIG.fingerprint.json beside it holds what was read, without patient
    identifiers. Exit code 1 says that some studies looked at cannot be used.
    """
    _check_use(output, manifest)

    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with console.status("loading"):
        from medfuse.ingest.manifest import read_manifest
        from medfuse.planning import Budget, look_at, make_plan, this_device
        from medfuse.planning.fingerprint import write_fingerprint
        from medfuse.planning.timing import seconds_a_step
        from medfuse.storage import write_file

        budget = Budget(minutes=time, memory_gib=memory)
        rows = read_manifest(manifest)
        device = this_device()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("looking at studies", total=min(len(rows), studies))
        fingerprint = look_at(rows, device, most=studies, on_study=lambda: progress.advance(task))
    with console.status("planning" if time is None else "timing steps"):
        made = make_plan(
            fingerprint,
            manifest=manifest,
            name=output.stem,
            budget=budget,
            timer=seconds_a_step,
            opening=_opening(manifest, output),
        )
    write_fingerprint(output.with_suffix(".fingerprint.json"), fingerprint)
    write_file(output, lambda aside: aside.write_text(made.text, encoding="utf-8"))
    _tell(console, made)
    typer.echo(f"Wrote {output}: looked at {fingerprint.looked_at} of {fingerprint.studies} studies.")
    if fingerprint.unusable:
        raise typer.Exit(1)


def _check_use(output: Path, manifest: Path) -> None:
    """Refuse, before anything is read, what cannot end well."""
    if output.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--output {output}: expected the name of a .yaml file")
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder; expected the name of a .yaml file")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: its folder does not exist; make it first")
    if output.resolve() == manifest.resolve():
        raise UsageError(f"--output {output} would replace the manifest; choose another name")


def _opening(manifest: Path, output: Path) -> tuple[str, ...]:
    import shlex

    return (
        f"medfuse plan {shlex.quote(manifest.name)} --output {shlex.quote(output.name)}",
        f"medfuse train {shlex.quote(output.name)} --output runs/{shlex.quote(output.stem)}",
    )


def _tell(console: "Console", made: "Plan") -> None:
    """The plan in a few lines, and what to know."""
    network, schedule = made.network, made.schedule
    size, spacing = (
        " x ".join(f"{value:g}" for value in values) for values in (network.shape.size, network.spacing_mm)
    )
    console.print(f"input {size} voxels of {spacing} mm, batch {network.batch}, about {network.gib:.2g} GiB a step")
    console.print(f"network {network.asked.encoder} with features {', '.join(map(str, network.features))}")
    console.print(f"{schedule.epochs} epochs of {schedule.steps_an_epoch} steps: {schedule.why}")
    for caution in made.cautions:
        console.print(f"note: {caution}")
