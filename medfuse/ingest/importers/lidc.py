"""LIDC-IDRI: chest CT as DICOM, read by four radiologists whose outlines and ratings stand in XML.

The images are found by content. The importer adds the readings: an XML file belongs to the series whose UID it names,
wherever it lies (TCIA gives it beside the series, or in a folder of its own). What the readings say of a study:

- `nodule`: a nodule of 3 mm or more. PRESENT when enough readers outlined the same one, ABSENT when nobody outlined
  any, else UNCERTAIN.
- `small_nodule`: a nodule under 3 mm, counted by readers in the same way.
- `malignant_nodule`: PRESENT when the readers of one of these nodules rate its malignancy above 3 on average, UNCERTAIN
  when the worst average is 3 (indeterminate), ABSENT below, and where there is no nodule.

Chest radiographs (CR, DX) of the collection are no volumes and are left out; their readings are counted.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medfuse.domain import Affine, LabelValue, Segment, Segmentation, Study, VolumeGeometry
from medfuse.errors import StudyError, UnreadableFileError, UsageError
from medfuse.ingest.grouping import common_folder
from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.files import look_down, visible
from medfuse.ingest.importers.idc import is_idc_tree
from medfuse.ingest.importers.lidc_xml import Consensus, Nodule, Reading, areas_of, nodules_of, read_reading
from medfuse.ingest.importers.tables import labels_of
from medfuse.ingest.labels import Labels
from medfuse.ingest.scan import ScanResult, scan_tree

if TYPE_CHECKING:
    from pydicom import Dataset

_PATIENT = re.compile(r"LIDC-IDRI-\d{4}")
_SLICE_TOLERANCE_MM = 0.1
_INDETERMINATE = 3.0


@IMPORTERS.register("lidc")
class LIDC(Importer):
    """LIDC-IDRI as TCIA gives it.

    Args:
        min_readers: A nodule counts when at least this many readers outlined it.
    """

    name = "lidc"

    def __init__(self, *, min_readers: int = Consensus().min_readers) -> None:
        self._consensus = Consensus(min_readers=min_readers)

    def matches(self, root: Path) -> bool:
        """Whether folders of LIDC's patients lie at most two levels down, or above, and no IDC tree does."""
        above = any(_PATIENT.fullmatch(part) for part in root.resolve().parts)
        looked_at = look_down(root, depth=1, most=8)
        below = any(_PATIENT.fullmatch(entry.name) and entry.is_dir() for _, entries in looked_at for entry in entries)
        return (above or below) and not is_idc_tree(root)

    def studies(self, root: Path) -> ScanResult:
        """The CT studies, with the reading of each as a delineation."""
        found = scan_tree(root)
        skipped = Counter(found.skipped_files)
        by_series = {series.series_instance_uid: n for n, study in enumerate(found.studies) for series in study.series}
        readings: dict[int, list[Path]] = {}
        problems: dict[int, list[str]] = {}
        for path in _xml_files(root):
            skipped["OTHER_FILE"] -= skipped["OTHER_FILE"] > 0
            try:
                reading = read_reading(path)
            except UnreadableFileError as error:
                at = next((n for n, study in enumerate(found.studies) if _holds(study, path)), None)
                if at is None:
                    skipped[error.reason] += 1
                else:
                    place = path.relative_to(root).as_posix()
                    problems.setdefault(at, []).append(f"{error.reason}: {error.detail.replace(path.name, place)}")
                continue
            if reading is None:
                skipped["OTHER_FILE"] += 1
            elif reading.series_instance_uid in by_series:
                readings.setdefault(by_series[reading.series_instance_uid], []).append(path)
            else:
                skipped["LABEL_WITHOUT_IMAGE"] += 1
        studies = tuple(
            _with_readings(study, readings.get(n, []), problems.get(n, [])) for n, study in enumerate(found.studies)
        )
        return replace(found, studies=studies, skipped_files=dict(sorted((+skipped).items())))

    def labels(self, root: Path, studies: Sequence[Study]) -> Labels | None:
        """`nodule`, `small_nodule` and `malignant_nodule` of every study with a reading."""
        found = {}
        for study in studies:
            readings = [read_reading(path) for path in study.segmentations if path.suffix.lower() == ".xml"]
            of_study = [reading for reading in readings if reading is not None]
            if of_study:
                found[study.study_instance_uid] = findings_of(of_study, self._consensus)
        return labels_of(root, found)


