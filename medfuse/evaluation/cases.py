"""One scored study beside its truth: all that a figure is made of."""

from dataclasses import dataclass, field

from medfuse.domain import Familiarity, LabelValue, TargetPrediction
from medfuse.metrics import EmptyMask
from medfuse.metrics.detection import Detections


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """Volume of one segment of one study, mm3, as predicted and in the reference."""

    predicted_mm3: float
    reference_mm3: float


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
        uncalibrated: Finding -> probability before temperature or Platt scaling; absent where it cannot be had.
        spread: Finding -> standard deviation over members or augmentations.
        prediction_sets: Finding -> conformal set of the checkpoint; absent where none was fitted.
        surface_dice: Segment -> tolerance in mm -> normalised surface distance, under the rule of `dice`.
        volumes: Segment -> its volumes, under the rule of `dice`.
        detections: Segment -> lesions and candidates, under the rule of `dice`.
        targets: Target -> what the model says.
        target_values: Target -> truth: position of the class or grade from 0, or the number; absent where not known.
        familiarity: How far the study is from the training set.
        missing: Inputs that the study lacks.
        groups: Column of the manifest -> the group of this study, for the columns that were asked for.
    """

    study_instance_uid: str
    patient_key: str
    probabilities: dict[str, float] = field(default_factory=dict)
    labels: dict[str, LabelValue] = field(default_factory=dict)
    dice: dict[str, float | None] = field(default_factory=dict)
    hd95_mm: dict[str, float | None] = field(default_factory=dict)
    empty_masks: dict[str, EmptyMask] = field(default_factory=dict)
    operating_points: dict[str, float] = field(default_factory=dict)
    uncalibrated: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    prediction_sets: dict[str, tuple[LabelValue, ...]] = field(default_factory=dict)
    surface_dice: dict[str, dict[float, float]] = field(default_factory=dict)
    volumes: dict[str, Volumes] = field(default_factory=dict)
    detections: dict[str, Detections] = field(default_factory=dict)
    targets: dict[str, TargetPrediction] = field(default_factory=dict)
    target_values: dict[str, float] = field(default_factory=dict)
    familiarity: Familiarity | None = None
    missing: tuple[str, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)

    def label(self, finding: str) -> LabelValue:
        """The truth of a finding."""
        return self.labels.get(finding, LabelValue.NOT_ASSESSED)
