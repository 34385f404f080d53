"""`medfuse review`: the dashboard on scored studies or on any studies, and what was decided as files."""

import os
import socket
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medfuse.bundled import apps_directory, bundle_root, configs_directory
from medfuse.errors import UsageError

if TYPE_CHECKING:
    from medfuse.review import ReadingRoom

_SETTINGS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxMessageSize": "1000",
    "server.showEmailPrompt": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "global.developmentMode": "false",
    "theme.base": "dark",
    "theme.baseRadius": "small",
    "theme.baseFontSize": "15",
    "theme.dark.primaryColor": "#4f9db1",
    "theme.dark.backgroundColor": "#0e1113",
    "theme.dark.secondaryBackgroundColor": "#1b2126",
    "theme.dark.textColor": "#d5dbe1",
    "theme.dark.borderColor": "#2b3238",
    "theme.light.primaryColor": "#1f7288",
    "theme.light.backgroundColor": "#f4f6f8",
    "theme.light.secondaryBackgroundColor": "#ffffff",
    "theme.light.textColor": "#1d252c",
    "theme.light.borderColor": "#b9c3cb",
}
_OWN_ADDRESSES = frozenset({"127.0.0.1", "::1", "localhost"})
_GRACE_SECONDS = 10


class Export(StrEnum):
    """What decisions can be written as."""

    CSV = "csv"
    FHIR = "fhir"
    SR = "sr"


def review(
    place: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="What `medfuse score` wrote, a folder of studies with masks and reports, or a decisions folder.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where decisions go: PATH itself for results, PATH.review for studies. "
            "With --export: the file, or for sr the folder, to write.",
            show_default=False,
        ),
    ] = None,
    findings: Annotated[
        Path | None,
        typer.Option(
            help="A lexicon (configs/labels/*.yaml): what findings are called in reports, and for a folder of studies "
            "which ones are decided on.",
            show_default=False,
        ),
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide the model's answer until the reader reveals it.")
    ] = False,
    database: Annotated[
        str | None,
        typer.Option(help="Database URL for the decisions, e.g. postgresql://host/reviews.", show_default=False),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(help="YAML with users, roles and projects; turns the login on.", show_default=False),
    ] = None,
    login: Annotated[
        Path | None,
        typer.Option(
            help="TOML with the [auth] section of Streamlit: the OpenID Connect provider.", show_default=False
        ),
    ] = None,
    export: Annotated[
        Export | None, typer.Option(help="Write what was decided to --output, and open nothing.", show_default=False)
    ] = None,
    export_labels: Annotated[
        Path | None,
        typer.Option(help="Write a manifest for `medfuse train` from what was decided.", show_default=False),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="With --export-labels: take readings that nobody signed off, too.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the dashboard.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on; other machines reach it only if you say so.")] = (
        "127.0.0.1"
    ),
) -> None:
    """Open the dashboard: worklist, images, report, findings, decisions. No model is needed, and none is loaded.

    PATH is a folder of results, or any folder of studies with existing masks (DICOM SEG, RTSTRUCT, NIfTI) and reports.
    It runs on this machine and fetches nothing from the network. Decisions on results are kept beside them, decisions
    on studies in a folder PATH.review, which opens the same review again. Nothing is ever overwritten; `medfuse audit`
    verifies it. Ctrl-C ends it.

    Args:
        place: What is reviewed.
        output: Where decisions go, or with `export` what is written.
        findings: A lexicon of findings.
        blind: Whether the model's answer is hidden at first.
        database: A database URL for the decisions.
        users: The users file.
        login: Streamlit's secrets with the OpenID Connect provider.
        export: What decisions are written as.
        export_labels: The manifest to write.
        unsigned: Whether unsigned readings become labels.
        port: Port of the dashboard.
        address: Address to listen on.

    Raises:
        UsageError: There is nothing to review, options do not go together, or the port is taken.
        StorageError: Decisions cannot be kept, or an export cannot be written.
        Exit: Studies were left out of an export (exit code 1).
        KeyboardInterrupt: The user ended it.
    """
    _check_options(export, output, export_labels, unsigned, users, login)
    from medfuse.review import decisions_folder, open_room

    writes = export is not None or export_labels is not None
    decisions = None if writes else output
    if findings is not None and place.exists():
        _keep_lexicon(decisions or decisions_folder(place), findings)
    room = open_room(place, decisions=decisions, database=database, users=users, blind=blind)
    room.refresh()
    if findings is None:
        _keep_known_terms(room)
    n_studies, decisions = room.n_listed, room.decisions
    if writes:
        is_whole = _write(room, export, output, export_labels, unsigned=unsigned)
        room.close()
        if not is_whole:
            raise typer.Exit(1)
        return
    room.close()
    _check_free(address, port)
    studies = "1 study" if n_studies == 1 else f"{n_studies} studies"
    typer.echo(f"{studies}. Open http://{_shown(address)}:{port} in a browser; Ctrl-C ends it.")
    typer.echo(f"Decisions are kept in {decisions}.")
    if address not in _OWN_ADDRESSES and users is None:
        typer.echo("There is no login: whoever reaches this address can read these studies and decide.", err=True)
    environment = environment_of(place, decisions=decisions, database=database, users=users, blind=blind)
    _run(command_of(port, address, login), environment)


