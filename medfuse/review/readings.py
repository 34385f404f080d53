"""From everything that was said on a study to what stands: one reading a reader."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from medfuse.domain import Review, ReviewKind, Shown, Subject, SubjectKind, Verdict


class CaseStatus(StrEnum):
    """Where the review of a study stands; of several readers, the furthest counts."""

    OPEN = "open"
    STARTED = "started"
    SIGNED = "signed off"
    AMENDED = "amended"
    NO_RESULT = "no result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one reader says of one study, as it stands now.

    Args:
        reviewer: Who.
        decisions: The standing decision on each subject, without what was withdrawn.
        signed: The sign-off that stands; None before it.
        is_amended: Whether something was changed after the sign-off.
        seconds: Time on the study, withdrawn work included.
        was_blind: Whether the first decision was taken before the model was seen.
        decided_at: When the reader last said something, ISO 8601.
    """

    reviewer: str
    decisions: Mapping[Subject, Review] = field(default_factory=dict)
    signed: Review | None = None
    is_amended: bool = False
    seconds: float = 0.0
    was_blind: bool = False
    decided_at: str = ""

    @property
    def status(self) -> CaseStatus:
        """Where this reader's work stands."""
        if self.signed is not None:
            return CaseStatus.AMENDED if self.is_amended else CaseStatus.SIGNED
        return CaseStatus.STARTED if self.decisions else CaseStatus.OPEN

    @property
    def is_revealed(self) -> bool:
        """Whether the reader has seen what the model says."""
        return any(review.shown is Shown.REVEALED for review in self.decisions.values())


def readings_of(history: Iterable[Review]) -> dict[str, Reading]:
    """The reading of each reader, in the order in which they began.

    Args:
        history: Reviews of one study, oldest first.
    """
    rows = tuple(history)
    by_reader: dict[str, list[Review]] = {}
    for review in rows:
        by_reader.setdefault(review.reviewer, []).append(review)
    return {reviewer: _reading(reviewer, own) for reviewer, own in by_reader.items()}


def standing_rows(history: Iterable[Review]) -> tuple[Review, ...]:
    """The decisions and sign-offs that were not withdrawn, oldest first."""
    rows = tuple(history)
    withdrawn = {review.withdraws for review in rows if review.withdraws is not None}
    kept = (ReviewKind.DECISION, ReviewKind.SIGN_OFF)
    return tuple(review for review in rows if review.kind in kept and review.number not in withdrawn)


def has_seen_model(history: Iterable[Review]) -> bool:
    """Whether the model was on the screen in any of these reviews of one reader; once seen it stays seen."""
    return any(review.kind is ReviewKind.REVEAL or review.shown is Shown.REVEALED for review in history)


def known_kind(review: Review, segments: Iterable[str]) -> Review:
    """`review` with its kind of subject; that of an old one is told by the names of the segments."""
    if review.subject_kind is not SubjectKind.UNKNOWN:
        return review
    kind = SubjectKind.SEGMENT if review.subject in set(segments) else SubjectKind.FINDING
    return replace(review, subject_kind=kind)


def _reading(reviewer: str, own: list[Review]) -> Reading:
    decisions: dict[Subject, Review] = {}
    signed: Review | None = None
    for review in standing_rows(own):
        if review.kind is ReviewKind.SIGN_OFF:
            signed = review
        else:
            decisions[review.about] = _merged(decisions.get(review.about), review)
    shown = [review.shown for review in own if review.kind is ReviewKind.DECISION]
    return Reading(
        reviewer=reviewer,
        decisions=decisions,
        signed=signed,
        is_amended=signed is not None and any(_changes(review, signed) for review in own),
        seconds=sum(review.seconds or 0.0 for review in own),
        was_blind=bool(shown) and shown[0] is Shown.BLIND,
        decided_at=own[-1].created_at,
    )


def _changes(review: Review, signed: Review) -> bool:
    return review.number > signed.number and review.kind in (ReviewKind.DECISION, ReviewKind.WITHDRAWAL)


def _merged(before: Review | None, review: Review) -> Review:
    """`review`, with what it leaves open taken over: a comment changes no verdict, a verdict keeps a painted mask."""
    if before is None:
        return review
    if review.verdict is None and not review.value:
        review = replace(review, verdict=before.verdict, value=before.value)
    if not review.mask_sha256 and review.verdict is not Verdict.ACCEPTED:
        review = replace(review, mask_sha256=before.mask_sha256)
    return review if review.comment else replace(review, comment=before.comment)
