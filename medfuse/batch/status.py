"""How far a run is: counts, speed, time left, reasons; read from the ledger, also while a run writes to it."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from medfuse.batch.ledger import LEDGER_FILE, Ledger, State
from medfuse.errors import UsageError
from medfuse.storage import held

_LEAST_FINISHED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a run is.

    Args:
        counts: How many studies stand where.
        reasons: Rejection code -> number of studies, the most frequent first.
        is_running: Whether a process fills the folder now.
        studies_an_hour: Speed of the last run; None before it has finished a few.
        seconds_left: Until the rest is done at that speed; None when nobody knows or nothing is left.
        timings: Stage -> mean seconds a study, of the scored ones.
        flags: Quality flag -> number of scored studies that carry it.
    """

    counts: dict[State, int]
    reasons: dict[str, int]
    is_running: bool
    studies_an_hour: float | None
    seconds_left: float | None
    timings: dict[str, float]
    flags: dict[str, int]


def status_of(output: Path) -> Status:
    """Look at a folder of results.

    Raises:
        UsageError: It holds no ledger, or there is no such folder.
    """
    if not output.is_dir():
        raise UsageError(f"{output} is no folder of results; it is made by medfuse score --output")
    with held(output) as is_free:
        is_running = not is_free and sys.platform != "win32"
    with Ledger(output / LEDGER_FILE, read_only=True) as ledger:
        counts = ledger.counts()
        rate = _rate(ledger, is_running=is_running)
        left = counts[State.QUEUED] + counts[State.RUNNING]
        timings, flags = _sums(ledger)
        return Status(
            counts=counts,
            reasons=ledger.reasons(),
            is_running=is_running,
            studies_an_hour=None if rate is None else rate * 3600,
            seconds_left=left / rate if rate and left and is_running else None,
            timings=timings,
            flags=flags,
        )


def _rate(ledger: Ledger, *, is_running: bool) -> float | None:
    """Studies a second of the last run."""
    last = ledger.last_run()
    if last is None or last[2] < _LEAST_FINISHED:
        return None
    started, ended, count = last
    until = ended if ended is not None else time.time() if is_running else ledger.last_finished()
    return count / (until - started) if until is not None and until > started else None


def _sums(ledger: Ledger) -> tuple[dict[str, float], dict[str, int]]:
    totals: dict[str, float] = {}
    flags: dict[str, int] = {}
    n = 0
    for row in ledger.rows(State.SCORED):
        n += 1
        for stage, seconds in row.timings.items():
            totals[stage] = totals.get(stage, 0.0) + seconds
        for code in row.flags:
            flags[code] = flags.get(code, 0) + 1
    return {stage: total / n for stage, total in totals.items()}, dict(sorted(flags.items(), key=lambda one: -one[1]))
