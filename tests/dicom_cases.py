"""Made DICOM series with a known truth: every voxel's value, and where it lies in LPS mm.

The builders write what scanners and exports write, right and wrong; `tests/acceptance` holds what medfuse must make of
it. Everything depends on its arguments and a seed alone. The truth is computed here from the geometry that was asked
for, never read back from the files.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid

from medfuse.domain import Series, Study, Volume
from medfuse.errors import StudyError, UsageError
from medfuse.ingest import find_studies, read_volume

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, MR, PT = STORAGE + "2", STORAGE + "4", STORAGE + "128"
ENHANCED = {"CT": STORAGE + "2.1", "MR": STORAGE + "4.1", "PT": STORAGE + "130"}
SOP_CLASSES = {"CT": CT, "MR": MR, "PT": PT}

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, 0.36, -0.48, -0.8)
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
FEET_FIRST = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
DECUBITUS = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)

Tags = Mapping[str, Any]


def uid(*parts: object) -> str:
    """A UID that depends on its parts alone."""
    return str(generate_uid(entropy_srcs=[str(part) for part in parts]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What a volume must be: voxels `(i, j, k)` and the affine from index to LPS mm."""

    voxels: NDArray[Any]
    affine: NDArray[np.float64]

    def at(self, k: int) -> NDArray[np.float64]:
        """Image Position (Patient) of slice k."""
        return np.asarray(self.affine[:3, 3] + k * self.affine[:3, 2])


def affine_of(
    orientation: ArrayLike = AXIAL,
    spacing: tuple[float, float, float] = (0.5, 1.5, 2.5),
    origin: ArrayLike = (-20.0, 30.0, 40.0),
    shear: ArrayLike = (0.0, 0.0, 0.0),
) -> NDArray[np.float64]:
    """An affine with k along the normal; `shear` (mm, LPS) is added to the step from slice to slice."""
    cosines = np.asarray(orientation, dtype=np.float64)
    matrix = np.eye(4)
    matrix[:3, 0] = cosines[:3] * spacing[0]
    matrix[:3, 1] = cosines[3:] * spacing[1]
    matrix[:3, 2] = np.cross(cosines[:3], cosines[3:]) * spacing[2] + np.asarray(shear)
    matrix[:3, 3] = origin
    return matrix


def truth_of(
    shape: tuple[int, int, int] = (6, 5, 4), *, seed: int = 1, low: int = -1000, high: int = 1000, **geometry: Any
) -> Truth:
    """Random whole numbers on a grid; see `affine_of` for the geometry."""
    voxels = np.random.default_rng(seed).integers(low, high, shape, dtype=np.int16)
    return Truth(voxels=voxels, affine=affine_of(**geometry))


def base_tags(modality: str = "CT", series: str = "series") -> dict[str, Any]:
    """What every made instance says; a tag set to None is left out of the file."""
    return {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"],
        "SOPClassUID": SOP_CLASSES[modality],
        "StudyInstanceUID": uid("study"),
        "SeriesInstanceUID": uid(series),
        "FrameOfReferenceUID": uid("frame"),
        "Modality": modality,
        "PatientID": "PATIENT-7",
        "PatientName": "Planted^Name",
        "PatientBirthDate": "",
        "PatientSex": "",
        "StudyDate": "20200101",
        "StudyTime": "120000",
        "StudyID": "1",
        "SeriesDescription": series,
        "SeriesNumber": 3,
        "ReferringPhysicianName": "",
        "AccessionNumber": "ACC-1",
        "Manufacturer": "made",
        "SliceThickness": 2.0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }


def set_tags(dataset: Dataset, tags: Tags) -> Dataset:
    """Set elements by keyword, or by `(group, element, VR)`; None deletes."""
    for key, value in tags.items():
        if isinstance(key, tuple):
            group, element, vr = key
            dataset.add_new((group, element), vr, value)
        elif value is not None:
            setattr(dataset, key, value)
        elif key in dataset:
            delattr(dataset, key)
    return dataset


def item(**tags: Any) -> Items:
    """A sequence of one item."""
    return Items([set_tags(Dataset(), tags)])


def set_pixels(dataset: Dataset, frames: Sequence[NDArray[Any]]) -> None:
    """Native little endian pixel data of planes `(columns, rows)`, and the tags that describe them."""
    first = frames[0]
    bits = first.dtype.itemsize * 8
    described = {
        "Rows": first.shape[1],
        "Columns": first.shape[0],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(first.dtype.kind == "i"),
    }
    for keyword, value in described.items():
        setattr(dataset, keyword, value)
    data = b"".join(np.ascontiguousarray(frame.T).tobytes() for frame in frames)
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"


def decimals(values: ArrayLike) -> list[float]:
    """Values as DICOM's decimal strings (16 characters) can hold them."""
    return [float(f"{value:.7f}") for value in np.asarray(values, dtype=np.float64).ravel()]


