"""The figures of an evaluation as records: what is measured of a finding, a segment, a target, a group.

Every `Estimate` holds a value, its interval by patient, n and the number of patients; a value of None says why. Curves
are lists of points, so that a plot needs nothing else. Fields with a default are absent from older files.
"""

from dataclasses import dataclass, field

from medfuse.domain import TargetKind
from medfuse.metrics import Estimate, ReliabilityBin


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points of a curve, in its order.

    Args:
        x: Abscissae.
        y: Ordinates.
        thresholds: Probability, or confidence, of each point; None for the point that calls nobody.
        y_low: Lower ends of the intervals of `y`; empty for a curve without.
        y_high: Upper ends.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    thresholds: tuple[float | None, ...] = ()
    y_low: tuple[float, ...] = ()
    y_high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationFigures:
    """Whether probabilities mean what they say.

    Args:
        brier: Mean squared difference of probability and truth.
        ece: Expected calibration error over ten bins of equal width.
        ece_by_chance: Mean of the ECE that perfectly calibrated probabilities like these have at this n.
        ece_by_chance_95: Its 95th percentile: an ECE above it speaks against calibration.
        slope: Of the labels' logistic regression on the log-odds; 1 when calibrated.
        intercept: Calibration in the large; 0 when calibrated.
        bins: The reliability curve.
    """

    brier: Estimate
    ece: Estimate
    ece_by_chance: float | None
    ece_by_chance_95: float | None
    slope: Estimate
    intercept: Estimate
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectiveFigures:
    """What is gained by leaving unsure studies to a reader.

    A study's confidence is the distance of its log-odds from those of the operating point; its error is a wrong call.

    Args:
        curve: Risk (share of wrong calls) against coverage (share of answered studies), the surest first.
        area: Area under it; lower is better.
        risk: Share of wrong calls when every study is answered, which is the area of a model whose confidence says
            nothing.
    """

    curve: Curve
    area: Estimate
    risk: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalFigures:
    """The conformal sets of the checkpoint, held against the truth.

    Args:
        coverage: Share of the studies whose set holds the truth.
        coverage_present: The same of the PRESENT ones.
        coverage_absent: Of the ABSENT ones.
        sure: Share of the studies whose set holds one value.
        unsure: Share whose set holds both.
        empty: Share whose set holds none.
        sure_and_right: Share of the sets of one value that are right.
    """

    coverage: Estimate
    coverage_present: Estimate
    coverage_absent: Estimate
    sure: Estimate
    unsure: Estimate
    empty: Estimate
    sure_and_right: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The four counts at the operating point."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingFigures:
    """How well one finding is told.

    Args:
        name: Of the finding.
        present: Number of studies labelled PRESENT.
        absent: Number labelled ABSENT.
        uncertain: Number labelled UNCERTAIN; they take no part.
        not_assessed: Number without a label; they take no part.
        operating_point: Probability from which the finding is called; from the checkpoint, chosen on validation.
        calibrated: Whether the probabilities were calibrated on data that the model did not train on.
        auroc: Over `present + absent` studies.
        average_precision: Over the same.
        sensitivity: Over the `present` studies, at the operating point.
        specificity: Over the `absent` studies, at the operating point.
        ppv: Share of the called studies that are PRESENT; it holds at this prevalence only.
        npv: Share of the others that are ABSENT, likewise.
        f1: At the operating point.
        mcc: Matthews' correlation coefficient at the operating point.
        calls: The counts behind them; None without an operating point.
        calibration: Of the probabilities as reported.
        uncalibrated: The same before scaling; None where it cannot be had.
        roc: Sensitivity against 1 - specificity.
        precision_recall: Precision against sensitivity.
        decision: Net benefit of the model against the threshold probability, with intervals.
        decision_all: Net benefit of calling every study; that of calling none is 0.
        selective: Risk against coverage; None without an operating point.
        conformal: None where the checkpoint has no conformal sets.
    """

    name: str
    present: int
    absent: int
    uncertain: int
    not_assessed: int
    operating_point: float | None
    calibrated: bool
    auroc: Estimate
    average_precision: Estimate
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate | None = None
    npv: Estimate | None = None
    f1: Estimate | None = None
    mcc: Estimate | None = None
    calls: Calls | None = None
    calibration: CalibrationFigures | None = None
    uncalibrated: CalibrationFigures | None = None
    roc: Curve | None = None
    precision_recall: Curve | None = None
    decision: Curve | None = None
    decision_all: Curve | None = None
    selective: SelectiveFigures | None = None
    conformal: ConformalFigures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlandAltman:
    """Agreement of predicted and true numbers, a point a study.

    Args:
        studies: Study Instance UIDs.
        mean: Mean of predicted and true.
        difference: Predicted less true.
        bias: Mean difference.
        low: Lower limit of agreement, bias - 1.96 standard deviations; None from one study.
        high: Upper limit.
    """

    studies: tuple[str, ...]
    mean: tuple[float, ...]
    difference: tuple[float, ...]
    bias: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionFigures:
    """How well the lesions of a segment are found, one by one.

    Args:
        studies: Number of studies.
        lesions: Number of lesions in their references.
        candidates: Number of candidates.
        sensitivity: Share of the lesions that some candidate finds.
        false_positives: Candidates that are no lesion, a study.
        froc_score: Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a study.
        curve: Sensitivity against false positives a study (FROC); None without a lesion or without a candidate.
        ranked_by: What the confidence of a candidate is.
    """

    studies: int
    lesions: int
    candidates: int
    sensitivity: Estimate
    false_positives: Estimate
    froc_score: Estimate
    curve: Curve | None
    ranked_by: str = "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFigures:
    """How well one segment is delineated.

    Args:
        name: Of the segment.
        dice: Mean over the studies that have a delineation of it.
        hd95_mm: Mean over the same studies, mm.
        both_empty: Studies where neither mask has a voxel: Dice 1, HD95 0.
        missed: Studies where only the prediction is empty: Dice 0, HD95 the diagonal of the grid.
        invented: Studies where only the reference is empty: the same values.
        without_reference: Studies that take no part, for want of a delineation or of a prediction.
        tolerance_mm: Of the surface Dice.
        surface_dice: Mean normalised surface distance over the same studies.
        volume_error_mm3: Mean of predicted less true volume.
        volume_absolute_error_mm3: Mean of its size.
        volume_relative_error: Mean of predicted less true volume by the true one, over studies that have any.
        volume_agreement: Bland and Altman's data.
        detection: None unless lesions were asked for.
    """

    name: str
    dice: Estimate
    hd95_mm: Estimate
    both_empty: int
    missed: int
    invented: int
    without_reference: int
    tolerance_mm: float | None = None
    surface_dice: Estimate | None = None
    volume_error_mm3: Estimate | None = None
    volume_absolute_error_mm3: Estimate | None = None
    volume_relative_error: Estimate | None = None
    volume_agreement: BlandAltman | None = None
    detection: DetectionFigures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFigures:
    """How well a class, a grade or a number is told.

    Args:
        name: Of the target.
        kind: What it is.
        classes: Its classes or grades, in order.
        unit: Of a number.
        known: Number of scored studies with a truth.
        measures: For classes: accuracy, balanced accuracy, macro F1, MCC, macro AUROC (one class against the rest). For
            grades also quadratic kappa and the mean absolute error in grades. For a number: MAE, RMSE, bias, R2, Lin's
            concordance and Spearman's correlation.
        confusion: Rows are true, columns predicted classes; empty for a number.
        agreement: Bland and Altman's data of a number; None for classes and grades.
    """

    name: str
    kind: TargetKind
    classes: tuple[str, ...] = ()
    unit: str = ""
    known: int
    measures: dict[str, Estimate] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()
    agreement: BlandAltman | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFigures:
    """One group of studies.

    Args:
        value: What the studies have in common, e.g. `F` or `60 to 69`.
        studies: Number of them.
        patients: Number of their patients.
        measures: `NAME, MEASURE` -> the figure.
        few: The measures that rest on too few patients to be compared.
        unseen: Whether no study of the group was among those that its model was trained on or chosen by; None where
            that was not asked.
    """

    value: str
    studies: int
    patients: int
    measures: dict[str, Estimate]
    few: tuple[str, ...] = ()
    unseen: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The largest gap of a measure between two groups that do not rest on too few patients.

    It is the largest of several, so that it exceeds the true one on average, and its interval does not correct that.

    Args:
        measure: Which.
        best: The group that does best.
        worst: The group that does worst.
        difference: Size of the gap with its interval.
        pairs: Number of pairs of groups that it is the largest of.
    """

    measure: str
    best: str
    worst: str
    difference: Estimate
    pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgroups:
    """The figures of the groups that a column of the manifest makes.

    Args:
        column: As asked for, e.g. `sex` or `age:10`.
        groups: In order of value.
        gaps: One a measure that two groups can be compared by, the largest relative to its own measure's interval last.
        worst: Measure of the gap to look at first: the one that is largest beside its standard error; empty for none.
    """

    column: str
    groups: tuple[GroupFigures, ...]
    gaps: tuple[Gap, ...] = ()
    worst: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFigures:
    """Generalisation to sites that the model never saw: each site scored by a model that was trained without it.

    Args:
        column: Of the manifest.
        sites: Each site.
        mean: Measure -> mean over sites, each site counting once.
        spread: Measure -> sample standard deviation over sites; absent below two.
        lowest: Measure -> the lowest figure of a site.
        highest: Measure -> the highest.
    """

    column: str
    sites: tuple[GroupFigures, ...]
    mean: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    lowest: dict[str, float] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A study to look at.

    Args:
        study_instance_uid: Which.
        kind: `missed` (a finding that is there and was not called), `false alarm`, `low Dice`, `wrong class`,
            `large error`.
        name: Of the finding, segment or target.
        value: Probability, Dice, or error.
        told: What was said and what is so, in words.
    """

    study_instance_uid: str
    kind: str
    name: str
    value: float
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldFigures:
    """One fold of a cross-validation on its own test set.

    Args:
        name: Of the fold.
        studies: Number of scored studies.
        patients: Number of their patients.
        auroc: Of each finding.
        dice: Mean over the studies that have a delineation of it, of each segment.
        mean_dice: As in `EvaluationReport`.
        coverage: Share of the studies whose conformal set holds the truth, of each finding that has sets.
        ece: Expected calibration error of each finding.
    """

    name: str
    studies: int
    patients: int
    auroc: dict[str, Estimate]
    dice: dict[str, Estimate]
    mean_dice: Estimate | None
    coverage: dict[str, Estimate] = field(default_factory=dict)
    ece: dict[str, Estimate] = field(default_factory=dict)
