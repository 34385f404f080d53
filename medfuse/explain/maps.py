"""Which voxels an answer rests on.

The logit of a study is the highest of its windows, so only the window that decides a finding has a part in it; a map
is zero elsewhere. Members of an ensemble have a map each, and the mean is given.

- `gradient`: integrated gradients along the way from a neutral study, all of whose voxels are their channel's mean, to
  the study (captum), smoothed a little. The values are in log-odds and about add up to the difference of both answers.
- `occlusion`: what the log-odds lose when a box of the image is made neutral; slow, and needs no gradient. (MONAI's
  indexes tensors in a way that torch gives up, and captum's goes through all boxes again for each finding.)
- `attention`: how much the finding's query looked at each token of the image. It tells where the network looked, not
  what that did; never negative.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medfuse.data.samples import Case
from medfuse.explain.reading import IMAGE, TEXT, Reading, neutral_of, repeated
from medfuse.inference.sliding_window import Index, batched
from medfuse.tensors import Batch

Method = Literal["gradient", "occlusion", "attention"]
METHODS: tuple[Method, ...] = get_args(Method)

STEPS = 16
"""Points along the way of integrated gradients."""

SMOOTHED_VOXELS = 1.0
"""Deviation of the Gaussian that integrated gradients are smoothed by."""

BOXES_AN_AXIS = 6
"""Boxes of an occlusion along each axis of a window."""

_AT_ONCE = 4

VoxelWeights = NDArray[np.float64]


def voxel_weights(readings: Sequence[Reading], case: Case, method: Method) -> VoxelWeights:
    """Weigh the voxels of a study for each finding.

    Args:
        readings: Of the members, of every window.
        case: The study.
        method: How.

    Returns:
        Shape `(F, I, J, K)` on the model grid, all channels added up; positive speaks for the finding.
    """
    total = np.zeros((len(readings[0].member.checkpoint.label_set.findings), *case.image.shape[1:]))
    for reading in readings:
        short, decides = reading.decisive(case)
        for number, start in enumerate(short.starts):
            findings = [finding for finding, window in enumerate(decides) if window == number]
            weights = _METHODS[method](_Answers(short, case, start), findings)
            slopes = (
                [_slope(reading, finding) for finding in findings] if method != "attention" else [1.0] * len(findings)
            )
            for finding, slope, block in zip(findings, slopes, weights, strict=True):
                _add(total[finding], slope * block, start)
    return total / len(readings)


class _Answers(nn.Module):
    """A member as a function of one window's image, the text held still."""

    def __init__(self, reading: Reading, case: Case, start: Index) -> None:
        super().__init__()
        self.reading, self.case, self.start = reading, case, start
        self.network = reading.member.network
        self.window: Batch = reading.batch([case], start)
        self.neutral: Tensor = reading.batch([neutral_of(case)], start).image
        encoder = self.network.text_encoder
        with torch.no_grad():
            self.text = {} if encoder is None else {TEXT: encoder(self.window.text)}

    def forward(self, image: Tensor) -> Tensor:
        """Finding logits, (B, F), of images (B, C, I, J, K)."""
        batch = replace(self.reading.batch([self.case] * len(image), self.start), image=image)
        encoded = {name: repeated(features, len(image)) for name, features in self.text.items()}
        logits: Tensor = self.network(batch, encoded).finding_logits
        return logits


def _integrated_gradients(answers: _Answers, findings: Sequence[int]) -> list[VoxelWeights]:
    from captum.attr import IntegratedGradients
    from scipy.ndimage import gaussian_filter

    image = answers.window.image.clone().requires_grad_()
    weights = []
    with torch.enable_grad():
        for finding in findings:
            given = IntegratedGradients(answers).attribute(
                image, answers.neutral, target=finding, n_steps=STEPS, internal_batch_size=_AT_ONCE
            )
            summed = given[0].sum(dim=0).detach().double().cpu().numpy()
            weights.append(gaussian_filter(summed, SMOOTHED_VOXELS))
    return weights


def _occlusion(answers: _Answers, findings: Sequence[int]) -> list[VoxelWeights]:
    image, neutral = answers.window.image, answers.neutral
    edges = [max(1, -(-n // BOXES_AN_AXIS)) for n in image.shape[2:]]
    boxes: list[tuple[slice, ...]] = [
        tuple(slice(first, first + edge) for first, edge in zip(firsts, edges, strict=True))
        for firsts in product(*(range(0, n, edge) for n, edge in zip(image.shape[2:], edges, strict=True)))
    ]
    with torch.no_grad():
        whole = answers(image)[0]
        lost = whole.new_zeros((len(whole), *image.shape[2:]))
        for group in batched(boxes, _AT_ONCE):
            variants = image.repeat(len(group), 1, 1, 1, 1)
            for row, box in enumerate(group):
                variants[row][(slice(None), *box)] = neutral[0][(slice(None), *box)]
            for box, left in zip(group, answers(variants), strict=True):
                lost[(slice(None), *box)] = (whole - left)[:, None, None, None]
    return [lost[finding].double().cpu().numpy() for finding in findings]


def _attention(answers: _Answers, findings: Sequence[int]) -> list[VoxelWeights]:
    network, image = answers.network, answers.window.image
    looked: list[Tensor] = []
    if network.findings is None or network.image_encoder is None:
        return [np.zeros(tuple(image.shape[2:])) for _ in findings]
    hook = network.findings.register_forward_hook(lambda _, __, said: looked.append(said[1][IMAGE]))
    try:
        with torch.no_grad():
            answers(image)
    finally:
        hook.remove()
    cells = [n // stride for n, stride in zip(image.shape[2:], network.image_encoder.strides[-1], strict=True)]
    coarse = looked[0][0].float().reshape(1, -1, *cells)
    fine = nn.functional.interpolate(coarse, size=tuple(image.shape[2:]), mode="trilinear", align_corners=False)[0]
    return [fine[finding].double().cpu().numpy() for finding in findings]


_METHODS: dict[Method, Callable[[_Answers, Sequence[int]], list[VoxelWeights]]] = {
    "gradient": _integrated_gradients,
    "occlusion": _occlusion,
    "attention": _attention,
}


def _slope(reading: Reading, finding: int) -> float:
    checkpoint = reading.member.checkpoint
    fitted = checkpoint.calibration.get(checkpoint.label_set.findings[finding])
    return 1.0 if fitted is None else fitted.scaled(1.0) - fitted.scaled(0.0)


def _add(total: VoxelWeights, block: VoxelWeights, start: Index) -> None:
    """Add a window's weights at its place; what lies beyond the grid is dropped."""
    outer, inner = [], []
    for begin, length, limit in zip(start, block.shape, total.shape, strict=True):
        low, high = max(begin, 0), min(begin + length, limit)
        outer.append(slice(low, high))
        inner.append(slice(low - begin, high - begin))
    total[tuple(outer)] += block[tuple(inner)]
