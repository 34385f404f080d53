"""Sorted DICOM files and the texts around them -> studies."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medfuse.domain import Rejected, Report, Series, Study, pseudonym
from medfuse.errors import StudyError
from medfuse.ingest.dicom.scan import Instance, series_of, with_one_study, with_uids, without_copies
from medfuse.ingest.file_kinds import Problem
from medfuse.ingest.sorting import SortedFiles, problem_lines

_NO_REPORT = re.compile(r"(readme|licen[cs]e|source|notice|copying|copyright|changelog|authors|requirements)", re.I)


class Places:
    """Which studies have files in or below each folder under a root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._studies: dict[Path, set[str]] = defaultdict(set)

    def add(self, study_uid: str, folders: Iterable[Path]) -> None:
        """Say that a study has files in these folders."""
        for folder in folders:
            for place in self._up(folder):
                self._studies[place].add(study_uid)

    def only_study(self, folder: Path) -> str | None:
        """The one study at the nearest place, in or above `folder`, that holds any; None where it holds several."""
        for place in self._up(folder):
            studies = self._studies.get(place, set())
            if studies:
                return next(iter(studies)) if len(studies) == 1 else None
        return None

    def _up(self, folder: Path) -> Iterator[Path]:
        while True:
            yield folder
            if folder in (self._root, folder.parent):
                return
            folder = folder.parent


def assign_texts(found: SortedFiles, names: Mapping[str, set[str]], places: Places) -> dict[str, list[Path]]:
    """Give each text file to the study that it is named for, or else to the only study around it.

    Args:
        found: Its texts are assigned; those that belong to no study are counted as skipped.
        names: File name without suffix -> UIDs of the studies that go by it (UID, accession number).
        places: Where the studies' files are.
    """
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


