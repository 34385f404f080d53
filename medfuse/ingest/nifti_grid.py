"""The grid of a NIfTI file in LPS: which of its two forms counts, what may be repaired, and what is refused.

A header states where its voxels are up to twice: by `qform` (a rotation, spacings and a shift) and by `sform` (any
affine). Cox et al. 2004 let both be there and mean different spaces. nibabel reads the `sform` first, so does
medfuse. nibabel also mends broken headers with no more than a log line (a spacing of 0 becomes 1 mm, a negative one
its absolute value); here whatever is not as the header says is a line of the volume's provenance, and what would be a
guess about sides or sizes is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.openers import Opener
from numpy.typing import NDArray

from medfuse.domain import Affine, HeaderCorrection, VolumeGeometry
from medfuse.domain.geometry import ORTHOGONALITY_TOLERANCE
from medfuse.errors import UnreadableSeriesError

MOST_SHIFT_VOXELS = 0.1
"""Furthest that a repair, or a disagreement that is only said, may move a corner of the grid, in voxels."""

_SPACE_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
_PLAUSIBLE_MM = (0.001, 1000.0)
_AXES = ("i", "j", "k")
_ADVICE = "write the file anew with the right header"

_Matrix = NDArray[np.float64]


def grid_of(
    image: Any, shape: Sequence[int], path: Path, correction: HeaderCorrection | None = None
) -> tuple[VolumeGeometry, tuple[str, ...]]:
    """Where the voxels of a file are.

    Args:
        image: nibabel's image of it.
        shape: Its first three axes.
        path: The file, for messages and for what nibabel mends in silence.
        correction: What is known better than the header; its parts replace the header's.

    Returns:
        The grid, and what was assumed or repaired, one line each.

    Raises:
        UnreadableSeriesError: `INCONSISTENT_GEOMETRY`: no grid, or one that contradicts itself.
    """
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    notes: list[str] = []
    try:
        if correction is not None and (correction.spacing_mm or correction.orientation or correction.position_mm):
            affine = _corrected(image, correction)
            notes.append(f"took the grid from {correction.source} in place of the header's")
        else:
            affine = Affine.from_ras(_stated(image, size, path, notes))
        affine = _upright_within_tolerance(affine, size, notes)
        return VolumeGeometry(shape=size, affine=affine), tuple(notes)
    except ValueError as error:
        raise UnreadableSeriesError(f"{path.name}: {error}; {_ADVICE}", reason="INCONSISTENT_GEOMETRY") from error


def _corrected(image: Any, correction: HeaderCorrection) -> Affine:
    """The header's affine with what the correction states put in."""
    header = Affine.from_ras(image.affine)
    direction = header.direction
    if correction.orientation is not None:
        row, column = np.asarray(correction.orientation[:3]), np.asarray(correction.orientation[3:])
        direction = np.stack([row, column, np.cross(row, column)], axis=1)
        lengths = np.linalg.norm(direction, axis=0)
        if np.abs(lengths - 1).max() > 1e-3 or abs(row @ column) > 1e-3:
            raise ValueError(f"{correction.source} gives an orientation that is no pair of perpendicular unit vectors")
        direction = direction / lengths
    return Affine.from_parts(
        origin_mm=header.origin_mm if correction.position_mm is None else correction.position_mm,
        direction=direction,
        spacing_mm=header.spacing_mm if correction.spacing_mm is None else correction.spacing_mm,
    )


def _stated(image: Any, shape: tuple[int, int, int], path: Path, notes: list[str]) -> _Matrix:
    """The RAS affine in mm that the header states, `sform` before `qform`."""
    header = image.header
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    spacing = _written_spacing(image, path)
    sform = np.asarray(header.get_sform(), dtype=np.float64) if sform_code else None
    qform = _qform(header) if qform_code else None
    if sform is not None and _is_affine(sform):
        if np.abs(spacing).min() == 0 or spacing.min() < 0:
            notes.append(f"the header's spacings are {_numbers(spacing)} mm: took those of its sform")
        if qform is not None and _is_affine(qform) and spacing.min() > 0:
            _compare(sform, qform, shape, notes, same_space=sform_code == qform_code)
        return _in_mm(sform, header, notes)
    if spacing.min() <= 0:
        raise ValueError(f"the spacings are {_numbers(spacing)} mm, expected numbers above 0")
    if sform is not None:
        if qform is None or not _is_affine(qform):
            raise ValueError("neither its sform nor its qform is an affine that can be inverted")
        notes.append("the header's sform cannot be inverted: took its qform")
    if qform is not None:
        if not _is_affine(qform):
            raise ValueError("its qform holds no rotation and there is no sform")
        return _in_mm(qform, header, notes)
    notes.append(
        "the header states no orientation (sform and qform codes are 0): assumed that i runs to the left, j to the "
        "front and k upwards"
    )
    return _in_mm(np.asarray(image.affine, dtype=np.float64), header, notes)


