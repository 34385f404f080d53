"""How often the findings of a training set are present."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medfuse.data.samples import ASSESSED, Case

RAREST = 0.02
"""No finding is taken to be present or absent more rarely: no study weighs more than 25 times its due."""


def prevalence_of(cases: Sequence[Case], findings: Sequence[str]) -> Tensor:
    """Share of each finding among the cases where it was assessed, shape `(F,)`; a half where one answer is all."""
    shares = []
    for finding in findings:
        values = [ASSESSED[case.labels[finding]] for case in cases if case.labels.get(finding) in ASSESSED]
        share = sum(values) / len(values) if values else 0.0
        shares.append(min(max(share, RAREST), 1 - RAREST) if 0 < share < 1 else 0.5)
    return torch.tensor(shares)
