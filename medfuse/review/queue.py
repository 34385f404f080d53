"""The worklist: one row a study, with what the model said and what readers decided; filtered and sorted."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from medfuse.domain import Review, Verdict


class ReviewStatus(StrEnum):
    """Where the decision on a whole study stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNSURE = "unsure"


class SortBy(StrEnum):
    """Orders of the worklist."""

    PROBABILITY = "highest probability first"
    OPEN_FIRST = "open first, then highest probability"
    ACCESSION = "accession number"
    SCORED = "order of scoring"


_STATUS_OF = {
    Verdict.ACCEPTED: ReviewStatus.ACCEPTED,
    Verdict.REJECTED: ReviewStatus.REJECTED,
    Verdict.UNSURE: ReviewStatus.UNSURE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One study of the worklist.

    Args:
        study_instance_uid: Which study; empty for files that belong to none, which cannot be opened.
        accession_number: May be empty.
        reason: Why the study was not scored, as a stable code; empty for a scored one.
        model: Name of the model that scored it.
        probabilities: Finding -> probability, in the order of the label set; empty for a study that was not scored.
        review: The standing decision on the whole study, or None.
    """

    study_instance_uid: str
    accession_number: str = ""
    reason: str = ""
    model: str = ""
    probabilities: Mapping[str, float]
    review: Review | None = None

    @property
    def is_scored(self) -> bool:
        """Whether the model gave a result."""
        return not self.reason

    @property
    def highest(self) -> tuple[str, float] | None:
        """The finding of the highest probability and that probability; None without findings."""
        return max(self.probabilities.items(), key=lambda item: item[1], default=None)

    @property
    def status(self) -> ReviewStatus:
        """Where the decision on the whole study stands."""
        verdict = None if self.review is None else self.review.verdict
        return ReviewStatus.OPEN if verdict is None else _STATUS_OF[verdict]

    @property
    def reviewer(self) -> str:
        """Who took the standing decision; empty while open."""
        return "" if self.review is None else self.review.reviewer

    @property
    def title(self) -> str:
        """What a person calls the study: the accession number, or the end of its UID."""
        if self.accession_number or not self.study_instance_uid:
            return self.accession_number or "files of no study"
        return f"…{self.study_instance_uid[-12:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFilter:
    """What the worklist shows; each part left at its default lets everything through.

    Args:
        text: Part of the accession number, the Study Instance UID, the reason or the reviewer; case is ignored.
        statuses: Review statuses to keep; empty for all.
        finding: Only studies with a probability of this finding; it is also what probabilities sort by.
        at_least: Lowest probability, of `finding` or else of the highest finding.
        scored: True for scored studies, False for those without a result, None for both.
    """

    text: str = ""
    statuses: frozenset[ReviewStatus] = frozenset()
    finding: str | None = None
    at_least: float = 0.0
    scored: bool | None = None

    def lets_through(self, row: QueueRow) -> bool:
        """Whether `row` is shown."""
        text = self.text.strip().casefold()
        searched = (row.accession_number, row.study_instance_uid, row.reason, row.reviewer)
        return (
            (not text or any(text in value.casefold() for value in searched))
            and (not self.statuses or row.status in self.statuses)
            and (self.finding is None or self.finding in row.probabilities)
            and (self.at_least <= 0 or probability_of(row, self.finding) >= self.at_least)
            and (self.scored is None or row.is_scored == self.scored)
        )


def probability_of(row: QueueRow, finding: str | None) -> float:
    """The probability of `finding`, or the highest one; -1 where there is none, so that such rows sort last."""
    if finding is not None:
        return row.probabilities.get(finding, -1.0)
    return row.highest[1] if row.highest else -1.0


def worklist(
    rows: Iterable[QueueRow], shown: QueueFilter | None = None, sort: SortBy = SortBy.PROBABILITY
) -> tuple[QueueRow, ...]:
    """The rows that the filter lets through, sorted; ties keep the order of scoring."""
    shown = shown or QueueFilter()
    keys: dict[SortBy, Callable[[QueueRow], tuple[float | str, ...]]] = {
        SortBy.PROBABILITY: lambda row: (-probability_of(row, shown.finding),),
        SortBy.OPEN_FIRST: lambda row: (not _is_waiting(row), -probability_of(row, shown.finding)),
        SortBy.ACCESSION: lambda row: (row.accession_number, row.study_instance_uid),
        SortBy.SCORED: lambda row: (),
    }
    return tuple(sorted(filter(shown.lets_through, rows), key=keys[sort]))


def _is_waiting(row: QueueRow) -> bool:
    """Whether there is something to decide and nobody has."""
    return row.is_scored and row.status is ReviewStatus.OPEN


def counts(rows: Iterable[QueueRow]) -> dict[ReviewStatus, int]:
    """How many studies stand at each review status."""
    result = dict.fromkeys(ReviewStatus, 0)
    for row in rows:
        result[row.status] += 1
    return result


def neighbours(order: Sequence[str], study_instance_uid: str) -> tuple[str | None, str | None]:
    """The studies before and behind one in the order of the worklist; None at the ends and for an unknown one."""
    if study_instance_uid not in order:
        return None, None
    place = order.index(study_instance_uid)
    before = order[place - 1] if place else None
    behind = order[place + 1] if place + 1 < len(order) else None
    return before, behind
