"""De-identify a tree: every study appears whole or not at all, under names that say nothing.

`<patient pseudonym>/<new study UID>/<new series UID>/00001.dcm` and `report-1.txt`; `deidentification.json` holds the
record. Each study folder keeps its own record in `.deidentified.json` with a digest of its sources, by which a later
run knows what it need not do again.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

import medfuse
from medfuse.errors import StudyError, UsageError
from medfuse.ingest.deidentify.clean import Cleaner
from medfuse.ingest.deidentify.held_back import BURNED_IN
from medfuse.ingest.deidentify.inventory import Held, Inventory, Item, PatientFiles, take_inventory
from medfuse.ingest.deidentify.profile import Options, Profile, edition
from medfuse.ingest.deidentify.record import WARNING, Record, write_json
from medfuse.ingest.deidentify.secret import Secret
from medfuse.ingest.deidentify.text import Scrubber
from medfuse.ingest.dicom.files import READ_ERRORS, open_bounded, quiet
from medfuse.ingest.reports.reading import read_report
from medfuse.ingest.tree import FoundFile
from medfuse.storage import storage, whole_folder

RECORD_NAME = "deidentification.json"
"""The record of a whole output folder."""

_STUDY_RECORD = ".deidentified.json"


class _NothingWrittenError(Exception):
    """A study of which nothing can be written."""


def deidentify_tree(
    source: Path,
    output: Path,
    secret: Secret,
    options: Options,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Record, tuple[Held, ...]]:
    """De-identify every study below a folder.

    Args:
        source: Folder with DICOM objects and reports, of any names and nesting.
        output: Folder to write to: new, empty, or made with the same key and options.
        secret: Makes the pseudonyms.
        options: The options of the profile.
        progress: Called with the number of studies done and to do.

    Returns:
        The record, which names nobody, and the files that were held back, by their own paths.

    Raises:
        UsageError: The places do not fit, or `output` was made otherwise.
        StorageError: Something could not be written.
    """
    _check_places(source, output)
    head = {
        "made_by": f"medfuse {medfuse.__version__}",
        "standard": f"DICOM PS3.15 {edition()} annex E",
        "key_fingerprint": secret.fingerprint,
        "options": options.as_dict(),
        "profile": [meaning for _, meaning in options.codes],
        "warning": WARNING,
    }
    _open_output(output, head)
    found = take_inventory(source, reports=options.reports)
    run = _Run(output, secret, options)
    studies = _studies(found, secret)
    for done, (identifier, uid) in enumerate(studies):
        if progress is not None:
            progress(done, len(studies))
        run.do_study(identifier, uid, found.patients[identifier])
    for held in found.held:
        run.hold(run.record, held)
    run.record.left_out = found.left_out
    totals = {"studies": run.record.studies, "patients": run.record.patients, "left_out": run.record.left_out}
    write_json(output / RECORD_NAME, {**head, "complete": True, **totals, **run.record.as_dict()})
    return run.record, tuple(run.held)


def _check_places(source: Path, output: Path) -> None:
    if not source.exists():
        raise UsageError(f"{source} does not exist; name a folder with DICOM files")
    here, there = source.resolve(), output.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError(f"{output} lies in {source}, or the other way round; choose a folder apart from it")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file, expected a folder")


def _open_output(output: Path, head: dict[str, Any]) -> None:
    """Refuse what another key or other options made; claim a new folder."""
    with storage(output):
        output.mkdir(parents=True, exist_ok=True)
        if not (output / RECORD_NAME).exists():
            if any(output.iterdir()):
                raise UsageError(f"{output} is not empty and holds no {RECORD_NAME}; choose a new folder")
            write_json(output / RECORD_NAME, {**head, "complete": False})
            return
        try:
            made = json.loads((output / RECORD_NAME).read_text(encoding="utf-8"))
            same_key, same_options = (made[key] == head[key] for key in ("key_fingerprint", "options"))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{output / RECORD_NAME} cannot be read; choose a new folder") from error
    if not same_key:
        raise UsageError(f"{output} was made with another key; give that key, or choose a new folder")
    if not same_options:
        raise UsageError(f"{output} was made with other options; give the same, or choose a new folder")


def _studies(found: Inventory, secret: Secret) -> list[tuple[str, str]]:
    """Patient identifier and study UID of every study, in an order that only the key knows."""
    pairs = [(patient, study) for patient, files in found.patients.items() for study in files.studies]
    return sorted(pairs, key=lambda pair: (secret.patient(pair[0]), secret.uid(pair[1])))


class _Run:
    """The state of one run."""

    def __init__(self, output: Path, secret: Secret, options: Options) -> None:
        self.record = Record()
        self.held: list[Held] = []
        self._output = output
        self._secret = secret
        self._options = options
        self._profile = Profile(options)
        self._patients: set[str] = set()

    def hold(self, record: Record, held: Held) -> None:
        """List a file that is not written, under the pseudonyms of its study and series."""
        self.held.append(held)
        study, series = (self._secret.uid(uid) for uid in (held.study_uid, held.series_uid))
        record.held_back[held.reason, study, series, _kind_name(held.sop_class)] += 1

    def do_study(self, identifier: str, uid: str, files: PatientFiles) -> None:
        """Write one study, unless an earlier run did."""
        items = [self._lifted(item) for item in files.studies[uid]]
        record = Record()
        for item in items:
            if item.hold:
                self.hold(record, _held(item, uid))
        folder = self._output / self._secret.patient(identifier) / self._secret.uid(uid)
        digest = self._digest(items, files, uid)
        earlier = _earlier(folder, digest)
        if earlier is not None:
            self._count(identifier, earlier)
            self.record.unchanged += 1
            return
        written = False
        try:
            if all(item.hold for item in items):
                raise _NothingWrittenError
            with whole_folder(folder) as partial:
                self._write_study(partial, identifier, uid, items, files, record)
                write_json(partial / _STUDY_RECORD, {"digest": digest, **record.as_dict()})
            written = True
        except _NothingWrittenError:
            for text in files.texts.get(uid, ()):
                self.hold(record, Held(path=text.path, reason="STUDY_HELD_BACK", study_uid=uid))
        self._count(identifier, record, written=written)

    def _count(self, identifier: str, record: Record, *, written: bool = True) -> None:
        self.record.add(record)
        if written:
            self._patients.add(identifier)
            self.record.studies += 1
        self.record.patients = len(self._patients)

    def _lifted(self, item: Item) -> Item:
        """An image that may show text is written after all where that was asked for."""
        return replace(item, hold="") if self._options.keep_burned_in and item.hold in BURNED_IN else item

    def _digest(self, items: Sequence[Item], files: PatientFiles, uid: str) -> str:
        sources = sorted((i.sop_instance_uid, i.file.size, i.file.modified_ns, i.hold) for i in items)
        texts = sorted((text.size, text.modified_ns) for text in files.texts.get(uid, ()))
        named = (sorted(files.identities.names), sorted(files.identities.phrases))
        made_by = (medfuse.__version__, pydicom.__version__, edition(), sorted(self._options.as_dict().items()))
        return self._secret.token("sources", repr((made_by, sources, texts, named)))

    def _write_study(
        self, folder: Path, identifier: str, uid: str, items: Sequence[Item], files: PatientFiles, record: Record
    ) -> None:
        scrubber = Scrubber(files.identities, self._secret.uid)
        cleaner = Cleaner(self._profile, self._secret, identifier, scrubber)
        series: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            if not item.hold:
                series[self._secret.uid(item.series_uid)].append(item)
        burned_in = {id(item): hold for item, hold in _burned_in(files.studies[uid], items)}
        for name, members in sorted(series.items()):
            members.sort(key=lambda item: (item.number, self._secret.uid(item.sop_instance_uid), item.file.path))
            (folder / name).mkdir()
            for number, item in enumerate(members, start=1):
                reason = self._write_object(folder / name / f"{number:05d}.dcm", item, cleaner, record)
                if reason:
                    self.hold(record, _held(replace(item, hold=reason), uid))
                elif id(item) in burned_in:
                    record.kept_burned_in[burned_in[id(item)]] += 1
            if not any((folder / name).iterdir()):
                (folder / name).rmdir()
            else:
                _sync(folder / name)
        if not record.files:
            raise _NothingWrittenError
        for number, text in enumerate(files.texts.get(uid, ()), start=1):
            self._write_report(folder / f"report-{number}.txt", text, uid, scrubber, record)

    def _write_object(self, path: Path, item: Item, cleaner: Cleaner, record: Record) -> str:
        """Write one object; gives why it could not be, empty if it was."""
        try:
            with quiet():
                dataset = _read(item.file.path)
                tally = cleaner.clean(dataset)
        except (*READ_ERRORS, MemoryError):
            return "CANNOT_BE_CLEANED"
        try:
            with quiet(), path.open("wb") as file:
                pydicom.dcmwrite(file, dataset, enforce_file_format=True)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            raise
        except READ_ERRORS:
            path.unlink(missing_ok=True)
            return "CANNOT_BE_WRITTEN"
        record.attributes.counts += tally.counts
        record.files += 1
        return ""

    def _write_report(self, path: Path, file: FoundFile, uid: str, scrubber: Scrubber, record: Record) -> None:
        """The text of a report, scrubbed; what a format keeps beside its text is left behind."""
        try:
            text, counts = scrubber.scrub(read_report(file.path).text)
        except StudyError as error:
            self.hold(record, Held(path=file.path, reason=error.reason, study_uid=uid))
            return
        path.write_text(text, encoding="utf-8")
        record.text += counts
        record.reports += 1


def _held(item: Item, uid: str) -> Held:
    return Held(
        path=item.file.path, reason=item.hold, study_uid=uid, series_uid=item.series_uid, sop_class=item.sop_class
    )


def _burned_in(before: Sequence[Item], after: Sequence[Item]) -> list[tuple[Item, str]]:
    """The images whose holding back was lifted, and why they were held."""
    return [(item, old.hold) for old, item in zip(before, after, strict=True) if old.hold and not item.hold]


def _earlier(folder: Path, digest: str) -> Record | None:
    """The record of an earlier run on the same sources."""
    try:
        stored = json.loads((folder / _STUDY_RECORD).read_text(encoding="utf-8"))
        return Record.from_dict(stored) if stored["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(path: Path) -> FileDataset:
    """A whole object, with a transfer syntax even where its meta header is missing."""
    with open_bounded(path) as file:
        dataset = pydicom.dcmread(file, force=True)
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _kind_name(sop_class: str) -> str:
    """The name of a SOP class of the standard; a private one is not told."""
    name = pydicom.uid.UID(sop_class).name if sop_class else ""
    return "" if not sop_class else "private" if name == sop_class else name


def _sync(folder: Path) -> None:
    """Force the entries of a folder to the disk, where the system knows such a call."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
