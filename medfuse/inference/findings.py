"""From logits to findings, with what in the text weighed most."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medfuse.domain.prediction import Evidence, Finding
from medfuse.inference.conformal import prediction_set
from medfuse.model.checkpoint import Calibration

MOST_EVIDENCE = 8
"""Stretches of text kept for each finding."""

LEAST_WEIGHT = 0.1
"""Stretches below this share of the heaviest one are left out."""


def findings_of(
    names: Sequence[str],
    logits: Tensor,
    calibration: Mapping[str, Calibration],
    evidence: Sequence[tuple[Evidence, ...]],
) -> tuple[Finding, ...]:
    """The findings of a study.

    Args:
        names: Of the label set, in order.
        logits: Shape `(F,)`.
        calibration: By finding.
        evidence: One tuple a finding.
    """
    found = []
    for position, name in enumerate(names):
        fitted = calibration.get(name, Calibration())
        probability = torch.sigmoid(torch.tensor(fitted.scaled(logits[position].item()), dtype=torch.double)).item()
        thresholds = fitted.conformal
        found.append(
            Finding(
                name=name,
                probability=probability,
                operating_point=fitted.operating_point,
                calibrated=fitted.is_fitted,
                evidence=evidence[position],
                prediction_set=None if thresholds is None else prediction_set(probability, thresholds),
            )
        )
    return tuple(found)


def evidence_of(attention: Tensor, offsets: Tensor, text: str) -> tuple[Evidence, ...]:
    """The words that a finding looked at most, in the order of the text, the heaviest with weight 1.

    Args:
        attention: Shape `(W,)`, one weight a sub-word.
        offsets: Shape `(W, 2)`, characters of each sub-word; equal for special tokens and padding.
        text: The text.
    """
    words: dict[tuple[int, int], float] = {}
    for (start, end), weight in zip(offsets.tolist(), attention.tolist(), strict=True):
        if end > start:
            word = _word_around(text, start, end)
            words[word] = words.get(word, 0.0) + weight
    return heaviest(words)


def heaviest(words: Mapping[tuple[int, int], float]) -> tuple[Evidence, ...]:
    """The words that weigh most, in the order of the text, the heaviest with weight 1.

    Args:
        words: Characters `(start, end)` -> weight.
    """
    most = max(words.values(), default=0.0)
    if most <= 0:
        return ()
    kept = sorted(words.items(), key=lambda item: -item[1])[:MOST_EVIDENCE]
    return tuple(
        Evidence(start=start, end=end, weight=weight / most)
        for (start, end), weight in sorted(kept)
        if weight >= LEAST_WEIGHT * most
    )


def _word_around(text: str, start: int, end: int) -> tuple[int, int]:
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    return start, end
