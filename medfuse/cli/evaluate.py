"""`medfuse evaluate`: a run's figures on one of its splits, as a table and as JSON."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuse.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.progress import Progress

    from medfuse.domain import ModelIdentity
    from medfuse.evaluation import EvaluationReport
    from medfuse.evaluation.run import Collected, EvaluationSet


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder that medfuse train wrote.", show_default=False)],
    manifest: Annotated[Path, typer.Option(help="Manifest with the labels (medfuse index).", show_default=False)],
    output: Annotated[Path, typer.Option(help="JSON file to write.", show_default=False)],
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    without: Annotated[
        list[str] | None,
        typer.Option(help="Keep an input from the model: text, image, or a channel. May be repeated."),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples, by patient.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    device: Annotated[str, typer.Option(help="Device of the model: auto, cpu, cuda.")] = "auto",
) -> None:
    """Measure a trained model against the truth: AUROC, average precision, sensitivity, specificity, Dice, HD95.

    Each figure has its 95 % interval by patient and its n. A cross-validation (medfuse train --folds) is measured on
    every fold's own test set, pooled, each study once; each fold is listed too. Exit code 1 when a study of the split
    has no result.
    """
    check_file(output)
    report = measure(
        run, manifest, output, split=split, without=tuple(without or ()), draws=draws, seed=seed, device=device
    )

    from rich.console import Console

    from medfuse.evaluation import render

    console = Console()
    console.print(render(report))
    console.print(f"written: {output}", markup=False, highlight=False, soft_wrap=True)
    if report.rejected:
        raise typer.Exit(1)


def measure(
    run: Path,
    manifest: Path,
    output: Path,
    *,
    split: str = "test",
    without: "Sequence[str]" = (),
    draws: int = 2000,
    seed: int = 0,
    device: str = "auto",
) -> "EvaluationReport":
    """Score a split, make its figures and write them.

    Args:
        run: A run folder, or that of a cross-validation.
        manifest: The manifest with the labels.
        output: JSON file to write.
        split: Which studies.
        without: Inputs to keep from the model.
        draws: Number of bootstrap resamples.
        seed: Of the resampling.
        device: Of the model.

    Raises:
        UsageError: The run has no such split, or the model no such input.
        ManifestError: The manifest lacks studies of the split.
        CheckpointError: The manifest is of another label set, or a checkpoint is not there.
        StorageError: The report cannot be written.
    """
    from medfuse.evaluation import evaluate as make_figures
    from medfuse.evaluation import evaluate_folds, write_evaluation

    sets = _read_sets(run, manifest, split)
    options: dict[str, Any] = {"draws": draws, "seed": seed}
    with _progress() as progress:
        scoring = progress.add_task(
            f"scoring the {split} split", total=sum(len(chosen.rows) for chosen in sets.values())
        )
        collected = {
            name: _collect(
                run / name, replace(chosen, without=tuple(without)), device, lambda: progress.advance(scoring)
            )
            for name, chosen in sets.items()
        }
        labels = next(iter(collected.values())).subject.label_set
        drawing = progress.add_task("drawing intervals", total=len(labels.findings) + len(labels.segments))
        options["on_progress"] = lambda: progress.advance(drawing)
        if "" in collected:
            one = collected[""]
            report = make_figures(one.cases, one.subject, rejected=one.rejected, **options)
        else:
            report = evaluate_folds(collected, _identity(collected), **options)
    write_evaluation(report, output)
    return report


def _read_sets(run: Path, manifest: Path, split: str) -> "dict[str, EvaluationSet]":
    """Fold -> its studies; one set without a name for a run of one fold."""
    from medfuse.evaluation.run import read_split
    from medfuse.model.checkpoint import fold_runs

    folds = fold_runs(run)
    if folds and split != "test":
        raise UsageError(f"--split {split}: a cross-validation is measured on its test sets; give one of its folds")
    if not folds:
        return {"": read_split(run, manifest, split)}
    return {fold.name: read_split(fold, manifest, split) for fold in folds}


def _collect(run: Path, chosen: "EvaluationSet", device: str, on_study: "Callable[[], None]") -> "Collected":
    from medfuse.evaluation.run import collect_cases, shuffle_reports
    from medfuse.inference import Predictor

    predictor = Predictor.from_checkpoint(run / "best", device=device, without=chosen.without)
    if predictor.shuffle_seed is not None:
        chosen = shuffle_reports(chosen, predictor.recipe, predictor.shuffle_seed)
    return collect_cases(predictor, chosen, on_study=on_study)


def _identity(collected: "Mapping[str, Collected]") -> "ModelIdentity":
    from medfuse.inference.ensemble import combined_identity

    return combined_identity([fold.subject.model for fold in collected.values() if fold.subject.model is not None])


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def check_file(output: Path) -> None:
    """Refuse, before minutes of scoring, a place that cannot be written."""
    if output.is_dir():
        raise UsageError(f"{output} is a folder; --output is the JSON file to write")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {output.parent}: {error.strerror}; choose another place") from error
