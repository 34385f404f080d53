"""Spacing, input size, batch and network, from the grids of the data and a budget of memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.planning.device import Device
from medfuse.planning.fingerprint import Fingerprint, Shape, Triple
from medfuse.planning.memory import features_of, training_gib
from medfuse.planning.spacing import coarser, rounded, target_spacing
from medfuse.planning.topology import FEWEST_CELLS, Topology, topology

LARGEST_VOXELS = 256**3
"""Voxels that an input is first given, as a cube in mm, before memory cuts it down (nnU-Net's)."""
CPU_GIB = 2.0
"""Memory that a run on a CPU is planned for where nobody says another: more would take minutes a step."""
GPU_SHARE = 0.8
"""Share of a GPU's memory that is planned for; the rest is the text encoder, cuDNN and fragments."""
SMALLEST_BATCH = 2
LARGEST_BATCH = 16
CPU_BATCH = 2
"""Studies a step on a CPU: it gains nothing from more, and more steps an epoch learn faster."""
BATCH_SHARE = 0.05
"""Share of the data set's voxels that a batch holds at most (nnU-Net's)."""
COARSEST = 4.0
"""How many times coarser than the data a grid may get so that a whole study fits."""
ENOUGH_WHOLE = 0.8
"""Share of the studies that the input should show whole where findings are asked for."""
WIDE_PERCENTILE = 90.0
"""Percentile of the studies' shapes that the input is widened to where a median one shows too few whole."""
FEW_VOXELS = 4.0
"""Voxels across a segment below which a grid is too coarse for it."""
RESENC_BLOCKS = (1, 3, 4, 6, 6, 6, 6)
"""Blocks a stage of nnU-Net's residual encoder (Isensee et al. 2024)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the network has to do.

    Args:
        device: Where it is trained.
        memory_gib: Memory that is asked for; None takes the device's.
        channels: Image channels.
        segments: How many segments.
        whole: Whether it should see a study whole, as findings want.
        base: Feature maps of the first stage; None takes the device's.
    """

    device: Device
    memory_gib: float | None
    channels: int
    segments: int
    whole: bool
    base: int | None = None

    @property
    def first_features(self) -> int:
        """Feature maps of the first stage."""
        return self.base or (32 if self.device.kind == "cuda" else 16)

    @property
    def budget_gib(self) -> float:
        """Memory that a step may take."""
        if self.memory_gib is not None:
            return self.memory_gib
        if self.device.kind == "cuda":
            return GPU_SHARE * self.device.memory_gib
        return min(CPU_GIB, self.device.memory_gib / 4)

    @property
    def encoder(self) -> Literal["resenc", "dynunet"]:
        """The residual encoder on a GPU; on a CPU the plain one, which is several times faster."""
        return "resenc" if self.device.kind == "cuda" else "dynunet"

    def blocks(self, stages: int) -> tuple[int, ...]:
        """Blocks of two convolutions a stage."""
        return RESENC_BLOCKS[:stages] if self.encoder == "resenc" else (1,) * stages

    def gib(self, shape: Topology, batch: int) -> float:
        """Memory of a step."""
        return training_gib(
            shape,
            features_of(shape.stages, self.first_features),
            self.blocks(shape.stages),
            channels=self.channels,
            classes=self.segments + 1 if self.segments else 0,
            batch=batch,
            bytes_a_value=2 if self.device.bf16 else 4,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """Spacing, size, batch and network.

    Args:
        asked: What for.
        data_spacing_mm: The spacing by nnU-Net's rule.
        coarse_axis: The axis that is coarse by that rule, if one is.
        spacing_mm: The spacing of the model grid; coarser than `data_spacing_mm` where whole studies should fit.
        median_shape: Median shape of the studies on that grid.
        shape: The network's stages.
        batch: Studies a step.
        gib: Memory of a step, estimated.
        whole_share: Share of the studies that fit into the input whole.
    """

    asked: Asked
    data_spacing_mm: Triple
    coarse_axis: int | None
    spacing_mm: Triple
    median_shape: Shape
    shape: Topology
    batch: int
    gib: float
    whole_share: float

    @property
    def features(self) -> tuple[int, ...]:
        """Feature maps of each stage."""
        return features_of(self.shape.stages, self.asked.first_features)

    @property
    def was_coarsened(self) -> bool:
        """Whether the grid is coarser than the data."""
        return self.spacing_mm != self.data_spacing_mm

    @property
    def is_flat(self) -> bool:
        """Whether the input is much longer along two axes than along the third (nnU-Net turns such in plane only)."""
        return self.coarse_axis is not None or max(self.shape.size) > 3 * min(self.shape.size)


def plan_network(fingerprint: Fingerprint, asked: Asked, *, training_studies: int) -> NetworkPlan:
    """The network for the data.

    Args:
        fingerprint: The data.
        asked: What for.
        training_studies: Studies that are trained on.
    """
    data_spacing, coarse = target_spacing(fingerprint.spacings_mm, fingerprint.shapes)
    spacing = data_spacing
    small_mm = min((segment.small_mm for segment in fingerprint.segments), default=float("inf"))
    while True:
        median_shape = _shape_at(fingerprint.shapes_at(spacing), 50)
        shape = _fitted(spacing, median_shape, asked)
        fits = all(n >= m for n, m in zip(shape.size, median_shape, strict=True))
        following = coarser(spacing)
        ratio = float(np.divide(following, data_spacing).max())
        if fits or not asked.whole or ratio > COARSEST or max(following) > max(*data_spacing, small_mm / FEW_VOXELS):
            break
        spacing = following
    spacing = rounded(spacing)
    shapes = fingerprint.shapes_at(spacing)
    median_shape = _shape_at(shapes, 50)
    shape = _fitted(spacing, median_shape, asked)
    if asked.whole and _whole_share(shapes, shape) < ENOUGH_WHOLE:
        wider = _fitted(spacing, _shape_at(shapes, WIDE_PERCENTILE), asked)
        shape = max(shape, wider, key=lambda one: _whole_share(shapes, one))
    batch = _batch(shape, asked, training_studies * prod(median_shape), training_studies)
    return NetworkPlan(
        asked=asked,
        data_spacing_mm=data_spacing,
        coarse_axis=coarse,
        spacing_mm=spacing,
        median_shape=median_shape,
        shape=shape,
        batch=batch,
        gib=asked.gib(shape, batch),
        whole_share=_whole_share(shapes, shape),
    )


def _shape_at(shapes: NDArray[np.float64], percentile: float) -> Shape:
    i, j, k = (round(float(n)) for n in np.percentile(shapes, percentile, axis=0))
    return i, j, k


def _whole_share(shapes: NDArray[np.float64], shape: Topology) -> float:
    """Share of the studies that the input shows whole."""
    return float((shapes <= np.asarray(shape.size)).all(axis=1).mean())


def _fitted(spacing: Triple, median_shape: Shape, asked: Asked) -> Topology:
    """The largest input that the memory takes: a cube in mm, no larger than the studies, cut where it is fullest."""
    side = (LARGEST_VOXELS * prod(spacing)) ** (1 / 3)
    wanted: Sequence[int] = [max(1, min(round(side / step), n)) for step, n in zip(spacing, median_shape, strict=True)]
    shape = topology(spacing, (wanted[0], wanted[1], wanted[2]))
    least = SMALLEST_BATCH if asked.device.kind == "cuda" else CPU_BATCH
    while asked.gib(shape, least) > asked.budget_gib:
        smaller = _smaller(shape, spacing, median_shape)
        if smaller is None:
            break
        shape = smaller
    return shape


def _smaller(shape: Topology, spacing: Triple, median_shape: Shape) -> Topology | None:
    """One step less along the axis that covers most of a study; None where no axis can lose one."""
    axes = sorted(range(3), key=lambda axis: -shape.size[axis] / median_shape[axis])
    for axis in axes:
        step = shape.divisor[axis]
        if step == 1 or shape.size[axis] - step < max(step * FEWEST_CELLS // 2, 2 * FEWEST_CELLS):
            continue
        size = list(shape.size)
        size[axis] -= step
        made = topology(spacing, (size[0], size[1], size[2]))
        if made.size[axis] >= shape.size[axis]:  # the new stages pad it back up: take one of their steps as well
            size[axis] = made.size[axis] - made.divisor[axis]
            made = topology(spacing, (size[0], size[1], size[2]))
        if prod(made.size) < prod(shape.size):
            return made
    return None


def _batch(shape: Topology, asked: Asked, voxels: int, studies: int) -> int:
    """Studies a step: as many as fit, up to 5 % of the data set's voxels."""
    if asked.device.kind == "cpu":
        return max(1, min(CPU_BATCH, studies))
    most = max(SMALLEST_BATCH, min(LARGEST_BATCH, int(BATCH_SHARE * voxels / prod(shape.size)), studies))
    batch = SMALLEST_BATCH
    while batch < most and asked.gib(shape, batch + 1) <= asked.budget_gib:
        batch += 1
    return max(1, min(batch, studies))
