"""Sorted DICOM files and the texts around them -> studies."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from medfuse.domain import Rejected, Report, Study, pseudonym
from medfuse.errors import StudyError
from medfuse.ingest.dicom.scan import Instance, series_of, with_uids, without_copies
from medfuse.ingest.sorting import Problem, SortedFiles, problem_lines

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
    from medfuse.ingest.reports import read_report

    reports, failures = [], []
    for path in paths:
        try:
            reports.append(read_report(path))
        except StudyError as error:
            relative = path.relative_to(root).as_posix()
            detail = error.detail.replace(str(path), relative)
            failures.append(f"{error.reason}: {detail if relative in detail else f'{relative}: {detail}'}")
    return tuple(reports), failures


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
        for study, series, instance in with_uids(trusted):
            self._members[study].append((series, instance))
        self._add_defective()
        places = Places(root)
        for study, members in self._members.items():
            places.add(study, {instance.path.parent for _, instance in members})
        self._problems: dict[str, list[Problem]] = defaultdict(list)
        for problem in found.problems:
            self._problems[places.only_study(problem.path.parent) or ""].append(problem)
        self._texts = assign_texts(found, self._names(), places)

    def outcomes(self) -> tuple[list[Study], list[Rejected]]:
        """Studies by path and UID; rejected studies and files of no study by UID and reason."""
        outcomes = [self._study(uid, members) for uid, members in self._members.items()]
        studies = [outcome for outcome in outcomes if isinstance(outcome, Study)]
        rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
        for line in problem_lines(self._problems[""], self._root):
            reason, detail = line.split(": ", 1)
            rejected.append(Rejected(study_instance_uid="", reason=reason, detail=detail))
        studies.sort(key=lambda study: (study.path.as_posix(), study.study_instance_uid))
        rejected.sort(key=lambda outcome: (outcome.study_instance_uid, outcome.reason, outcome.detail))
        return studies, rejected

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

    def _study(self, uid: str, members: list[tuple[str, Instance]]) -> Study | Rejected:
        members = sorted(members, key=lambda member: member[1].path)
        texts = self._texts.get(uid, [])
        folder = common_folder([*(instance.path for _, instance in members), *texts])
        accession = next((instance.accession_number for _, instance in members if instance.accession_number), "")
        patients = sorted({instance.patient_key for _, instance in members if instance.patient_key})
        kept = self._without_copies(uid, members)
        images = [(series, instance) for series, instance in kept if instance.kind == "image"]
        place = folder.relative_to(self._root).as_posix()
        if len(patients) > 1 or not images:
            reason, detail = _refusal(patients, [instance for _, instance in kept])
            detail = f"study {uid} under {place} {detail}"
            return Rejected(study_instance_uid=uid, accession_number=accession, reason=reason, detail=detail)
        report_files = [*(instance.path for _, instance in kept if instance.kind == "report"), *texts]
        series, refusals = series_of(images)
        if not series and refusals:
            return Rejected(
                study_instance_uid=uid,
                accession_number=accession,
                reason=refusals[0].split(":", 1)[0],
                detail=f"study {uid} under {place} has no series that can become a volume: {'; '.join(refusals)}",
            )
        reports, failures = read_reports(report_files, self._root)
        return Study(
            study_instance_uid=uid,
            patient_key=patients[0] if patients else pseudonym(uid),
            accession_number=accession,
            path=folder,
            series=series,
            reports=reports,
            segmentations=tuple(instance.path for _, instance in kept if instance.kind == "segmentation"),
            problems=(*problem_lines(self._problems[uid], self._root), *refusals, *failures),
        )

    def _without_copies(self, uid: str, members: list[tuple[str, Instance]]) -> list[tuple[str, Instance]]:
        """Drop copies and count what serves for nothing."""
        kept, copies = without_copies(members)
        used = [copy for copy in copies if copy.kind != "other"]
        self._problems[uid].extend(Problem("DUPLICATE_INSTANCE", copy.path) for copy in used)
        self._found.skipped.update(instance.skip_reason for _, instance in kept if instance.skip_reason)
        return kept


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds all of these files."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def _refusal(patients: Sequence[str], instances: Sequence[Instance]) -> tuple[str, str]:
    if len(patients) > 1:
        return "MIXED_PATIENTS", f"holds files of {len(patients)} patients; give each patient a study of its own"
    kinds = Counter(instance.skip_reason or instance.kind.upper() for instance in instances)
    held = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return "NO_IMAGE_SERIES", f"holds no CT, MR or PET image, only {held}"
