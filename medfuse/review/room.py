"""What is reviewed and where decisions go: the part that all readers share.

`open_room` takes the folder of results that `medfuse score` wrote, any folder of studies (with existing masks and
reports, nothing scored and no network loaded), or the decisions folder of an earlier review of either.

Decisions on results lie beside them. Decisions on a folder of studies lie in a folder beside it, `<name>.review`: data
is often read-only, and a later scan of it should not find the review's own files. `review.json` in a decisions folder
says what it is about.
"""

import functools
import hashlib
import os
import threading
from enum import StrEnum
from pathlib import Path
from typing import Any

from medfuse.domain import Prediction, Study, Target
from medfuse.errors import MedfuseError, UsageError
from medfuse.ingest import ScanResult, find_studies
from medfuse.ingest.reports.lexicon import Lexicon
from medfuse.outputs import study_folder
from medfuse.review.access import AccessPolicy, Reader, read_policy
from medfuse.review.desk import Desk
from medfuse.review.entries import (
    key_of,
    listed_results,
    rejected_entry,
    result_entry,
    study_entry,
    study_fingerprint,
)
from medfuse.review.index import IndexEntry, known_fingerprints, setting, write_index
from medfuse.review.masks import MaskStore
from medfuse.review.results import SCORES_FILE, Results
from medfuse.review.room_files import ROOM_FILE, describe, kept_lexicon, lexicon_of, place_of
from medfuse.review.store import ReviewStore

DIRECTORY_VARIABLE = "MEDFUSE_REVIEW_DIR"
DECISIONS_VARIABLE = "MEDFUSE_REVIEW_DECISIONS"
DATABASE_VARIABLE = "MEDFUSE_REVIEW_DATABASE"
USERS_VARIABLE = "MEDFUSE_REVIEW_USERS"
BLIND_VARIABLE = "MEDFUSE_REVIEW_BLIND"

_DECISIONS_SUFFIX = ".review"
_MASKS = "segmentations"
_INDEXED = "indexed"
_SEG, _SR = "seg.dcm", "sr.dcm"


class RoomKind(StrEnum):
    """What is reviewed: a model's results, or studies with the masks that they came with."""

    RESULTS = "results"
    STUDIES = "studies"


