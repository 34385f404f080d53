"""What every image archive can be asked, by DICOMweb or by DIMSE: which studies, which instances, and their bytes.

Both protocols ask with the same attributes (PS3.4 section C.6.2.1, PS3.18 section 10.6) and answer with datasets, so
that question and answer are put together and checked here. An archive may ignore a key that it does not know and
answer with more than was asked for; `matches` finds that out.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import tenacity
from pydicom import Dataset
from pydicom.multival import MultiValue

from medfuse.errors import ServerError, UsageError
from medfuse.ingest.dicom.files import READ_ERRORS
from medfuse.ingest.network.servers import Server

MOST_ANSWERS = 100_000
"""An archive that answers more often than this to one question is not believed."""

STUDY_KEYS = (
    "StudyInstanceUID",
    "PatientID",
    "AccessionNumber",
    "StudyDate",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)
"""What is asked about a study; PatientID and AccessionNumber only to check that the answer fits the question."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LENGTH = 64
_DATE = re.compile(r"\d{8}|\d{8}-\d{8}|\d{8}-|-\d{8}")
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which studies are wanted. What is empty does not matter; `*` and `?` in texts stand for any characters.

    Args:
        patient_id: Patient ID (0010,0020).
        accession_number: Accession Number (0008,0050).
        study_instance_uid: Study Instance UID (0020,000D).
        modality: One of the study's modalities (0008,0061).
        study_date: `YYYYMMDD`, or a range `YYYYMMDD-YYYYMMDD` that may be open on one side.
        description: Study Description (0008,1030).
        series_modality: Only series of this modality (0008,0060); for `list_instances`.

    Raises:
        UsageError: The date is no date or range, the UID is none, or nothing is asked for.
    """

    patient_id: str = ""
    accession_number: str = ""
    study_instance_uid: str = ""
    modality: str = ""
    study_date: str = ""
    description: str = ""
    series_modality: str = ""

    def __post_init__(self) -> None:
        if self.study_date and not _DATE.fullmatch(self.study_date):
            raise UsageError("the date is not YYYYMMDD or YYYYMMDD-YYYYMMDD; write, for example, 20240101-20240131")
        if self.study_instance_uid and not is_uid(self.study_instance_uid):
            raise UsageError("the study is named by no UID; expected digits and dots, at most 64")
        if any("\\" in text or not text.isprintable() for text in self.filters().values()):
            raise UsageError("a search term holds a backslash or a control character; leave it out")

    def filters(self) -> dict[str, str]:
        """DICOM keyword -> value, for what is asked about studies."""
        given = {
            "PatientID": self.patient_id,
            "AccessionNumber": self.accession_number,
            "StudyInstanceUID": self.study_instance_uid,
            "ModalitiesInStudy": self.modality,
            "StudyDate": self.study_date,
            "StudyDescription": self.description,
        }
        return {keyword: value for keyword, value in given.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """A study as the archive describes it; nothing in it names the patient.

    Args:
        study_instance_uid: Checked to be a UID.
        study_date: `YYYYMMDD`, or empty.
        modalities: Empty when the archive does not say.
        description: May be empty.
        n_instances: None when the archive does not say.
    """

    study_instance_uid: str
    study_date: str = ""
    modalities: tuple[str, ...] = ()
    description: str = ""
    n_instances: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class InstanceRecord:
    """An instance as the archive lists it; UIDs are checked to be UIDs.

    Args:
        series_instance_uid: Its series.
        sop_instance_uid: Itself.
        sop_class_uid: What it is; empty when the archive does not say.
    """

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRequest:
    """What is wanted of one series.

    Args:
        series_instance_uid: The series.
        instances: The wanted instances of it.
        is_whole: Whether to ask for the series as one, because they are all or most of it.
    """

    series_instance_uid: str
    instances: tuple[InstanceRecord, ...]
    is_whole: bool


Deliver = Callable[[bytes], None]
"""Takes one instance as a DICOM file (PS3.10)."""


class Archive(Protocol):
    """A connection to an archive. Every call may raise `ServerError`; `passing` tells whether to try again."""

    def find_studies(self, query: Query, limit: int | None = None) -> list[StudyRecord]:
        """The studies that fit, each once, in the archive's order; at most `limit`."""

    def list_instances(self, study_instance_uid: str, series_modality: str = "") -> list[InstanceRecord]:
        """What the archive has of a study."""

    def retrieve(self, study_instance_uid: str, wanted: Sequence[SeriesRequest], deliver: Deliver) -> None:
        """Hand the wanted instances to `deliver`, in the transfer syntax that they are stored in, in any order."""

    def close(self) -> None:
        """Let go of the connection; calling again does nothing."""


