"""Slices -> one regular grid, or a refusal: positions decide, never instance numbers or nominal spacings.

The grid is the one that the slices lie on: sheared where the gantry was tilted, with empty places where slices are
missing. `tilt` and `gaps` make an upright and a whole volume of it.

Sources: PS3.3 section C.7.6.2 (Image Plane: position, orientation, pixel spacing) and C.7.6.16.2 (the same per
frame in enhanced objects). The reason codes follow the messages of dcm2niix and dicom2nifti.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Affine, VolumeGeometry
from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame

SPACING_TOLERANCE = 1e-2
"""Largest relative difference between a slice gap and the typical gap."""

ROUNDING_MM = 0.011
"""Largest difference between two gaps that positions written with two decimals explain, in mm."""

SAME_POSITION_MM = 1e-3
"""Slices closer than this along their normal lie at one position, however thin the slices are."""

LINE_TOLERANCE = 0.1
"""Largest distance of a slice from its place on the straight, even line, in sides of the smallest voxel axis."""

TOLD_MM = 0.01
"""Distance of a slice from the even line above which the provenance says so, in mm."""

TILT_TOLERANCE_DEGREES = 0.5
"""Largest angle between the line through the slice positions and the slice normal of an upright stack."""

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of a direction cosine within one stack, and from unit length and right angles."""

