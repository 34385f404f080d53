"""`medfuse score`: a checkpoint over a folder of studies."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import StudyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from medfuse.domain import Rejected, Study, StudyOutcome
    from medfuse.inference import Predictor
    from medfuse.outputs import ScoreRow, ScoreTable

TABLE, SOURCES = "scores.csv", "sources.json"


def score(
    checkpoint: Annotated[
        Path, typer.Argument(help="Run folder, or its best/ or last/; folds answer as one.", show_default=False)
    ],
    path: Annotated[Path, typer.Argument(help="Folder of studies.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)],
    device: Annotated[str, typer.Option(help="Device of the model: auto, cpu, cuda.")] = "auto",
    again: Annotated[bool, typer.Option("--again", help="Score studies anew that this model has scored.")] = False,
) -> None:
    """Score every study of a folder with a trained model.

    Writes OUTPUT/scores.csv, one row a study, and OUTPUT/<Study Instance UID>/ with prediction.json,
    segmentation.nii.gz (on the source grid) and seg.dcm. Studies that this model has scored there are left alone, so
    the same command goes on where it was stopped. A cross-validation (medfuse train --folds) scores as an
    ensemble: means over its folds, with their spread. Exit code 1 when a study was rejected; the table has its reason.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; expected a folder for the results")

    from rich.console import Console

    console = Console(stderr=True)
    with console.status("loading the model"):
        from medfuse.inference import Predictor

        predictor = Predictor.from_checkpoint(checkpoint, device=device)
    with console.status("looking for studies"):
        from medfuse.ingest import find_studies

        found = find_studies(path)
    outcomes = run(predictor, found.studies, found.rejected, output, again=again)
    if outcomes["rejected"]:
        raise typer.Exit(1)


def run(
    predictor: "Predictor",
    studies: "Sequence[Study]",
    rejected: "Sequence[Rejected]",
    output: Path,
    *,
    again: bool = False,
) -> Counter[str]:
    """Score studies, write their results and say what came of it.

    Args:
        predictor: The model.
        studies: What to score.
        rejected: Studies that were rejected before, for the table.
        output: Folder for the results.
        again: Score studies anew that this model has scored there.

    Returns:
        How many were `scored`, `rejected`, or `kept` from before.

    Raises:
        StorageError: The results cannot be written.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    counts: Counter[str] = Counter()
    write_sources(studies, output)
    left = list(studies) if again else left_to_score(predictor, studies, output)
    counts["kept"] = len(studies) - len(left)
    outcomes = written_outcomes(predictor, left, rejected, output)
    for outcome in track(outcomes, description="scoring", total=len(left) + len(rejected), console=console):
        _say(outcome, counts, console)
    summary = f"{counts['scored']} scored, {counts['rejected']} rejected"
    console.print(summary + (f", {counts['kept']} already scored by this model" if counts["kept"] else ""))
    console.print(f"results: {output / TABLE}", markup=False, soft_wrap=True)
    return counts


def left_to_score(predictor: "Predictor", studies: "Sequence[Study]", output: Path) -> "list[Study]":
    """The studies of which `output` holds no result of this model."""
    from medfuse.outputs import read_scores

    with _table(predictor, output):  # repairs what a crash left
        rows = read_scores(output / TABLE)
    done = {row.study_instance_uid for row in rows if is_done(row, predictor.identity.weights_sha256, output)}
    return [study for study in studies if study.study_instance_uid not in done]


def written_outcomes(
    predictor: "Predictor", studies: "Sequence[Study]", rejected: "Sequence[Rejected]", output: Path
) -> "Iterator[StudyOutcome]":
    """Score studies and give each outcome once its files and its row are written.

    Args:
        predictor: The model.
        studies: What to score.
        rejected: Studies that were rejected before, for the table.
        output: Folder for the results.

    Raises:
        StorageError: The results cannot be written.
    """
    from medfuse.inference import score_studies

    with _table(predictor, output) as table:
        for refused in rejected:
            table.append(refused)
            yield refused
        for study, outcome in score_studies(predictor, studies):
            written = _write(outcome, study, output)
            table.append(written)
            yield written


def _table(predictor: "Predictor", output: Path) -> "ScoreTable":
    from medfuse.outputs import ScoreTable

    return ScoreTable(output / TABLE, predictor.label_set, model=predictor.identity, ensemble=predictor.is_ensemble)


def _write(outcome: "StudyOutcome", study: "Study", output: Path) -> "StudyOutcome":
    """Write a study's files; a study whose files cannot be made is rejected, a full disk is not its fault."""
    from medfuse.domain import Rejected
    from medfuse.outputs import write_study_outputs

    if isinstance(outcome, Rejected):
        return outcome
    try:
        write_study_outputs(outcome, study, output)
    except StudyError as error:
        return Rejected(
            study_instance_uid=study.study_instance_uid,
            accession_number=study.accession_number,
            reason=error.reason,
            detail=error.detail,
        )
    return outcome


def _say(outcome: "StudyOutcome", counts: Counter[str], console: "Console") -> None:
    from medfuse.domain import Rejected

    if isinstance(outcome, Rejected):
        counts["rejected"] += 1
        line = f"rejected {outcome.study_instance_uid}: {outcome.reason}: {outcome.detail}"
        console.print(line, markup=False, soft_wrap=True)
    else:
        counts["scored"] += 1


def is_done(row: "ScoreRow", weights_sha256: str, output: Path) -> bool:
    """Whether a row of the table is a result of the model with these weights whose files are still there."""
    _, at, start = row.model.rpartition("@")
    by_this_model = bool(at and start) and weights_sha256.startswith(start)
    return row.status == "scored" and by_this_model and (output / row.study_instance_uid / "prediction.json").is_file()


def write_sources(studies: "Sequence[Study]", output: Path) -> None:
    """Note where each study lies, for the dashboard; studies noted before stay."""
    from medfuse.storage import write_file

    path = output / SOURCES
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UsageError(f"{path} is broken; remove it and score again, which writes it anew") from error
    known |= {study.study_instance_uid: {"path": str(study.path.resolve())} for study in studies}
    text = json.dumps(known, indent=1)
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))
