"""`medfuse fetch`: studies from an image server into a folder."""

import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medfuse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console

    from medfuse.ingest.network.archive import Archive, Query, StudyRecord
    from medfuse.ingest.network.fetch import FetchOptions, Progress
    from medfuse.ingest.network.servers import Server

LOG = logging.getLogger(__name__)
SERVERS = Path("pacs.yaml")


def fetch(
    source: Annotated[
        str,
        typer.Argument(
            help="A name from the servers' file, http(s)://HOST/PATH for DICOMweb, or AE_TITLE@HOST:PORT for DIMSE.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the studies.", show_default=False)],
    patient: Annotated[str, typer.Option(help="Patient ID.")] = "",
    accession: Annotated[str, typer.Option(help="Accession number.")] = "",
    study: Annotated[list[str] | None, typer.Option(help="Study Instance UID; may be given several times.")] = None,
    modality: Annotated[str, typer.Option(help="A modality that the study holds, e.g. CT.")] = "",
    date: Annotated[str, typer.Option(help="YYYYMMDD, or YYYYMMDD-YYYYMMDD.")] = "",
    description: Annotated[str, typer.Option(help="Study description; * and ? stand for any characters.")] = "",
    series_modality: Annotated[str, typer.Option(help="Fetch only series of this modality.")] = "",
    limit: Annotated[int | None, typer.Option(help="Fetch at most so many studies.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the studies, fetch nothing.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch anew what is whole already.")] = False,
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
    """Fetch studies from an image server, by DICOMweb or by DIMSE.

    Writes OUTPUT/<Study Instance UID>/<Series Instance UID>/<SOP Instance UID>.dcm. A study appears whole or not at
    all; the same command goes on where it was stopped, and leaves alone what is whole. Secrets are named by the
    environment variable that holds them. Exit code 1 when a study could not be fetched; each is listed with its reason.
    """
    from medfuse.ingest.network.archive import Query, open_archive
    from medfuse.ingest.network.fetch import FetchOptions

    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; expected a folder for the studies")
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
    server = find_server(source, servers, {name: value for name, value in given.items() if value is not None})
    search = {
        "patient_id": patient,
        "accession_number": accession,
        "modality": modality,
        "study_date": date,
        "description": description,
        "series_modality": series_modality,
    }
    queries = [Query(study_instance_uid=uid, **search) for uid in study or [""]]
    if not queries[0].filters():
        raise UsageError("nothing narrows the search; give --patient, --accession, --study, --modality, --date ...")
    archive = open_archive(server)
    try:
        records = find(archive, server, queries, limit)
        if dry_run:
            show(records)
            return
        options = FetchOptions(directory=output, series_modality=series_modality, refresh=refresh)
        whole = run(archive, server, records, options)
    finally:
        archive.close()
    if not whole:
        raise typer.Exit(1)


def find_server(source: str, servers: Path, options: "Mapping[str, Any]") -> "Server":
    """The server that the operator means.

    Args:
        source: An address, or a name from the file.
        servers: The file that describes servers by name.
        options: Keys of a description that the command line gives; they win over the file's.

    Raises:
        UsageError: There is no such server, or its description cannot be used.
    """
    from medfuse.config.yaml_text import parse_yaml
    from medfuse.ingest.network.servers import server_at, servers_of

    if (server := server_at(source, options)) is not None:
        return server
    if not servers.is_file():
        detail = f"{source} is no address (http(s)://HOST/PATH or AE_TITLE@HOST:PORT), and there is no file {servers}"
        raise UsageError(f"{detail} that could describe it")
    try:
        content = parse_yaml(servers.read_text(encoding="utf-8"), str(servers))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {servers}: {type(error).__name__}; expected a text file") from error
    if not isinstance(content, dict) or not isinstance(content.get(source), dict):
        names = ", ".join(map(str, content)) if isinstance(content, dict) else "none"
        raise UsageError(f"{servers} describes no server {source}; it has: {names}")
    return servers_of({source: content[source] | dict(options)}, str(servers), servers.resolve().parent)[source]


def find(
    archive: "Archive", server: "Server", queries: "Sequence[Query]", limit: int | None = None
) -> "list[StudyRecord]":
    """The studies that fit one of the queries, each once, at most `limit`."""
    from medfuse.ingest.network.archive import retrying

    found: dict[str, StudyRecord] = {}
    for query in queries:
        left = None if limit is None else limit - len(found)
        if left == 0:
            break
        records = retrying(server)(archive.find_studies, query, left)
        found |= {record.study_instance_uid: record for record in records}
    return list(found.values())


def show(records: "Sequence[StudyRecord]") -> None:
    """List studies on stdout, one a line, fields apart by tabs."""
    typer.echo("study_instance_uid\tdate\tmodalities\tinstances\tdescription")
    for record in records:
        count = "" if record.n_instances is None else str(record.n_instances)
        fields = [record.study_instance_uid, record.study_date, ",".join(record.modalities), count, record.description]
        typer.echo("\t".join("".join(char if char.isprintable() else "?" for char in field) for field in fields))


def run(archive: "Archive", server: "Server", records: "Sequence[StudyRecord]", options: "FetchOptions") -> bool:
    """Fetch studies and say what came of it.

    Returns:
        Whether every study is whole.

    Raises:
        StorageError: The folder cannot be written.
    """
    from rich.console import Console

    from medfuse.domain import Rejected
    from medfuse.ingest.network.fetch import fetch_studies

    console = Console(stderr=True, quiet=not LOG.isEnabledFor(logging.INFO))
    counts: Counter[str] = Counter()
    with _progress(console, len(records)) as (on_instance, on_study):
        for outcome in fetch_studies(archive, server, records, replace(options, progress=on_instance)):
            on_study()
            if isinstance(outcome, Rejected):
                counts["failed"] += 1
                LOG.error("study %s: %s: %s", outcome.study_instance_uid, outcome.reason, outcome.detail)
            else:
                counts["fetched" if outcome.n_new else "already whole"] += 1
    total = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    said = f"{total}; studies: {options.directory}" if total else "no study fits the search"
    console.print(said, markup=False, soft_wrap=True, highlight=False)
    return not counts["failed"]


@contextmanager
def _progress(console: "Console", n_studies: int) -> "Iterator[tuple[Progress, Callable[[], None]]]":
    """Bars for the studies and for the instances of the one on its way; gives what moves each of them."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        studies = bars.add_task("studies", total=n_studies)
        instances = bars.add_task("instances", total=None)

        def on_instance(study_instance_uid: str, here: int, total: int) -> None:
            bars.update(instances, completed=here, total=total, description=f"instances of {study_instance_uid}")

        yield on_instance, lambda: bars.advance(studies)
