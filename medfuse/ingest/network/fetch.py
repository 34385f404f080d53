"""Fetch studies from an archive so that each is whole in its folder, or not there.

    DIRECTORY/<Study Instance UID>/<Series Instance UID>/<SOP Instance UID>.dcm

A study is filled in `DIRECTORY/.fetching/<Study Instance UID>` and takes its place once every instance that the
archive lists is there, and the archive lists nothing more. What a broken run leaves in the hidden folder, the next
one goes on from. A study that is whole is left alone; what the archive has got since is added to it.

Instances are known by their own headers. One of another study, one that was not asked for, one that breaks off, and
one that comes twice with two contents never reach a folder, and are said.
"""

import contextlib
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from medfuse.domain import Rejected
from medfuse.errors import ServerError, StudyError
from medfuse.ingest.network.archive import Archive, InstanceRecord, SeriesRequest, StudyRecord, retrying
from medfuse.ingest.network.arrivals import identity_of, place_of, put
from medfuse.ingest.network.servers import Server
from medfuse.storage import held, replace_folder, storage, sweep

_LOG = logging.getLogger(__name__)
HIDDEN = ".fetching"
_PATIENCE = 3
"""Studies in a row that an archive may fail to send anything of, before the rest is not tried."""

Progress = Callable[[str, int, int], None]
"""Called with a study's UID, its instances that are here, and its instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedStudy:
    """A study that is whole in its folder.

    Args:
        study_instance_uid: Which study.
        folder: Where it is.
        n_instances: How many instances were asked for.
        n_new: How many of them came in this run; 0 for a study that was whole before.
    """

    study_instance_uid: str
    folder: Path
    n_instances: int
    n_new: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How studies are fetched.

    Args:
        directory: Where their folders go.
        series_modality: Only series of this modality; empty for all.
        refresh: Fetch anew what is here.
        progress: Told of each instance.
    """

    directory: Path
    series_modality: str = ""
    refresh: bool = False
    progress: Progress = lambda study_instance_uid, here, total: None


def fetch_studies(
    archive: Archive, server: Server, records: Iterable[StudyRecord], options: FetchOptions
) -> Iterator[FetchedStudy | Rejected]:
    """Fetch studies, one after the other; one that fails never stops the rest.

    Args:
        archive: The connection.
        server: Its description, for how often to try.
        records: The studies, as `Archive.find_studies` gives them.
        options: How.

    Yields:
        Each study's outcome, in order. Once an archive has failed to send anything of three studies in a row, the
        rest is rejected as `SERVER_UNREACHABLE` without being tried.

    Raises:
        StorageError: The directory cannot be written.
    """
    with storage(options.directory):
        (options.directory / HIDDEN).mkdir(parents=True, exist_ok=True)
        sweep(options.directory)
    silent = 0
    for record in records:
        uid = record.study_instance_uid
        if silent >= _PATIENCE:
            detail = f"{server.where} sent nothing of {_PATIENCE} studies in a row; run the same command again later"
            yield Rejected(study_instance_uid=uid, reason="SERVER_UNREACHABLE", detail=detail)
            continue
        fetching = _Fetching(archive, server, record, options)
        try:
            yield fetching.run()
            silent = 0
        except ServerError as error:
            silent = 0 if fetching.n_new else silent + 1
            reason = "SERVER_UNREACHABLE" if error.passing else "SERVER_REFUSED"
            yield Rejected(study_instance_uid=uid, reason=reason, detail=str(error))
        except StudyError as error:
            silent = 0
            yield Rejected(study_instance_uid=uid, reason=error.reason, detail=error.detail)
    with storage(options.directory):
        _remove_if_empty(options.directory / HIDDEN)


