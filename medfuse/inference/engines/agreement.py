"""How far the answers of two engines are apart, and how far they may be."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from medfuse.inference.engines.base import Precision
from medfuse.tensors import ModelOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far an answer is from another.

    Args:
        probability: Largest difference of a finding's probability.
        target: Largest difference of an output of a target, as a share of 1 plus its size.
        voxels: Share of voxels that get another class.
        score: Mean difference of the classes' probabilities over the voxels, each by itself or all of them together.
    """

    probability: float
    target: float
    voxels: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an engine's answer may be from PyTorch's in fp32; as in `Difference`."""

    probability: float
    target: float
    voxels: float
    score: float

    def objection(self, found: Difference) -> str:
        """What is too far apart, in words; empty for nothing."""
        for name in ("probability", "target", "voxels", "score"):
            value, limit = getattr(found, name), getattr(self, name)
            if not value <= limit:  # NaN is no agreement
                return f"differs from pytorch fp32 ({name} {value:.2g}, at most {limit:g})"
        return ""


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(probability=1e-3, target=1e-3, voxels=5e-4, score=1e-4),
    "bf16": Tolerance(probability=1e-2, target=2e-2, voxels=2e-3, score=1e-3),
}
"""By precision. In bf16, 2 voxels of 1,000 may change class: those where two classes are about equally probable."""


def difference(found: ModelOutput, expected: ModelOutput) -> Difference:
    """How far an answer is from another of the same batch."""
    voxels = score = 0.0
    if found.segment_logits is not None and expected.segment_logits is not None:
        ours, theirs = found.segment_logits.float(), expected.segment_logits.float()
        voxels = float((_class(ours) != _class(theirs)).float().mean())
        score = max(
            float((of(ours) - of(theirs)).abs().mean()) for of in (torch.sigmoid, partial(torch.softmax, dim=1))
        )
    return Difference(
        probability=_most(found.finding_logits.sigmoid() - expected.finding_logits.sigmoid()),
        target=max(
            (
                _most((found.target_outputs[name] - value) / (1 + value.abs()))
                for name, value in expected.target_outputs.items()
            ),
            default=0.0,
        ),
        voxels=voxels,
        score=score,
    )


def _class(logits: Tensor) -> Tensor:
    """The class of each voxel; of a single channel, whether the segment is there."""
    return logits.argmax(dim=1) if logits.shape[1] > 1 else logits > 0


def _most(values: Tensor) -> float:
    return float(torch.nan_to_num(values, nan=torch.inf).abs().max()) if values.numel() else 0.0
