"""The chain: each kept review carries the SHA-256 of its content and of the hash before it.

Whoever changes, removes or inserts a row breaks the chain from there on, whatever triggers say. A chain that is cut at
its end is still one; keep the hash that `medfuse audit` prints elsewhere and give it back with `--head` to find that
too. It shows that something was changed, not who did it: who can write the database can make a whole new chain.

Source: Haber and Stornetta 1991, "How to time-stamp a digital document" (J Cryptology 3:99), without the service.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
"""What stands as the hash before the first row."""

HASHED = (
    "number",
    "study_instance_uid",
    "kind",
    "subject_kind",
    "subject",
    "delineation",
    "verdict",
    "value",
    "comment",
    "mask_sha256",
    "model_weights_sha256",
    "shown",
    "seconds",
    "reason",
    "withdraws",
    "reviewer",
    "created_at",
    "idempotency_key",
    "previous_sha256",
)
"""The columns that a row's hash covers, the hash before it among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Where a chain is broken: the number of the first row that does not fit, and what is wrong with it."""

    number: int
    detail: str


def digest(row: Mapping[str, Any]) -> str:
    """The hash of a row: SHA-256 over its columns as JSON in UTF-8, keys sorted, no spaces.

    Args:
        row: Holds at least `HASHED`; the values are text, whole numbers, floats and None.
    """
    content = {name: row[name] for name in HASHED}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def linked(rows: Iterable[Mapping[str, Any]], number: int = 0, previous: str = GENESIS) -> Iterator[dict[str, Any]]:
    """The rows with their numbers and hashes, in order.

    Args:
        rows: Content without `number`, `previous_sha256` and `sha256`.
        number: Of the row before the first one.
        previous: Hash of the row before the first one.
    """
    for row in rows:
        number += 1
        whole = {**row, "number": number, "previous_sha256": previous}
        previous = digest(whole)
        yield {**whole, "sha256": previous}


def first_break(rows: Iterable[Mapping[str, Any]]) -> Break | None:
    """The first row that does not fit the chain; None for a whole one.

    Args:
        rows: Every row, by number.
    """
    expected, previous = 1, GENESIS
    for row in rows:
        number = int(row["number"])
        if number != expected:
            return Break(number=expected, detail=f"row {expected} is missing; the next one is {number}")
        if row["previous_sha256"] != previous:
            return Break(number=number, detail="it does not follow the row before it")
        if digest(row) != row["sha256"]:
            return Break(number=number, detail="its content is not what was kept")
        expected, previous = number + 1, str(row["sha256"])
    return None
