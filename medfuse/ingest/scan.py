"""Find the studies under a folder: DICOM by content, whatever the names and nesting, or NIfTI.

One pass over the files reads headers only. What cannot be used is never silently dropped: it is a line in
`Study.problems`, a `Rejected` study, or a count in `ScanResult.skipped_files`.

Looked at before writing this: dicom2nifti and MONAI's readers take one series a folder; pydicom's `FileSet` wants a
DICOMDIR; SimpleITK's `GetGDCMSeriesIDs` needs the folder of each series and drops files without a word. Hence headers
are read with pydicom and sorted here.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from medfuse.domain import Rejected, Study
from medfuse.errors import UnreadableFileError, UsageError
from medfuse.ingest.grouping import DicomGrouping, Places, assign_texts, common_folder, read_reports
from medfuse.ingest.nifti import nifti_stem, nifti_study
from medfuse.ingest.sorting import SortedFiles, sort_files

_LABEL_FOLDERS = frozenset({"mask", "masks", "label", "labels", "labelstr", "seg", "segs", "segmentations"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What a folder holds.

    Args:
        studies: By path, then UID.
        rejected: Studies, and files of no study, that cannot be used; the UID is empty for the latter.
        skipped_files: Reason -> number of files that are no image, segmentation or report of a study.
    """

    studies: tuple[Study, ...]
    rejected: tuple[Rejected, ...] = ()
    skipped_files: dict[str, int] = field(default_factory=dict)


def find_studies(root: Path) -> ScanResult:
    """Find every study under `root`.

    Args:
        root: A folder of studies, one study, one series, a Decathlon-layout NIfTI set (`dataset.json` and
            `imagesTr`), a folder of NIfTI files, one NIfTI file, or one DICOM file.

    Raises:
        UsageError: `root` is missing, empty, or holds neither DICOM nor NIfTI.
    """
    root = Path(root)
    if not root.exists():
        raise UsageError(f"{root} does not exist; name a folder with DICOM or NIfTI files")
    if (root / "dataset.json").is_file() and (root / "imagesTr").is_dir():
        from medfuse.ingest.importers.decathlon import find_decathlon_studies

        return ScanResult(studies=find_decathlon_studies(root))
    folder = root if root.is_dir() else root.parent
    found = sort_files(root)
    if found.instances or found.has_dicom:
        found.skipped["NIFTI_BESIDE_DICOM"] += len(found.nifti)
        studies, rejected = DicomGrouping(folder, found).outcomes()
    else:
        studies, rejected = _nifti_studies(folder, found)
    if not studies and not rejected:
        raise UsageError(_nothing_found(root, found))
    skipped = dict(sorted((+found.skipped).items()))
    return ScanResult(studies=tuple(studies), rejected=tuple(rejected), skipped_files=skipped)


def _nifti_studies(root: Path, found: SortedFiles) -> tuple[list[Study], list[Rejected]]:
    """Make each NIfTI file a study, with the label map and the text of the same name where there are any."""
    label_maps = [path for path in found.nifti if path.parent.name.lower() in _LABEL_FOLDERS]
    images = [path for path in found.nifti if path not in set(label_maps)]
    if not images:
        images, label_maps = label_maps, []
    studies: list[Study] = []
    rejected = []
    for path in images:
        maps = tuple(map_ for map_ in label_maps if nifti_stem(map_) == nifti_stem(path))
        try:
            studies.append(nifti_study(path, segmentations=maps))
        except UnreadableFileError as error:
            rejected.append(Rejected(study_instance_uid="", reason=error.reason, detail=error.detail))
    places = Places(root)
    names: dict[str, set[str]] = defaultdict(set)
    for study in studies:
        places.add(study.study_instance_uid, [study.path.parent])
        names[nifti_stem(study.path)].add(study.study_instance_uid)
    texts = assign_texts(found, names, places)
    return [_with_reports(study, texts.get(study.study_instance_uid, []), root) for study in studies], rejected


def _with_reports(study: Study, texts: list[Path], root: Path) -> Study:
    """Add the reports, and widen the path to the folder that holds all of the study's files."""
    if not texts and not study.segmentations:
        return study
    reports, failures = read_reports(texts, root)
    folder = common_folder([study.path, *study.segmentations, *texts])
    return replace(study, path=folder, reports=reports, problems=(*study.problems, *failures))


def _nothing_found(root: Path, found: SortedFiles) -> str:
    if not found.n_files:
        return f"{root} is empty; expected a folder with DICOM or NIfTI files"
    fakes = sum(problem.reason == "NOT_DICOM" for problem in found.problems)
    hint = f", {fakes} of them named like DICOM" if fakes else ""
    return f"{root} holds no DICOM and no NIfTI image ({found.n_files} files looked at{hint})"
