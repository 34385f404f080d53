"""`medfuse explain`: why a model said what it said of one study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from medfuse.domain import Study
    from medfuse.explain import Explanation

_SHOWN_WORDS = 5


def explain(
    checkpoint: Annotated[
        Path, typer.Argument(help="Run folder of medfuse train, or a checkpoint in it.", show_default=False)
    ],
    study: Annotated[Path, typer.Argument(help="Folder of one study, or a NIfTI file.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    finding: Annotated[
        list[str] | None, typer.Option(help="Explain this finding alone. May be repeated.", show_default=False)
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--map", help="Map of the voxels: gradient, occlusion, attention, none. May be repeated."),
    ] = None,
    uid: Annotated[str | None, typer.Option("--study-uid", help="Which study, where the folder holds several.")] = None,
    device: Annotated[str, typer.Option(help="Device of the model: auto, cpu, cuda.")] = "auto",
) -> None:
    """Explain a model's answer to one study: what each input added, which words and which voxels weighed.

    Writes explanation.json (series and report sections that were used, the Shapley value of each input, the weight of
    each word, in log-odds) and a NIfTI map a finding on the grid of the source series. An explanation tells what moved
    the model, not what is true of the patient.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; expected a folder to write")
    if output.is_dir() and any(output.iterdir()) and not (output / "explanation.json").is_file():
        raise UsageError(f"--output {output} holds something that is no explanation; choose another folder")

    from rich.console import Console

    with Console(stderr=True).status("loading"):
        from medfuse.explain import explain as explain_study
        from medfuse.explain import write_explanation
        from medfuse.explain.maps import METHODS
        from medfuse.inference import Predictor

        wanted = method or ["gradient"]
        strange = sorted(set(wanted) - {*METHODS, "none"})
        if strange:
            raise UsageError(f"--map {strange[0]!r} is unknown; expected {', '.join(METHODS)} or none")
        predictor = Predictor.from_checkpoint(checkpoint, device=device)
        chosen = _study(study, uid)
    with Console(stderr=True).status("explaining"):
        methods = [name for name in METHODS if name in wanted]
        found = explain_study(predictor, chosen, findings=finding, methods=methods)
        written = write_explanation(found, chosen, output)
    _show(found)
    typer.echo(f"written: {written}")


def _study(path: Path, uid: str | None) -> "Study":
    """The one study below a path.

    Raises:
        UsageError: There is none, or there are several.
    """
    from medfuse.ingest import find_studies

    found = find_studies(path)
    studies = [one for one in found.studies if uid is None or one.study_instance_uid == uid]
    if len(studies) == 1:
        return studies[0]
    if not studies and uid is not None:
        raise UsageError(f"{path} holds no study {uid}; medfuse inspect lists what it holds")
    if not studies:
        why = f": {found.rejected[0].reason}: {found.rejected[0].detail}" if found.rejected else ""
        raise UsageError(f"{path} holds no study that can be used{why}")
    raise UsageError(f"{path} holds {len(studies)} studies; give the folder of one, or --study-uid")


def _show(explanation: "Explanation") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    text = explanation.scored.prediction.text_input
    inputs = list(explanation.findings[0].contributions) if explanation.findings else []
    table = Table(caption="weights in log-odds: positive speaks for the finding", caption_justify="left")
    for column in ("finding", "probability", "without inputs", *inputs, "words that weigh most"):
        table.add_column(escape(column), justify="left" if column in ("finding", "words that weigh most") else "right")
    for finding in explanation.findings:
        heaviest = sorted(finding.words, key=lambda word: -abs(word.weight))[:_SHOWN_WORDS]
        words = ", ".join(f"{text[word.start : word.end]} {word.weight:+.1f}" for word in heaviest)
        table.add_row(
            escape(finding.name),
            f"{finding.probability:.3f}",
            f"{finding.log_odds_without_inputs:+.2f}",
            *(f"{finding.contributions[name]:+.2f}" for name in inputs),
            escape(" ".join(words.split())),
        )
    Console().print(table)