def _written_spacing(image: Any, path: Path) -> _Matrix:
    """The three spacings as written, before nibabel mends them."""
    with Opener(str(path), "rb") as file:
        raw = type(image.header).from_fileobj(file, check=False)
    return np.asarray(raw["pixdim"][1:4], dtype=np.float64)


def _qform(header: Any) -> _Matrix | None:
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except ValueError:
        return None


def _is_affine(matrix: _Matrix) -> bool:
    try:
        Affine(matrix)
    except ValueError:
        return False
    return True


def _compare(
    sform: _Matrix, qform: _Matrix, shape: tuple[int, int, int], notes: list[str], *, same_space: bool
) -> None:
    """Say how far the two forms are apart; refuse them when they claim one space and turn or mirror its axes."""
    first, second = Affine(sform), Affine(qform)
    corners = _corners(shape)
    apart = np.linalg.norm(first.apply(corners) - second.apply(corners), axis=1).max()
    if apart <= MOST_SHIFT_VOXELS * first.spacing_mm.min():
        return
    shift = first.origin_mm - second.origin_mm
    axes_apart = np.linalg.norm((first.apply(corners) - shift) - second.apply(corners), axis=1).max()
    if same_space and axes_apart > max(shape) * first.spacing_mm.max() * np.sin(np.deg2rad(1.0)):
        raise ValueError(
            f"its sform and qform claim the same space and put a corner of the grid {apart:.1f} mm apart, with other "
            "axes; which one is right cannot be told"
        )
    notes.append(f"sform and qform of the header are up to {apart:.2f} mm apart: took the sform")


def _in_mm(matrix: _Matrix, header: Any, notes: list[str]) -> _Matrix:
    """Apply the header's unit of length; no unit counts as mm."""
    unit = header.get_xyzt_units()[0]
    factor = _SPACE_MM.get(unit, 1.0)
    scaled = matrix.copy()
    scaled[:3] *= factor
    spacing = np.linalg.norm(scaled[:3, :3], axis=0)
    if not (_PLAUSIBLE_MM[0] <= spacing.min() and spacing.max() <= _PLAUSIBLE_MM[1]):
        raise ValueError(f"its spacings are {_numbers(spacing)} mm (unit {unit}), which no image has")
    if factor != 1.0:
        notes.append(f"the header gives lengths in {unit}: multiplied by {factor:g} to mm")
    return scaled


def _upright_within_tolerance(affine: Affine, shape: tuple[int, int, int], notes: list[str]) -> Affine:
    """Make axes perpendicular that are so but for rounding; keep a tilted k axis; refuse a sheared slice.

    The nearest rotation (polar decomposition) takes the axes' place, about the centre of the grid.
    """
    if affine.is_orthogonal:
        return affine
    direction = affine.direction
    u, _, vt = np.linalg.svd(direction)
    centre = (np.asarray(shape) - 1) / 2
    upright = Affine.from_parts(origin_mm=(0, 0, 0), direction=u @ vt, spacing_mm=affine.spacing_mm)
    upright = Affine.from_parts(
        origin_mm=affine.apply(centre) - upright.apply(centre), direction=u @ vt, spacing_mm=affine.spacing_mm
    )
    corners = _corners(shape)
    moved = np.linalg.norm(upright.apply(corners) - affine.apply(corners), axis=1).max()
    if moved <= MOST_SHIFT_VOXELS * affine.spacing_mm.min():
        notes.append(f"the axes were not quite perpendicular: set upright, which moved no voxel by over {moved:.3f} mm")
        return upright
    in_plane = abs(float(direction[:, 0] @ direction[:, 1]))
    if in_plane > max(ORTHOGONALITY_TOLERANCE, 1e-3):
        angle = np.rad2deg(np.arccos(np.clip(in_plane, 0, 1)))
        raise ValueError(
            f"its {_AXES[0]} and {_AXES[1]} axes meet at {angle:.1f} degrees; no scanner makes such slices"
        )
    normal = np.cross(direction[:, 0], direction[:, 1])
    tilt = np.rad2deg(np.arccos(np.clip(abs(normal @ direction[:, 2]) / np.linalg.norm(normal), 0, 1)))
    notes.append(f"the slices are stacked askew, {tilt:.1f} degrees off their normal")
    return affine


def _corners(shape: tuple[int, int, int]) -> _Matrix:
    return np.array([[i, j, k] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)], float)


def _numbers(values: _Matrix) -> str:
    return " x ".join(f"{value:g}" for value in values)