def read_reports(paths: Sequence[Path], root: Path) -> tuple[tuple[Report, ...], list[str]]:
    """Read reports; those that cannot be read become problem lines with paths below `root`."""
    from medfuse.ingest.reports.reading import read_report

    reports, failures = [], []
    for path in paths:
        try:
            reports.append(read_report(path))
        except StudyError as error:
            relative = path.relative_to(root).as_posix()
            detail = error.detail.replace(str(path), relative)
            failures.append(f"{error.reason}: {detail if relative in detail else f'{relative}: {detail}'}")
    return tuple(reports), failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A study, or a rejected one, before its reports are read; what a cache keeps, but for the patient.

    Args:
        study_uid: Its UID; empty for files of no study.
        patient_key: Pseudonym of the patient.
        patient_file: The file that tells the patient; None where none does.
        accession_number: May be empty.
        accession_file: The file that tells the accession number; None where none does.
        path: The folder that holds all of its files.
        series: Its volumes.
        report_files: Where its reports are.
        segmentations: Its delineations.
        problems: What was left out and why.
        reason: Why it is rejected; empty for a study.
        detail: The same for a person.
        mentioned: Files that problems and detail may name.
    """

    study_uid: str
    patient_key: str = ""
    patient_file: Path | None = None
    accession_number: str = ""
    accession_file: Path | None = None
    path: Path
    series: tuple[Series, ...] = ()
    report_files: tuple[Path, ...] = ()
    segmentations: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""
    mentioned: tuple[Path, ...] = ()

    def outcome(self, root: Path) -> Study | Rejected:
        """Read the reports; their problems name paths below `root`."""
        if self.reason:
            return Rejected(
                study_instance_uid=self.study_uid,
                accession_number=self.accession_number,
                reason=self.reason,
                detail=self.detail,
            )
        reports, failures = read_reports(self.report_files, root)
        return Study(
            study_instance_uid=self.study_uid,
            patient_key=self.patient_key or pseudonym(self.study_uid),
            accession_number=self.accession_number,
            path=self.path,
            series=self.series,
            reports=reports,
            segmentations=self.segmentations,
            problems=(*self.problems, *failures),
        )


class DicomGrouping:
    """The studies of sorted DICOM files.

    Args:
        root: Folder that paths in problem lines are relative to.
        found: What lies below it.
    """

    def __init__(self, root: Path, found: SortedFiles) -> None:
        self._root = root
        self._found = found
        self._members: dict[str, list[tuple[str, Instance]]] = defaultdict(list)
        trusted = [instance for instance in found.instances if instance.defect != "NO_PIXEL_DATA"]
        trusted, self._said = with_one_study(trusted)
        for study, series, instance in with_uids(trusted):
            self._members[study].append((series, instance))
        self._add_defective()
        places = Places(root)
        for study, members in self._members.items():
            places.add(study, folders_of([instance.path for _, instance in members]))
        self._problems: dict[str, list[Problem]] = defaultdict(list)
        for problem in found.problems:
            self._problems[places.only_study(problem.path.parent) or ""].append(problem)
        self._texts = assign_texts(found, self._names(), places)

    def drafts(self) -> list[Draft]:
        """Studies by path and UID, then rejected studies and files of no study by UID and reason."""
        drafts = [self._draft(uid, members) for uid, members in self._members.items()]
        lost = self._problems[""]
        drafts += [
            Draft(study_uid="", path=self._root, reason=reason, detail=detail, mentioned=tuple(p.path for p in lost))
            for reason, detail in (line.split(": ", 1) for line in problem_lines(lost, self._root))
        ]
        return sorted(drafts, key=_draft_order)

    def _add_defective(self) -> None:
        """Keep an image without all of its pixels in its series, which then refuses to become a volume.

        A file without pixel data may end anywhere, and its UIDs may be cut: it joins only a series that other
        files know.
        """
        known = {(study, series) for study, members in self._members.items() for series, _ in members}
        for instance in self._found.instances:
            if instance.defect:
                self._found.problems.append(Problem(instance.defect, instance.path))
            if instance.defect == "NO_PIXEL_DATA" and (instance.study_uid, instance.series_uid) in known:
                self._members[instance.study_uid].append((instance.series_uid, instance))

    def _names(self) -> dict[str, set[str]]:
        names: dict[str, set[str]] = defaultdict(set)
        for uid, members in self._members.items():
            names[uid].add(uid)
            for accession in {instance.accession_number for _, instance in members} - {""}:
                names[accession].add(uid)
        return names

    def _draft(self, uid: str, members: list[tuple[str, Instance]]) -> Draft:
        members = sorted(members, key=_path_of)
        texts = self._texts.get(uid, [])
        instances = [instance for _, instance in members]
        named = next((instance for instance in instances if instance.patient_key), None)
        billed = next((instance for instance in instances if instance.accession_number), None)
        patients = {instance.patient_key for instance in instances if instance.patient_key}
        kept = self._without_copies(uid, members)
        images = [(series, instance) for series, instance in kept if instance.kind == "image"]
        series, refusals = series_of(images) if len(patients) < 2 else ((), ())
        draft = Draft(
            study_uid=uid,
            patient_key=min(patients) if patients else "",
            patient_file=named.path if named else None,
            accession_number=billed.accession_number if billed else "",
            accession_file=billed.path if billed else None,
            path=common_folder([*(instance.path for instance in instances), *texts]),
            series=series,
            report_files=(*(instance.path for _, instance in kept if instance.kind == "report"), *texts),
            segmentations=tuple(instance.path for _, instance in kept if instance.kind == "segmentation"),
            problems=(*problem_lines(self._problems[uid], self._root), *self._said.get(uid, ()), *refusals),
            mentioned=(*(instance.path for instance in instances), *(p.path for p in self._problems[uid])),
        )
        if series:
            return draft
        reason, detail = _refusal(len(patients), [instance for _, instance in kept], refusals)
        place = draft.path.relative_to(self._root).as_posix()
        return replace(draft, reason=reason, detail=f"study {uid} under {place} {detail}")

    def _without_copies(self, uid: str, members: list[tuple[str, Instance]]) -> list[tuple[str, Instance]]:
        """Drop copies and count what serves for nothing."""
        kept, copies = without_copies(members)
        used = [copy for copy in copies if copy.kind != "other"]
        self._problems[uid].extend(Problem("DUPLICATE_INSTANCE", copy.path) for copy in used)
        self._found.skipped.update([instance.skip_reason for _, instance in kept if instance.skip_reason])
        return kept


def _path_of(member: tuple[str, Instance]) -> str:
    return str(member[1].path)  # texts compare several times faster than paths


def _draft_order(draft: Draft) -> tuple[bool, str, str, str]:
    if draft.reason:
        return True, draft.study_uid, draft.reason, draft.detail
    return False, draft.path.as_posix(), draft.study_uid, ""


def folders_of(paths: Iterable[Path]) -> set[Path]:
    """The folders that hold files."""
    return {Path(folder) for folder in {os.path.dirname(path) for path in paths}}  # noqa: PTH120 - five times faster


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds all of these files."""
    return Path(os.path.commonpath(folders_of(paths)))


def _refusal(n_patients: int, instances: Sequence[Instance], refusals: Sequence[str]) -> tuple[str, str]:
    """Why a study without a volume is rejected."""
    if n_patients > 1:
        return "MIXED_PATIENTS", f"holds files of {n_patients} patients; give each patient a study of its own"
    if refusals:
        return refusals[0].split(":", 1)[0], f"has no series that can become a volume: {'; '.join(refusals)}"
    kinds = Counter(instance.skip_reason or instance.kind.upper() for instance in instances)
    held = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return "NO_IMAGE_SERIES", f"holds no CT, MR or PET image, only {held}"
