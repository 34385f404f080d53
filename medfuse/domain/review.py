"""What a clinician decided. Reviews are only ever added, never changed.

What is undone or amended is said by a new one.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """A reader's word on a finding, a segmentation, or a whole study."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNSURE = "UNSURE"


class ReviewKind(StrEnum):
    """What a review is: a decision, the end of a reading, the undoing of an earlier review, or a look at the model."""

    DECISION = "DECISION"
    SIGN_OFF = "SIGN_OFF"
    WITHDRAWAL = "WITHDRAWAL"
    REVEAL = "REVEAL"


class SubjectKind(StrEnum):
    """What a review is about. `UNKNOWN` are reviews of versions that kept the name alone."""

    STUDY = "STUDY"
    FINDING = "FINDING"
    SEGMENT = "SEGMENT"
    TARGET = "TARGET"
    UNKNOWN = "UNKNOWN"


class Shown(StrEnum):
    """What was on the screen when a reader decided: the model's answer, or only what was there before it.

    `UNKNOWN` are reviews of versions that did not keep it.
    """

    BLIND = "BLIND"
    REVEALED = "REVEALED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a review is about.

    Args:
        kind: A finding, a segment, a target, or the whole study.
        name: As in the label set; empty for the whole study.
        delineation: For a segment, which existing mask it is in (`Delineation.id`); empty for the model's own.
    """

    kind: SubjectKind = SubjectKind.STUDY
    name: str = ""
    delineation: str = ""

    def __post_init__(self) -> None:
        if (self.kind is SubjectKind.STUDY) == bool(self.name):
            raise ValueError("a finding, segment or target has a name, a whole study has none")
        if self.delineation and self.kind is not SubjectKind.SEGMENT:
            raise ValueError("only segments lie in a delineation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One thing that a reader said.

    Args:
        study_instance_uid: Which study.
        subject: Name of the finding, segment or target that it is about; None for the whole study.
        verdict: The decision on what was shown; None where there is none (a sign-off, a value given blind).
        reviewer: Who decided, as that person signs.
        comment: Free text of the reader; data, never markup.
        model_weights_sha256: Which model's answer it is about; empty for none.
        created_at: ISO 8601, UTC.
        kind: A decision, a sign-off, a withdrawal, or a look at the model.
        subject_kind: What `subject` names.
        delineation: Which existing mask a segment is in; empty for the model's own.
        value: What the reader holds to be right: a `LabelValue` for a finding, a class or a number for a target; empty
            where the reader gave none.
        mask_sha256: Hash of the corrected segmentation's file, hex; empty without one.
        shown: What was on the screen.
        seconds: Time on this study since the reader's last review of it; None where nobody counted.
        reason: Why something is changed after the sign-off; empty before it.
        withdraws: Number of the review that a withdrawal undoes; None otherwise.
        number: Place in the store's chain, from 1; 0 until it is kept.
    """

    study_instance_uid: str
    subject: str | None = None
    verdict: Verdict | None = None
    reviewer: str
    comment: str = ""
    model_weights_sha256: str = ""
    created_at: str
    kind: ReviewKind = ReviewKind.DECISION
    subject_kind: SubjectKind = SubjectKind.UNKNOWN
    delineation: str = ""
    value: str = ""
    mask_sha256: str = ""
    shown: Shown = Shown.UNKNOWN
    seconds: float | None = None
    reason: str = ""
    withdraws: int | None = None
    number: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if not self.study_instance_uid or not self.reviewer.strip():
            raise ValueError("a review names its study and its reviewer")
        if self.kind is ReviewKind.DECISION and not (self.verdict or self.value or self.mask_sha256 or self.comment):
            raise ValueError("a decision holds a verdict, a value, a mask or a comment")
        if (self.kind is ReviewKind.WITHDRAWAL) != (self.withdraws is not None):
            raise ValueError("a withdrawal, and nothing else, says which review it undoes")
        if self.subject is None and self.subject_kind is SubjectKind.UNKNOWN:
            object.__setattr__(self, "subject_kind", SubjectKind.STUDY)

    @property
    def about(self) -> Subject:
        """What it is about, as what tells decisions of one reader apart."""
        return Subject(kind=self.subject_kind, name=self.subject or "", delineation=self.delineation)
