"""`medfuse evaluate`: a run's figures on one of its splits, as a table and as JSON."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuse.errors import StorageError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from medfuse.domain import ModelIdentity
    from medfuse.evaluation import Asked, EvaluationReport
    from medfuse.evaluation.groups import Grouping
    from medfuse.evaluation.run import Collected, EvaluationSet
    from medfuse.metrics import PointRule

Sets = Mapping[str, "EvaluationSet"]
TOLERANCE_MM = 2.0


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder that medfuse train wrote.", show_default=False)],
    manifest: Annotated[Path, typer.Option(help="Manifest with the labels (medfuse index).", show_default=False)],
    output: Annotated[Path, typer.Option(help="JSON file to write.", show_default=False)],
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    by: Annotated[
        list[str] | None,
        typer.Option(help="Compare groups: a manifest column, age:10 for bands, has_report. May be repeated."),
    ] = None,
    sites: Annotated[
        str | None, typer.Option(help="Column of sites that each fold left out whole.", show_default=False)
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(
            help="Choose operating points on validation: youden, sensitivity=0.95, specificity=0.9, cost=5 (a miss "
            "costs 5 false alarms). [default: the checkpoint's]",
            show_default=False,
        ),
    ] = None,
    tolerance_mm: Annotated[float, typer.Option(min=0, help="Of the surface Dice, mm.")] = TOLERANCE_MM,
    lesions: Annotated[
        list[str] | None, typer.Option(help="Segment whose parts are lesions to be found one by one. May be repeated.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Keep an input from the model: text, image, or a channel. May be repeated."),
    ] = None,
    augmentations: Annotated[int, typer.Option(min=0, help="Average each answer with so many further views.")] = 0,
    rescore: Annotated[bool, typer.Option("--rescore", help="Score anew what RUN/predictions holds.")] = False,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples, by patient.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling.")] = 0,
    device: Annotated[str, typer.Option(help="Device of the model: auto, cpu, cuda.")] = "auto",
) -> None:
    """Measure a trained model against the truth: discrimination, calls, calibration, delineation, groups, failures.

    Each figure has its 95 % interval by patient and its n; curves and points for plots are in the JSON. Predictions are
    kept in RUN/predictions, so that the same figures need the network once. A cross-validation (medfuse train --folds)
    is measured on every fold's own test set, pooled, each study once; each fold is listed too. Exit code 1 when a study
    of the split has no result.
    """
    check_file(output)
    report = measure(
        run,
        manifest,
        output,
        split=split,
        by=tuple(by or ()),
        sites=sites,
        point=point,
        tolerance_mm=tolerance_mm,
        lesions=tuple(lesions or ()),
        without=tuple(without or ()),
        augmentations=augmentations,
        rescore=rescore,
        draws=draws,
        seed=seed,
        device=device,
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
    by: Sequence[str] = (),
    sites: str | None = None,
    point: str | None = None,
    tolerance_mm: float = TOLERANCE_MM,
    lesions: Sequence[str] = (),
    without: Sequence[str] = (),
    augmentations: int = 0,
    rescore: bool = False,
    draws: int = 2000,
    seed: int = 0,
    device: str = "auto",
) -> "EvaluationReport":
    """Score a split, or take what was scored before, make its figures and write them.

    Args:
        run: A run folder, or that of a cross-validation.
        manifest: The manifest with the labels.
        output: JSON file to write.
        split: Which studies.
        by: Columns of the manifest whose groups are compared (see `medfuse.evaluation.groups`).
        sites: Column of sites that each fold left out whole; None for no such table.
        point: Rule by which operating points are chosen on validation; None for those of the checkpoint.
        tolerance_mm: Of the surface Dice.
        lesions: Segments whose connected parts are lesions.
        without: Inputs to keep from the model.
        augmentations: Variants that each answer is the mean of.
        rescore: Whether to score what was scored before.
        draws: Number of bootstrap resamples.
        seed: Of the resampling.
        device: Of the model.

    Raises:
        UsageError: The run has no such split, the model no such input or segment, or a rule or column makes no sense.
        ManifestError: The manifest lacks studies of the split, or a column.
        CheckpointError: The manifest is of another label set, or a checkpoint is not there.
        StorageError: The report cannot be written.
    """
    from medfuse.evaluation import Asked, write_evaluation
    from medfuse.evaluation.groups import Grouping, groups_of
    from medfuse.evaluation.sites import check_unseen

    if not isfinite(tolerance_mm):
        raise UsageError(f"--tolerance-mm {tolerance_mm}: expected a number of millimetres")
    folders = _fold_folders(run)
    if "" not in folders and split != "test":
        raise UsageError(f"--split {split}: a cross-validation is measured on its test sets; give one of its folds")
    groupings = tuple(dict.fromkeys(map(Grouping.parse, by)))
    rule = _rule(point)
    columns = [*groupings, *([] if sites is None else [Grouping(column=sites)])]
    for grouping in columns:
        groups_of(manifest, grouping)  # refuses a column that is not there before minutes of scoring
    if sites is not None:
        check_unseen(folders, manifest, sites)
    scoring = _Scoring(
        run,
        manifest,
        without=tuple(without),
        augmentations=augmentations,
        rescore=rescore,
        device=device,
        tolerance_mm=tolerance_mm,
    )
    with _progress() as progress:
        collected = scoring.collect(split, progress)
        if rule is not None:
            collected = scoring.with_points(collected, rule, progress)
        asked = Asked(by=tuple(map(str, groupings)), tolerance_mm=tolerance_mm, lesions=tuple(lesions))
        _check_lesions(asked, collected)
        collected = _grouped(collected, manifest, columns)
        report = _figures(collected, asked, sites, {"draws": draws, "seed": seed}, progress)
    write_evaluation(report, output)
    return report


class _Scoring:
    """Scores splits of a run, each only if its predictions are not there yet."""

    def __init__(
        self,
        run: Path,
        manifest: Path,
        *,
        without: tuple[str, ...],
        augmentations: int,
        rescore: bool,
        device: str,
        tolerance_mm: float,
    ) -> None:
        self.run, self.manifest, self.without = run, manifest, without
        self.augmentations, self.rescore, self.device = augmentations, rescore, device
        self.tolerance_mm = tolerance_mm

    def collect(self, split: str, progress: "Progress") -> "dict[str, Collected]":
        """Fold -> its scored studies; one without a name for a run of one fold."""
        sets = self._sets(split)
        task = progress.add_task(f"scoring the {split} split", total=sum(len(each.rows) for each in sets.values()))
        return {name: self._fold(name, each, lambda n=1: progress.advance(task, n)) for name, each in sets.items()}

    def with_points(
        self, collected: "Mapping[str, Collected]", rule: "PointRule", progress: "Progress"
    ) -> "dict[str, Collected]":
        """The same with the operating points that a rule chooses on the validation studies of each fold."""
        from medfuse.evaluation.points import with_points

        validation = self.collect("validation", progress)
        return {
            name: replace(each, subject=with_points(each.subject, validation[name], rule))
            for name, each in collected.items()
        }

    def _sets(self, split: str) -> Sets:
        from medfuse.evaluation.run import TOLERANCES_MM, read_split

        folders = _fold_folders(self.run)
        tolerances = tuple(sorted({*TOLERANCES_MM, self.tolerance_mm}))
        return {
            name: replace(read_split(folder, self.manifest, split), without=self.without, tolerances_mm=tolerances)
            for name, folder in folders.items()
        }

    def _fold(self, name: str, chosen: "EvaluationSet", on_studies: "Callable[..., None]") -> "Collected":
        from medfuse.evaluation.run import collect_cases, shuffle_reports
        from medfuse.evaluation.stored import find_stored, keep

        run = self.run / name
        stored = None if self.rescore else find_stored(run, chosen, self.augmentations)
        if stored is not None:
            on_studies(len(chosen.rows))
            return stored
        from medfuse.inference import Predictor

        options: dict[str, Any] = {"augmentations": self.augmentations} if self.augmentations else {}
        predictor = Predictor.from_checkpoint(run / "best", device=self.device, without=chosen.without, **options)
        scored = chosen
        if predictor.shuffle_seed is not None:
            scored = shuffle_reports(chosen, predictor.recipe, predictor.shuffle_seed)
        collected = collect_cases(predictor, scored, augmentations=self.augmentations, on_study=on_studies)
        keep(run, chosen, collected)
        return collected


def _figures(
    collected: "Mapping[str, Collected]",
    asked: "Asked",
    sites: str | None,
    resampling: dict[str, int],
    progress: "Progress",
) -> "EvaluationReport":
    from medfuse.evaluation import evaluate as make_figures
    from medfuse.evaluation import evaluate_folds
    from medfuse.evaluation.resampling import Resampling
    from medfuse.evaluation.sites import site_figures

    labels = next(iter(collected.values())).subject.label_set
    parts = len(labels.findings) + len(labels.segments) + len(labels.targets) + len(asked.by)
    drawing = progress.add_task("drawing intervals", total=parts)
    options: dict[str, Any] = {**resampling, "asked": asked, "on_progress": lambda: progress.advance(drawing)}
    if "" in collected:
        one = collected[""]
        report = make_figures(one.cases, one.subject, rejected=one.rejected, **options)
    else:
        report = evaluate_folds(collected, _identity(collected), **options)
    if sites is None:
        return report
    points = collected[""].subject.operating_points if "" in collected else {}
    return replace(report, sites=site_figures(sites, labels, report.cases, points, Resampling(**resampling)))


def _grouped(
    collected: "Mapping[str, Collected]", manifest: Path, groupings: "Sequence[Grouping]"
) -> "dict[str, Collected]":
    from medfuse.evaluation.groups import group_cases

    if not groupings:
        return dict(collected)
    return {name: replace(each, cases=group_cases(each.cases, manifest, groupings)) for name, each in collected.items()}


def _check_lesions(asked: "Asked", collected: "Mapping[str, Collected]") -> None:
    known = next(iter(collected.values())).subject.label_set.segments
    unknown = [name for name in asked.lesions if name not in known]
    if unknown:
        raise UsageError(f"--lesions {unknown[0]}: the model has the segments {', '.join(known) or 'none'}")


def _rule(point: str | None) -> "PointRule | None":
    from medfuse.metrics import PointRule

    if point is None:
        return None
    try:
        return PointRule.parse(point)
    except ValueError as error:
        raise UsageError(f"--point {point}: {error}") from error


def _fold_folders(run: Path) -> dict[str, Path]:
    """Fold -> its run folder; the run itself, without a name, for a run of one fold."""
    from medfuse.model.checkpoint import fold_runs

    folds = fold_runs(run)
    return {fold.name: fold for fold in folds} if folds else {"": run}


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
