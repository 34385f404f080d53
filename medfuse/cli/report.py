"""`medfuse report`: a run for a paper, a reviewer or a committee."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medfuse.errors import UsageError


class Standard(StrEnum):
    """Reporting standards that medfuse fills in as far as a run supports them."""

    CLAIM = "claim"
    TRIPOD_AI = "tripod-ai"
    MODEL_CARD = "model-card"


_PAGE, _DATA, _TEXT = (".html", ".htm"), (".json",), (".md", ".markdown")


def report(
    run: Annotated[Path, typer.Argument(help="Run folder that medfuse train wrote.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(help="File to write: .html, the same as .json, or .md with --standard.", show_default=False),
    ],
    evaluation: Annotated[
        Path | None, typer.Option(help="JSON of medfuse evaluate on this run.", show_default=False)
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="The manifest that was measured: labels by split, pictures of failures.", show_default=False),
    ] = None,
    standard: Annotated[Standard | None, typer.Option(help="Fill in a reporting standard.", show_default=False)] = None,
    pictures: Annotated[int, typer.Option(min=0, help="Failed studies to show a slice of, with --manifest.")] = 12,
) -> None:
    """Write a run's report: one HTML page that stands alone, the same as JSON, or a reporting standard as Markdown.

    The page has every figure with its interval, the plots, and the failures. A standard (CLAIM, TRIPOD+AI, or a model
    card) is filled item by item from what the run holds, each with its source; what a person has to write is marked,
    and nothing else is claimed.
    """
    _check(output, standard, evaluation)

    from medfuse.cli.evaluate import check_file

    check_file(output)

    from medfuse.reporting import compose, read_artifacts, render_page, render_standard, write_document
    from medfuse.storage import write_file

    artifacts = read_artifacts(run, evaluation, manifest)
    if standard is not None:
        text = render_standard(standard.value, artifacts)
    else:
        from medfuse.reporting.thumbnails import pictured_failures

        document = compose(artifacts, pictured_failures(artifacts, pictures) if manifest and pictures else ())
        if output.suffix.lower() in _DATA:
            write_document(document, output)
            text = ""
        else:
            text = render_page(document)
    if text:
        write_file(output, lambda aside: aside.write_text(text, encoding="utf-8"))
    typer.echo(f"written: {output}")


def _check(output: Path, standard: Standard | None, evaluation: Path | None) -> None:
    expected = _TEXT if standard is not None else (*_PAGE, *_DATA)
    if output.suffix.lower() not in expected:
        what = f"--standard {standard}" if standard is not None else "a report without --standard"
        raise UsageError(f"--output {output}: {what} is written as {' or '.join(expected)}")
    if standard is None and evaluation is None:
        raise UsageError("--evaluation is missing: a report shows an evaluation; write one with medfuse evaluate")