def _check_options(
    export: Export | None,
    output: Path | None,
    export_labels: Path | None,
    unsigned: bool,
    users: Path | None,
    login: Path | None,
) -> None:
    """Refuse options that do not go together, before anything is read."""
    if export is not None and output is None:
        raise UsageError(f"--export {export.value} needs --output: the {_target(export)} to write")
    if unsigned and export_labels is None:
        raise UsageError("--unsigned goes with --export-labels alone")
    if (users is None) != (login is None) and export is None and export_labels is None:
        raise UsageError("--users and --login go together: who may review, and how they prove who they are")
    if login is not None and not login.is_file():
        raise UsageError(f"{login} does not exist; it holds Streamlit's [auth] section")


def _target(export: Export) -> str:
    return "folder" if export is Export.SR else "file"


def _keep_lexicon(decisions: Path, findings: Path) -> None:
    """Keep what findings are called where the dashboard finds it."""
    from medfuse.config.lexicon import load_lexicon
    from medfuse.review.room_files import keep_lexicon

    keep_lexicon(decisions, load_lexicon(findings))


def _keep_known_terms(room: "ReadingRoom") -> None:
    """Keep the terms that medfuse ships for the model's findings, unless a lexicon was given before."""
    from medfuse.config.lexicon import load_lexicon
    from medfuse.ingest.reports.lexicon import Lexicon
    from medfuse.review.room_files import keep_lexicon, kept_lexicon

    if kept_lexicon(room.decisions) is not None:
        return
    shipped = [load_lexicon(path) for path in sorted((configs_directory() / "labels").glob("*.yaml"))]
    known = {name: lexicon.findings[name] for lexicon in shipped for name in room.findings if name in lexicon.findings}
    if known:
        keep_lexicon(room.decisions, Lexicon(findings=known))


def _write(
    room: "ReadingRoom", export: Export | None, output: Path | None, export_labels: Path | None, *, unsigned: bool
) -> bool:
    """Write what was asked for; gives whether every study is in it."""
    from medfuse.review.export_labels import export_labels as write_labels
    from medfuse.review.export_sr import write_sr
    from medfuse.review.exports import write_csv, write_fhir

    left_out: dict[str, str] = {}
    if export is Export.CSV and output:
        typer.echo(f"{output}: {_number(write_csv(room, output), 'decision')}.")
    elif export is Export.FHIR and output:
        typer.echo(f"{output}: {_number(write_fhir(room, output), 'report')}.")
    elif export is Export.SR and output:
        written, sr_left_out = write_sr(room, output)
        typer.echo(f"{output}: {_number(written, 'document')}.")
        left_out |= sr_left_out
    if export_labels is not None:
        done = write_labels(room, export_labels, unsigned=unsigned)
        typer.echo(f"{export_labels}: {_number(done.studies, 'study', 'studies')}, {_number(done.labels, 'label')}.")
        if done.corrected:
            place = export_labels.with_suffix(".studies")
            typer.echo(f"{_number(done.corrected, 'study', 'studies')} with other masks than it came with: {place}.")
        if done.unsigned:
            typer.echo(f"{_number(done.unsigned, 'study', 'studies')} left out: not signed off.", err=True)
        left_out |= done.left_out
    for uid, why in left_out.items():
        typer.echo(f"study {uid} is left out: {why}", err=True)
    return not left_out


def _number(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def command_of(port: int, address: str, login: Path | None = None) -> list[str]:
    """The command that serves the app."""
    settings = {**_SETTINGS, "server.port": str(port), "server.address": address}
    if login is not None:
        settings["secrets.files"] = str(login.resolve())
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "streamlit", "run", str(apps_directory() / "viewer" / "app.py"), *flags]


def environment_of(
    place: Path,
    *,
    decisions: Path | None = None,
    database: str | None = None,
    users: Path | None = None,
    blind: bool = False,
) -> dict[str, str]:
    """The environment of the app: what is reviewed, where decisions go, and where `apps` is imported from."""
    paths = [str(bundle_root()), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "MEDFUSE_REVIEW_DIR": str(place.resolve()),
        "MEDFUSE_REVIEW_DECISIONS": str(decisions.resolve()) if decisions else "",
        "MEDFUSE_REVIEW_DATABASE": database or "",
        "MEDFUSE_REVIEW_USERS": str(users.resolve()) if users else "",
        "MEDFUSE_REVIEW_BLIND": "1" if blind else "",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Serve until the app ends or the user ends it; the app never outlives this process's call."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - the command is built above
        try:
            code = process.wait()
        finally:
            _end(process)
    if code:
        raise typer.Exit(code if code > 0 else 1)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _check_free(address: str, port: int) -> None:
    """Refuse a port that another program listens on, before anything starts."""
    try:
        with socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET):
            return
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"cannot listen on {address}, port {port}: {reason}; choose another with --port") from error


def _shown(address: str) -> str:
    """The address as it stands in a URL; a server that listens everywhere is reached at this machine."""
    if address in {"0.0.0.0", "::"}:  # noqa: S104
        return "127.0.0.1"
    return f"[{address}]" if ":" in address else address
