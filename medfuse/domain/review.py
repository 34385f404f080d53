"""What a clinician decided. Reviews are only ever added, never changed."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """A reader's word on a finding, a segmentation, or a whole study."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNSURE = "UNSURE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One decision.

    Args:
        study_instance_uid: Which study.
        subject: Name of the finding or segment that it is about; None for the whole study.
        verdict: The decision.
        reviewer: Who decided, as that person signs.
        comment: Free text of the reader; data, never markup.
        model_weights_sha256: Which model's answer was on the screen; empty for none.
        created_at: ISO 8601, UTC.
    """

    study_instance_uid: str
    subject: str | None = None
    verdict: Verdict
    reviewer: str
    comment: str = ""
    model_weights_sha256: str = ""
    created_at: str

    def __post_init__(self) -> None:
        if not self.study_instance_uid or not self.reviewer.strip():
            raise ValueError("a review names its study and its reviewer")
