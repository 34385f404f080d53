"""Logging of the command line: medfuse's own records, to stderr.

Records of other libraries stay out unless MEDFUSE_DEBUG asks for them, since they may quote a header's value.
"""

import logging
from enum import Enum

from medfuse.cli.errors import debugging

_HANDLER = "medfuse-cli"


class Verbosity(Enum):
    """How much the command line logs; the value is the level of the `medfuse` logger."""

    QUIET = logging.ERROR
    NORMAL = logging.INFO
    VERBOSE = logging.DEBUG

    @classmethod
    def of(cls, *, verbose: bool, quiet: bool) -> "Verbosity":
        """The verbosity that two flags ask for; `verbose` wins."""
        if verbose:
            return cls.VERBOSE
        return cls.QUIET if quiet else cls.NORMAL


def start_logging(verbosity: Verbosity) -> None:
    """Send the records of medfuse to stderr at the level of `verbosity`; calling again replaces the former handler."""
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(
        console=Console(stderr=True),
        show_path=False,
        show_time=verbosity is Verbosity.VERBOSE,
        markup=False,
        rich_tracebacks=False,
    )
    handler.set_name(_HANDLER)
    if not debugging():
        handler.addFilter(logging.Filter("medfuse"))
    root = logging.getLogger()
    for former in [kept for kept in root.handlers if kept.get_name() == _HANDLER]:
        root.removeHandler(former)
    root.addHandler(handler)
    logging.getLogger("medfuse").setLevel(verbosity.value)