class ReadingRoom:
    """An opened review; shared by threads, one a process is enough.

    Args:
        place: The folder of results or of studies.
        decisions: The folder of the decisions; made where it is missing.
        database: A database URL; None for SQLite in `decisions`.
        policy: Who may do what.
        lexicon: What findings are called in reports; None for their plain names.

    Raises:
        UsageError: The place holds nothing to review.
        StorageError: The decisions cannot be kept.
    """

    def __init__(
        self,
        place: Path,
        decisions: Path,
        *,
        database: str | None = None,
        policy: AccessPolicy | None = None,
        lexicon: Lexicon | None = None,
    ) -> None:
        self.place, self.decisions = place, decisions
        self.kind = RoomKind.RESULTS if (place / SCORES_FILE).is_file() else RoomKind.STUDIES
        self.policy = policy or AccessPolicy()
        self._results = Results(place) if self.kind is RoomKind.RESULTS else None
        scanned = ScanResult(studies=()) if self._results else find_studies(place)
        self._studies = {study.study_instance_uid: study for study in scanned.studies}
        self._rejected = scanned.rejected
        if decisions != place:
            describe(decisions, place)
        self.findings, self.segments = self._names(lexicon)
        self.lexicon = lexicon_of(self.findings, lexicon)
        self.store = ReviewStore(database or decisions)
        self.masks = MaskStore(decisions / _MASKS)
        self._lock = threading.Lock()
        self._indexed = ""

    @functools.cached_property
    def targets(self) -> tuple[Target, ...]:
        """What the model predicts beside findings, as the first readable prediction has it; empty without a model."""
        for row in self._results.scores if self._results else ():
            if row.status == "scored":
                try:
                    prediction = self.prediction(row.study_instance_uid)
                except MedfuseError:
                    continue
                told = prediction.targets if prediction else ()
                return tuple(Target(name=t.name, kind=t.kind, classes=t.classes, unit=t.unit) for t in told)
        return ()

    @property
    def n_listed(self) -> int:
        """How many studies there are, those without a result among them."""
        return len(self._results.scores) if self._results else len(self._studies) + len(self._rejected)

    @property
    def holds_studies(self) -> bool:
        """Whether a folder of studies is reviewed, rather than a model's results."""
        return self.kind is RoomKind.STUDIES

    def desk(self, reader: Reader) -> Desk:
        """The review as one reader sees and changes it."""
        return Desk(self, reader)

    def refresh(self) -> int:
        """Bring the worklist up to date with the files; cheap when nothing changed.

        Returns:
            How many studies are new or not what they were.

        Raises:
            UsageError: The table of scores is broken.
            StorageError: The index cannot be written.
        """
        with self._lock:
            state = self._state()
            if state == self._indexed:
                return 0
            if state == setting(self.store.database, _INDEXED):
                self._indexed = state
                return 0
            changed, listed = self._changed(known_fingerprints(self.store.database))
            write_index(self.store.database, changed, listed=listed, policy=self.policy, settings={_INDEXED: state})
            self._indexed = state
            return len(changed)

    def prediction(self, study_instance_uid: str) -> Prediction | None:
        """The model's answer on a study; None without a model.

        Raises:
            UsageError: It is missing or broken.
        """
        return self._results.prediction(study_instance_uid) if self._results else None

    def segmentation(self, study_instance_uid: str) -> Path | None:
        """The model's label map; None where there is none."""
        return self._results.segmentation(study_instance_uid) if self._results else None

    def model_seg(self, study_instance_uid: str) -> Path | None:
        """The model's DICOM SEG; None where there is none."""
        return self._beside_prediction(study_instance_uid, _SEG)

    def model_sr(self, study_instance_uid: str) -> Path | None:
        """The model's DICOM SR; None where there is none."""
        return self._beside_prediction(study_instance_uid, _SR)

    def study(self, study_instance_uid: str) -> Study:
        """A study with its series and reports, as it lies on the disk.

        Raises:
            UsageError: It is not known, or is gone.
            StudyError: Its files cannot be used.
        """
        if self._results:
            return self._results.study(study_instance_uid)
        study = self._studies.get(study_instance_uid)
        if study is None:
            raise UsageError(f"{self.place} no longer holds this study")
        return study

    def close(self) -> None:
        """Give the connections back."""
        self.store.close()

    def _beside_prediction(self, study_instance_uid: str, name: str) -> Path | None:
        path = study_folder(self.place, study_instance_uid) / name if self._results else None
        return path if path and path.is_file() else None

    def _names(self, lexicon: Lexicon | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Findings and segments that readers decide on."""
        rows = self._results.scores if self._results else ()
        findings = tuple(rows[0].probabilities) if rows else ()
        segments = tuple(rows[0].volumes_mm3) if rows else ()
        return findings or tuple(lexicon.findings if lexicon else ()), segments

    def _state(self) -> str:
        """What changes when the worklist has to be brought up to date."""
        projects = sorted((p.name, sorted(p.studies or ())) for p in self.policy.projects.values())
        parts: list[Any] = [str(self.place.resolve()), projects]
        if self._results:
            status = (self.place / SCORES_FILE).stat()
            parts += [status.st_mtime_ns, status.st_size]
        else:
            parts += [*map(study_fingerprint, self._studies.values()), *map(repr, self._rejected)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _changed_studies(self, known: dict[str, str]) -> tuple[list[IndexEntry], list[str]]:
        entries = [
            study_entry(study, position, study_fingerprint(study))
            for position, study in enumerate(self._studies.values())
        ]
        entries += [
            rejected_entry(rejected, position, hashlib.sha256(repr(rejected).encode()).hexdigest())
            for position, rejected in enumerate(self._rejected, start=len(entries))
            if rejected.study_instance_uid not in self._studies
        ]
        by_key = {entry.study_instance_uid: entry for entry in reversed(entries)}
        return [entry for key, entry in by_key.items() if known.get(key) != entry.fingerprint], list(by_key)

    def _changed(self, known: dict[str, str]) -> tuple[list[IndexEntry], list[str]]:
        """The studies whose rows have to be written, and all that are listed."""
        if self._results is None:
            return self._changed_studies(known)
        self._results = Results(self.place)
        listed = listed_results(self._results)
        patients = self._results.patient_keys()
        changed = [
            result_entry(self._results, row, position, fingerprint, patients)
            for position, (row, fingerprint) in enumerate(listed)
            if known.get(key_of(row, position)) != fingerprint
        ]
        return changed, [key_of(row, position) for position, (row, _) in enumerate(listed)]


def open_room(
    place: Path,
    *,
    decisions: Path | None = None,
    database: str | None = None,
    users: Path | None = None,
    blind: bool = False,
    lexicon: Lexicon | None = None,
) -> ReadingRoom:
    """Open a review.

    Args:
        place: Results of `medfuse score`, a folder of studies (or one NIfTI file), or a decisions folder.
        decisions: Where decisions go; the results' own folder, or `<place>.review`, when left out.
        database: A database URL for the decisions; SQLite in the decisions folder when left out.
        users: The users file; one local reader when left out.
        blind: Whether the model's answer is hidden until a reader asks for it.
        lexicon: What findings are called in reports, and in a folder of studies which findings are decided on.

    Raises:
        UsageError: The place is missing or holds nothing to review, or the users file is broken.
        StorageError: The decisions folder cannot be made or written.
    """
    if not place.exists():
        raise UsageError(f"{place} is not a folder; give results of `medfuse score`, or a folder of studies")
    policy = read_policy(users, blind=blind)
    if (place / ROOM_FILE).is_file() and not (place / SCORES_FILE).is_file():
        decisions, place = decisions or place, place_of(place)
    folder = decisions or decisions_folder(place)
    return ReadingRoom(place, folder, database=database, policy=policy, lexicon=lexicon or kept_lexicon(folder))


def decisions_folder(place: Path) -> Path:
    """Where decisions go unless somebody says otherwise: into results, or beside a folder of studies."""
    if (place / SCORES_FILE).is_file() or (place / ROOM_FILE).is_file():
        return place
    whole = place.resolve()
    return whole.with_name(whole.name + _DECISIONS_SUFFIX)


def room_from_environment() -> ReadingRoom:
    """Open the review that `medfuse review` started the dashboard on.

    Raises:
        UsageError: The folder is not told, or holds nothing to review.
        StorageError: The decisions cannot be kept.
    """
    told = os.environ.get(DIRECTORY_VARIABLE, "")
    if not told:
        raise UsageError("no folder was given; start the dashboard with `medfuse review DIR`")
    decisions, users = os.environ.get(DECISIONS_VARIABLE, ""), os.environ.get(USERS_VARIABLE, "")
    return open_room(
        Path(told),
        decisions=Path(decisions) if decisions else None,
        database=os.environ.get(DATABASE_VARIABLE) or None,
        users=Path(users) if users else None,
        blind=os.environ.get(BLIND_VARIABLE, "") == "1",
    )
