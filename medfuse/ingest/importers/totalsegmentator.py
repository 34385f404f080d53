"""TotalSegmentator's layout: `s0000/{ct,mri}.nii.gz` with `segmentations/<class>.nii.gz`, a mask a class.

Wasserthal et al. 2023, Radiology: Artificial Intelligence 5(5), e230024; the MR set is D'Antonoli et al. 2025. Each
subject is one study of one patient. `meta.csv` holds ages, sexes, scanners and pathologies as text: data, not labels.
"""

import re
from collections import Counter
from pathlib import Path

from medfuse.domain import Modality, Series, Study, pseudonym
from medfuse.ingest.importers.base import IMPORTERS, Importer
from medfuse.ingest.importers.files import glance, series_or_problem, visible
from medfuse.ingest.nifti import is_nifti_name, nifti_stem
from medfuse.ingest.scan import ScanResult
from medfuse.ingest.uids import made_uid

_SUBJECT = re.compile(r"s\d{4}")
_IMAGES = {"ct": Modality.CT, "mri": Modality.MR}
_MASKS = "segmentations"


@IMPORTERS.register("totalsegmentator")
class TotalSegmentator(Importer):
    """One folder a subject, one file a class."""

    name = "totalsegmentator"

    def matches(self, root: Path) -> bool:
        """Whether `root` holds, or is, a folder `s0000` with an image and `segmentations`."""
        folders = [root, *(root / entry.name for entry in glance(root))]
        subjects = [folder for folder in folders if _SUBJECT.fullmatch(folder.name)][:5]
        return any(_images(folder) and (folder / _MASKS).is_dir() for folder in subjects)

    def studies(self, root: Path) -> ScanResult:
        """One study a subject; each mask is a delineation that holds the class of its file name."""
        skipped: Counter[str] = Counter()
        studies = tuple(_study(root, folder, skipped) for folder in _subjects(root))
        return ScanResult(studies=studies, skipped_files=dict(sorted((+skipped).items())))


def class_name(path: Path) -> str | None:
    """The class that a file is the mask of, by its place; None for another file."""
    folder = path.parent
    is_mask = folder.name == _MASKS and _SUBJECT.fullmatch(folder.parent.name) is not None
    return nifti_stem(path) if is_mask else None


def _subjects(root: Path) -> list[Path]:
    if _SUBJECT.fullmatch(root.name):
        return [root]
    return [path for path in visible(root) if _SUBJECT.fullmatch(path.name) and path.is_dir()]


def _images(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if is_nifti_name(path) and nifti_stem(path) in _IMAGES]


def _study(root: Path, folder: Path, skipped: Counter[str]) -> Study:
    problems: list[str] = []
    series: list[Series] = []
    images = _images(folder)
    for path in images:
        kind = nifti_stem(path)
        series += series_or_problem(
            path,
            problems,
            uid_parts=("totalsegmentator", folder.name, kind),
            modality=_IMAGES[kind],
            description=kind,
        )
    if not images:
        problems.append(f"IMAGE_MISSING: {folder.name} has neither ct.nii.gz nor mri.nii.gz")
    skipped["OTHER_FILE"] += sum(path.is_file() for path in visible(folder, skipped)) - len(images)
    masks = [path for path in visible(folder / _MASKS, skipped) if is_nifti_name(path)]
    return Study(
        study_instance_uid=made_uid("totalsegmentator", folder.name),
        patient_key=pseudonym(f"totalsegmentator {folder.name}"),
        accession_number=folder.name,
        path=root,
        series=tuple(series),
        segmentations=tuple(masks),
        problems=tuple(problems),
    )
