"""What there is to score: the studies of a folder, of a manifest, or of an archive's answer to a query."""

import contextlib
import functools
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from medfuse.batch.fingerprints import input_hash, text_hash, tree_hash
from medfuse.batch.pipeline import Job
from medfuse.domain import Rejected, Study
from medfuse.errors import ServerError, StudyError, UsageError
from medfuse.ingest import ManifestRow, find_studies, read_manifest, study_of
from medfuse.storage import storage

if TYPE_CHECKING:
    from medfuse.ingest.network.archive import Archive, StudyRecord
    from medfuse.ingest.network.servers import Server

LOG = logging.getLogger(__name__)
UNREACHABLE = "SERVER_UNREACHABLE"
PASSING = frozenset({UNREACHABLE, "SERVER_REFUSED", "INCOMPLETE_STUDY", "STUDY_IN_USE"})
"""Rejections that lie with the server: the next run tries again without being told."""

_PATIENCE = 3
"""Studies in a row that an archive may fail to send anything of, before the run ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlace:
    """Where a study lies.

    Args:
        path: What to scan to find it again.
        patient_key: Pseudonym of its patient, for studies of the same one.
    """

    path: Path
    patient_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Studies to score.

    Args:
        jobs: The studies, those that are still to be looked at included.
        rejected: Studies, and files of no study, that cannot be used.
        places: Study Instance UID -> where it lies, of those that stay there.
    """

    jobs: tuple[Job, ...]
    rejected: tuple[Rejected, ...] = ()
    places: dict[str, StudyPlace]


def folder_source(root: Path) -> Source:
    """The studies of a folder.

    Raises:
        UsageError: It is missing, empty, or holds neither DICOM nor NIfTI.
    """
    found = find_studies(root)
    return studies_source(found.studies, found.rejected)


def studies_source(studies: Sequence[Study], rejected: Sequence[Rejected] = ()) -> Source:
    """Studies that were found already."""
    return Source(
        jobs=tuple(_job(study) for study in studies),
        rejected=tuple(rejected),
        places={
            study.study_instance_uid: StudyPlace(path=study.path, patient_key=study.patient_key) for study in studies
        },
    )


def manifest_source(path: Path) -> Source:
    """The studies of a manifest; each is looked for when its turn comes.

    Raises:
        ManifestError: It cannot be read or is no manifest.
    """
    rows = read_manifest(path)
    shared = {place for place, n in Counter(row.path for row in rows).items() if n > 1}
    jobs = []
    rejected = []
    for row in rows:
        try:
            jobs.append(_row_job(row, is_alone=row.path not in shared))
        except StudyError as error:
            rejected.append(_rejected(row.study_instance_uid, error, row.accession_number))
    places = {row.study_instance_uid: StudyPlace(path=row.path, patient_key=row.patient_key) for row in rows}
    return Source(jobs=tuple(jobs), rejected=tuple(rejected), places=places)


@contextlib.contextmanager
def archive_source(archive: "Archive", server: "Server", records: Sequence["StudyRecord"]) -> Iterator[Source]:
    """The studies of an archive: each is fetched when its turn comes, and removed when it has its outcome.

    Args:
        archive: The connection.
        server: Its description.
        records: The studies, as the archive found them.
    """
    with TemporaryDirectory(prefix="medfuse-fetched-", ignore_cleanup_errors=True) as folder:
        fetching = _Fetching(archive, server, Path(folder))
        jobs = tuple(
            Job(
                key=record.study_instance_uid,
                study_instance_uid=record.study_instance_uid,
                input_hash=text_hash(server.where, record.study_date, str(record.n_instances), *record.modalities),
                open=functools.partial(fetching.study, record),
                close=functools.partial(fetching.drop, record),
            )
            for record in records
        )
        yield Source(jobs=jobs, places={})


class _Fetching:
    """Studies on their way through a folder that ends with the run."""

    def __init__(self, archive: "Archive", server: "Server", folder: Path) -> None:
        self._archive = archive
        self._server = server
        self._folder = folder
        self._silent = 0

    def study(self, record: "StudyRecord") -> Study:
        """Fetch a study and look at it.

        Raises:
            StudyError: It cannot be fetched whole, or cannot be used.
            ServerError: The archive has sent nothing of several studies in a row; the rest stays queued.
        """
        from medfuse.ingest.network.fetch import FetchOptions, fetch_studies

        (outcome,) = fetch_studies(self._archive, self._server, [record], FetchOptions(directory=self._folder))
        if isinstance(outcome, Rejected):
            self._silent = self._silent + 1 if outcome.reason == UNREACHABLE else 0
            if self._silent >= _PATIENCE:
                detail = f"{self._server.where} sent nothing of {_PATIENCE} studies in a row"
                raise ServerError(f"{detail}; run the same command again later")
            raise StudyError(outcome.detail, reason=outcome.reason)
        self._silent = 0
        return _only_study(outcome.folder, record.study_instance_uid)

    def drop(self, record: "StudyRecord") -> None:
        """Remove what was fetched of a study."""
        shutil.rmtree(self._folder / record.study_instance_uid, ignore_errors=True)


def _only_study(folder: Path, uid: str) -> Study:
    try:
        found = find_studies(folder, cache=None)
    except UsageError as error:
        raise StudyError("the study holds no images", reason="NO_IMAGE_SERIES") from error
    for study in found.studies:
        if study.study_instance_uid == uid:
            return study
    for one in found.rejected:
        if one.study_instance_uid in (uid, ""):
            raise StudyError(one.detail, reason=one.reason)
    raise StudyError("the study is not among the files that were fetched for it", reason="STUDY_NOT_FOUND")


def _job(study: Study) -> Job:
    return Job(
        key=study.study_instance_uid,
        study_instance_uid=study.study_instance_uid,
        accession_number=study.accession_number,
        input_hash=input_hash(study),
        open=lambda: study,
    )


def _row_job(row: ManifestRow, *, is_alone: bool) -> Job:
    """The job of a row. A folder that holds this study alone is hashed by its listing, without reading a header."""
    is_listed = is_alone and row.source == "dicom" and row.path.is_dir()
    if is_listed:
        with storage(row.path):
            digest = tree_hash(row.path)
    else:
        digest = input_hash(study_of(row))
    return Job(
        key=row.study_instance_uid,
        study_instance_uid=row.study_instance_uid,
        accession_number=row.accession_number,
        input_hash=digest,
        open=functools.partial(_only_study, row.path, row.study_instance_uid)
        if is_listed
        else functools.partial(study_of, row),
    )


def _rejected(uid: str, error: StudyError, accession_number: str = "") -> Rejected:
    return Rejected(study_instance_uid=uid, accession_number=accession_number, reason=error.reason, detail=error.detail)
