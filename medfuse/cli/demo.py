"""`medfuse demo`: the whole job on made studies."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


Family = Literal["brain_mr", "chest_ct"]
FAMILIES: tuple[Family, ...] = ("brain_mr", "chest_ct")
MARK = ".medfuse-demo"
"""A file that says that the folder was made by this command and may be made anew."""


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the demo.")] = Path("demo"),
    studies: Annotated[int, typer.Option(min=20, help="Studies of each family to train on.")] = 60,
    new_studies: Annotated[int, typer.Option(min=1, help="Studies of each family to score.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="The studies follow from it.")] = 0,
) -> None:
    """See the whole job on made studies: index, train, evaluate, score.

    Makes brain MR and chest CT studies as DICOM with reports, masks and labels, trains a model on each, measures it on
    studies that it has not seen, scores new ones, and says how to open the dashboard on them. Takes some minutes.
    """
    _prepare(output)

    from rich.console import Console

    console = Console()
    for family in FAMILIES:
        _family(family, output / family, studies, new_studies, seed, console)
    console.rule("results")
    for family in FAMILIES:
        _table(output / family / "results" / "scores.csv", family, console)
    console.print("Open the dashboard on them (Ctrl-C ends it):")
    for family in FAMILIES:
        console.print(f"  medfuse review {output / family / 'results'}", markup=False, highlight=False, soft_wrap=True)


def _family(family: Family, folder: Path, studies: int, new_studies: int, seed: int, console: "Console") -> None:
    from medfuse.cli.evaluate import evaluate
    from medfuse.cli.index import index
    from medfuse.cli.score import score
    from medfuse.cli.train import train

    console.rule(family)
    known, new = folder / "studies", folder / "new"
    _write(family, known, studies, seed, "making studies to learn from")
    _write(family, new, new_studies, seed + 1, "making new studies")
    manifest, run = folder / "manifest.csv", folder / "run"
    # A study of the phantom that is rejected ends a step with exit code 1, and the demo goes on with the others.
    with suppress(typer.Exit):
        index(known, manifest, labels=known / "labels.csv")
    with suppress(typer.Exit):
        train(Path(f"configs/train/phantom_{family}.yaml"), run, [f"data.manifest={manifest}"])
    with suppress(typer.Exit):
        evaluate(run, manifest, folder / "evaluation.json", draws=1000)
    with suppress(typer.Exit):
        score([str(run), str(new)], folder / "results")


def _write(family: Family, folder: Path, studies: int, seed: int, what: str) -> None:
    from rich.progress import Progress

    from medfuse.phantom import write_phantom

    with Progress() as progress:
        task = progress.add_task(what, total=studies)
        write_phantom(family, folder, studies=studies, seed=seed, on_study=lambda _: progress.advance(task))


def _table(path: Path, family: str, console: "Console") -> None:
    from rich.table import Table

    from medfuse.outputs import read_scores

    rows = read_scores(path)
    findings = list(rows[0].probabilities) if rows else []
    segments = list(rows[0].volumes_mm3) if rows else []
    table = Table(title=f"{family}: new studies", title_justify="left")
    for heading in ("study", "status", *findings, *(f"{name} (ml)" for name in segments)):
        table.add_column(heading, justify="left" if heading in ("study", "status") else "right")
    for row in rows:
        chances = [_number(row.probabilities[name], "{:.2f}") for name in findings]
        volumes = [_number(row.volumes_mm3[name], "{:.1f}", scale=1e-3) for name in segments]
        table.add_row(f"…{row.study_instance_uid[-8:]}", row.reason or row.status, *chances, *volumes)
    console.print(table)


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "" if value is None else form.format(value * scale)


def _prepare(output: Path) -> None:
    """Make the folder, anew when an earlier demo made it; anything else there is left alone."""
    if output.exists() and not (output / MARK).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"--output {output} is there and was not made by medfuse demo; choose another folder")
    if output.exists():
        shutil.rmtree(output)
    output.mkdir(parents=True)
    (output / MARK).touch()
