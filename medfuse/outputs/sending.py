"""Results into an archive: one object after the other, what was sent is noted, one bad object stops none.

The note is `sent.jsonl` in the folder of results: a line for each object that the archive has taken, with where it went
and the hash of the file, forced to the disk before the next one is sent. So the same command goes on where it was
stopped; a result that was written anew is sent again. Only what medfuse made is sent: a folder of source images that
was named by mistake stays where it is.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medfuse.errors import ServerError, StudyError, UsageError
from medfuse.ingest.dicom.files import READ_ERRORS, quiet
from medfuse.ingest.network.archive import is_uid, retrying
from medfuse.ingest.network.arrivals import identity_of
from medfuse.ingest.network.servers import Server
from medfuse.outputs.equipment import MAKER
from medfuse.storage import storage

if TYPE_CHECKING:
    from pydicom import Dataset

SENT_FILE = "sent.jsonl"
MOST_FAILURES = 3
"""So many objects in a row may fail because the server cannot be reached; then nothing more is tried."""


class ObjectRefusedError(StudyError):
    """An archive does not take one object; it may take others."""

    default_reason = "REFUSED_BY_ARCHIVE"


class SendStatus(StrEnum):
    """What became of an object."""

    SENT = "sent"
    ALREADY = "already sent"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultObject:
    """A DICOM object among the results.

    Args:
        path: Its file.
        modality: What it is: `SEG`, `SR`, `OT` (a picture), `DOC` (a page); empty where the file is broken.
        study_instance_uid: Its study; empty where the file is broken.
        sop_class_uid: Its SOP Class.
        sop_instance_uid: Itself.
        transfer_syntax_uid: How it is stored.
        problem: Why it cannot be sent; empty for a good one.
    """

    path: Path
    modality: str = ""
    study_instance_uid: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOutcome:
    """What became of one object, and why where it failed."""

    result: ResultObject
    status: SendStatus
    detail: str = ""


class Sender(Protocol):
    """A connection that stores objects."""

    def send(self, result: ResultObject, data: bytes) -> None:
        """Store one object.

        Args:
            result: What it is.
            data: Its file.

        Raises:
            ObjectRefusedError: The archive does not take this object.
            ServerError: The archive does not answer, or takes nothing from us.
        """

    def close(self) -> None:
        """Let go of the connection; calling again does nothing."""


def open_sender(server: Server, results: Sequence[ResultObject]) -> Sender:
    """The sender that fits a server's kind; nothing is sent yet.

    Args:
        server: Where to.
        results: What will be sent: DIMSE agrees on SOP classes before it sends.

    Raises:
        UsageError: A token, a password or a certificate cannot be read.
    """
    if server.kind == "dicomweb":
        from medfuse.outputs.stow import StowSender

        return StowSender(server)
    from medfuse.outputs.cstore import StoreSender

    return StoreSender(server, {(one.sop_class_uid, one.transfer_syntax_uid) for one in results if not one.problem})


def results_to_send(directory: Path) -> tuple[list[ResultObject], int]:
    """The DICOM objects below a folder that medfuse made, by study and name, and how many files others made.

    Hidden folders hold what is being written and are passed over.

    Raises:
        UsageError: There is no such folder.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is no folder; name the folder that medfuse score wrote to")
    found: list[ResultObject] = []
    others = 0
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.endswith(".dcm"):
                continue
            one = _described(Path(folder) / name)
            if one is None:
                others += 1
            else:
                found.append(one)
    return found, others


def send_results(
    results: Sequence[ResultObject],
    server: Server,
    directory: Path,
    *,
    again: bool = False,
    sleep: Callable[[float], None] | None = None,
) -> Iterator[SendOutcome]:
    """Send objects, and give what became of each as it is known.

    Args:
        results: What to send, in order.
        server: Where to.
        directory: The folder of results, which keeps the note of what was sent.
        again: Send what was sent before, too.
        sleep: Waits between attempts; for tests.

    Raises:
        StorageError: The note cannot be written.
        UsageError: The server's secrets cannot be read.
    """
    sent = set() if again else _sent(directory / SENT_FILE, server.where)
    sender = open_sender(server, results)
    try:
        unreachable, stopped = 0, ""
        for one in results:
            if stopped:
                yield SendOutcome(result=one, status=SendStatus.NOT_TRIED, detail=stopped)
                continue
            try:
                outcome = _send(one, sender, server, directory, sent, sleep)
                unreachable = 0
            except ServerError as error:
                unreachable += 1
                stopped = str(error) if not error.passing or unreachable == MOST_FAILURES else ""
                outcome = SendOutcome(result=one, status=SendStatus.FAILED, detail=str(error))
            yield outcome
    finally:
        sender.close()


def _send(
    one: ResultObject,
    sender: Sender,
    server: Server,
    directory: Path,
    sent: set[tuple[str, str]],
    sleep: Callable[[float], None] | None,
) -> SendOutcome:
    if one.problem:
        return SendOutcome(result=one, status=SendStatus.FAILED, detail=one.problem)
    try:
        data = one.path.read_bytes()
    except OSError as error:
        return SendOutcome(result=one, status=SendStatus.FAILED, detail=f"cannot be read: {error.strerror}")
    digest = hashlib.sha256(data).hexdigest()
    if (one.sop_instance_uid, digest) in sent:
        return SendOutcome(result=one, status=SendStatus.ALREADY)
    try:
        identity_of(data)  # a file that is cut off is not sent
        retrying(server, sleep)(sender.send, one, data)
    except StudyError as error:
        return SendOutcome(result=one, status=SendStatus.FAILED, detail=error.detail)
    _note(directory, one, digest, server.where)
    sent.add((one.sop_instance_uid, digest))
    return SendOutcome(result=one, status=SendStatus.SENT)


def _described(path: Path) -> ResultObject | None:
    """What a file is, by its header; None for one that medfuse did not make."""
    import pydicom

    try:
        with quiet():
            header: Dataset = pydicom.dcmread(path, stop_before_pixels=True)
            keywords = ("StudyInstanceUID", "SOPClassUID", "SOPInstanceUID")
            study, sop_class, instance = (str(header.get(keyword) or "") for keyword in keywords)
            maker, modality = str(header.get("Manufacturer") or ""), str(header.get("Modality") or "")
            syntax = str(header.file_meta.TransferSyntaxUID)
    except READ_ERRORS as error:
        return ResultObject(path=path, problem=f"it is no DICOM file ({type(error).__name__})")
    if maker != MAKER:
        return None
    uids = (study, sop_class, instance, syntax)
    return ResultObject(
        path=path,
        modality=modality,
        study_instance_uid=study,
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        transfer_syntax_uid=syntax,
        problem="" if all(map(is_uid, uids)) else "a UID of its header is none",
    )


def _note(directory: Path, one: ResultObject, digest: str, where: str) -> None:
    """Add a line to the note; it is on the disk when this returns."""
    line = {
        "to": where,
        "sop_instance_uid": one.sop_instance_uid,
        "sha256": digest,
        "file": one.path.relative_to(directory).as_posix(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = directory / SENT_FILE
    with storage(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # A line that a crash tore is ended first; it stays unreadable, and the object is sent again.
            data = ("\n" if _is_torn(path) else "") + json.dumps(line) + "\n"
            os.write(descriptor, data.encode("utf-8"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _sent(path: Path, where: str) -> set[tuple[str, str]]:
    """Instance and hash of what was sent to an archive; lines that are torn say nothing."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; it notes what was sent") from error
    sent = set()
    for line in lines:
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("to") == where:
            sent.add((str(entry.get("sop_instance_uid")), str(entry.get("sha256"))))
    return sent
