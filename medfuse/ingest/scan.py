"""Find the studies under a folder: DICOM by content, whatever the names and nesting, or NIfTI.

One pass over the files reads headers only. What cannot be used is never silently dropped: it is a line in
`Study.problems`, a `Rejected` study, or a count in `ScanResult.skipped_files`.

Names of the libraries looked at: dicom2nifti and MONAI's readers take one series a folder; pydicom's `FileSet`
wants a DICOMDIR; SimpleITK's `GetGDCMSeriesIDs` needs the folder of each series and drops files without a word.
Hence headers are read with pydicom and sorted here.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medfuse.domain import Rejected, Report, Study, pseudonym
from medfuse.errors import StudyError, UnreadableFileError, UsageError
from medfuse.ingest.dicom.files import DICOM_SUFFIXES, has_dicom_magic, may_be_dicom
from medfuse.ingest.dicom.scan import Instance, read_instance, series_of, with_uids, without_copies
from medfuse.ingest.nifti import is_nifti_name, nifti_stem, nifti_study

_NO_REPORT = re.compile(r"(readme|licen[cs]e|source|notice|copying|copyright|changelog|authors|requirements)", re.I)
_LABEL_FOLDERS = frozenset({"mask", "masks", "label", "labels", "labelstr", "seg", "segs", "segmentations"})
_LISTED_PATHS = 3


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
        raise UsageError(f"{root} does not exist")
    if (root / "dataset.json").is_file() and (root / "imagesTr").is_dir():
        from medfuse.ingest.importers.decathlon import find_decathlon_studies

        return ScanResult(studies=find_decathlon_studies(root))
    found = _sort_files(root)
    if found.instances or found.has_dicom:
        found.skipped["NIFTI_BESIDE_DICOM"] += len(found.nifti)
        result = _Grouping(root, found).result()
    else:
        result = _nifti_result(root, found)
    if not result.studies and not result.rejected:
        raise UsageError(_nothing_found(root, found))
    return result


@dataclass(slots=True)
class _Problem:
    reason: str
    path: Path


@dataclass(slots=True)
class _Found:
    """The files under a root, by what they are."""

    instances: list[Instance] = field(default_factory=list)
    nifti: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    problems: list[_Problem] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    has_dicom: bool = False
    n_files: int = 0


def _sort_files(root: Path) -> _Found:
    found = _Found()
    for path in _walk(root, found):
        found.n_files += 1
        try:
            with path.open("rb") as file:
                head = file.read(132)
        except OSError:
            found.problems.append(_Problem("UNREADABLE_FILE", path))
            continue
        _sort_file(path, head, found)
    return found


def _sort_file(path: Path, head: bytes, found: _Found) -> None:
    promises_dicom = path.suffix.lower() in DICOM_SUFFIXES
    is_dicom = has_dicom_magic(head)
    if is_nifti_name(path) and not is_dicom:
        found.nifti.append(path)
    elif path.suffix.lower() == ".txt" and not is_dicom:
        found.texts.append(path)
    elif may_be_dicom(head):
        _read_dicom(path, found, promises_dicom=promises_dicom or is_dicom)
        found.has_dicom |= is_dicom
    elif len(head) < 132 and not head.strip(b"\0") and (promises_dicom or not path.suffix):
        found.problems.append(_Problem("TRUNCATED_FILE", path))
    elif promises_dicom:
        found.problems.append(_Problem("NOT_DICOM", path))
    else:
        found.skipped["OTHER_FILE"] += 1


def _read_dicom(path: Path, found: _Found, *, promises_dicom: bool) -> None:
    try:
        found.instances.append(read_instance(path))
    except UnreadableFileError as error:
        if promises_dicom:
            found.problems.append(_Problem(error.reason, path))
        else:
            found.skipped["OTHER_FILE"] += 1


def _walk(root: Path, found: _Found) -> Iterator[Path]:
    """Files below `root` in a fixed order; links to folders are followed once, so that loops end."""
    if root.is_file():
        yield root
        return
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or not path.is_file():
                found.skipped["HIDDEN_FILE"] += 1
            else:
                yield path


class _Places:
    """Which studies have files in or below each folder."""

    def __init__(self, root: Path) -> None:
        self._root = root if root.is_dir() else root.parent
        self._studies: dict[Path, set[str]] = defaultdict(set)

    def add(self, study_uid: str, folders: Iterable[Path]) -> None:
        for folder in folders:
            for place in self._up(folder):
                self._studies[place].add(study_uid)

    def only_study(self, folder: Path) -> str | None:
        """The one study at the nearest place, in or above `folder`, that holds any; None where it holds several."""
        for place in self._up(folder):
            if self._studies.get(place):
                return next(iter(self._studies[place])) if len(self._studies[place]) == 1 else None
        return None

    def _up(self, folder: Path) -> Iterator[Path]:
        while True:
            yield folder
            if folder in (self._root, folder.parent):
                return
            folder = folder.parent


class _Grouping:
    """DICOM instances and the text files around them, joined into studies."""

    def __init__(self, root: Path, found: _Found) -> None:
        self._root = root if root.is_dir() else root.parent
        self._found = found
        self._members: dict[str, list[tuple[str, Instance]]] = defaultdict(list)
        trusted = [instance for instance in found.instances if instance.defect != "NO_PIXEL_DATA"]
        for study, series, instance in with_uids(trusted):
            self._members[study].append((series, instance))
        self._add_defective()
        self._places = _Places(root)
        for study, members in self._members.items():
            self._places.add(study, {instance.path.parent for _, instance in members})
        self._problems: dict[str, list[_Problem]] = defaultdict(list)
        for problem in found.problems:
            self._problems[self._places.only_study(problem.path.parent) or ""].append(problem)
        self._texts = self._assign_texts()

    def result(self) -> ScanResult:
        outcomes = [self._study(uid, members) for uid, members in self._members.items()]
        studies = [outcome for outcome in outcomes if isinstance(outcome, Study)]
        rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
        loose = self._lines(self._problems[""])
        for line in loose:
            reason, detail = line.split(": ", 1)
            rejected.append(Rejected(study_instance_uid="", reason=reason, detail=detail))
        return ScanResult(
            studies=tuple(sorted(studies, key=lambda study: (study.path.as_posix(), study.study_instance_uid))),
            rejected=tuple(sorted(rejected, key=lambda r: (r.study_instance_uid, r.reason, r.detail))),
            skipped_files=dict(sorted((+self._found.skipped).items())),
        )

    def _add_defective(self) -> None:
        """Keep an image without all of its pixels in its series, which then refuses to become a volume.

        A file without pixel data may end anywhere, and its UIDs may be cut: it joins only a series that other
        files know.
        """
        known = {(study, series) for study, members in self._members.items() for series, _ in members}
        for instance in self._found.instances:
            if instance.defect:
                self._found.problems.append(_Problem(instance.defect, instance.path))
            if instance.defect == "NO_PIXEL_DATA" and (instance.study_uid, instance.series_uid) in known:
                self._members[instance.study_uid].append((instance.series_uid, instance))

    def _study(self, uid: str, members: list[tuple[str, Instance]]) -> Study | Rejected:
        members = sorted(members, key=lambda member: member[1].path)
        instances = [instance for _, instance in members]
        folder = self._common_folder([*(i.path for i in instances), *self._texts.get(uid, ())])
        accession = next((i.accession_number for i in instances if i.accession_number), "")
        refuse = _Refusal(uid, accession, self._relative(folder))
        patients = {i.patient_key for i in instances if i.patient_key}
        if len(patients) > 1:
            return refuse("MIXED_PATIENTS", f"holds files of {len(patients)} patients; separate them")
        kept, copies = without_copies(instances)
        self._problems[uid].extend(_Problem("DUPLICATE_INSTANCE", copy.path) for copy in copies)
        for instance in kept:
            if instance.kind == "other":
                self._found.skipped[instance.skip_reason] += 1
        paths = {instance.path for instance in kept}
        images = [(series, i) for series, i in members if i.kind == "image" and i.path in paths]
        if not images:
            kinds = Counter(i.skip_reason or i.kind.upper() for i in kept)
            held = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
            return refuse("NO_IMAGE_SERIES", f"holds no CT, MR or PET image, only {held}")
        report_files = [*(i.path for i in kept if i.kind == "report"), *self._texts.get(uid, ())]
        reports, failures = _read_reports(report_files)
        problems = [*self._lines(self._problems[uid]), *failures]
        return Study(
            study_instance_uid=uid,
            patient_key=next(iter(patients), "") or pseudonym(uid),
            accession_number=accession,
            path=folder,
            series=series_of(images),
            reports=reports,
            segmentations=tuple(i.path for i in kept if i.kind == "segmentation"),
            problems=tuple(problems),
        )

    def _assign_texts(self) -> dict[str, list[Path]]:
        names: dict[str, set[str]] = defaultdict(set)
        for uid, members in self._members.items():
            names[uid].add(uid)
            for accession in {instance.accession_number for _, instance in members} - {""}:
                names[accession].add(uid)
        return _assign_texts(self._found, names, self._places)

    def _lines(self, problems: list[_Problem]) -> list[str]:
        return problem_lines((problem.reason, self._relative(problem.path)) for problem in problems)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    @staticmethod
    def _common_folder(paths: list[Path]) -> Path:
        return Path(os.path.commonpath([path.parent for path in paths]))


@dataclass(frozen=True, slots=True)
class _Refusal:
    uid: str
    accession: str
    place: str

    def __call__(self, reason: str, detail: str) -> Rejected:
        return Rejected(
            study_instance_uid=self.uid,
            accession_number=self.accession,
            reason=reason,
            detail=f"study {self.uid} under {self.place} {detail}",
        )


def problem_lines(problems: Iterable[tuple[str, str]]) -> list[str]:
    """One `REASON: detail` line for each reason of `(reason, path)` pairs, naming the first few paths."""
    paths: dict[str, list[str]] = defaultdict(list)
    for reason, path in problems:
        paths[reason].append(path)
    lines = []
    for reason, of_reason in sorted(paths.items()):
        more = len(of_reason) - _LISTED_PATHS
        listed = ", ".join(sorted(of_reason)[:_LISTED_PATHS]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"{reason}: {len(of_reason)} file{'s' if len(of_reason) > 1 else ''}: {listed}")
    return lines


def _assign_texts(found: _Found, names: dict[str, set[str]], places: _Places) -> dict[str, list[Path]]:
    """Give each text file to the study that it is named for, or else to the only study around it."""
    texts: dict[str, list[Path]] = defaultdict(list)
    for path in found.texts:
        if _NO_REPORT.match(path.name):
            found.skipped["OTHER_FILE"] += 1
            continue
        named = names.get(path.stem, set())
        study = next(iter(named)) if len(named) == 1 else places.only_study(path.parent)
        if study is None:
            found.skipped["TEXT_WITHOUT_STUDY"] += 1
        else:
            texts[study].append(path)
    return texts


def _read_reports(paths: list[Path]) -> tuple[tuple[Report, ...], list[str]]:
    from medfuse.ingest.reports import read_report

    reports, failures = [], []
    for path in paths:
        try:
            reports.append(read_report(path))
        except StudyError as error:
            failures.append(f"{error.reason}: {path.name}: {error.detail}")
    return tuple(reports), failures


def _nifti_result(root: Path, found: _Found) -> ScanResult:
    label_maps = {path for path in found.nifti if path.parent.name.lower() in _LABEL_FOLDERS}
    images = [path for path in found.nifti if path not in label_maps] or found.nifti
    maps: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(label_maps - set(images)):
        maps[nifti_stem(path)].append(path)
    places = _Places(root)
    studies: dict[str, Study] = {}
    rejected = []
    names: dict[str, set[str]] = defaultdict(set)
    for path in images:
        try:
            study = nifti_study(path, segmentations=tuple(maps.pop(nifti_stem(path), ())))
        except UnreadableFileError as error:
            rejected.append(Rejected(study_instance_uid="", reason=error.reason, detail=error.detail))
            continue
        studies[study.study_instance_uid] = study
        places.add(study.study_instance_uid, [path.parent])
        names[nifti_stem(path)].add(study.study_instance_uid)
    texts = _assign_texts(found, names, places)
    return ScanResult(
        studies=tuple(_with_reports(study, texts.get(uid, [])) for uid, study in studies.items()),
        rejected=tuple(rejected),
        skipped_files=dict(sorted((+found.skipped).items())),
    )


def _with_reports(study: Study, texts: list[Path]) -> Study:
    from dataclasses import replace

    if not texts:
        return study
    reports, failures = _read_reports(texts)
    return replace(study, reports=reports, problems=(*study.problems, *failures))


def _nothing_found(root: Path, found: _Found) -> str:
    if not found.n_files:
        return f"{root} is empty; expected a folder with DICOM or NIfTI files"
    fakes = sum(problem.reason == "NOT_DICOM" for problem in found.problems)
    hint = f", {fakes} of them named like DICOM" if fakes else ""
    return f"{root} holds no DICOM and no NIfTI image ({found.n_files} files looked at{hint})"