def findings_of(readings: Sequence[Reading], consensus: Consensus) -> dict[str, LabelValue]:
    """What the readings of a study's series say of it; see the module's docstring."""
    nodules = [nodule for reading in readings for nodule in nodules_of(reading)]
    agreed = [nodule for nodule in nodules if nodule.n_readers >= consensus.min_readers]
    small = max(len({mark.reader for mark in reading.marks if mark.is_small}) for reading in readings)
    return {
        "nodule": _counted(max((nodule.n_readers for nodule in nodules), default=0), consensus),
        "small_nodule": _counted(small, consensus),
        "malignant_nodule": _malignant(nodules, agreed),
    }


def read_lidc_segmentation(path: Path, on: VolumeGeometry, *, consensus: Consensus | None = None) -> Segmentation:
    """Read a reading of LIDC onto a grid: the segment `nodule` is where the readers agree.

    Outlines are pixels of the series' slices. Where the series lies beside the XML file, its headers say where these
    are; else `on` has to be the grid of the series itself, which is checked as far as the file allows: axial, every
    outline within it and on one of its slices.

    Args:
        path: The XML file.
        on: Grid of the result, LPS mm.
        consensus: When a nodule and a voxel count.

    Raises:
        UnreadableFileError: `UNREADABLE_SEGMENTATION`: no reading of LIDC; `SERIES_MISSING`: the series is not beside
            the file, and `on` is not its grid.
    """
    from medfuse.ingest.dicom.objects import resample_labels

    reading = read_reading(path)
    if reading is None:
        raise UnreadableFileError(
            f"{path.name} is no reading of a LIDC CT; expected a LidcReadMessage", reason="UNREADABLE_SEGMENTATION"
        )
    grid, slices = _grid_of_series(path, reading)
    own = grid if grid is not None else on
    labels = _label_map(reading, own, slices, consensus or Consensus(), path, is_assumed=grid is None)
    label_map = labels if grid is None else resample_labels(labels, own.affine, on)
    segment = Segment(number=1, name="nodule", algorithm_type="MANUAL")
    return Segmentation(label_map=label_map, geometry=on, segments=(segment,))


def _label_map(
    reading: Reading,
    grid: VolumeGeometry,
    slices: Mapping[str, int],
    consensus: Consensus,
    path: Path,
    *,
    is_assumed: bool,
) -> NDArray[np.uint8]:
    """The agreed voxels on the series' own grid, arrays `(columns, rows, slices)`."""
    if is_assumed and not np.allclose(grid.affine.direction[:, :2], np.eye(3)[:, :2], atol=1e-3):
        raise _series_missing(path)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    for nodule in nodules_of(reading):
        if nodule.n_readers < consensus.min_readers:
            continue
        for (k, start), votes in _votes(nodule, grid, slices, path).items():
            agreed = votes >= max(1, int(np.ceil(consensus.agreement * nodule.n_readers - 1e-9)))
            labels[start[0] : start[0] + votes.shape[0], start[1] : start[1] + votes.shape[1], k] |= agreed
    return labels


def _votes(
    nodule: Nodule, grid: VolumeGeometry, slices: Mapping[str, int], path: Path
) -> dict[tuple[int, tuple[int, int]], NDArray[np.int64]]:
    """(slice, first pixel) -> how many readers hold each pixel of the nodule's box on that slice."""
    areas = [(mark.reader, area) for mark in nodule.marks for area in areas_of(mark)]
    low = np.min([area.start for _, area in areas], axis=0)
    high = np.max([np.add(area.start, area.mask.shape) for _, area in areas], axis=0)
    if (high > grid.shape[:2]).any():
        raise _series_missing(path)
    held: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for reader, area in areas:
        k = _slice_of(area.outline.z_mm, area.outline.sop_instance_uid, grid, slices, path)
        mask = held.setdefault((k, reader), np.zeros(high - low, dtype=bool))
        i, j = np.subtract(area.start, low)
        mask[i : i + area.mask.shape[0], j : j + area.mask.shape[1]] |= area.mask
    start = (int(low[0]), int(low[1]))
    votes: dict[tuple[int, tuple[int, int]], NDArray[np.int64]] = {}
    for (k, _), mask in held.items():
        votes[k, start] = votes.get((k, start), np.zeros(mask.shape, dtype=np.int64)) + mask
    return votes


