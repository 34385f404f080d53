"""`medfuse review`: the dashboard on the results of `medfuse score`."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from medfuse.bundled import apps_directory, bundle_root
from medfuse.errors import UsageError

_SETTINGS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxMessageSize": "1000",
    "server.showEmailPrompt": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "global.developmentMode": "false",
    "theme.base": "dark",
    "theme.primaryColor": "#4f9db1",
    "theme.backgroundColor": "#0e1113",
    "theme.secondaryBackgroundColor": "#1b2126",
    "theme.textColor": "#d5dbe1",
    "theme.borderColor": "#2b3238",
    "theme.baseRadius": "small",
    "theme.baseFontSize": "15",
}
_OWN_ADDRESSES = frozenset({"127.0.0.1", "::1", "localhost"})
_GRACE_SECONDS = 10


def review(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `medfuse score` wrote.", show_default=False)],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the dashboard.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on; other machines reach it only if you say so.")] = (
        "127.0.0.1"
    ),
) -> None:
    """Open the dashboard on scored studies: worklist, images, report, findings, decisions.

    It runs on this machine and fetches nothing from the network. Decisions are kept in DIR/reviews.sqlite.
    Ctrl-C ends it.

    Args:
        directory: What `medfuse score` wrote.
        port: Port of the dashboard.
        address: Address to listen on.

    Raises:
        UsageError: The folder holds no results, or the port is taken.
        KeyboardInterrupt: The user ended it.
    """
    from medfuse.review.results import Results

    results = Results(directory)
    _check_free(address, port)
    studies = "1 study" if len(results.scores) == 1 else f"{len(results.scores)} studies"
    typer.echo(f"{studies}. Open http://{_shown(address)}:{port} in a browser; Ctrl-C ends it.")
    if address not in _OWN_ADDRESSES:
        typer.echo("There is no login: whoever reaches this address can read these studies and decide.", err=True)
    _run(command_of(port, address), environment_of(directory))


def command_of(port: int, address: str) -> list[str]:
    """The command that serves the app."""
    settings = {**_SETTINGS, "server.port": str(port), "server.address": address}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "streamlit", "run", str(apps_directory() / "viewer" / "app.py"), *flags]


def environment_of(directory: Path) -> dict[str, str]:
    """The environment of the app: where the results lie, and where `apps` is imported from."""
    paths = [str(bundle_root()), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "MEDFUSE_REVIEW_DIR": str(directory.resolve()),
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
