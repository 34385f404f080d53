"""The table of `medfuse score --status`."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from medfuse.batch.status import Status


def show_status(output: Path) -> None:
    """Print how far the run into a folder is.

    Raises:
        UsageError: The folder holds no ledger.
    """
    from rich.console import Console

    from medfuse.batch.status import status_of

    Console().print(_table(status_of(output), output), soft_wrap=True)


def _table(status: "Status", output: Path) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(str(output)), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for state, count in status.counts.items():
        table.add_row(state.value, str(count))
    table.add_section()
    table.add_row("a process is at work", "yes" if status.is_running else "no")
    if status.studies_an_hour is not None:
        table.add_row("studies an hour", f"{status.studies_an_hour:,.0f}")
    if status.seconds_left is not None:
        table.add_row("time left", str(timedelta(seconds=round(status.seconds_left))))
    for title, values in (("seconds a study", status.timings), ("rejected", status.reasons), ("flagged", status.flags)):
        table.add_section()
        for name, value in values.items():
            table.add_row(f"{title}: {escape(name)}", f"{value:.2f}" if isinstance(value, float) else str(value))
    return table
