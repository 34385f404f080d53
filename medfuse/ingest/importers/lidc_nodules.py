"""Nodules cut out of LIDC-IDRI: `image/`, `mask/` and `text/` with one file a nodule, and `nodules.csv`.

A cube of CT in HU around each nodule, a mask of it, a text, and a row with the patient and the ratings. Nodules of
one patient share the patient's key. The ratings and the diameter are no findings: they are made by the readers who also
judged malignancy, and the size of a cube gives the diameter away.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medfuse.domain import Acquisition, LabelValue, Modality, Study, pseudonym
from medfuse.errors import ManifestError
from medfuse.ingest.grouping import read_reports
from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.files import series_or_problem, visible
from medfuse.ingest.importers.tables import Row, given, label_columns, labels_of, read_rows
from medfuse.ingest.labels import Labels, label_value
from medfuse.ingest.nifti import is_nifti_name, nifti_stem
from medfuse.ingest.scan import ScanResult
from medfuse.ingest.uids import made_uid

_TABLE = "nodules.csv"
_KEYS = ("nodule", "patient_id")
_RATINGS = frozenset(
    {
        "malignancy",
        "diameter_mm",
        "calcification",
        "internalstructure",
        "lobulation",
        "margin",
        "sphericity",
        "spiculation",
        "subtlety",
        "texture",
    }
)


@IMPORTERS.register("lidc_nodules")
class LidcNodules(Importer):
    """Cubes of CT around nodules, a patient's nodules under one key."""

    name = "lidc_nodules"

    def matches(self, root: Path) -> bool:
        """Whether there are `image` and a `nodules.csv` with the columns `nodule` and `patient_id`."""
        if not (root / "image").is_dir() or not (root / _TABLE).is_file():
            return False
        try:
            return any(True for _ in read_rows(root / _TABLE, required=_KEYS))
        except ManifestError:
            return False

    def studies(self, root: Path) -> ScanResult:
        """One study a nodule; a cube that the table does not name is of a patient of its own."""
        skipped: Counter[str] = Counter()
        patients = {row["nodule"]: given(row, "patient_id") for row in _rows(root)}
        files = visible(root / "image", skipped)
        images = [path for path in files if is_nifti_name(path)]
        skipped["OTHER_FILE"] += len(files) - len(images)
        masks = {nifti_stem(path): path for path in visible(root / "mask", skipped) if is_nifti_name(path)}
        texts = {path.stem: path for path in visible(root / "text", skipped) if path.suffix == ".txt"}
        studies = []
        for path in images:
            nodule = nifti_stem(path)
            studies.append(_study(root, path, patients.get(nodule, ""), masks.get(nodule), texts.get(nodule)))
        return ScanResult(studies=tuple(studies), skipped_files=dict(sorted((+skipped).items())))

    def labels(self, root: Path, studies: Sequence[Study]) -> Labels | None:
        """`malignant`, and any other column of labels that is no rating."""
        rows = {row["nodule"]: row for row in _rows(root)}
        columns = [name for name in label_columns(list(rows.values()), _KEYS) if name.casefold() not in _RATINGS]
        found = {
            study.study_instance_uid: {
                name: label_value(given(rows[study.accession_number], name)) or LabelValue.NOT_ASSESSED
                for name in columns
            }
            for study in studies
            if study.accession_number in rows
        }
        return labels_of(root / _TABLE, found)


def is_nodule_mask(path: Path) -> bool:
    """Whether a file is the mask of a nodule, by its place."""
    return path.parent.name == "mask" and (path.parent.parent / _TABLE).is_file()


def _rows(root: Path) -> list[Row]:
    return [row for _, row in read_rows(root / _TABLE, required=_KEYS)]


def _study(root: Path, path: Path, patient: str, mask: Path | None, text: Path | None) -> Study:
    nodule = nifti_stem(path)
    problems: list[str] = [] if patient else [f"PATIENT_UNKNOWN: {_TABLE} does not name {nodule}"]
    series = series_or_problem(
        path,
        problems,
        uid_parts=("lidc_nodules", nodule),
        modality=Modality.CT,
        acquisition=Acquisition(body_part="CHEST"),
    )
    reports, failures = read_reports([text] if text else [], root)
    return Study(
        study_instance_uid=made_uid("lidc_nodules", nodule),
        patient_key=pseudonym(patient or nodule),
        accession_number=nodule,
        path=root,
        series=series,
        reports=reports,
        segmentations=(mask,) if mask else (),
        problems=(*problems, *failures),
    )
