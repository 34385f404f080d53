"""CT-RATE: chest CT as NIfTI, with reports, labels and headers in CSV files.

Hamamci et al. 2024, arXiv 2403.17834. `dataset/{train,valid}[_fixed]/<split>_<patient>/<split>_<patient>_<scan>/` holds
one file a reconstruction: `train_10008_a_1.nii.gz`. A scan is one study, its reconstructions are its series, and
`train_10008` is the patient.

The files of `train` and `valid` have blank headers: spacing, position, orientation and the rescale to HU stand in the
metadata table, and a file without a row there cannot be placed. Those of `train_fixed` and `valid_fixed` hold HU and a
header that the table's values were written into. That was done with the direction matrix transposed, which tells only
where the orientation is oblique; there the table's orientation is read in the header's place.

Reports and labels are given per reconstruction and belong to the scan. The labels are those of a text classifier.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from medfuse.domain import (
    Acquisition,
    HeaderCorrection,
    LabelValue,
    Modality,
    Provenance,
    Rejected,
    Report,
    SectionName,
    Series,
    Study,
    pseudonym,
)
from medfuse.errors import ManifestError
from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.files import glance, series_or_problem, visible
from medfuse.ingest.importers.tables import Row, agreed, given, label_columns, labels_of, read_rows, report_of
from medfuse.ingest.labels import Labels, label_value
from medfuse.ingest.nifti import nifti_stem
from medfuse.ingest.scan import ScanResult
from medfuse.ingest.uids import made_uid

_SPLITS = ("train_fixed", "valid_fixed", "train", "valid")
_VOLUME = re.compile(r"(?P<scan>(?P<patient>(?:train|valid)_\d+)_[a-z]+)_(?P<number>\d+)\.nii(?:\.gz)?")
_PATIENT = re.compile(r"(?:train|valid)_\d+(?:_[a-z]+_\d+\.nii(?:\.gz)?)?")
_TABLES = {"reports": "radiology_text_reports", "labels": "multi_abnormality_labels", "metadata": "metadata"}
_SECTIONS = (
    (SectionName.INDICATION, "ClinicalInformation_EN"),
    (SectionName.TECHNIQUE, "Technique_EN"),
    (SectionName.FINDINGS, "Findings_EN"),
    (SectionName.IMPRESSION, "Impressions_EN"),
)
_STANDARD = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@IMPORTERS.register("ct_rate")
class CTRate(Importer):
    """The folder `dataset` of CT-RATE, or the one that holds it; any part of the volumes may be there."""

    name = "ct_rate"
    label_provenance: ClassVar[Provenance] = Provenance.MODEL

    def matches(self, root: Path) -> bool:
        """Whether a folder of a split holds a patient's folder or volume."""
        home = _home(root)
        return any(_PATIENT.fullmatch(entry.name) for split in _SPLITS for entry in glance(home / split, most=3))

    def studies(self, root: Path) -> ScanResult:
        """One study a scan, with a series a reconstruction, and the scan's report."""
        skipped: Counter[str] = Counter()
        volumes = _volumes(_home(root), skipped)
        names = {path.name: scan for scan, files in volumes.items() for path in files}
        rejected: list[str] = []
        metadata = {row["VolumeName"]: row for row in _rows(root, "metadata", names, rejected)}
        reports: dict[str, list[Report]] = defaultdict(list)
        for row in _rows(root, "reports", names, rejected):
            report = report_of([(section, given(row, column)) for section, column in _SECTIONS])
            if report is not None and report not in reports[names[row["VolumeName"]]]:
                reports[names[row["VolumeName"]]].append(report)
        studies = [_study(root, scan, files, metadata, reports[scan]) for scan, files in sorted(volumes.items())]
        return ScanResult(
            studies=tuple(studies),
            skipped_files=dict(sorted((+skipped).items())),
            rejected=_unread_tables(rejected),
        )

    def labels(self, root: Path, studies: Sequence[Study]) -> Labels | None:
        """The columns of the label tables; where reconstructions of a scan differ, UNCERTAIN."""
        by_volume = {path.name: study for study in studies for series in study.series for path in series.files}
        rows = list(_rows(root, "labels", by_volume))
        columns = label_columns(rows, ("VolumeName",))
        values: dict[str, dict[str, list[LabelValue]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            of_study = values[by_volume[row["VolumeName"]].study_instance_uid]
            for column in columns:
                of_study[column].append(label_value(given(row, column)) or LabelValue.NOT_ASSESSED)
        source = _tables(root, "labels")
        found = {uid: {name: agreed(told) for name, told in columns.items()} for uid, columns in values.items()}
        return labels_of(source[0] if source else root, found)


def _home(root: Path) -> Path:
    return root / "dataset" if (root / "dataset").is_dir() else root


def _tables(root: Path, kind: str) -> list[Path]:
    """The CSV files of one kind, in the folder that the data set keeps them in."""
    homes = dict.fromkeys((root, _home(root)))
    paths = [path for home in homes for path in visible(home / _TABLES[kind])]
    return [path for path in paths if path.suffix == ".csv" and kind in path.stem]


def _rows(root: Path, kind: str, volumes: Mapping[str, object], unread: list[str] | None = None) -> Iterator[Row]:
    """The rows of the volumes that are there. A table that cannot be read raises, or is a line in `unread`."""
    for path in _tables(root, kind):
        try:
            yield from (row for _, row in read_rows(path, required=("VolumeName",)) if row["VolumeName"] in volumes)
        except ManifestError as error:
            if unread is None:
                raise
            unread.append(str(error).replace(str(path), f"{path.parent.name}/{path.name}"))


def _unread_tables(lines: Sequence[str]) -> tuple[Rejected, ...]:
    return tuple(Rejected(study_instance_uid="", reason="TABLE_UNREADABLE", detail=line) for line in lines)


def _volumes(home: Path, skipped: Counter[str]) -> dict[str, list[Path]]:
    """Scan -> its files by name; a volume of a `_fixed` folder takes the place of its unfixed twin."""
    found: dict[str, Path] = {}
    for split in _SPLITS:
        for path in _files(home / split, skipped, depth=2):
            if _VOLUME.fullmatch(path.name) is None:
                skipped["OTHER_FILE"] += 1
            elif path.name in found:
                skipped["UNFIXED_TWIN"] += 1
            else:
                found[path.name] = path
    scans: dict[str, list[Path]] = defaultdict(list)
    for name, path in sorted(found.items(), key=lambda item: _number(item[0])):
        scans[_VOLUME.fullmatch(name)["scan"]].append(path)  # type: ignore[index]
    return scans


def _files(folder: Path, skipped: Counter[str], depth: int) -> Iterator[Path]:
    for path in visible(folder, skipped):
        if not path.is_dir():
            yield path
        elif depth:
            yield from _files(path, skipped, depth - 1)


def _number(name: str) -> int:
    """The number of a reconstruction."""
    match = _VOLUME.fullmatch(name)
    return int(match["number"]) if match else 0


def _study(
    root: Path, scan: str, files: Sequence[Path], metadata: Mapping[str, Row], reports: Sequence[Report]
) -> Study:
    problems: list[str] = []
    series: list[Series] = []
    for path in files:
        row = metadata.get(path.name, {})
        try:
            correction = _correction(row, is_fixed=_is_fixed(path))
        except (ValueError, TypeError):
            problems.append(
                f"METADATA_MISSING: {path.name}: its row of the metadata table has no usable grid or rescale"
            )
            continue
        series += series_or_problem(
            path,
            problems,
            uid_parts=("ct_rate", nifti_stem(path)),
            modality=Modality.CT,
            description=given(row, "SeriesDescription") or given(row, "ConvolutionKernel"),
            number=_number(path.name),
            acquisition=Acquisition(
                kernel=given(row, "ConvolutionKernel"),
                manufacturer=given(row, "Manufacturer"),
                thickness_mm=_float_or_none(given(row, "SliceThickness")),
                body_part=given(row, "BodyPartExamined"),
            ),
            correction=correction,
        )
    if len(reports) > 1:
        problems.append(f"REPORTS_DIFFER: the reconstructions of {scan} have {len(reports)} different reports")
    return Study(
        study_instance_uid=made_uid("ct_rate", scan),
        patient_key=pseudonym(scan.rpartition("_")[0]),
        accession_number=scan,
        path=root,
        series=tuple(series),
        reports=tuple(reports),
        problems=tuple(problems),
    )


def _is_fixed(path: Path) -> bool:
    return any(parent.name in ("train_fixed", "valid_fixed") for parent in path.parents)


def _correction(row: Row, *, is_fixed: bool) -> HeaderCorrection | None:
    """What to read in place of a volume's header.

    Raises:
        ValueError: The row lacks what an unfixed volume needs, or holds something else than numbers.
        TypeError: It holds something else than lists of numbers.
    """
    orientation = _numbers(given(row, "ImageOrientationPatient"), 6)
    if is_fixed:
        is_standard = orientation is None or np.allclose(np.abs(orientation), _STANDARD, atol=1e-4)
        return None if is_standard else HeaderCorrection(source="the metadata table", orientation=orientation)  # type: ignore[arg-type]
    in_plane = _numbers(given(row, "XYSpacing"), 2)
    if in_plane is None:
        raise ValueError("no XYSpacing")
    return HeaderCorrection(
        source="the metadata table",
        spacing_mm=(in_plane[0], in_plane[1], abs(float(given(row, "ZSpacing")))),
        orientation=orientation,  # type: ignore[arg-type]
        position_mm=_numbers(given(row, "ImagePositionPatient"), 3),  # type: ignore[arg-type]
        slope=float(given(row, "RescaleSlope")),
        intercept=float(given(row, "RescaleIntercept")),
    )


def _numbers(text: str, n: int) -> tuple[float, ...] | None:
    """`[a, b, ...]` as numbers; None for an empty cell."""
    if not text:
        return None
    values = tuple(float(value) for value in json.loads(text.replace("(", "[").replace(")", "]").replace("'", '"')))
    if len(values) != n:
        raise ValueError(f"{len(values)} numbers, expected {n}")
    return values


def _float_or_none(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