def open_archive(server: Server) -> Archive:
    """The connection that fits a server's kind; nothing is sent yet."""
    if server.kind == "dicomweb":
        from medfuse.ingest.network.dicomweb import DicomwebArchive

        return DicomwebArchive(server)
    from medfuse.ingest.network.dimse import DimseArchive

    return DimseArchive(server)


def retrying(server: Server, sleep: Callable[[float], None] | None = None) -> tenacity.Retrying:
    """Calls again what failed in passing, after pauses that double; raises the last failure."""
    doubled = tenacity.wait_random_exponential(multiplier=server.backoff_s, max=_LONGEST_WAIT_S)

    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait_s if isinstance(error, ServerError) else 0.0
        return max(doubled(state), min(asked, _LONGEST_WAIT_S))

    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(server.retries + 1),
        wait=pause,
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, ServerError) and error.passing),
        reraise=True,
        sleep=sleep or tenacity.nap.sleep,
    )


def is_uid(text: str) -> bool:
    """Whether a text is a UID by its characters and length (PS3.5 section 9.1), so that it can name a file."""
    return len(text) <= _UID_LENGTH and _UID.fullmatch(text) is not None


def study_record(answer: Dataset) -> StudyRecord | None:
    """A study out of an answer, or None where its UID is none."""
    uid = _text(answer, "StudyInstanceUID")
    if not is_uid(uid):
        return None
    return StudyRecord(
        study_instance_uid=uid,
        study_date=_text(answer, "StudyDate"),
        modalities=_texts(answer, "ModalitiesInStudy"),
        description=_text(answer, "StudyDescription"),
        n_instances=_count(answer, "NumberOfStudyRelatedInstances"),
    )


def instance_record(answer: Dataset, series_instance_uid: str = "") -> InstanceRecord | None:
    """An instance out of an answer, or None where a UID is none; the series when the answer does not say it."""
    series = _text(answer, "SeriesInstanceUID") or series_instance_uid
    instance, sop_class = _text(answer, "SOPInstanceUID"), _text(answer, "SOPClassUID")
    if not (is_uid(series) and is_uid(instance)):
        return None
    known = sop_class if is_uid(sop_class) else ""
    return InstanceRecord(series_instance_uid=series, sop_instance_uid=instance, sop_class_uid=known)


def series_of(answer: Dataset) -> tuple[str, str]:
    """UID and modality of a series out of an answer; the UID is empty where it is none."""
    uid = _text(answer, "SeriesInstanceUID")
    return (uid if is_uid(uid) else ""), _text(answer, "Modality")


def matches(answer: Dataset, query: Query) -> bool:
    """Whether an answer fits the question, as far as it says anything about it."""
    for keyword, wanted in query.filters().items():
        found = _texts(answer, keyword)
        if found and not any(_fits(keyword, value, wanted) for value in found):
            return False
    return True


def _fits(keyword: str, value: str, wanted: str) -> bool:
    if keyword == "StudyDate":
        start, dash, end = wanted.partition("-")
        return (start or "00000000") <= value <= ((end or "99999999") if dash else start)
    pattern = "".join(char if char in "*?" else f"[{char}]" if char == "[" else char for char in wanted.casefold())
    return fnmatch.fnmatchcase(value.casefold(), pattern)


def _texts(answer: Dataset, keyword: str) -> tuple[str, ...]:
    try:
        value = answer.get(keyword)
    except READ_ERRORS:
        return ()
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return tuple(text for one in values if one is not None and (text := str(one).strip(" \0")))


def _text(answer: Dataset, keyword: str) -> str:
    return next(iter(_texts(answer, keyword)), "")


def _count(answer: Dataset, keyword: str) -> int | None:
    text = _text(answer, keyword)
    return int(text) if text.isascii() and text.isdigit() else None
