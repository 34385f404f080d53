"""From which probability on a finding is called present. Chosen on validation data, never on the test data.

A study is called present when its probability is at least the threshold, as `Finding.present` does. Every threshold
here lies halfway between the two neighbouring scores that it parts, so that a probability that differs in the last
digits on another device stays on its side.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

RuleName = Literal["youden", "sensitivity", "specificity", "cost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRule:
    """How an operating point is chosen.

    Args:
        name: `youden`: the largest sensitivity + specificity - 1. `sensitivity`: the most specific point that reaches
            `wanted`. `specificity`: the most sensitive point that reaches it. `cost`: the least cost, where a missed
            finding costs `wanted` times a false alarm.
        wanted: In (0, 1] for `sensitivity` and `specificity`, above 0 for `cost`; ignored for `youden`.
    """

    name: RuleName = "youden"
    wanted: float = 0.0

    def __post_init__(self) -> None:
        if self.name in ("sensitivity", "specificity") and not 0 < self.wanted <= 1:
            raise ValueError(f"a wanted {self.name} is above 0 and at most 1, not {self.wanted}")
        if self.name == "cost" and not 0 < self.wanted < float("inf"):
            raise ValueError(f"a cost ratio is above 0, not {self.wanted}")

    @classmethod
    def parse(cls, text: str) -> "PointRule":
        """The rule that `youden`, `sensitivity=0.95`, `specificity=0.9` or `cost=5` names.

        Raises:
            ValueError: It names none.
        """
        name, _, value = text.strip().partition("=")
        if name == "youden" and not value:
            return cls()
        if name not in ("sensitivity", "specificity", "cost"):
            raise ValueError(f"{text!r} is no rule; expected youden, sensitivity=0.95, specificity=0.9 or cost=5")
        try:
            wanted = float(value)
        except ValueError:
            raise ValueError(f"{text!r}: expected a number behind {name}=") from None
        rule: RuleName = name  # type: ignore[assignment]
        return cls(name=rule, wanted=wanted)

    def __str__(self) -> str:
        """As `parse` reads it."""
        return self.name if self.name == "youden" else f"{self.name}={self.wanted:g}"


YOUDEN = PointRule()


def choose_operating_point(labels: ArrayLike, probabilities: ArrayLike, rule: PointRule = YOUDEN) -> float | None:
    """The threshold that a rule chooses; of several equal ones the most sensitive.

    Args:
        labels: Shape `(n,)`, True is PRESENT; UNCERTAIN and NOT_ASSESSED left out.
        probabilities: Shape `(n,)`.
        rule: How to choose; by default the largest Youden's J.

    Returns:
        The threshold, or None unless both classes occur. A threshold above every score calls nobody.

    Source: W. J. Youden, "Index for rating diagnostic tests", Cancer 3 (1950); C. E. Metz, "Basic principles of ROC
    analysis", Seminars in Nuclear Medicine 8 (1978), for costs; scikit-learn's `roc_curve`.
    """
    from sklearn.metrics import roc_curve

    truth = np.asarray(labels, dtype=bool)
    scores = np.asarray(probabilities, dtype=np.float64)
    if not truth.any() or truth.all():
        return None
    false_positive_rate, sensitivity, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    worth = _worth(rule, sensitivity, 1 - false_positive_rate, float(truth.mean()))
    best = int(np.flatnonzero(np.isclose(worth, worth.max(), rtol=0, atol=1e-12))[-1])
    if best == 0:  # the first threshold of `roc_curve` is infinite: nobody is called
        return float(np.nextafter(scores.max(), np.inf))
    lowest_called = float(thresholds[best])
    below = scores[scores < lowest_called]
    halfway = (lowest_called + float(below.max())) / 2 if below.size else lowest_called
    return halfway if not below.size or halfway > below.max() else lowest_called


def _worth(
    rule: PointRule, sensitivity: NDArray[np.float64], specificity: NDArray[np.float64], prevalence: float
) -> NDArray[np.float64]:
    """What a rule makes as large as it can, at each threshold."""
    if rule.name == "sensitivity":
        return np.where(sensitivity >= rule.wanted - 1e-12, specificity, -1.0)
    if rule.name == "specificity":
        return np.where(specificity >= rule.wanted - 1e-12, sensitivity, -1.0)
    if rule.name == "cost":
        return -(rule.wanted * prevalence * (1 - sensitivity) + (1 - prevalence) * (1 - specificity))
    youden = sensitivity + specificity - 1
    youden[0] = -1.0  # somebody is called
    return youden
