"""What the viewer loads of a study: packed images and label maps, kept on the shelf of this process."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from apps.viewer import serving
from apps.viewer.first_slice import FirstSlice, first_slice
from apps.viewer.shelf import Shelf
from medfuse.domain import Segment, Study, VolumeGeometry
from medfuse.errors import MedfuseError, UsageError
from medfuse.ingest import read_segmentation, read_volume
from medfuse.review import Case, DisplayImage, SeriesChoice, display_image, readable, series_choices
from medfuse.review.views import SEGMENT_COLOURS

_T = TypeVar("_T")

MODEL = "model"
_GZIP_LEVEL = 1
_MOST_SEGMENTS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A series as the viewer loads it.

    Args:
        image: The packed voxels with their windows.
        first: The slice to show until the viewer has the others.
        geometry: Where they are.
        provenance: What was done to them, one sentence each.
    """

    image: DisplayImage
    first: FirstSlice
    geometry: VolumeGeometry
    provenance: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A label map on the grid of a picture.

    Args:
        id: `model`, or the id of a delineation.
        label: For a person.
        labels: gzip of the label map, i fastest, one byte a voxel.
        key: Hash of the content.
        segments: The regions in it.
        volumes_mm3: Of each of them.
    """

    id: str
    label: str
    labels: bytes
    key: str
    segments: tuple[Segment, ...]
    volumes_mm3: tuple[float, ...]


def study_of(shelf: Shelf, case: Case) -> Study:
    """The study of a case on the disk, looked for once; a case is handed out only to readers who may see it.

    Raises:
        MedfuseError: It is not where it was.
    """
    return _typed(shelf.get(("study", case.handle), case.study), Study)


def picture(shelf: Shelf, handle: str, choice: SeriesChoice) -> Picture:
    """A series, read and packed once.

    Raises:
        MedfuseError: Its files cannot be read.
    """
    return _typed(shelf.get((handle, choice.series.key), lambda: _picture(choice)), Picture)


def ahead(shelf: Shelf, case: Case) -> None:
    """Read the first series of a case that is likely to be opened next, in the background."""

    def make() -> None:
        choices = series_choices(study_of(shelf, case), case.prediction)
        if choices:
            picture(shelf, case.handle, choices[0])

    shelf.ahead(make)


def masks(shelf: Shelf, case: Case, study: Study, on: Picture, segments: Sequence[str]) -> tuple[list[Mask], list[str]]:
    """Every mask of a case on the grid of a picture, the model's first, and why others cannot be shown."""
    found: list[Mask] = []
    problems: list[str] = []
    places = [(MODEL, "Model", case.segmentation)] if case.segmentation else []
    places += [(one.id, readable(one.label), one.path) for one in case.delineations(study)]
    for name, label, path in places:
        key = (case.handle, on.image.key, name, path.stat().st_mtime_ns if path.exists() else 0)
        names = segments if name == MODEL else ()
        try:
            found.append(_typed(shelf.get(key, lambda: _mask(name, label, path, on, names)), Mask))  # noqa: B023 - made at once
        except (MedfuseError, OSError) as error:
            problems.append(f"{label}: this segmentation cannot be shown: {error}")
    return found, problems


def drawn(content: bytes, on: Picture, numbers: Sequence[int]) -> NDArray[np.uint8]:
    """The label map that the viewer gave back.

    Args:
        content: gzip of the labels, i fastest.
        on: The picture that it was drawn on.
        numbers: Segments that may be in it.

    Raises:
        UsageError: It does not fill the grid, is no gzip, or holds other segments.
    """
    size = int(np.prod(on.geometry.shape))
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(content, size + 1)
    except zlib.error as error:
        raise UsageError("the corrected segmentation did not arrive whole; save it again") from error
    if len(data) != size:
        raise UsageError("the corrected segmentation does not fill the image; open the study again, then save it")
    labels = np.frombuffer(data, dtype=np.uint8).reshape(on.geometry.shape, order="F")
    unknown = set(np.flatnonzero(np.bincount(labels.ravel(order="K"), minlength=1))) - {0, *numbers}
    if unknown:
        raise UsageError("the corrected segmentation holds segments that this study does not have")
    return labels


