"""The model's figures in words that neither promise nor hide: how sure, resting on what, and what to beware of."""

from medfuse.domain import Finding, LabelValue, Prediction, TargetPrediction
from medfuse.review import readable

_LIKELIHOODS = (
    (0.05, "very unlikely"),
    (0.25, "unlikely"),
    (0.40, "less likely than not"),
    (0.60, "about even"),
    (0.75, "more likely than not"),
    (0.95, "likely"),
)


def call(finding: Finding) -> str:
    """The model's word on a finding: what cannot be ruled out where that was fitted, else the side of the threshold."""
    if finding.prediction_set is not None:
        held = set(finding.prediction_set)
        if not held:
            return "unlike anything known"
        if held >= {LabelValue.PRESENT, LabelValue.ABSENT}:
            return "not sure"
        return "present" if LabelValue.PRESENT in held else "absent"
    return {True: "present", False: "absent", None: "no threshold"}[finding.present]


def basis(finding: Finding) -> str:
    """What the figure means, and what the word rests on."""
    if finding.calibrated:
        meaning = (
            f"{_likelihood(finding.probability)}: about {_of_ten(finding.probability)} studies scored like this have it"
        )
    else:
        meaning = "a score, not a probability: it was not calibrated"
    if finding.operating_point is None:
        return f"{meaning}; no threshold"
    side = (
        "" if finding.prediction_set is None or call(finding) in {"present", "absent"} else ", either way not ruled out"
    )
    return f"{meaning}; threshold {finding.operating_point:.2f}{side}"


def cautions(prediction: Prediction) -> list[tuple[str, str]]:
    """What a reader should know before believing the answer, each with the kind of notice."""
    lines = []
    if prediction.familiarity and prediction.familiarity.is_unfamiliar:
        lines.append(
            (
                "warning",
                "This study is unlike those that the model was trained on "
                f"(distance {prediction.familiarity.distance:.1f}, usual to {prediction.familiarity.threshold:.1f}). "
                "Its figures may not hold here.",
            )
        )
    lines += [("warning", f"{flag.detail} ({flag.code})") for flag in prediction.quality]
    if prediction.missing:
        missing = ", ".join("report text" if name == "text" else readable(name) for name in prediction.missing)
        lines.append(("info", f"The model had to do without: {missing}."))
    return lines


def target_value(target: TargetPrediction) -> str:
    """The predicted class, grade or number for a person."""
    if target.most_probable is not None:
        return readable(target.most_probable)
    return "" if target.value is None else f"{target.value:.4g} {target.unit}".strip()


def no_result(reason: str) -> str:
    """Why a study has no answer of a model."""
    return f"This study was not scored: {reason}."


def _likelihood(probability: float) -> str:
    return next((word for limit, word in _LIKELIHOODS if probability < limit), "very likely")


def _of_ten(probability: float) -> str:
    """A probability as a count of like studies, in the smallest round number that shows it."""
    for size in (10, 100, 1000):
        count = round(probability * size)
        if 0 < count < size:
            return f"{count} in {size}"
    return "none in 1000" if probability < 0.5 else "1000 in 1000"