def slices(
    truth: Truth,
    *,
    modality: str = "CT",
    series: str = "series",
    each: Callable[[int], Tags] | None = None,
    **tags: Any,
) -> list[Dataset]:
    """One classic dataset a slice, k ascending. `tags` go into all, `each(k)` into slice k; both win over the truth."""
    spacing = np.linalg.norm(truth.affine[:3, :2], axis=0)
    cosines = (truth.affine[:3, :2] / spacing).T.ravel()
    datasets = []
    for k in range(truth.voxels.shape[2]):
        dataset = set_tags(Dataset(), base_tags(modality, series))
        set_pixels(dataset, [truth.voxels[:, :, k]])
        dataset.SOPInstanceUID = uid(series, k, sorted(map(str, tags.items())))
        dataset.InstanceNumber = k + 1
        dataset.ImagePositionPatient = decimals(truth.at(k))
        dataset.ImageOrientationPatient = decimals(cosines)
        dataset.PixelSpacing = decimals(spacing[::-1])
        datasets.append(set_tags(set_tags(dataset, tags), each(k) if each else {}))
    return datasets


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameOf:
    """One frame of an enhanced object: a plane `(columns, rows)`, its position, and its own functional groups."""

    plane: NDArray[Any]
    position: ArrayLike
    orientation: ArrayLike = AXIAL
    stack: str = "1"
    slope: float = 1.0
    intercept: float = 0.0
    content: Tags = field(default_factory=dict)
    macros: Mapping[str, Tags] = field(default_factory=dict)


def frames_of_truth(truth: Truth, **how: Any) -> list[FrameOf]:
    """The frames of a volume, k ascending."""
    spacing = np.linalg.norm(truth.affine[:3, :2], axis=0)
    cosines = (truth.affine[:3, :2] / spacing).T.ravel()
    return [
        FrameOf(plane=truth.voxels[:, :, k], position=truth.at(k), orientation=cosines, **how)
        for k in range(truth.voxels.shape[2])
    ]


def enhanced(
    frames: Sequence[FrameOf],
    *,
    modality: str = "MR",
    series: str = "series",
    spacing: tuple[float, float] = (0.5, 1.5),
    shared: bool = True,
    **tags: Any,
) -> Dataset:
    """An enhanced multi-frame object; orientation, spacing and rescale are shared, or repeated for every frame."""
    dataset = set_tags(Dataset(), base_tags(modality, series))
    for keyword in ("RescaleSlope", "RescaleIntercept", "SliceThickness"):
        del dataset[keyword]
    dataset.SOPClassUID = ENHANCED[modality]
    dataset.SOPInstanceUID = uid("enhanced", series, tags.get("InstanceNumber"))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    set_pixels(dataset, [frame.plane for frame in frames])
    dataset.NumberOfFrames = len(frames)
    common = set_tags(Dataset(), _common_groups(frames[0], spacing)) if shared else Dataset()
    dataset.SharedFunctionalGroupsSequence = Items([common])
    groups = []
    for frame in frames:
        group = Dataset() if shared else set_tags(Dataset(), _common_groups(frame, spacing))
        group.PlanePositionSequence = item(ImagePositionPatient=decimals(frame.position))
        group.FrameContentSequence = item(**{"StackID": frame.stack or None, **frame.content})
        for keyword, values in frame.macros.items():
            setattr(group, keyword, item(**values))
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Items(groups)
    return set_tags(dataset, tags)


def _common_groups(frame: FrameOf, spacing: tuple[float, float]) -> dict[str, Items]:
    return {
        "PlaneOrientationSequence": item(ImageOrientationPatient=decimals(frame.orientation)),
        "PixelMeasuresSequence": item(PixelSpacing=[spacing[1], spacing[0]], SliceThickness=1.0),
        "PixelValueTransformationSequence": item(
            RescaleSlope=frame.slope, RescaleIntercept=frame.intercept, RescaleType="US"
        ),
    }


def save(dataset: Dataset, path: Path, *, syntax: str = ExplicitVRLittleEndian, fragments: Any = None) -> Path:
    """Write a DICOM file; `fragments` are the encoded frames of a compressed syntax."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or CT
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or uid(path.name)
    meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta = meta
    if fragments is not None:
        dataset.PixelData = encapsulate(list(fragments))
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax == ExplicitVRBigEndian and "PixelData" in dataset and dataset.BitsAllocated > 8:
        width = dataset.BitsAllocated // 8
        dataset.PixelData = np.frombuffer(dataset.PixelData, f"<u{width}").astype(f">u{width}").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_bare(dataset: Dataset, path: Path, *, implicit: bool = True) -> Path:
    """Write a dataset without preamble and meta header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    return path


