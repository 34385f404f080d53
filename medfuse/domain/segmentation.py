"""Delineations: a label map on a grid, in DICOM's words (PS3.3 section C.8.20, Segmentation)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.geometry import VolumeGeometry

_BITS = 8
"""Segments that a byte of overlaps can tell apart."""

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
    """A label map, and where segments overlap what it cannot say.

    Args:
        label_map: `uint8`, shape `(I, J, K)` equal to the geometry's; 0 is background; set read-only. Where segments
            overlap it holds the last one of each voxel.
        geometry: Where the voxels are, LPS mm.
        segments: The regions, by ascending number; every number in the map is among them.
        overlaps: Where segments overlap: which ones hold a voxel, bit `n - 1` for number `n`, `uint8` of the same
            shape; None where none does. `mask` reads both forms.

    Raises:
        ValueError: Shapes differ, numbers repeat, or a map holds a number without a segment.
    """

    label_map: NDArray[np.uint8]
    geometry: VolumeGeometry
    segments: tuple[Segment, ...]
    overlaps: NDArray[np.uint8] | None = None

    @classmethod
    def overlapping(
        cls, overlaps: NDArray[np.uint8], geometry: VolumeGeometry, segments: tuple[Segment, ...]
    ) -> "Segmentation":
        """Segments that overlap; the label map is painted in their order, so that a later one lies on top.

        Args:
            overlaps: Which segments hold a voxel, bit `n - 1` for number `n`.
            geometry: Where the voxels are, LPS mm.
            segments: By ascending number, up to 8.

        Source: Isensee et al., nnU-Net's documentation, "Region-based training" (`regions_class_order`).
        """
        last = np.array([code.bit_length() for code in range(256)], dtype=np.uint8)
        return cls(label_map=last[overlaps], geometry=geometry, segments=segments, overlaps=overlaps)

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
        if self.overlaps is not None:
            object.__setattr__(self, "overlaps", self._checked(self.overlaps, numbers))

    def _checked(self, overlaps: NDArray[np.uint8], numbers: list[int]) -> NDArray[np.uint8]:
        """The overlaps, read-only."""
        overlaps = np.asarray(overlaps, dtype=np.uint8).view()
        if overlaps.shape != self.geometry.shape:
            raise ValueError(f"overlaps {overlaps.shape} do not fill the grid {self.geometry.shape}")
        known = sum(1 << (number - 1) for number in numbers if number <= _BITS)
        if int(np.bitwise_or.reduce(overlaps, axis=None)) & ~known:
            raise ValueError("the overlaps hold a bit that no segment has")
        overlaps.setflags(write=False)
        return overlaps

    def mask(self, segment: Segment) -> NDArray[np.bool_]:
        """Where a segment is, shape `(I, J, K)`, overlaps included."""
        if self.overlaps is None:
            return np.asarray(self.label_map == segment.number)
        return np.asarray((self.overlaps >> (segment.number - 1)) & 1, dtype=np.bool_)

    def volume_mm3(self, segment: Segment) -> float:
        """Volume of a segment: its voxel count times the volume of a voxel."""
        return int(np.count_nonzero(self.mask(segment))) * self.geometry.voxel_volume_mm3
