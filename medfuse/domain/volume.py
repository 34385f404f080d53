"""Voxels with their geometry and the quantity that they measure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.geometry import VolumeGeometry


class Quantity(StrEnum):
    """What a voxel's number means."""

    HOUNSFIELD = "HU"
    ARBITRARY = "arbitrary"
    SUV = "SUV"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A 3D image.

    Args:
        voxels: Shape `(I, J, K)` equal to the geometry's; any real dtype; set read-only, not copied.
        geometry: Where the voxels are, LPS mm.
        quantity: Unit of the voxels.
        provenance: What was done to the source to get here, one line each (e.g. a resampled gantry tilt).

    Raises:
        ValueError: Shapes differ.
    """

    voxels: NDArray[Any]
    geometry: VolumeGeometry
    quantity: Quantity = Quantity.ARBITRARY
    provenance: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        voxels = np.asarray(self.voxels).view()
        if voxels.shape != self.geometry.shape:
            raise ValueError(f"voxels {voxels.shape} do not fill the grid {self.geometry.shape}")
        voxels.setflags(write=False)
        object.__setattr__(self, "voxels", voxels)


class MapMeaning(StrEnum):
    """What a `VoxelMap` shows."""

    PROBABILITY = "PROBABILITY"
    SALIENCY = "SALIENCY"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VoxelMap:
    """A number between 0 and 1 for every voxel of a source grid: a segment's probability, or what a model looked at.

    Args:
        name: Of the segment, or of the finding that was looked for.
        meaning: Probability of the segment, or saliency (attention, occlusion, class activation).
        values: Shape `(I, J, K)` equal to the geometry's; in [0, 1]; set read-only, not copied.
        geometry: Where the voxels are, LPS mm.

    Raises:
        ValueError: Shapes differ, or a value lies outside [0, 1].
    """

    name: str
    meaning: MapMeaning
    values: NDArray[Any]
    geometry: VolumeGeometry

    def __post_init__(self) -> None:
        values = np.asarray(self.values).view()
        if values.shape != self.geometry.shape:
            raise ValueError(f"the map's values {values.shape} do not fill the grid {self.geometry.shape}")
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"the values of the map of {self.name} are not all between 0 and 1")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)
