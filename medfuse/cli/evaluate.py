"""`medfuse evaluate`: a run's figures on one of its splits, as a table and as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import StorageError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from medfuse.evaluation import EvaluationReport
    from medfuse.evaluation.run import EvaluationSet, Scorer


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder that medfuse train wrote.", show_default=False)],
    manifest: Annotated[Path, typer.Option(help="Manifest with the labels (medfuse index).", show_default=False)],
    output: Annotated[Path, typer.Option(help="JSON file to write.", show_default=False)],
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples, by patient.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    device: Annotated[str, typer.Option(help="Device of the model: auto, cpu, cuda.")] = "auto",
) -> None:
    """Measure a trained model against the truth: AUROC, average precision, sensitivity, specificity, Dice, HD95.

    Each figure has its 95 % interval by patient and its n. Exit code 1 when a study of the split has no result.
    """
    from medfuse.evaluation.run import read_split

    _check_output(output)
    chosen = read_split(run, manifest, split)

    from medfuse.inference import Predictor

    report = measure(Predictor.from_checkpoint(run / "best", device=device), chosen, output, draws=draws, seed=seed)
    if report.rejected:
        raise typer.Exit(1)


def measure(
    scorer: "Scorer", chosen: "EvaluationSet", output: Path, *, draws: int = 2000, seed: int = 0
) -> "EvaluationReport":
    """Score a split, make its figures, write them and print them.

    Args:
        scorer: The model.
        chosen: The studies of the split.
        output: JSON file to write.
        draws: Number of bootstrap resamples.
        seed: Of the resampling.

    Raises:
        CheckpointError: The manifest is of another label set.
        StorageError: The report cannot be written.
    """
    from rich.console import Console

    from medfuse.evaluation import evaluate as make_figures
    from medfuse.evaluation import render, write_evaluation
    from medfuse.evaluation.run import collect_cases

    labels = scorer.label_set
    with _progress() as progress:
        scoring = progress.add_task(f"scoring the {chosen.split} split", total=len(chosen.rows))
        collected = collect_cases(scorer, chosen, on_study=lambda: progress.advance(scoring))
        drawing = progress.add_task("drawing intervals", total=len(labels.findings) + len(labels.segments))
        report = make_figures(
            collected.cases,
            collected.subject,
            rejected=collected.rejected,
            draws=draws,
            seed=seed,
            on_progress=lambda: progress.advance(drawing),
        )
    write_evaluation(report, output)
    console = Console()
    console.print(render(report))
    console.print(f"written: {output}", markup=False, highlight=False, soft_wrap=True)
    return report


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _check_output(output: Path) -> None:
    """Refuse, before minutes of scoring, a place that cannot be written."""
    if output.is_dir():
        raise UsageError(f"{output} is a folder; --output is the JSON file to write")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {output.parent}: {error.strerror}; choose another place") from error
