"""What a model says of a study, with the model's identity on it. Plain data, except for the label map."""

from dataclasses import dataclass, field

from medfuse.domain.labels import LabelValue, TargetKind
from medfuse.domain.segmentation import Segmentation
from medfuse.domain.volume import VoxelMap


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model spoke.

    Args:
        name: The run's name.
        version: medfuse's version that trained it.
        weights_sha256: Hash of the weights file, hex.
        config_sha256: Hash of the resolved config, hex.
        leakage_allowed: Whether it was trained on report sections that state the answer; shown with its figures.
    """

    name: str
    version: str
    weights_sha256: str
    config_sha256: str
    leakage_allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A stretch of the text that the model attended to: offsets into `Prediction.text_input`, weight in [0, 1]."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The probability of one finding.

    Args:
        name: As in the model's label set.
        probability: In [0, 1].
        operating_point: Probability from which the finding is called present, chosen on validation data; None if not.
        calibrated: Whether the probability was calibrated on data that the model did not train on.
        evidence: What in the text weighed most; empty without text.
        spread: Standard deviation of the probability over the members of an ensemble, or over test-time augmentations;
            None from a single answer.
        prediction_set: What cannot be ruled out at the checkpoint's error rate (conformal prediction): PRESENT, ABSENT,
            both (the model is not sure), or none (unlike anything it was calibrated on); None where none was fitted.
        contributions: Input (`image`, `text`, or a channel) -> its Shapley value in log-odds; empty unless asked for.
    """

    name: str
    probability: float
    operating_point: float | None = None
    calibrated: bool = False
    evidence: tuple[Evidence, ...] = ()
    spread: float | None = None
    prediction_set: tuple[LabelValue, ...] | None = None
    contributions: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability of {self.name} is {self.probability}, expected 0 to 1")

    @property
    def present(self) -> bool | None:
        """Whether the probability reaches the operating point; None without one."""
        return None if self.operating_point is None else self.probability >= self.operating_point


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPrediction:
    """What a model says of a target that is no finding: a class, a grade or a number.

    Args:
        name: As in the model's label set.
        kind: What kind of target it is.
        classes: Names of its classes or grades, in order; empty for a number.
        probabilities: One a class; empty for a number.
        value: The predicted number; for grades the expected grade, from 0; None for classes without order.
        unit: Of the number, as the label set has it; may be empty.
    """

    name: str
    kind: TargetKind
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    value: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.probabilities):
            raise ValueError(f"{self.name} has {len(self.classes)} classes and {len(self.probabilities)} probabilities")

    @property
    def most_probable(self) -> str | None:
        """The most probable class or grade; None for a number."""
        if not self.classes:
            return None
        return self.classes[max(range(len(self.classes)), key=self.probabilities.__getitem__)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Familiarity:
    """How far a study is from what the model was trained on.

    Args:
        distance: Distance of its features to those of the training set; larger is stranger.
        threshold: Distance that held-out studies of the training set's kind rarely exceed.
    """

    distance: float
    threshold: float

    @property
    def is_unfamiliar(self) -> bool:
        """Whether the study is out of the training set's distribution."""
        return self.distance > self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFlag:
    """Something about the input that a reader should know before believing the answer.

    Args:
        code: Stable code, as in `data_manifests/reasons.md`.
        detail: One sentence: found against expected, without header text.
    """

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentVolume:
    """Volume of one predicted segment, mm3, on the source grid."""

    name: str
    volume_mm3: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A rigid registration of one series onto the reference series.

    Args:
        reference: `Series.key` of the reference series, whose space the study was prepared in.
        matrix_lps: Four rows of a 4x4 matrix, from LPS mm of the reference series to LPS mm of this one.
        nmi_before: Normalised mutual information of both by geometry alone: 1 (unrelated, or apart) to 2.
        nmi_after: The same through the matrix.
        applied: Whether the series was resampled through the matrix; if not, by geometry alone.
    """

    reference: str
    matrix_lps: tuple[tuple[float, ...], ...]
    nmi_before: float
    nmi_after: float
    applied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPreparation:
    """How one input channel was made.

    Args:
        channel: Its name.
        series: `Series.key` of the series that fills it.
        choice: Why this series, in words without header text.
        notes: What was done to its voxels on the way, one sentence each.
        alignment: The registration, where one was run.
    """

    channel: str
    series: str
    choice: str
    notes: tuple[str, ...] = ()
    alignment: Alignment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One model's answer on one study.

    Args:
        study_instance_uid: Which study.
        accession_number: As in the study; may be empty.
        model: Who spoke.
        findings: In the order of the label set.
        segment_volumes: In the order of the label set; empty for a model without segments.
        series_used: Channel name -> `Series.key` of the series that filled it.
        missing: Inputs that the model takes and the study lacks: channel names, or `text`.
        text_input: The text that the model read; empty for none.
        created_at: ISO 8601, UTC.
        preparation: How each channel of `series_used` was made.
        targets: What is predicted beside findings, in the order of the label set.
        familiarity: How far the study is from the training set; None from a checkpoint that does not know.
        quality: What is odd about the input; empty when nothing is.
        timings: Stage (`read`, `preprocess`, `network`, `restore`, `save`) -> seconds.
    """

    study_instance_uid: str
    accession_number: str
    model: ModelIdentity
    findings: tuple[Finding, ...]
    segment_volumes: tuple[SegmentVolume, ...] = ()
    series_used: dict[str, str]
    missing: tuple[str, ...] = ()
    text_input: str = ""
    created_at: str
    preparation: tuple[ChannelPreparation, ...] = ()
    targets: tuple[TargetPrediction, ...] = ()
    familiarity: Familiarity | None = None
    quality: tuple[QualityFlag, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """A study with a result.

    Args:
        prediction: The answer.
        segmentation: On the grid of the series `segmentation_series_uid`, or None for a model without segments.
        segmentation_series_uid: `Series.key` of the source series whose grid the segmentation is on.
        maps: Probabilities or saliency a voxel, on the grid of that series; empty unless asked for.
    """

    prediction: Prediction
    segmentation: Segmentation | None = None
    segmentation_series_uid: str | None = None
    maps: tuple[VoxelMap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A study without a result: a stable reason code, and one line for a person."""

    study_instance_uid: str
    accession_number: str = ""
    reason: str
    detail: str


StudyOutcome = Scored | Rejected
