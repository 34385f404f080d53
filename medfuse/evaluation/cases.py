"""One scored study beside its truth: all that a figure is made of."""

from dataclasses import dataclass, field

from medfuse.domain import LabelValue
from medfuse.metrics import EmptyMask


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One study of an evaluation.

    Args:
        study_instance_uid: Which study.
        patient_key: Pseudonymous; intervals draw patients.
        probabilities: Finding -> probability of the model.
        labels: Finding -> truth; a finding that is not among them counts as NOT_ASSESSED.
        dice: Segment -> Dice; None, or absent, where the study has no delineation of it or no prediction.
        hd95_mm: Segment -> HD95 in mm, under the same rule.
        empty_masks: Segment -> which mask was empty, for the segments where one was.
        operating_points: Finding -> threshold of the model that scored this study, where cases of several models are
            pooled; empty where one model scored all of them.
    """

    study_instance_uid: str
    patient_key: str
    probabilities: dict[str, float] = field(default_factory=dict)
    labels: dict[str, LabelValue] = field(default_factory=dict)
    dice: dict[str, float | None] = field(default_factory=dict)
    hd95_mm: dict[str, float | None] = field(default_factory=dict)
    empty_masks: dict[str, EmptyMask] = field(default_factory=dict)
    operating_points: dict[str, float] = field(default_factory=dict)

    def label(self, finding: str) -> LabelValue:
        """The truth of a finding."""
        return self.labels.get(finding, LabelValue.NOT_ASSESSED)