class _Fetching:
    """One study on its way."""

    def __init__(self, archive: Archive, server: Server, record: StudyRecord, options: FetchOptions) -> None:
        self._archive = archive
        self._server = server
        self._record = record
        self._options = options
        self._uid = record.study_instance_uid
        self._final = options.directory / self._uid
        self._partial = options.directory / HIDDEN / self._uid
        self._wanted: dict[InstanceRecord, Path] = {}
        self._by_uids: dict[tuple[str, str], InstanceRecord] = {}
        self._as_one = False
        self._refused: Counter[str] = Counter()
        self._refused_lately: Counter[str] = Counter()
        self.n_new = 0

    def run(self) -> FetchedStudy:
        """Fetch what is missing and put the study in its place."""
        with storage(self._final):
            if self._options.refresh:
                shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir(exist_ok=True)
        with held(self._partial) as free:
            if not free and os.name != "nt":
                raise StudyError("another run is fetching this study; wait for it", reason="STUDY_IN_USE")
            try:
                self._fill()
            finally:
                self._say_what_was_refused()
            with storage(self._final):
                self._finish()
        n_instances = len(self._wanted)
        return FetchedStudy(study_instance_uid=self._uid, folder=self._final, n_instances=n_instances, n_new=self.n_new)

    def _say_what_was_refused(self) -> None:
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(self._refused.items()))
        if counts:
            where = self._server.where
            _LOG.warning("study %s: %s sent instances that were left out: %s", self._uid, where, counts)

    def _fill(self) -> None:
        """Retrieve until the archive lists nothing that is not here."""
        listed: set[InstanceRecord] = set()
        while True:
            self._retrieve_listed()
            if not self.n_new or set(self._wanted) == listed:
                return
            listed = set(self._wanted)

    def _retrieve_listed(self) -> None:
        """Try rounds as often as the server's description allows, and as long as something new comes."""
        while True:
            before = self.n_new
            try:
                retrying(self._server)(self._round)
            except ServerError as error:
                if self.n_new == before or not error.passing:
                    raise self._failure(error) from None
            else:
                return

    def _round(self) -> None:
        """Ask what there is, and for what is missing of it."""
        self._refused_lately.clear()
        self._list()
        missing = self._missing()
        if not missing:
            return
        before = self.n_new
        self._archive.retrieve(self._uid, self._requests(missing), self._deliver)
        self._as_one |= self.n_new == before
        if left := len(self._missing()):
            detail = f"{self._server.where} sent {len(self._wanted) - left} of {len(self._wanted)} instances"
            raise ServerError(detail, passing=True)

    def _list(self) -> None:
        records = self._archive.list_instances(self._uid, self._options.series_modality)
        promised = 0 if self._options.series_modality else self._record.n_instances or 0
        if not records or len(records) < promised:
            expected = f"{promised} instances" if promised else "at least one instance"
            detail = f"{self._server.where} lists {len(records)} instances; expected {expected}; ask who runs it"
            raise StudyError(detail, reason="INCOMPLETE_STUDY")
        self._wanted = {record: place_of(self._partial, record) for record in records}
        self._by_uids = {(one.series_instance_uid, one.sop_instance_uid): one for one in records}
        self._tell()

    def _missing(self) -> list[InstanceRecord]:
        return [record for record, path in self._wanted.items() if not (path.is_file() or self._is_final(record))]

    def _is_final(self, record: InstanceRecord) -> bool:
        return not self._options.refresh and place_of(self._final, record).is_file()

    def _requests(self, missing: Sequence[InstanceRecord]) -> list[SeriesRequest]:
        """What to ask for: a series of which less than half is here as one, and else the missing instances.

        Once a round brought nothing, series are asked for as one again: some archives know no other way.
        """
        totals = Counter(record.series_instance_uid for record in self._wanted)
        requests = []
        for uid, group in groupby(missing, key=lambda record: record.series_instance_uid):
            instances = tuple(group)
            is_whole = self._as_one or 2 * len(instances) > totals[uid]
            requests.append(SeriesRequest(series_instance_uid=uid, instances=instances, is_whole=is_whole))
        return requests

    def _deliver(self, data: bytes) -> None:
        """Take an instance that came in: put it where it goes, or count why not."""
        try:
            identity = identity_of(data)
        except StudyError as error:
            self._refuse(error.reason)
            return
        found = identity.instance
        record = self._by_uids.get((found.series_instance_uid, found.sop_instance_uid))
        if identity.study_instance_uid != self._uid:
            self._refuse("WRONG_STUDY")
        elif record is None:
            self._refuse("NOT_ASKED_FOR")
        elif (path := self._wanted[record]).is_file():
            if path.read_bytes() != data:
                self._refuse("DUPLICATE_INSTANCE")
        elif not self._is_final(record):
            put(data, path)
            self.n_new += 1
            self._tell()

    def _refuse(self, reason: str) -> None:
        self._refused[reason] += 1
        self._refused_lately[reason] += 1

    def _tell(self) -> None:
        self._options.progress(self._uid, len(self._wanted) - len(self._missing()), len(self._wanted))

    def _failure(self, error: ServerError) -> ServerError | StudyError:
        """What a study failed of: of what came in, if that was wrong; of what did not come; or of the server."""
        here = len(self._wanted) - len(self._missing())
        if self._refused_lately:
            ((reason, count),) = self._refused_lately.most_common(1)
            return StudyError(f"{error}; {count} were refused as {reason}", reason=reason)
        if here:
            detail = f"{error}; {here} of {len(self._wanted)} are kept for the next run of the same command"
            return StudyError(detail, reason="INCOMPLETE_STUDY")
        return error

    def _finish(self) -> None:
        """Put the study in its place, with what was there before and is not replaced."""
        if not any(path.is_file() for path in self._wanted.values()):
            _remove_if_empty(self._partial)
            return
        if self._final.is_dir() and not (self._options.refresh and not self._options.series_modality):
            add_missing(self._final, self._partial)
        replace_folder(self._partial, self._final)


def add_missing(source: Path, target: Path) -> None:
    """Give `target` every file of `source` that it has not, as a link to the same bytes where the disk allows it."""
    for folder, _, names in os.walk(source):
        beside = target / Path(folder).relative_to(source)
        beside.mkdir(exist_ok=True)
        for name in names:
            if not os.path.lexists(beside / name):
                _link(Path(folder) / name, beside / name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder and its empty folders; one that holds files stays."""
    for inner, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(inner).rmdir()
