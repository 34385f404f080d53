"""Slices -> one regular grid, or a refusal: positions decide, never instance numbers or nominal spacings.

Sources: PS3.3 section C.7.6.2 (Image Plane: position, orientation, pixel spacing) and C.7.6.16.2 (the same per
frame in enhanced objects). The reason codes follow the messages of dcm2niix and dicom2nifti.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Affine, VolumeGeometry
from medfuse.errors import UnreadableSeriesError

SPACING_TOLERANCE = 1e-2
"""Largest relative difference between a slice gap and the median gap."""

LINE_TOLERANCE = 0.2
"""Largest distance of a slice from its place on the straight, even line, in sides of the smallest voxel axis."""

TILT_TOLERANCE_DEGREES = 0.5
"""Largest angle between the line through the slice positions and the slice normal."""

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine within one stack, and from unit length and right angles."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One slice: where it is, and where its pixels are.

    Args:
        path: Its file.
        index: Its number within the file, from 0.
        position_mm: Image Position (Patient), the centre of the first pixel; shape `(3,)`, LPS.
        orientation: Image Orientation (Patient): row cosines, then column cosines; shape `(6,)`, LPS.
        spacing_mm: Pixel Spacing as DICOM has it: between rows, then between columns; shape `(2,)`.
        shape: Rows, columns.
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        stack_id: Stack ID of an enhanced object; empty elsewhere.
    """

    path: Path
    index: int = 0
    position_mm: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    shape: tuple[int, int]
    slope: float = 1.0
    intercept: float = 0.0
    stack_id: str = ""

    @property
    def normal(self) -> NDArray[np.float64]:
        """Row cosines times column cosines: the direction in which k ascends."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    def fits(self, other: "Frame") -> bool:
        """Whether both can be slices of one grid."""
        return (
            self.shape == other.shape
            and self.stack_id == other.stack_id
            and bool(np.allclose(self.orientation, other.orientation, rtol=0, atol=ORIENTATION_TOLERANCE))
            and bool(np.allclose(self.spacing_mm, other.spacing_mm, rtol=1e-3, atol=0))
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Frames in order of k, with the grid that they fill and what was left out."""

    frames: tuple[Frame, ...]
    geometry: VolumeGeometry
    provenance: tuple[str, ...] = ()


def make_stack(frames: Sequence[Frame]) -> Stack:
    """Order frames along their normal and check that they fill one regular grid.

    Frames of another orientation, matrix or pixel spacing than most are left out and said in the provenance.

    Raises:
        UnreadableSeriesError: `TOO_FEW_SLICES`, `DUPLICATE_POSITIONS`, `UNEVEN_SPACING`, `GANTRY_TILT` or
            `INCONSISTENT_GEOMETRY`; the detail does not name the series.
    """
    for frame in frames:
        _check_frame(frame)
    members, provenance = _largest_stack(frames)
    if len(members) < 2:
        raise UnreadableSeriesError("has one slice, expected at least 2", reason="TOO_FEW_SLICES")
    normal = members[0].normal
    order = np.argsort([float(frame.position_mm @ normal) for frame in members], kind="stable")
    ordered = tuple(members[n] for n in order)
    positions = np.stack([frame.position_mm for frame in ordered])
    _check_gaps(positions @ normal)
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    _check_line(positions, step, ordered[0])
    rows, columns = ordered[0].shape
    geometry = VolumeGeometry(shape=(columns, rows, len(ordered)), affine=_affine(ordered[0], step))
    return Stack(frames=ordered, geometry=geometry, provenance=provenance)


def _check_frame(frame: Frame) -> None:
    values = np.concatenate([frame.position_mm, frame.orientation, frame.spacing_mm])
    if not np.isfinite(values).all() or not (frame.spacing_mm > 0).all() or min(frame.shape) < 1:
        raise _inconsistent(f"file {frame.path.name} has a position, orientation, spacing or matrix without meaning")
    row, column = frame.orientation[:3], frame.orientation[3:]
    lengths = np.array([row @ row, column @ column])
    if np.abs(lengths - 1).max() > 2 * ORIENTATION_TOLERANCE or abs(row @ column) > ORIENTATION_TOLERANCE:
        raise _inconsistent(f"file {frame.path.name} has row and column directions that are not perpendicular units")


