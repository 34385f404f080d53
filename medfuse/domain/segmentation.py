"""Delineations: a label map on a grid, in DICOM's words (PS3.3 section C.8.20, Segmentation)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.geometry import VolumeGeometry

AlgorithmType = Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded concept (PS3.3 section 8.8): value, scheme (`SCT` is SNOMED CT) and meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One named region.

    Args:
        number: Its value in the label map, from 1.
        name: Segment Label (0062,0005).
        category: Segmented Property Category, e.g. anatomical structure; chosen by the writer when left out.
        type: Segmented Property Type, e.g. hippocampus; chosen by the writer when left out.
        algorithm_type: Segment Algorithm Type (0062,0008).
    """

    number: int
    name: str
    category: Code | None = None
    type: Code | None = None
    algorithm_type: AlgorithmType = "AUTOMATIC"

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 255:
            raise ValueError(f"segment numbers run from 1 to 255, not {self.number}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """A label map.

    Args:
        label_map: `uint8`, shape `(I, J, K)` equal to the geometry's; 0 is background; set read-only.
        geometry: Where the voxels are, LPS mm.
        segments: The regions, by ascending number; every number in the map is among them.

    Raises:
        ValueError: Shapes differ, numbers repeat, or the map holds a number without a segment.
    """

    label_map: NDArray[np.uint8]
    geometry: VolumeGeometry
    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        label_map = np.asarray(self.label_map, dtype=np.uint8).view()
        if label_map.shape != self.geometry.shape:
            raise ValueError(f"label map {label_map.shape} does not fill the grid {self.geometry.shape}")
        numbers = [segment.number for segment in self.segments]
        if numbers != sorted(set(numbers)):
            raise ValueError(f"segment numbers must ascend and not repeat, not {numbers}")
        unknown = set(np.flatnonzero(np.bincount(label_map.ravel(), minlength=1))) - {0, *numbers}
        if unknown:
            raise ValueError(f"the label map holds {sorted(map(int, unknown))}, which no segment names")
        label_map.setflags(write=False)
        object.__setattr__(self, "label_map", label_map)

    def volume_mm3(self, segment: Segment) -> float:
        """Volume of a segment: its voxel count times the volume of a voxel."""
        return int(np.count_nonzero(self.label_map == segment.number)) * self.geometry.voxel_volume_mm3