def write(
    datasets: Iterable[Dataset],
    folder: Path,
    *,
    names: Iterable[str] | None = None,
    syntax: str = ExplicitVRLittleEndian,
) -> Path:
    """Write datasets below a folder, by default under shuffled names without suffix; returns the folder."""
    datasets = list(datasets)
    if names is None:
        order = np.random.default_rng(len(datasets)).permutation(len(datasets))
        names = [f"{place:04d}" for place in order]
    for dataset, name in zip(datasets, names, strict=True):
        save(dataset, folder / name, syntax=syntax)
    return folder


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What medfuse made of a folder: the volumes by series key, and a reason code for everything left out."""

    studies: tuple[Study, ...]
    volumes: dict[str, Volume]
    series: dict[str, Series]
    refusals: dict[str, StudyError]
    lines: tuple[str, ...]
    skipped: dict[str, int]

    @property
    def reasons(self) -> set[str]:
        """Reason codes of refused series, files and studies."""
        return {line.split(":")[0] for line in self.lines} | {error.reason for error in self.refusals.values()}

    @property
    def only(self) -> Volume:
        """The one volume, where nothing was refused."""
        assert not self.refusals, self.refusals
        assert len(self.volumes) == 1, sorted(self.volumes)
        return next(iter(self.volumes.values()))

    @property
    def parts(self) -> dict[str, Volume]:
        """Volumes by the part's name, of one series."""
        named = {self.series[key].part: volume for key, volume in self.volumes.items()}
        assert len(named) == len(self.volumes), "two series have parts of one name"
        return named

    def of(self, series: str) -> Volume:
        """The volume of a whole series by the name that it was made with."""
        return self.volumes[uid(series)]


def outcome(root: Path, **how: Any) -> Outcome:
    """Index a folder and read every series of it, as a user does; `how` goes to `read_volume`."""
    try:
        found = find_studies(root)
    except UsageError as error:
        return Outcome(studies=(), volumes={}, series={}, refusals={}, lines=(f"USAGE: {error}",), skipped={})
    volumes, refusals = {}, {}
    series: dict[str, Series] = {}
    for study in found.studies:
        for one in study.series:
            series[one.key if one.key not in series else f"{study.study_instance_uid}/{one.key}"] = one
    for key, one in series.items():
        try:
            volumes[key] = read_volume(one, **how)
        except StudyError as error:
            refusals[key] = error
    lines = [line for study in found.studies for line in study.problems]
    lines += [f"{rejected.reason}: {rejected.detail}" for rejected in found.rejected]
    return Outcome(
        studies=found.studies,
        volumes=volumes,
        series=series,
        refusals=refusals,
        lines=tuple(lines),
        skipped=dict(found.skipped_files),
    )


def assert_same(volume: Volume, truth: Truth, *, atol: float = 0.0) -> None:
    """The same voxels in the same order, and the affine within 1e-3 mm."""
    np.testing.assert_allclose(volume.geometry.affine.matrix, truth.affine, rtol=0, atol=1e-3)
    np.testing.assert_allclose(volume.voxels, truth.voxels, rtol=0, atol=atol)


def same_in_world(volume: Volume, truth: Truth, *, atol: float = 1e-3, atol_mm: float = 1e-3) -> str:
    """Why the two differ in world space, up to order and direction of the axes; empty for the same volume."""
    return differs(volume.voxels, volume.geometry.affine.matrix, truth.voxels, truth.affine, atol=atol, atol_mm=atol_mm)


def differs(
    voxels: NDArray[Any],
    affine: NDArray[np.float64],
    reference: NDArray[Any],
    reference_affine: NDArray[np.float64],
    *,
    atol: float = 1e-3,
    atol_mm: float = 1e-3,
) -> str:
    """Turn `voxels` to the reference's axes by permuting and flipping alone; say what then differs, or nothing."""
    if not (np.isfinite(affine).all() and np.isfinite(reference_affine).all()):
        return "an affine is not finite"
    steps = np.linalg.inv(reference_affine[:3, :3]) @ affine[:3, :3]
    order = np.argmax(np.abs(steps), axis=1)
    if sorted(order) != [0, 1, 2]:
        return "axes do not pair"
    turned, matrix = voxels.transpose(order), affine[:, [*order, 3]].copy()
    for axis in range(3):
        if steps[axis, order[axis]] < 0:
            turned = np.flip(turned, axis)
            matrix[:, 3] += matrix[:, axis] * (turned.shape[axis] - 1)
            matrix[:, axis] *= -1
    if turned.shape != reference.shape:
        return f"shape {turned.shape}, expected {reference.shape}"
    apart = float(np.abs(matrix - reference_affine).max())
    if apart > atol_mm:
        return f"affine off by {apart:.4g} mm"
    worst = float(np.abs(turned.astype(np.float64) - reference.astype(np.float64)).max())
    return "" if worst <= atol else f"voxels differ by up to {worst:.6g}"
