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