def _largest_stack(frames: Sequence[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    stacks: list[list[Frame]] = []
    for frame in sorted(frames, key=_fixed_order):
        home = next((stack for stack in stacks if stack[0].fits(frame)), None)
        if home is None:
            stacks.append([frame])
        else:
            home.append(frame)
    stacks.sort(key=len, reverse=True)
    if len(stacks) == 1:
        return stacks[0], ()
    sizes = [len(stack) for stack in stacks]
    if sizes[0] == sizes[1]:
        raise _inconsistent(
            f"its {sum(sizes)} slices form {len(sizes)} stacks that differ in orientation, matrix or pixel spacing, "
            f"of {', '.join(map(str, sizes[:4]))} slices; expected one that is larger than the others"
        )
    left_out = sum(sizes[1:])
    note = f"kept {sizes[0]} of {sum(sizes)} slices; {left_out} differ in orientation, matrix or pixel spacing"
    return stacks[0], (note,)


def _fixed_order(frame: Frame) -> tuple[object, ...]:
    return (*frame.orientation, *frame.position_mm, frame.shape, frame.stack_id, frame.path.name, frame.index)


def _check_gaps(distances: NDArray[np.float64]) -> None:
    """Check the gaps between ascending distances along the normal, in mm."""
    gaps = np.diff(distances)
    apart = gaps[gaps > 1e-3]
    typical = float(np.median(apart)) if apart.size else 0.0
    repeated = int((gaps <= max(1e-3, SPACING_TOLERANCE * typical)).sum())
    if repeated:
        n_positions = len(distances) - repeated
        raise UnreadableSeriesError(
            f"has {len(distances)} slices at {n_positions} positions, expected one at each: it holds several phases, "
            "echoes or repetitions; split them into series",
            reason="DUPLICATE_POSITIONS",
        )
    worst = int(np.argmax(np.abs(gaps - typical)))
    if abs(gaps[worst] - typical) > SPACING_TOLERANCE * typical:
        raise UnreadableSeriesError(
            f"has a gap of {gaps[worst]:.4g} mm after slice {worst + 1} of {len(distances)}, "
            f"expected {typical:.4g} mm: slices are missing or the spacing varies",
            reason="UNEVEN_SPACING",
        )


def _check_line(positions: NDArray[np.float64], step: NDArray[np.float64], first: Frame) -> None:
    cosine = float(step @ first.normal) / float(np.linalg.norm(step) * np.linalg.norm(first.normal))
    tilt = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    if tilt > TILT_TOLERANCE_DEGREES:
        raise UnreadableSeriesError(
            f"is sheared by {tilt:.2f} degrees (gantry tilt), expected at most {TILT_TOLERANCE_DEGREES}",
            reason="GANTRY_TILT",
        )
    line = positions[0] + np.arange(len(positions))[:, None] * step
    jitter = float(np.linalg.norm(positions - line, axis=1).max())
    if jitter > LINE_TOLERANCE * min(float(first.spacing_mm.min()), float(np.linalg.norm(step))):
        raise _inconsistent(f"its slice positions leave a straight line by {jitter:.3g} mm")


def _affine(first: Frame, step: NDArray[np.float64]) -> Affine:
    matrix = np.eye(4)
    between_rows, between_columns = first.spacing_mm
    matrix[:3, 0] = first.orientation[:3] * between_columns
    matrix[:3, 1] = first.orientation[3:] * between_rows
    matrix[:3, 2] = step
    matrix[:3, 3] = first.position_mm
    return Affine(matrix)


def _inconsistent(detail: str) -> UnreadableSeriesError:
    return UnreadableSeriesError(detail, reason="INCONSISTENT_GEOMETRY")
