"""Where voxels are: a 4x4 affine from index to patient millimetres, in LPS.

LPS (x to the patient's left, y to posterior, z to superior) is DICOM's frame: PS3.3 section C.7.6.2.1.1.
RAS, NIfTI's frame, exists only at the NIfTI doors, through `Affine.from_ras` and `Affine.to_ras`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ORTHOGONALITY_TOLERANCE = 1e-4
"""Largest |cosine| between two axes of a grid that still counts as orthogonal."""

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """A 4x4 float64 matrix from voxel index `(i, j, k)` to patient position `(x, y, z)` in LPS mm.

    Args:
        matrix: Shape `(4, 4)`, finite, invertible, last row `(0, 0, 0, 1)`; copied and set read-only.

    Raises:
        ValueError: The matrix is none of that.
    """

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError(f"an affine is a finite 4x4 matrix, not {matrix.shape}")
        if not np.array_equal(matrix[3], [0, 0, 0, 1]):
            raise ValueError(f"the last row of an affine is (0, 0, 0, 1), not {matrix[3].tolist()}")
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if not (spacing > 0).all() or abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-6:
            raise ValueError("an affine must be invertible: two of its axes are parallel or one has no length")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def from_ras(cls, matrix: ArrayLike) -> "Affine":
        """The LPS affine of a RAS one (NIfTI's frame)."""
        return cls(_LPS_FROM_RAS @ np.asarray(matrix, dtype=np.float64))

    @classmethod
    def from_parts(cls, *, origin_mm: ArrayLike, direction: ArrayLike, spacing_mm: ArrayLike) -> "Affine":
        """The affine of an origin `(3,)`, unit axes as columns `(3, 3)`, and spacings `(3,)`, all LPS."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(direction, dtype=np.float64) * np.asarray(spacing_mm, dtype=np.float64)
        matrix[:3, 3] = origin_mm
        return cls(matrix)

    def to_ras(self) -> NDArray[np.float64]:
        """The same affine in RAS mm, shape `(4, 4)`."""
        return np.asarray(_LPS_FROM_RAS @ self.matrix)

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Distance between neighbouring voxels along i, j, k, in mm; shape `(3,)`."""
        return np.asarray(np.linalg.norm(self.matrix[:3, :3], axis=0))

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors of the i, j and k axes as columns, LPS; shape `(3, 3)`."""
        return np.asarray(self.matrix[:3, :3] / self.spacing_mm)

    @property
    def origin_mm(self) -> NDArray[np.float64]:
        """Position of the centre of voxel `(0, 0, 0)`, LPS mm; shape `(3,)`."""
        return self.matrix[:3, 3].copy()

    @property
    def is_orthogonal(self) -> bool:
        """Whether the three axes are perpendicular within `ORTHOGONALITY_TOLERANCE`."""
        direction = self.direction
        cosines = (direction.T @ direction)[np.triu_indices(3, 1)]
        return bool(np.abs(cosines).max() < ORTHOGONALITY_TOLERANCE)

    @property
    def orientation(self) -> str:
        """The anatomical direction that each index axis grows towards, e.g. `LPS` for an axial CT."""
        letters = []
        direction = self.direction.copy()
        for axis in range(3):
            world = int(np.argmax(np.abs(direction[:, axis])))
            letters.append(_LETTERS[world][int(direction[world, axis] > 0)])
        return "".join(letters)

    def apply(self, index_ijk: ArrayLike) -> NDArray[np.float64]:
        """Positions in LPS mm of indices; shape `(..., 3)` to `(..., 3)`."""
        index = np.asarray(index_ijk, dtype=np.float64)
        return np.asarray(index @ self.matrix[:3, :3].T + self.matrix[:3, 3])

    def inverse(self) -> NDArray[np.float64]:
        """The 4x4 matrix from LPS mm back to index."""
        return np.asarray(np.linalg.inv(self.matrix))

    def shifted(self, index_ijk: Sequence[float]) -> "Affine":
        """The affine of a grid whose voxel `(0, 0, 0)` is this one's voxel `index_ijk`."""
        matrix = self.matrix.copy()
        matrix[:3, 3] = self.apply(index_ijk)
        return Affine(matrix)

    def is_close(self, other: "Affine", tolerance_mm: float = 1e-3) -> bool:
        """Whether both matrices agree within `tolerance_mm` in every entry."""
        return bool(np.abs(self.matrix - other.matrix).max() <= tolerance_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeGeometry:
    """A grid of voxels without the voxels.

    Args:
        shape: Number of voxels along i, j, k; each at least 1.
        affine: Index to LPS mm.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a grid has three axes of at least one voxel, not {shape}")
        object.__setattr__(self, "shape", shape)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in cubic millimetres (of the parallelepiped, for a sheared grid)."""
        return float(abs(np.linalg.det(self.affine.matrix[:3, :3])))

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """Centre of the grid, LPS mm; shape `(3,)`."""
        return self.affine.apply((np.asarray(self.shape) - 1) / 2)

    def is_close(self, other: "VolumeGeometry", tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and affines within `tolerance_mm`."""
        return self.shape == other.shape and self.affine.is_close(other.affine, tolerance_mm)
