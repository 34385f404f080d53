"""What a manifest's target columns hold: classes, grades or a number, told from their values.

- Whole numbers of few different values are grades, in their order (Kellgren-Lawrence 0 to 4, BI-RADS 1 to 5).
- Other numbers are a number.
- Words of few different values are classes. Whether words are ordered nobody can tell from them.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from medfuse.domain.labels import Target, TargetKind
from medfuse.ingest import ManifestRow
from medfuse.planning.fingerprint import TargetPrint

MOST_GRADES = 10
"""Whole numbers of more different values than this are a number."""
MOST_CLASSES = 20
FEWEST_OF_A_CLASS = 3
"""Studies that the rarest class needs: one to train on, one to validate and one to test."""
FEWEST_NUMBERS = 10

_NUMBER = Target(name="number", kind=TargetKind.NUMBER)


def target_prints(rows: Sequence[ManifestRow]) -> tuple[tuple[TargetPrint, ...], dict[str, str]]:
    """What can be learnt of the target columns, and of the others why not.

    Args:
        rows: Of the whole manifest.
    """
    found: list[TargetPrint] = []
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(name for row in rows for name in row.targets):
        told = [str(row.targets[name]).strip() for row in rows if name in row.targets]
        print_or_why = _print_of(name, told, taken=any(name in row.labels for row in rows))
        if isinstance(print_or_why, str):
            left_out[name] = print_or_why
        else:
            found.append(print_or_why)
    return tuple(found), left_out


def _print_of(name: str, told: Sequence[str], *, taken: bool) -> TargetPrint | str:
    if taken:
        return "a finding has the same name"
    numbers = _numbers(told)
    if numbers is None:
        return _classes(name, told)
    distinct = sorted(set(numbers))
    if len(distinct) <= MOST_GRADES and all(number.is_integer() for number in distinct):
        counts = Counter(f"{number:.0f}" for number in numbers)
        return _grouped(name, TargetKind.GRADES, {f"{number:.0f}": counts[f"{number:.0f}"] for number in distinct})
    if len(numbers) < FEWEST_NUMBERS:
        return f"{len(numbers)} values are too few to learn a number"
    return TargetPrint(name=name, kind=TargetKind.NUMBER, known=len(numbers), low=distinct[0], high=distinct[-1])


def _numbers(told: Sequence[str]) -> list[float] | None:
    try:
        return [_NUMBER.number_of(text) for text in told]
    except ValueError:
        return None


def _classes(name: str, told: Sequence[str]) -> TargetPrint | str:
    """Words that differ by their letter case alone are one class, written as most often."""
    spelled: dict[str, Counter[str]] = {}
    for text in told:
        spelled.setdefault(text.casefold(), Counter())[text] += 1
    if len(spelled) > MOST_CLASSES:
        return f"{len(spelled)} different values, of which some are words; at most {MOST_CLASSES} classes are planned"
    counts = {spellings.most_common(1)[0][0]: spellings.total() for spellings in spelled.values()}
    return _grouped(name, TargetKind.CLASSES, dict(sorted(counts.items(), key=lambda item: _natural(item[0]))))


def _natural(text: str) -> list[tuple[int, str]]:
    """Words in their order, the numbers within them by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", text)]


def _grouped(name: str, kind: TargetKind, counts: Mapping[str, int]) -> TargetPrint | str:
    if len(counts) < 2:
        return "one value is all there is"
    rarest = min(counts, key=counts.__getitem__)
    if counts[rarest] < FEWEST_OF_A_CLASS:
        return f"{rarest!r} is known of {counts[rarest]} studies; {FEWEST_OF_A_CLASS} are needed of each class"
    return TargetPrint(name=name, kind=kind, known=sum(counts.values()), counts=dict(counts))