__all__ = ["Frame", "Stack", "check_frames", "distances_of", "gap_units", "make_stack"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Frames in order of k, with the grid that they lie on.

    Args:
        frames: Existing slices, k ascending along the normal (row cosines x column cosines).
        slots: The k of each frame; a k that is left out is a missing slice.
        geometry: The grid, sheared where the frames are.
        tilt_degrees: Angle between the k axis and the slice normal.
        provenance: What is worth knowing about the geometry, one sentence each.
    """

    frames: tuple[Frame, ...]
    slots: tuple[int, ...]
    geometry: VolumeGeometry
    tilt_degrees: float = 0.0
    provenance: tuple[str, ...] = ()

    @property
    def is_tilted(self) -> bool:
        """Whether the grid is sheared beyond tolerance."""
        return self.tilt_degrees > TILT_TOLERANCE_DEGREES

    @property
    def n_missing(self) -> int:
        """Number of slices of the grid without a frame."""
        return self.geometry.shape[2] - len(self.frames)


def make_stack(frames: Sequence[Frame], *, allow_gaps: bool = False) -> Stack:
    """Order frames along their normal and check that they fill one regular grid.

    Args:
        frames: Slices of one orientation, matrix and pixel spacing, in any order.
        allow_gaps: Whether slices may be missing inside.

    Raises:
        UnreadableSeriesError: `DUPLICATE_POSITIONS`, `MISSING_SLICES`, `UNEVEN_SPACING` or `INCONSISTENT_GEOMETRY`;
            the detail does not name the series.
    """
    check_frames(frames)
    _check_alike(frames)
    distances = distances_of(frames)
    order = np.argsort(distances, kind="stable")
    ordered = tuple(frames[n] for n in order)
    if len(ordered) == 1:
        return _single(ordered[0])
    slots = _slots(distances[order], allow_gaps=allow_gaps)
    positions = np.array([frame.position_mm for frame in ordered])
    step = (positions[-1] - positions[0]) / slots[-1]
    tilt = _tilt_degrees(step, ordered[0])
    note = _check_line(positions, slots, step, ordered[0])
    rows, columns = ordered[0].shape
    shape = (columns, rows, int(slots[-1]) + 1)
    return Stack(
        frames=ordered,
        slots=tuple(slots.tolist()),
        geometry=VolumeGeometry(shape=shape, affine=_affine(ordered[0], step)),
        tilt_degrees=tilt,
        provenance=(note,) if note else (),
    )


def distances_of(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Distance of each frame along the first one's normal, in mm; shape `(n,)`."""
    return np.array([frame.position_mm for frame in frames]) @ _normal(frames[0])


def check_frames(frames: Sequence[Frame]) -> None:
    """Refuse positions, orientations and spacings that have no meaning.

    Raises:
        UnreadableSeriesError: `INCONSISTENT_GEOMETRY`.
    """
    values = np.array([(*f.position_mm, *f.orientation, *f.spacing_mm) for f in frames], dtype=np.float64)
    sound = np.isfinite(values).all(axis=1) & (values[:, 9:] > 0).all(axis=1)
    if not sound.all():
        name = frames[int(np.argmin(sound))].path.name
        raise _inconsistent(f"file {name} has a position, orientation or spacing without meaning")
    rows, columns = values[:, 3:6], values[:, 6:9]
    lengths = np.abs(np.stack([(rows**2).sum(axis=1), (columns**2).sum(axis=1)]) - 1).max(axis=0)
    skew = (lengths > 2 * ORIENTATION_TOLERANCE) | (np.abs((rows * columns).sum(axis=1)) > ORIENTATION_TOLERANCE)
    if skew.any():
        name = frames[int(np.argmax(skew))].path.name
        raise _inconsistent(f"file {name} has row and column directions that are not perpendicular units")


def gap_units(gaps: NDArray[np.float64]) -> tuple[float, NDArray[np.int64] | None]:
    """The typical gap between neighbours, and how many of it each gap is; None where they are no whole multiples.

    The unit is the median gap, or the smallest one where most slices are missing.

    Args:
        gaps: Gaps in mm, none of them 0; shape `(n,)`.
    """
    median = float(np.median(gaps))
    smallest = float(np.median(gaps[gaps <= gaps.min() * (1 + SPACING_TOLERANCE)]))
    for unit in (median, smallest):
        multiples = np.maximum(1, np.rint(gaps / unit)).astype(np.int64)
        allowed = max(SPACING_TOLERANCE * unit, min(ROUNDING_MM, unit / 4))
        # A hole may lie between slices that are each off by a little.
        if (np.abs(gaps - multiples * unit) <= np.where(multiples > 1, 2 * allowed, allowed)).all():
            return unit, multiples
    return median, None


def same_position_mm(gaps: NDArray[np.float64]) -> float:
    """Gaps up to this many mm are no gaps: the slices lie at one position."""
    apart = gaps[gaps > 10 * SAME_POSITION_MM]
    return max(SAME_POSITION_MM, SPACING_TOLERANCE * float(np.median(apart))) if apart.size else SAME_POSITION_MM


def _slots(distances: NDArray[np.float64], *, allow_gaps: bool) -> NDArray[np.int64]:
    """The k of slices at ascending distances along the normal, in mm."""
    gaps = np.diff(distances)
    repeated = int((gaps <= same_position_mm(gaps)).sum())
    if repeated:
        raise UnreadableSeriesError(
            f"has {len(distances)} slices at {len(distances) - repeated} positions, expected one at each, and no "
            "header element tells them apart; keep one slice at each position",
            reason="DUPLICATE_POSITIONS",
        )
    unit, multiples = gap_units(gaps)
    if multiples is None:
        worst = int(np.argmax(np.abs(gaps - unit)))
        raise UnreadableSeriesError(
            f"has a gap of {gaps[worst]:.4g} mm after slice {worst + 1} of {len(distances)}, expected {unit:.4g} mm: "
            "the spacing varies; reconstruct the series with one spacing",
            reason="UNEVEN_SPACING",
        )
    slots = np.concatenate([[0], np.cumsum(multiples)]).astype(np.int64)
    if not allow_gaps and multiples.max() > 1:
        first = int(np.argmax(multiples > 1))
        raise UnreadableSeriesError(
            f"lacks {int((multiples - 1).sum())} of {int(slots[-1]) + 1} slices, the first after slice {first + 1} "
            f"(a gap of {gaps[first]:.4g} mm, expected {unit:.4g} mm); send the series again, or allow gaps to be "
            "filled by interpolation",
            reason="MISSING_SLICES",
        )
    return slots


def _check_alike(frames: Sequence[Frame]) -> None:
    first = frames[0]
    if any(frame.shape != first.shape for frame in frames):
        raise _inconsistent("its slices differ in matrix size")
    values = np.array([(*f.orientation, *f.spacing_mm) for f in frames])
    turned = np.abs(values[:, :6] - values[0, :6]).max() > ORIENTATION_TOLERANCE
    if turned or (np.abs(values[:, 6:] / values[0, 6:] - 1) > 1e-3).any():
        raise _inconsistent("its slices differ in orientation or pixel spacing")


def _check_line(positions: NDArray[np.float64], slots: NDArray[np.int64], step: NDArray[np.float64], one: Frame) -> str:
    """Refuse slices that leave the even line; a sentence where they do a little."""
    off = float(np.linalg.norm(positions - positions[0] - slots[:, None] * step, axis=1).max())
    if off > max(LINE_TOLERANCE * min(*one.spacing_mm, float(np.linalg.norm(step))), ROUNDING_MM):
        raise _inconsistent(f"its slice positions leave a straight, even line by {off:.3g} mm")
    return f"Slice positions leave the even grid by up to {off:.2g} mm." if off > TOLD_MM else ""


def _tilt_degrees(step: NDArray[np.float64], one: Frame) -> float:
    normal = _normal(one)
    # The sine is exact for small angles, where the cosine is not.
    sine = float(np.linalg.norm(np.cross(step, normal)))
    return float(np.degrees(np.arctan2(sine, float(step @ normal))))


def _single(frame: Frame) -> Stack:
    """A volume of one slice, as thick as its header says."""
    facts = frame.facts
    tags = (("Spacing Between Slices", facts.spacing_between_mm), ("Slice Thickness", facts.acquisition.thickness_mm))
    name, thickness = next(((name, abs(mm)) for name, mm in tags if mm), ("no element of the header", 1.0))
    rows, columns = frame.shape
    return Stack(
        frames=(frame,),
        slots=(0,),
        geometry=VolumeGeometry(shape=(columns, rows, 1), affine=_affine(frame, thickness * _normal(frame))),
        provenance=(f"A single slice, taken to be {thickness:g} mm thick by {name}.",),
    )


def _normal(frame: Frame) -> NDArray[np.float64]:
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def _affine(first: Frame, step: NDArray[np.float64]) -> Affine:
    matrix = np.eye(4)
    between_rows, between_columns = first.spacing_mm
    matrix[:3, 0] = np.array(first.orientation[:3]) * between_columns
    matrix[:3, 1] = np.array(first.orientation[3:]) * between_rows
    matrix[:3, 2] = step
    matrix[:3, 3] = first.position_mm
    return Affine(matrix)


def _inconsistent(detail: str) -> UnreadableSeriesError:
    return UnreadableSeriesError(detail, reason="INCONSISTENT_GEOMETRY")
