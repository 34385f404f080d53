"""Find the studies under a folder: DICOM by content, whatever the names and nesting, or NIfTI.

One pass over the files reads headers only. What cannot be used is never silently dropped: it is a line in
`Study.problems`, a `Rejected` study, or a count in `ScanResult.skipped_files`.

Looked at before writing this: dicom2nifti and MONAI's readers take one series a folder; pydicom's `FileSet` wants a
DICOMDIR; SimpleITK's `GetGDCMSeriesIDs` needs the folder of each series and drops files without a word. Hence headers
are read and sorted here.
"""

import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import EllipsisType

from medfuse.domain import Rejected, Study
from medfuse.errors import UnreadableFileError, UsageError
from medfuse.ingest.cache import IndexCache
from medfuse.ingest.dicom.files import open_file
from medfuse.ingest.dicom.scan import DICOMDIR_CLASS
from medfuse.ingest.grouping import DicomGrouping, Places, assign_texts, common_folder, read_reports
from medfuse.ingest.nifti import nifti_stem, nifti_study
from medfuse.ingest.sorting import SortedFiles, problem_lines, sort_tree
from medfuse.ingest.tree import Tree, list_tree

_LABEL_FOLDERS = frozenset({"mask", "masks", "label", "labels", "labelstr", "seg", "segs", "segmentations"})
_CHOSEN_CACHE: ContextVar[Path | EllipsisType | None] = ContextVar("chosen_cache", default=...)
"""What `find_studies` was told, for importers that scan trees themselves."""


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


def find_studies(root: Path, *, cache: Path | EllipsisType | None = ...) -> ScanResult:
    """Find every study under `root`.

    Args:
        root: A folder of studies, one study, one series, a data set in one of the layouts that importers know, a
            folder of NIfTI files, one NIfTI file, one DICOM file, or a DICOMDIR, whose folder is then looked at.
        cache: Folder in which what was read of a tree is kept for the next time (see `cache`); None for nowhere. When
            left out, large trees are kept in the user's cache folder, or in the one that MEDFUSE_CACHE_DIR names.

    Raises:
        UsageError: `root` is missing, empty, or holds neither DICOM nor NIfTI.
    """
    root = Path(root)
    if not root.exists():
        raise UsageError(f"{root} does not exist; name a folder with DICOM or NIfTI files")
    from medfuse.ingest.importers import find_importer

    importer = find_importer(root)
    if importer is None:
        return scan_tree(root, cache=cache)
    token = _CHOSEN_CACHE.set(cache)
    try:
        return importer.studies(root)
    finally:
        _CHOSEN_CACHE.reset(token)


def scan_tree(root: Path, *, cache: Path | EllipsisType | None = ...) -> ScanResult:
    """As `find_studies`, by the content of the files alone, whatever layout an importer might see."""
    root = root.parent if _is_dicomdir(root) else root
    tree = list_tree(root)
    folder = root if root.is_dir() else root.parent
    kept = IndexCache.of(tree, _CHOSEN_CACHE.get() if cache is ... else cache)
    with _no_collection():
        known = kept.unchanged() if kept is not None else None
        if known is not None:
            return _result([draft.outcome(folder) for draft in known.drafts], known.skipped)
        return _scan(tree, folder, kept)


def _scan(tree: Tree, folder: Path, kept: IndexCache | None) -> ScanResult:
    """Look at the files of a tree, those that are not known."""
    found = sort_tree(tree, kept.known_file if kept is not None else None)
    if found.instances or (found.problems and not found.nifti):
        found.skipped["NIFTI_BESIDE_DICOM"] += len(found.nifti)
        drafts = DicomGrouping(folder, found).drafts()
        outcomes = [draft.outcome(folder) for draft in drafts]
        if kept is not None:
            kept.write(drafts, +found.skipped, found.each)
    else:
        studies, rejected = _nifti_studies(folder, found)
        outcomes = [*studies, *rejected]
    if not outcomes or _is_nothing(found):
        raise UsageError(_nothing_found(tree.root, found))
    return _result(outcomes, +found.skipped)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from going through the records of a large tree again and again while they are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_nothing(found: SortedFiles) -> bool:
    """Whether there is no image, and no file that could have been one."""
    return not found.instances and not found.nifti and all(one.reason == "NOT_DICOM" for one in found.problems)


def _result(outcomes: Sequence[Study | Rejected], skipped: Mapping[str, int]) -> ScanResult:
    return ScanResult(
        studies=tuple(one for one in outcomes if isinstance(one, Study)),
        rejected=tuple(one for one in outcomes if isinstance(one, Rejected)),
        skipped_files=dict(sorted(skipped.items())),
    )


def _is_dicomdir(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        return open_file(path).sop_class_uid == DICOMDIR_CLASS
    except UnreadableFileError:
        return path.name.upper() == "DICOMDIR"


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
    for line in problem_lines(found.problems, root):
        reason, detail = line.split(": ", 1)
        rejected.append(Rejected(study_instance_uid="", reason=reason, detail=detail))
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
