"""`medfuse send`: results into an image archive."""

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from medfuse.ingest.network.servers import Server
    from medfuse.outputs.sending import ResultObject, SendOutcome

LOG = logging.getLogger(__name__)
SERVERS = Path("pacs.yaml")


def send(
    directory: Annotated[
        Path, typer.Argument(help="Folder of results, as medfuse score wrote it.", show_default=False)
    ],
    to: Annotated[
        str,
        typer.Option(
            help="A name from the servers' file, http(s)://HOST/PATH for STOW-RS, or AE_TITLE@HOST:PORT for C-STORE.",
            show_default=False,
        ),
    ],
    study: Annotated[list[str] | None, typer.Option(help="Only this Study Instance UID; may be repeated.")] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="Only objects of this modality (SEG, SR, OT, DOC); may be repeated.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Send what was sent before, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the objects, send nothing.")] = False,
    servers: Annotated[Path, typer.Option(help="File that describes servers by name.")] = SERVERS,
    ae_title: Annotated[str, typer.Option(help="Our AE title; MEDFUSE if the servers' file says none.")] = "",
    token_env: Annotated[str, typer.Option(help="Environment variable with a bearer token.")] = "",
    user: Annotated[str, typer.Option(help="User for HTTP basic authentication.")] = "",
    password_env: Annotated[str, typer.Option(help="Environment variable with the user's password.")] = "",
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt DIMSE, trusting the system's certificates.")] = False,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates that vouch for the server (PEM).")] = None,
    cert_file: Annotated[Path | None, typer.Option(help="Our certificate (PEM), if the server wants one.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for an answer.", min=0.1)] = None,
    retries: Annotated[int | None, typer.Option(help="How often to try again.", min=0, max=20)] = None,
) -> None:
    """Send the DICOM results of a folder to an image archive.

    Sends every DICOM object that medfuse made below DIRECTORY: segmentations, reports, pictures, pages, and what
    readers corrected. What was sent is noted in DIRECTORY/sent.jsonl, so the same command goes on where it was stopped.
    One object that is refused does not stop the others; each is listed with its reason. Exit code 1 when one was not
    sent.
    """
    from medfuse.cli.fetch import find_server
    from medfuse.outputs.sending import results_to_send

    certificates = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
    given = {
        "calling_ae_title": ae_title or None,
        "token_env": token_env or None,
        "user": user or None,
        "password_env": password_env or None,
        "tls": ({name: path for name, path in certificates.items() if path} or ({} if tls else None)),
        "timeout_s": timeout,
        "retries": retries,
    }
    server = find_server(to, servers, {name: value for name, value in given.items() if value is not None})
    found, others = results_to_send(directory)
    if others:
        LOG.warning("%d DICOM files below %s were not made by medfuse; they are left out", others, directory)
    wanted = [one for one in found if one.problem or _is_wanted(one, study, modality)]
    if not wanted:
        raise UsageError(f"{directory} holds no DICOM result to send; medfuse score writes them for DICOM studies")
    if dry_run:
        _list(wanted, directory)
        return
    if not run(wanted, server, directory, again=again):
        raise typer.Exit(1)


def run(wanted: "list[ResultObject]", server: "Server", directory: Path, *, again: bool = False) -> bool:
    """Send objects and say what came of it.

    Returns:
        Whether the archive has every object.

    Raises:
        StorageError: What was sent cannot be noted.
    """
    from rich.console import Console
    from rich.progress import track

    from medfuse.outputs.sending import SendStatus, send_results

    console = Console(stderr=True, quiet=not LOG.isEnabledFor(logging.INFO))
    outcomes = send_results(wanted, server, directory, again=again)
    shown = track(outcomes, description="sending", total=len(wanted), console=console, transient=True)
    counts = _counted(shown, directory)
    _table(counts, console)
    bad = sum(count for (_, status), count in counts.items() if status in {SendStatus.FAILED, SendStatus.NOT_TRIED})
    return not bad


def _is_wanted(one: "ResultObject", studies: "Iterable[str] | None", modalities: "Iterable[str] | None") -> bool:
    named = {text.upper() for text in modalities or ()}
    return (not studies or one.study_instance_uid in set(studies)) and (not named or one.modality in named)


def _counted(outcomes: "Iterable[SendOutcome] | Iterator[SendOutcome]", directory: Path) -> "Counter[tuple[str, str]]":
    """How many objects of each kind came out how; failures are logged as they come, each reason for the rest once."""
    from medfuse.outputs.sending import SendStatus

    counts: Counter[tuple[str, str]] = Counter()
    for outcome in outcomes:
        counts[outcome.result.modality or "?", outcome.status] += 1
        if outcome.status is SendStatus.FAILED:
            LOG.error("%s: %s", outcome.result.path.relative_to(directory), outcome.detail)
        elif (
            outcome.status is SendStatus.NOT_TRIED
            and sum(n for (_, s), n in counts.items() if s == outcome.status) == 1
        ):
            LOG.error("nothing more is tried: %s", outcome.detail)
    return counts


def _table(counts: "Counter[tuple[str, str]]", console: "Console") -> None:
    from rich.table import Table

    from medfuse.outputs.sending import SendStatus

    table = Table("object", *(str(status) for status in SendStatus))
    for modality in sorted({kind for kind, _ in counts}):
        table.add_row(modality, *(str(counts[modality, status] or "") for status in SendStatus))
    console.print(table)


def _list(wanted: "list[ResultObject]", directory: Path) -> None:
    """List objects on stdout, one a line, fields apart by tabs."""
    typer.echo("study_instance_uid\tobject\tfile\tproblem")
    for one in wanted:
        fields = (one.study_instance_uid, one.modality, one.path.relative_to(directory).as_posix(), one.problem)
        typer.echo("\t".join("".join(char if char.isprintable() else "?" for char in field) for field in fields))
