"""Whether an explanation means something: deletion and insertion curves, and networks whose weights are shuffled.

What an explanation calls important is taken away first (deletion), or is all that is there at first (insertion); the
area says how much the probability of what was predicted changes on the way, against random orders. And the map of a
network that has learnt nothing must look different.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medfuse.data.samples import Case
from medfuse.explain.maps import VoxelWeights
from medfuse.explain.reading import Reading, log_odds, neutral_of
from medfuse.explain.words import text_of, units_of
from medfuse.inference.member import Member
from medfuse.seeding import stream

POINTS = 10
"""Points of a curve after the first."""

BOX = 5
"""Voxels along each edge of the boxes that image curves take away; single voxels taken away are noise to a network."""

Kind = Literal["deletion", "insertion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveAreas:
    """Areas of the curves of one study and finding.

    Args:
        weighted: With what the explanation calls important first.
        shuffled: Mean of random orders.
    """

    weighted: float
    shuffled: float


def word_areas(
    readings: Sequence[Reading],
    case: Case,
    finding: int,
    weights: NDArray[np.float64],
    kind: Kind,
    *,
    draws: int,
    seed: int,
) -> CurveAreas:
    """The areas of a text's curves.

    Args:
        readings: Of the members.
        case: The study.
        finding: Position of the finding.
        weights: One a word of `units_of`, positive for the finding.
        kind: Deletion or insertion.
        draws: Random orders.
        seed: Of these.
    """
    spans = units_of(case.text)

    def variant(kept: Sequence[int]) -> Case:
        return replace(case, text=text_of(case.text, spans, kept))

    return _areas(readings, case, finding, weights, variant, kind, draws, seed)


def voxel_areas(
    readings: Sequence[Reading], case: Case, finding: int, weights: VoxelWeights, kind: Kind, *, draws: int, seed: int
) -> CurveAreas:
    """The areas of an image's curves, taken away in boxes of `BOX` voxels, which become the channel's mean.

    Args:
        readings: Of the members.
        case: The study.
        finding: Position of the finding.
        weights: One a voxel, shape `(I, J, K)`, positive for the finding.
        kind: Deletion or insertion.
        draws: Random orders.
        seed: Of these.
    """
    boxes = _boxes(case.image.shape[1:])
    of_box = np.bincount(boxes.ravel(), weights.ravel()).astype(np.float64)
    neutral = neutral_of(case)

    def variant(kept: Sequence[int]) -> Case:
        return replace(neutral, image=np.where(np.isin(boxes, kept), case.image, neutral.image))

    return _areas(readings, case, finding, of_box, variant, kind, draws, seed)


def shuffled(member: Member, seed: int) -> Member:
    """The member with the numbers of every weight shuffled: as large as before, and nothing learnt is left.

    Source: J. Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.
    """
    network = copy.deepcopy(member.network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return Member(member.checkpoint, network, member.device, member.training_set)


def likeness(one: VoxelWeights, other: VoxelWeights) -> float:
    """Spearman's correlation of two maps' sizes, whatever their signs: 1 for the same order of voxels."""
    from scipy.stats import spearmanr

    return float(spearmanr(np.abs(one).ravel(), np.abs(other).ravel()).statistic)


def _areas(
    readings: Sequence[Reading],
    case: Case,
    finding: int,
    weights: NDArray[np.float64],
    variant: Callable[[Sequence[int]], Case],
    kind: Kind,
    draws: int,
    seed: int,
) -> CurveAreas:
    sign = 1.0 if log_odds(readings, [case])[0, finding] >= 0 else -1.0
    random = stream(seed, "curves")
    first = np.argsort(-sign * weights, kind="stable")
    orders = [first.tolist(), *(random.permutation(len(weights)).tolist() for _ in range(draws))]
    counts = np.unique(np.linspace(0, len(weights), POINTS + 1).round().astype(int))
    variants = [variant(order[count:] if kind == "deletion" else order[:count]) for order in orders for count in counts]
    said = sign * log_odds(readings, variants)[:, finding].reshape(len(orders), len(counts))
    probability = 1 / (1 + np.exp(-said))
    changed = probability[:, :1] - probability if kind == "deletion" else probability - probability[:, :1]
    areas = np.trapezoid(changed, counts / counts[-1], axis=1)
    return CurveAreas(weighted=float(areas[0]), shuffled=float(areas[1:].mean()))


def _boxes(shape: Sequence[int]) -> NDArray[np.int64]:
    """The number of the box that each voxel is in."""
    along = [np.arange(n) // BOX for n in shape]
    counts = [int(axis[-1]) + 1 for axis in along]
    i, j, k = np.meshgrid(*along, indexing="ij")
    return np.asarray((i * counts[1] + j) * counts[2] + k)
