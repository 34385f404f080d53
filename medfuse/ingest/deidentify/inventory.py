"""What lies below a folder: the DICOM objects by patient and study, the report files, and what is neither.

Headers are read once, whole, for the identities that they name. Nothing read here leaves but through the cleaning.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medfuse.errors import UnreadableFileError
from medfuse.ingest.deidentify.held_back import reason_to_hold
from medfuse.ingest.deidentify.text import Identities
from medfuse.ingest.dicom.files import DICOM_SUFFIXES, READ_ERRORS, may_be_dicom, quiet, read_header
from medfuse.ingest.tree import FoundFile, list_tree

REPORT_SUFFIXES = frozenset({".txt", ".hl7", ".json"})
"""Ends of the names of files that may be a report of one study."""

_NO_REPORT = re.compile(r"(readme|licen[cs]e|source|notice|copying|copyright|changelog|authors|requirements)", re.I)
_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})

_DICOMDIR = "1.2.840.10008.1.3.10"
_PHRASES = (
    *("PatientID", "OtherPatientIDs", "AccessionNumber", "AdmissionID", "PatientAddress", "PatientTelephoneNumbers"),
    *("InstitutionName", "InstitutionAddress", "StationName"),
    *("DeviceSerialNumber", "MedicalRecordLocator", "StudyID"),
    *("IssuerOfPatientID", "FillerOrderNumberImagingServiceRequest", "PlacerOrderNumberImagingServiceRequest"),
    *("ClinicalTrialSubjectID", "RequestedProcedureID", "ScheduledProcedureStepID", "PerformedProcedureStepID"),
    *("ServiceEpisodeID", "VerifyingOrganization", "CurrentPatientLocation", "PatientInstitutionResidence"),
    *("ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers", "PersonAddress", "PersonTelephoneNumbers"),
    *("ResponsibleOrganization", "RegionOfResidence"),
    *("PersonTelecomInformation", "PatientTelecomInformation"),
)
_REASONS = {"report": "REPORTS_NOT_ASKED_FOR", "broken": "NOT_DICOM", "table": "TABLE_OF_STUDIES"}
_FRAMES = "PerFrameFunctionalGroupsSequence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One DICOM object.

    Args:
        file: Where it is, and what changes when it does.
        sop_class: Its kind.
        sop_instance_uid: Its UID.
        series_uid: UID of its series.
        number: Instance Number, for the order of the files.
        names: What a text file named after its study could be called: UID and accession number.
        hold: Why it is held back; empty if it is not.
    """

    file: FoundFile
    sop_class: str
    sop_instance_uid: str
    series_uid: str
    number: int
    names: frozenset[str]
    hold: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A file that is not written, and why; the UIDs are those of the source."""

    path: Path
    reason: str
    study_uid: str = ""
    series_uid: str = ""
    sop_class: str = ""


@dataclass(slots=True)
class PatientFiles:
    """What belongs to one patient.

    Args:
        identities: What all headers name.
        studies: Study Instance UID -> objects.
        texts: Study Instance UID -> report files.
    """

    identities: Identities = field(default_factory=Identities)
    studies: dict[str, list[Item]] = field(default_factory=lambda: defaultdict(list))
    texts: dict[str, list[FoundFile]] = field(default_factory=lambda: defaultdict(list))


@dataclass(slots=True)
class Inventory:
    """What lies below a folder.

    Args:
        patients: Identifier of the patient -> files.
        held: Files that are not written.
        left_out: Number of files that hold nothing of their own: hidden files and DICOMDIRs.
    """

    patients: dict[str, PatientFiles] = field(default_factory=lambda: defaultdict(PatientFiles))
    held: list[Held] = field(default_factory=list)
    left_out: int = 0


def take_inventory(root: Path, *, reports: bool = True) -> Inventory:
    """Read the header of every file below `root`.

    Args:
        root: A folder, or one file.
        reports: Whether report files are taken; otherwise they are held back.
    """
    found = Inventory()
    tree = list_tree(root)
    found.left_out += tree.n_hidden
    texts = []
    for file in tree.files:
        kind = _kind(file.path)
        if kind == "dicom":
            _add_dicom(file, found)
        elif kind == "report" and reports:
            texts.append(file)
        else:
            reason = _REASONS.get(kind, "OTHER_FILE")
            found.held.append(Held(path=file.path, reason=reason))
    _assign(texts, tree.folder, found)
    _hold_whole_series(found)
    return found


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return "broken"
    if path.suffix.lower() in REPORT_SUFFIXES and head[128:132] != b"DICM":
        return "other" if _NO_REPORT.match(path.name) else "report"
    if may_be_dicom(head):
        return "dicom"
    if path.suffix.lower() in DICOM_SUFFIXES:
        return "broken"
    return "table" if path.suffix.lower() in _TABLES else "other"


def _add_dicom(file: FoundFile, found: Inventory) -> None:
    try:
        with quiet():
            header, pixels = read_header(file.path)
            if _sop_class(header) == _DICOMDIR:
                found.left_out += 1
                return
            hold = "TRUNCATED_FILE" if pixels is not None and pixels.is_cut else reason_to_hold(header) or ""
            item = _item(file, header, hold)
            uids = (_text(header, "StudyInstanceUID"), item.series_uid, item.sop_instance_uid)
            if not all(uids) or not item.sop_class:
                found.held.append(Held(path=file.path, reason="UID_MISSING", sop_class=item.sop_class))
                return
            patient = found.patients[_identifier(header)]
            patient.studies[uids[0]].append(item)
            collect(header, patient.identities)
    except UnreadableFileError as error:
        found.held.append(Held(path=file.path, reason=error.reason))
    except READ_ERRORS:
        found.held.append(Held(path=file.path, reason="UNREADABLE_FILE"))


def _item(file: FoundFile, header: Dataset, hold: str) -> Item:
    number = _text(header, "InstanceNumber")
    return Item(
        file=file,
        sop_class=_sop_class(header),
        sop_instance_uid=_text(header, "SOPInstanceUID"),
        series_uid=_text(header, "SeriesInstanceUID"),
        number=int(number) if number.isdigit() else 0,
        names=frozenset({_text(header, "StudyInstanceUID"), _text(header, "AccessionNumber")} - {""}),
        hold=hold,
    )


def _identifier(header: Dataset) -> str:
    """What tells a patient from others: the Patient ID, else name and birth date, else the study."""
    if patient := _text(header, "PatientID"):
        return patient
    named = f"{_text(header, 'PatientName')}\0{_text(header, 'PatientBirthDate')}"
    return f"named {named}" if named != "\0" else f"study {_text(header, 'StudyInstanceUID')}"


def _sop_class(header: Dataset) -> str:
    meta = getattr(header, "file_meta", {})
    return _text(header, "SOPClassUID") or str(meta.get("MediaStorageSOPClassUID") or "")


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip().strip("\0").strip()


def collect(header: Dataset, identities: Identities) -> None:
    """Add what a header names: every name of a person, and the values that identify by themselves."""
    for element in _elements(header):
        for value in element.value if isinstance(element.value, MultiValue | list) else [element.value]:
            text = str(value or "")
            if element.VR == "PN":
                identities.add_name(text)
            elif text:
                identities.add_phrase(text)


def _elements(dataset: Dataset) -> Iterator:  # type: ignore[type-arg]
    for tag in dataset.keys():  # noqa: SIM118  a dataset iterates over its elements
        try:
            element = dataset[tag]
        except READ_ERRORS:
            continue
        if element.VR == "SQ":
            if element.keyword != _FRAMES:
                for item in element.value:
                    yield from _elements(item)
        elif element.VR == "PN" or element.keyword in _PHRASES:
            yield element


def _assign(texts: list[FoundFile], root: Path, found: Inventory) -> None:
    """Give each report file to the study that it is named for, or else to the only study around it."""
    names: dict[str, set[tuple[str, str]]] = defaultdict(set)
    places: dict[Path, set[tuple[str, str]]] = defaultdict(set)
    for patient, files in found.patients.items():
        for study, items in files.studies.items():
            for item in items:
                for name in item.names:
                    names[name].add((patient, study))
                for folder in _up(item.file.path.parent, root):
                    places[folder].add((patient, study))
    for file in texts:
        around = (places[folder] for folder in _up(file.path.parent, root) if folder in places)
        owners = names.get(file.path.stem) or next(around, set())
        if len(owners) == 1:
            patient, study = next(iter(owners))
            found.patients[patient].texts[study].append(file)
        else:
            found.held.append(Held(path=file.path, reason="TEXT_WITHOUT_STUDY"))


def _up(folder: Path, root: Path) -> Iterator[Path]:
    while True:
        yield folder
        if folder in (root, folder.parent):
            return
        folder = folder.parent


def _hold_whole_series(found: Inventory) -> None:
    """What shows in the pixels of one image holds back its whole series."""
    for files in found.patients.values():
        for items in files.studies.values():
            shown = {item.series_uid: item.hold for item in items if item.hold and item.hold != "TRUNCATED_FILE"}
            for place, item in enumerate(items):
                reason = item.hold or shown.get(item.series_uid, "")
                if reason and not item.hold:
                    items[place] = replace(item, hold=reason)
