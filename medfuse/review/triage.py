"""What to read first, and why: one number and one sentence a study.

From the top: findings that the model calls present, by probability; then what it is not sure of, or whose input is odd;
then studies without a result, which nobody has looked at yet; then the rest, by probability. Studies that the reader
has signed off come last, whatever they hold. The sentence says which of these it is, in words that a reader can check.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from medfuse.domain import Finding, LabelValue, Prediction
from medfuse.outputs import ScoreRow
from medfuse.review.views import readable

UNFAMILIAR = "UNFAMILIAR"
"""Flag of a study that is unlike the training set."""

LEAKAGE = "LEAKAGE_ALLOWED"
"""Flag of an answer by a model that was trained on report sections that state the answer."""

_PRESENT, _DOUBTFUL, _UNSCORED = 3.0, 2.0, 1.5
_NEAR = 0.8
_ASSUMED_POINT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """Where a study stands in the order of reading.

    Args:
        priority: Higher comes first.
        reason: One sentence for a person.
        uncertainty: Of the least certain finding, in [0, 1]: 0 at a probability of 0 or 1, 1 at the operating point,
            or where a prediction set holds both values or none.
        unsure_of: Findings that the model is not sure of.
        flags: Codes of what is odd, sorted.
    """

    priority: float
    reason: str
    uncertainty: float = 0.0
    unsure_of: tuple[str, ...] = ()
    flags: tuple[str, ...] = field(default=())


def triage_of(row: ScoreRow, prediction: Prediction | None) -> Triage:
    """The triage of a study of a folder of results.

    Args:
        row: Its row of `scores.csv`.
        prediction: The whole answer; None where it cannot be read, and the row has to do.
    """
    if row.status == "rejected":
        return Triage(priority=_UNSCORED, reason=f"Without a result: {row.reason or 'NOT_SCORED'}.")
    findings = tuple(prediction.findings) if prediction else findings_of(row)
    flags = _flags(prediction)
    unsure = tuple(finding.name for finding in findings if is_unsure(finding))
    present = [finding for finding in findings if finding.probability >= _point(finding)]
    uncertainty = max((uncertainty_of(finding) for finding in findings), default=0.0)
    priority, reason = _order(findings, present, unsure, flags, uncertainty)
    return Triage(priority=priority, reason=reason, uncertainty=uncertainty, unsure_of=unsure, flags=flags)


def findings_of(row: ScoreRow) -> tuple[Finding, ...]:
    """The findings of a row of `scores.csv` alone, without operating points."""
    return tuple(
        Finding(name=name, probability=min(max(value, 0.0), 1.0), spread=row.spreads.get(name))
        for name, value in row.probabilities.items()
        if value is not None
    )


def is_unsure(finding: Finding) -> bool:
    """Whether the model leaves a finding open: by its prediction set, or near its operating point without one."""
    if finding.prediction_set is not None:
        return len(finding.prediction_set) != 1
    near_by_spread = finding.spread is not None and abs(finding.probability - _point(finding)) < finding.spread
    return near_by_spread or uncertainty_of(finding) > _NEAR


def uncertainty_of(finding: Finding) -> float:
    """How close a finding is to its operating point, from 0 (a probability of 0 or 1) to 1 (at the point, or open)."""
    if finding.prediction_set is not None and len(finding.prediction_set) != 1:
        return 1.0
    point = _point(finding)
    room = 1 - point if finding.probability >= point else point
    return 1.0 - abs(finding.probability - point) / room if room > 0 else 1.0


def _order(
    findings: Sequence[Finding],
    present: Sequence[Finding],
    unsure: Sequence[str],
    flags: Sequence[str],
    uncertainty: float,
) -> tuple[float, str]:
    if present:
        highest = max(present, key=lambda finding: finding.probability)
        return _PRESENT + highest.probability, f"{_named(highest)}, {_basis(highest)}.{_also(present)}"
    if UNFAMILIAR in flags:
        return _DOUBTFUL + 1.0, "Unlike the studies that the model learned from: its probabilities may not hold."
    if unsure:
        open_one = max((f for f in findings if f.name in unsure), key=uncertainty_of)
        return _DOUBTFUL + 0.9 * uncertainty, f"Not sure: {_named(open_one)}, {_doubt(open_one)}."
    odd = [flag for flag in flags if flag != LEAKAGE]
    if odd:
        return _DOUBTFUL, f"Something is odd about the input: {', '.join(odd)}."
    if findings:
        highest = max(findings, key=lambda finding: finding.probability)
        return highest.probability, f"Nothing is called present; the most likely is {_named(highest)}."
    return 0.0, "Segments only: the model says nothing of findings."


def _flags(prediction: Prediction | None) -> tuple[str, ...]:
    if prediction is None:
        return ()
    flags = {flag.code for flag in prediction.quality}
    flags |= {f"MISSING_{name.upper()}" for name in prediction.missing}
    if prediction.familiarity is not None and prediction.familiarity.is_unfamiliar:
        flags.add(UNFAMILIAR)
    if prediction.model.leakage_allowed:
        flags.add(LEAKAGE)
    return tuple(sorted(flags))


def _point(finding: Finding) -> float:
    return _ASSUMED_POINT if finding.operating_point is None else finding.operating_point


def _named(finding: Finding) -> str:
    return f"{readable(finding.name)} {finding.probability:.2f}"


def _basis(finding: Finding) -> str:
    if finding.operating_point is None:
        return "without an operating point"
    return f"at or above its operating point of {finding.operating_point:.2f}"


def _also(present: Sequence[Finding]) -> str:
    return f" {len(present) - 1} more called present." if len(present) > 1 else ""


def _doubt(finding: Finding) -> str:
    if finding.prediction_set is None:
        return f"near {_point(finding):.2f}"
    both = {LabelValue.PRESENT, LabelValue.ABSENT} <= set(finding.prediction_set)
    return "neither present nor absent can be ruled out" if both else "unlike anything that it was calibrated on"
