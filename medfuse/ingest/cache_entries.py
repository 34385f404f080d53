"""What a cache keeps of a tree, as JSON: files as numbers in the order of the walk, and nobody's name.

`DraftEntries` writes studies, `FileEntries` what each file's header said. Names of files and folders in texts are cut
out and put back; a Patient ID or an accession number is read again from one of the files that hold it.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from medfuse.domain import Acquisition, Modality, Series
from medfuse.ingest.dicom.files import open_file
from medfuse.ingest.dicom.scan import Instance, instance_of
from medfuse.ingest.file_kinds import Sorted
from medfuse.ingest.grouping import Draft
from medfuse.ingest.records import RecordReader, RecordWriter
from medfuse.ingest.tree import FoundFile, Tree


class DraftEntries:
    """Drafts with files as numbers in the order of the tree, and back."""

    def __init__(self, tree: Tree) -> None:
        self._files = [file.path for file in tree.files]
        self._root = tree.folder

    @cached_property
    def _numbers(self) -> dict[Path, int]:
        return {path: number for number, path in enumerate(self._files)}

    def entry(self, draft: Draft) -> dict[str, Any]:
        """A draft as JSON."""
        words = self._vocabulary(draft) if draft.problems or draft.detail else {}
        return {
            "uid": draft.study_uid,
            "patient": None if draft.patient_file is None else self._numbers[draft.patient_file],
            "accession": None if draft.accession_file is None else self._numbers[draft.accession_file],
            "path": self._place(draft),
            "series": [self._series_entry(series) for series in draft.series],
            "reports": self._runs(draft.report_files),
            "segmentations": self._runs(draft.segmentations),
            "problems": [_hide(line, words) for line in draft.problems],
            "reason": draft.reason,
            "detail": _hide(draft.detail, words),
        }

    def draft(self, entry: dict[str, Any]) -> Draft:
        """The draft of its JSON; whose it is comes from the files."""
        patient, accession = self._identity(entry["patient"], entry["accession"])
        return Draft(
            study_uid=entry["uid"],
            patient_key=patient,
            accession_number=accession,
            path=self._root if entry["path"] is None else self._files[entry["path"][0]].parents[entry["path"][1]],
            series=tuple([self._series(one) for one in entry["series"]]),
            report_files=self._paths(entry["reports"]),
            segmentations=self._paths(entry["segmentations"]),
            problems=tuple([self._text(pieces) for pieces in entry["problems"]]),
            reason=entry["reason"],
            detail=self._text(entry["detail"]),
        )

    def _series_entry(self, series: Series) -> dict[str, Any]:
        entry = {name.name: getattr(series, name.name) for name in fields(Series)}
        return {**entry, "files": self._runs(series.files), "acquisition": asdict(series.acquisition)}

    def _series(self, entry: dict[str, Any]) -> Series:
        made = entry["acquisition"]
        spacing = made["spacing_mm"]
        acquisition = Acquisition(
            **{
                **made,
                "spacing_mm": None if spacing is None else tuple(spacing),
                "image_type": tuple(made["image_type"]),
            }
        )
        return Series(
            **{
                **entry,
                "files": self._paths(entry["files"]),
                "modality": Modality(entry["modality"]),
                "acquisition": acquisition,
            }
        )

    def _identity(self, patient: int | None, accession: int | None) -> tuple[str, str]:
        instances = {n: _read_again(self._files[n]) for n in {patient, accession} if n is not None}
        return (
            "" if patient is None else instances[patient].patient_key,
            "" if accession is None else instances[accession].accession_number,
        )

    def _runs(self, paths: Sequence[Path]) -> list[list[int]]:
        """Numbers of files as first and length of each run of neighbours."""
        runs: list[list[int]] = []
        for number in [self._numbers[path] for path in paths]:
            if runs and runs[-1][0] + runs[-1][1] == number:
                runs[-1][1] += 1
            else:
                runs.append([number, 1])
        return runs

    def _paths(self, runs: Sequence[Sequence[int]]) -> tuple[Path, ...]:
        paths: list[Path] = []
        for first, length in runs:
            if not 0 <= first < first + length <= len(self._files):
                raise ValueError("no such files")
            paths += self._files[first : first + length]
        return tuple(paths)

    def _place(self, draft: Draft) -> list[int] | None:
        """A folder, as a file below it and how many folders it is up from there."""
        for path in draft.mentioned[:1] if draft.study_uid else ():
            for up, parent in enumerate(path.parents):
                if parent == draft.path:
                    return [self._numbers[path], up]
        return None

    def _vocabulary(self, draft: Draft) -> dict[str, list[Any]]:
        """Names that texts about a draft may hold, and how to make them anew."""
        words: dict[str, list[Any]] = {}
        for path in draft.mentioned:
            number = self._numbers[path]
            words.setdefault(path.name, ["name", number])
            words.setdefault(path.relative_to(self._root).as_posix(), ["path", number])
        place = self._place(draft)
        if place is not None:
            words.setdefault(draft.path.relative_to(self._root).as_posix(), ["folder", *place])
        return {word: code for word, code in words.items() if word != "."}

    def _text(self, pieces: Sequence[Any]) -> str:
        return "".join([piece if isinstance(piece, str) else self._word(*piece) for piece in pieces])

    def _word(self, kind: str, number: int, up: int = 0) -> str:
        path = self._files[number]
        if kind == "name":
            return path.name
        return (path if kind == "path" else path.parents[up]).relative_to(self._root).as_posix()


class FileEntries:
    """What headers said, by file.

    Args:
        tree: The tree as it is now.
        kept: What was kept of it.
    """

    def __init__(self, tree: Tree, kept: dict[str, Any]) -> None:
        self._records: dict[str, Any] = kept.get("files", {})
        self._reader = RecordReader()
        self._reader.learn(kept.get("schemas", []), kept.get("values", []))
        self._people: dict[int, tuple[str, str]] = {}
        self._witnesses: dict[int, Path] = {}
        if self._records:
            for file in tree.files:
                record = self._records.get(_digest(file))
                if isinstance(record, list) and len(record) > 1:
                    self._witnesses.setdefault(record[0], file.path)

    def what(self, file: FoundFile) -> Sorted | None:
        """What a file is, or None where it has to be looked at."""
        record = self._records.get(_digest(file)) if self._records else None
        if record is None:
            return None
        if isinstance(record, str) or len(record) == 1:
            return self._reader.what(file, record, "", "")
        person, *rest = record
        return self._reader.what(file, rest, *self._person(person))

    def _person(self, number: int) -> tuple[str, str]:
        """Whose a file is: read from the header of one of this person's files."""
        if number not in self._people:
            instance = _read_again(self._witnesses[number])
            self._people[number] = instance.patient_key, instance.accession_number
        return self._people[number]

    @classmethod
    def entries(cls, files: Sequence[FoundFile], each: Sequence[Sorted]) -> dict[str, Any]:
        """What each file is, as JSON; files that only pydicom can read are left out."""
        people: dict[tuple[str, str], int] = {}
        records: dict[str, Any] = {}
        writer = RecordWriter()
        for file, what in zip(files, each, strict=True):
            record = writer.record(what)
            if record is None:
                continue
            if isinstance(what, Instance):
                record = [people.setdefault((what.patient_key, what.accession_number), len(people)), *record]
            records[_digest(file)] = record
        return {
            "files": records,
            "schemas": [list(keys) for keys in writer.schemas],
            "values": [value for _, value in writer.values],
        }


def _read_again(path: Path) -> Instance:
    return instance_of(open_file(path))


def _digest(file: FoundFile) -> str:
    path, *rest = file
    return blake2b(f"{path}\0{rest}".encode(errors="surrogateescape"), digest_size=12).hexdigest()


def _hide(text: str, words: dict[str, list[Any]]) -> list[Any]:
    """Cut a text at the names in it, and put their codes in place of them; the longest name wins."""
    pieces: list[Any] = [text]
    for word in sorted(words, key=len, reverse=True):
        if word not in text:
            continue
        split: list[Any] = []
        for piece in pieces:
            parts = piece.split(word) if isinstance(piece, str) else [piece]
            for n, part in enumerate(parts):
                split += [words[word]] if n else []
                split += [part] if part else []
        pieces = split
    return pieces