def _slice_of(z_mm: float, sop_uid: str, grid: VolumeGeometry, slices: Mapping[str, int], path: Path) -> int:
    """The slice that an outline is on: by its instance where that is known, else by its position."""
    if sop_uid in slices:
        return slices[sop_uid]
    origin, step = grid.affine.origin_mm[2], grid.affine.matrix[2, 2]
    k = (z_mm - origin) / step if step else np.inf
    nearest = round(float(k)) if np.isfinite(k) else -1
    if not 0 <= nearest < grid.shape[2] or abs(k - nearest) * abs(step) > _SLICE_TOLERANCE_MM:
        raise _series_missing(path)
    return nearest


def _grid_of_series(path: Path, reading: Reading) -> tuple[VolumeGeometry | None, dict[str, int]]:
    """Grid of the series that lies beside the file, and SOP Instance UID -> slice; (None, {}) where there is none."""
    from medfuse.ingest.dicom.assemble import source_datasets

    try:
        found = scan_tree(path.parent)
        series = next(
            (
                s
                for study in found.studies
                for s in study.series
                if s.series_instance_uid == reading.series_instance_uid
            ),
            None,
        )
        return (None, {}) if series is None else _grid(source_datasets(series))
    except (StudyError, UsageError):
        return None, {}


def _grid(headers: Sequence["Dataset"]) -> tuple[VolumeGeometry, dict[str, int]]:
    """The grid of slices in ascending order (PS3.3 section C.7.6.2.1.1)."""
    first, last = headers[0], headers[-1]
    row, column = np.reshape(np.asarray(first.ImageOrientationPatient, dtype=float), (2, 3))
    along_row, along_column = (float(value) for value in reversed(first.PixelSpacing))
    start = np.asarray(first.ImagePositionPatient, dtype=float)
    step = np.cross(row, column)
    if len(headers) > 1:
        step = (np.asarray(last.ImagePositionPatient, dtype=float) - start) / (len(headers) - 1)
    matrix = np.eye(4)
    matrix[:3] = np.stack([row * along_row, column * along_column, step, start], axis=1)
    shape = (int(first.Columns), int(first.Rows), len(headers))
    return VolumeGeometry(shape=shape, affine=Affine(matrix)), {str(h.SOPInstanceUID): k for k, h in enumerate(headers)}


def _series_missing(path: Path) -> UnreadableFileError:
    return UnreadableFileError(
        f"{path.name}: its series is not beside it, and its outlines do not fit the grid that they are read onto; put "
        "the file into the folder of its series",
        reason="SERIES_MISSING",
    )


def _counted(n_readers: int, consensus: Consensus) -> LabelValue:
    if n_readers >= consensus.min_readers:
        return LabelValue.PRESENT
    return LabelValue.UNCERTAIN if n_readers else LabelValue.ABSENT


def _malignant(nodules: Sequence[Nodule], agreed: Sequence[Nodule]) -> LabelValue:
    ratings = [rating for nodule in agreed if (rating := nodule.mean_rating("malignancy")) is not None]
    if not agreed:
        return LabelValue.NOT_ASSESSED if nodules else LabelValue.ABSENT
    if not ratings:
        return LabelValue.NOT_ASSESSED
    worst = max(ratings)
    if worst == _INDETERMINATE:
        return LabelValue.UNCERTAIN
    return LabelValue.PRESENT if worst > _INDETERMINATE else LabelValue.ABSENT


def _xml_files(folder: Path) -> Iterator[Path]:
    for path in visible(folder):
        if path.is_dir():
            yield from _xml_files(path)
        elif path.suffix.lower() == ".xml":
            yield path


def _holds(study: Study, path: Path) -> bool:
    return any(series.files[0].parent == path.parent for series in study.series)


def _with_readings(study: Study, readings: Sequence[Path], problems: Sequence[str]) -> Study:
    """Add readings, and widen the path to the folder that holds them too."""
    if not readings and not problems:
        return study
    folder = common_folder([study.path / "x", *readings])
    return replace(
        study,
        path=folder,
        segmentations=(*study.segmentations, *readings),
        problems=(*study.problems, *problems),
    )
