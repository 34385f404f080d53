"""Whether what was kept is still what was said: the chain of decisions, and the files that they name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, text

from medfuse.review.chain import Break, first_break
from medfuse.review.database import Database
from medfuse.review.masks import MaskStore
from medfuse.review.schema import DECISIONS

_GUARDS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'decisions'",
    "postgresql": "SELECT tgname FROM pg_trigger WHERE tgrelid = 'decisions'::regclass AND NOT tgisinternal",
}
_EXPECTED_GUARDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit found.

    Args:
        rows: Reviews in the chain.
        head: Hash of the last one; keep it elsewhere, and give it to the next audit.
        broken: The first row that does not fit; None for a whole chain.
        is_guarded: Whether the database still refuses to change rows.
        holds_head: Whether the chain holds the hash that was asked for; None where none was.
        lost_masks: Hashes of corrected segmentations whose file is missing or changed.
    """

    rows: int
    head: str
    broken: Break | None
    is_guarded: bool
    holds_head: bool | None = None
    lost_masks: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return self.broken is None and self.is_guarded and self.holds_head is not False and not self.lost_masks


def audit_reviews(database: Database, masks: Path, *, head: str = "") -> Audit:
    """Verify every row, the triggers that guard them, and the files that they name.

    Args:
        database: Where the decisions lie.
        masks: Folder of the corrected segmentations.
        head: Hash of an earlier audit that the chain should still hold; empty for none.

    Raises:
        StorageError: The database cannot be read.
    """
    seen = _Seen(head)
    with database.reading() as connection:
        broken = first_break(seen.through(_rows(connection)))
        guards = connection.execute(text(_GUARDS[connection.dialect.name])).scalars().all()
    return Audit(
        rows=seen.n,
        head=seen.last,
        broken=broken,
        is_guarded=len(guards) >= _EXPECTED_GUARDS,
        holds_head=seen.found_head if head else None,
        lost_masks=MaskStore(masks).broken(frozenset(seen.masks)),
    )


class _Seen:
    """What passes by while the chain is verified."""

    def __init__(self, head: str) -> None:
        self._head = head.strip().lower()
        self.n, self.last, self.found_head = 0, "", False
        self.masks: set[str] = set()

    def through(self, rows: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for row in rows:
            self.n += 1
            self.last = str(row["sha256"])
            self.found_head |= self.last == self._head
            if row["mask_sha256"]:
                self.masks.add(row["mask_sha256"])
            yield row


def _rows(connection: Connection) -> Iterator[Mapping[str, Any]]:
    for row in connection.execute(select(DECISIONS).order_by(DECISIONS.c.number)).mappings():
        yield dict(row)
