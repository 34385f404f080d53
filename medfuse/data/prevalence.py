"""How often the findings of a training set are present, and how often each class of its targets occurs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medfuse.data.samples import ASSESSED, Case
from medfuse.domain.labels import Target, TargetKind

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


def targets_in(cases: Sequence[Case], targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
    """The targets of cases as numbers, and which of them are known, both of shape `(cases, T)`."""
    values = [[case.targets.get(target.name, 0.0) for target in targets] for case in cases]
    known = [[target.name in case.targets for target in targets] for case in cases]
    shape = (len(cases), len(targets))
    return torch.tensor(values).reshape(shape), torch.tensor(known, dtype=torch.bool).reshape(shape)


def shares_of(cases: Sequence[Case], targets: Sequence[Target]) -> dict[str, Tensor]:
    """Target -> share of each class or grade among the cases where it is known, shape `(C,)`; none for numbers.

    No class is taken to be rarer than `RAREST`; where nothing is known, all are as frequent.
    """
    values, known = targets_in(cases, targets)
    shares = {}
    for position, target in enumerate(targets):
        if target.kind is not TargetKind.NUMBER:
            seen = values[known[:, position], position].long()
            counts = torch.bincount(seen, minlength=len(target.classes)).float()
            frequent = (counts / counts.sum().clamp(min=1)).clamp(min=RAREST)
            shares[target.name] = frequent / frequent.sum()
    return shares