def image_argument(shown: Picture, label: str, *, place: str, same_frame: bool = True) -> dict[str, Any]:
    """A picture for the component: where to fetch it, and how to draw it."""
    image = shown.image
    return {
        "key": image.key,
        "address": serving.address_of(image.voxels, image.key, place=place),
        "first": first_argument(shown.first, image.key, place=place),
        "label": label,
        "shape": list(image.shape),
        "data_type": image.data_type,
        "affine_ras": list(image.affine_ras),
        "unit": image.unit,
        "windows": [asdict(window) for window in image.windows],
        "same_frame": same_frame,
    }


def first_argument(first: FirstSlice, key: str, *, place: str) -> dict[str, Any]:
    """The first slice for the component."""
    return {
        "address": serving.address_of(first.png, f"first/{key}", place=f"first/{place}", kind=serving.PNG),
        "size_mm": list(first.size_mm),
        "number": first.number,
        "count": first.count,
    }


def overlay_argument(mask: Mask) -> dict[str, Any]:
    """A mask for the component."""
    volumes = dict(zip((s.number for s in mask.segments), mask.volumes_mm3, strict=True))
    return {
        "id": mask.id,
        "key": mask.key,
        "address": serving.address_of(mask.labels, mask.key, place=f"mask/{mask.id}"),
        "label": mask.label,
        "origin": "model" if mask.id == MODEL else "reader",
        "segments": [segment_argument(segment, volumes[segment.number]) for segment in mask.segments],
    }


def segment_argument(segment: Segment, volume_mm3: float = 0.0) -> dict[str, Any]:
    """A segment for the component: number, name and colour."""
    colour = SEGMENT_COLOURS[(segment.number - 1) % len(SEGMENT_COLOURS)]
    return {
        "number": segment.number,
        "name": readable(segment.name),
        "colour": list(colour),
        "volume_mm3": volume_mm3,
    }


def label_set(names: Sequence[str], known: Sequence[Mask]) -> tuple[Segment, ...]:
    """The segments that may be drawn: the model's, else those of the first mask, else one region."""
    if names:
        return tuple(Segment(number=n, name=name) for n, name in enumerate(names[:_MOST_SEGMENTS], start=1))
    return known[0].segments if known and known[0].segments else (Segment(number=1, name="region"),)


def _picture(choice: SeriesChoice) -> Picture:
    """Missing slices are interpolated, as a model may have been allowed to read the series so; the reader is told."""
    volume = read_volume(choice.series, fill_gaps=True)
    image = display_image(volume, choice.series.modality)
    affine = np.asarray(image.affine_ras).reshape(4, 4)
    first = first_slice(volume.voxels, affine, image.windows[0])
    return Picture(image=image, first=first, geometry=volume.geometry, provenance=volume.provenance)


def _mask(name: str, label: str, path: Path, on: Picture, names: Sequence[str]) -> Mask:
    read = read_segmentation(path, on.geometry)
    segments = tuple(Segment(number=n, name=one) for n, one in enumerate(names, start=1)) or read.segments
    data = read.label_map.tobytes(order="F")
    key = blake2b(data, digest_size=16, key=name.encode()[:64])
    return Mask(
        id=name,
        label=label,
        labels=gzip.compress(data, compresslevel=_GZIP_LEVEL, mtime=0),
        key=key.hexdigest(),
        segments=segments,
        volumes_mm3=tuple(read.volume_mm3(segment) for segment in segments),
    )


def _typed(thing: Any, kind: type[_T]) -> _T:
    if not isinstance(thing, kind):
        raise TypeError(f"the shelf holds {type(thing).__name__}, not {kind.__name__}")
    return thing
