"""The `medfuse` command: a table of commands, each imported only when it is the one that runs.

`medfuse --help` shows the table and imports no command, so it takes no longer than typer itself. The function of a
command lives in `medfuse/cli/<name>.py` under the command's own name; its heavy imports stand inside it.
"""

import importlib
import inspect
import io
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import takewhile
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from medfuse import __version__
from medfuse.cli.errors import TERMINATED_EXIT, ErrorBoundary, debugging
from medfuse.cli.logs import Verbosity, start_logging

Command = Callable[..., None]

COMMANDS: dict[str, str] = {
    "index": "List the studies of a folder in a manifest, one row a study.",
    "inspect": "Show what a study holds, and which series fills each input channel, and why.",
    "label-reports": "Label studies by what their reports say of findings.",
    "convert": "Write each image series of a folder as NIfTI, as medfuse sees it.",
    "deidentify": "Write studies without the patients' identities, by DICOM PS3.15.",
    "plan": "Write a training config that fits the data of a manifest and this machine.",
    "pretrain": "Train the encoders of a model without labels.",
    "train": "Train a model from one YAML file.",
    "evaluate": "Measure a trained model against the truth, with intervals.",
    "calibrate": "Fit what a trained model's probabilities mean, and what it is used to.",
    "compare": "Compare runs on the same studies, by paired tests.",
    "report": "Write a run up: a page with its figures, or a reporting standard.",
    "ablate": "Train and table what each modality and each fusion adds.",
    "score": "Score new studies with a trained model.",
    "explain": "Tell what moved a model's answer to a study: inputs, words, voxels.",
    "fetch": "Fetch studies from an image server, by DICOMweb or DIMSE.",
    "send": "Send results to an image archive, by STOW-RS or C-STORE.",
    "receive": "Listen for studies by DICOM C-STORE, and score the finished ones.",
    "review": "Open the dashboard on scored studies, or on any studies with masks.",
    "audit": "Verify that no decision of a review was changed.",
    "export": "Write a model as a MONAI bundle or an ONNX file.",
    "demo": "See the whole job on made studies: index, train, evaluate, score.",
    "doctor": "Tell what is installed, what is missing and how to get it.",
}
"""Command name -> its line in `medfuse --help`. The module is `medfuse.cli.<name>`, with `_` for `-`."""

_ABOUT = "Fuse medical images with clinical text, to diagnose and to delineate. Research software: it decides nothing."
_SECTIONS = ("Args:", "Arguments:", "Returns:", "Raises:", "Example:", "Examples:", "Note:", "Source:")
_Verbose = Annotated[bool, typer.Option("--verbose", help="Log more, and show the traceback of a failure.")]
_Quiet = Annotated[bool, typer.Option("--quiet", help="Log errors only.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: What follows the program's name; `sys.argv` when left out.

    Raises:
        SystemExit: Always; its code is explained in `medfuse.cli.errors`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with ErrorBoundary(verbose="--verbose" in given), warnings.catch_warnings(), _tidy_end_when_terminated():
        _tolerate_narrow_consoles()
        if not (sys.warnoptions or debugging()):
            warnings.simplefilter("ignore")  # a library's warning may quote a header's value
        command = next((word for word in given if not word.startswith("-")), None)
        application(command)(args=given, prog_name="medfuse")


def application(command: str | None = None) -> typer.Typer:
    """The typer application, with `command` loaded and every other command present by name and help line only."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=_ABOUT)
    app.callback()(_options)
    for name, help_line in COMMANDS.items():
        if name == command:
            function = load_command(name)
            app.command(name, help=_description(function), short_help=help_line)(_guarded(function))
        else:
            app.command(name, help=help_line)(_unloaded)
    return app


def load_command(name: str) -> Command:
    """Import the function of the command `name`."""
    python_name = name.replace("-", "_")
    function: Command = getattr(importlib.import_module(f"medfuse.cli.{python_name}"), python_name)
    return function


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"medfuse {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of `medfuse` itself; those of a command stand with the command."""


def _unloaded() -> None:
    """Stands for a command that this call does not run."""


def _guarded(function: Command) -> Command:
    """`function` with `--verbose` and `--quiet` added, its logging started and its errors turned into exit codes."""

    @wraps(function)
    def run(*args: Any, verbose: bool = False, quiet: bool = False, **options: Any) -> None:
        start_logging(Verbosity.of(verbose=verbose, quiet=quiet))
        with ErrorBoundary(verbose=verbose):
            function(*args, **options)

    added = {"verbose": _Verbose, "quiet": _Quiet}
    signature = inspect.signature(function)
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(n, keyword_only, default=False, annotation=a) for n, a in added.items()]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {**function.__annotations__, **added}
    return run


def _description(function: Command) -> str:
    """The docstring of a command up to its first section for programmers, one line a paragraph."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    shown = takewhile(lambda paragraph: not paragraph.startswith(_SECTIONS), paragraphs)
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in shown)


@contextmanager
def _tidy_end_when_terminated() -> Iterator[None]:
    """Let SIGTERM end the process as an exception does: half-written files and started processes are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED_EXIT)


def _tolerate_narrow_consoles() -> None:
    """Print a `?` for what the console's encoding lacks (Windows code pages), not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":  # for `torchrun -m medfuse.cli.main train ...`
    main()
