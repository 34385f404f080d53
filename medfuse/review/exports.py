"""What was decided, for other programs: the standing decisions of every study, and CSV and FHIR made of them.

What a reader withdrew is left out; the chain keeps it. An unsigned reading is exported as preliminary and says so.
"""

import csv
import io
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from medfuse.domain import LabelValue, Review, Subject, SubjectKind, Verdict
from medfuse.review.ratings import model_call, reader_value
from medfuse.review.readings import CaseStatus, Reading, known_kind, readings_of
from medfuse.review.schema import FINDINGS, WORKLIST
from medfuse.review.views import readable
from medfuse.storage import write_file

if TYPE_CHECKING:
    from medfuse.review.room import ReadingRoom

CSV_COLUMNS = (
    "study_instance_uid",
    "accession_number",
    "reviewer",
    "status",
    "signed_at",
    "subject_kind",
    "subject",
    "delineation",
    "verdict",
    "value",
    "model_probability",
    "model_call",
    "shown",
    "comment",
    "reason",
    "mask_sha256",
    "seconds_on_study",
    "decided_at",
    "number",
)
"""Columns of the CSV: one row a standing decision, and one a reading without any."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")
_NAMESPACE = uuid.UUID("2f0f6d5e-6f0b-5f3e-9d53-6d6564667573")
_FHIR_STATUS = {
    CaseStatus.SIGNED: "final",
    CaseStatus.AMENDED: "amended",
    CaseStatus.STARTED: "preliminary",
}
_SNOMED = "http://snomed.info/sct"
_FHIR_VALUES = {
    LabelValue.PRESENT: ("52101004", "Present"),
    LabelValue.ABSENT: ("2667000", "Absent"),
    LabelValue.UNCERTAIN: ("42425007", "Equivocal"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWord:
    """What the model says of one finding: its probability, and the call that follows."""

    probability: float
    call: LabelValue


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReview:
    """A study that was reviewed, with what stands.

    Args:
        study_instance_uid: Which study.
        accession_number: May be empty.
        patient_key: Pseudonym of the patient; empty where unknown.
        model: Finding -> what the model says; empty without a model.
        readings: By reader.
    """

    study_instance_uid: str
    accession_number: str
    patient_key: str
    model: Mapping[str, ModelWord] = field(default_factory=dict)
    readings: Mapping[str, Reading]

    def value_of(self, review: Review) -> LabelValue | None:
        """What a standing decision on a finding holds to be right; None where it cannot be told."""
        word = self.model.get(review.subject or "")
        return reader_value(review, word.call if word else None)


def study_reviews(room: "ReadingRoom") -> Iterator[StudyReview]:
    """Every study that somebody has said something of, in the order of the first decision."""
    said: dict[str, list[Review]] = {}
    for review in room.store.reviews():
        said.setdefault(review.study_instance_uid, []).append(known_kind(review, room.segments))
    with room.store.database.reading() as connection:
        listed = {row.study_instance_uid: row for row in connection.execute(select(WORKLIST))}
        words: dict[str, dict[str, ModelWord]] = {}
        for row in connection.execute(select(FINDINGS)):
            call = model_call(row.probability, row.operating_point)
            words.setdefault(row.study_instance_uid, {})[row.finding] = ModelWord(
                probability=row.probability, call=call
            )
    for uid, history in said.items():
        known = listed.get(uid)
        yield StudyReview(
            study_instance_uid=uid,
            accession_number=known.accession_number if known else "",
            patient_key=known.patient_key if known else "",
            model=words.get(uid, {}),
            readings=readings_of(history),
        )


def write_csv(room: "ReadingRoom", path: Path) -> int:
    """Write the standing decisions as CSV, whole or not at all; gives the number of rows.

    Cells that a spreadsheet would run as a formula stand behind an apostrophe.

    Raises:
        StorageError: It could not be written.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    n_rows = 0
    for study in study_reviews(room):
        for cells in _csv_rows(study):
            writer.writerow([_guarded(cells[name]) for name in CSV_COLUMNS])
            n_rows += 1
    content = out.getvalue().encode()
    write_file(path, lambda aside: aside.write_bytes(content))
    return n_rows


def write_fhir(room: "ReadingRoom", path: Path) -> int:
    """Write the readings as a FHIR R4 bundle (JSON), whole or not at all; gives the number of reports in it.

    One DiagnosticReport a study and reader, with an Observation for each decision. No patient is named: the study is
    referred to by its UID, the patient by the pseudonym where it is known.

    Raises:
        StorageError: It could not be written.
    """
    entries: list[dict[str, Any]] = []
    n_reports = 0
    for study in study_reviews(room):
        for reading in study.readings.values():
            if reading.status is not CaseStatus.OPEN:
                entries += _fhir_entries(study, reading)
                n_reports += 1
    bundle = {"resourceType": "Bundle", "type": "collection"} | ({"entry": entries} if entries else {})
    text = json.dumps(bundle, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))
    return n_reports


def _csv_rows(study: StudyReview) -> Iterator[dict[str, Any]]:
    for reading in study.readings.values():
        common = {
            "study_instance_uid": study.study_instance_uid,
            "accession_number": study.accession_number,
            "reviewer": reading.reviewer,
            "status": reading.status.value,
            "signed_at": reading.signed.created_at if reading.signed else "",
            "seconds_on_study": f"{reading.seconds:.1f}",
        }
        for review in reading.decisions.values() or ([reading.signed] if reading.signed else []):
            word = study.model.get(review.subject or "") if review.subject_kind is SubjectKind.FINDING else None
            yield common | {
                "subject_kind": review.subject_kind.value,
                "subject": review.subject or "",
                "delineation": review.delineation,
                "verdict": review.verdict or "",
                "value": review.value,
                "model_probability": "" if word is None else repr(word.probability),
                "model_call": "" if word is None else word.call.value,
                "shown": review.shown.value,
                "comment": review.comment,
                "reason": review.reason,
                "mask_sha256": review.mask_sha256,
                "decided_at": review.created_at,
                "number": str(review.number),
            }


def _guarded(value: Any) -> str:
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _fhir_entries(study: StudyReview, reading: Reading) -> list[dict[str, Any]]:
    """The report of one reader on one study, and its observations behind it."""
    common = {
        "status": _FHIR_STATUS[reading.status],
        "performer": [{"display": reading.reviewer}],
        **({"subject": {"identifier": {"value": study.patient_key}}} if study.patient_key else {}),
    }
    observations = [
        _entry(_observation(study, review, common), study, reading, str(number))
        for number, review in enumerate(reading.decisions.values())
        if review.subject_kind is not SubjectKind.STUDY
    ]
    whole = reading.decisions.get(Subject())
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        **common,
        "code": {"coding": [{"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}]},
        "issued": reading.decided_at,
        "imagingStudy": [{"identifier": _dicom_uid(study.study_instance_uid)}],
    }
    if study.accession_number:
        report["identifier"] = [{"type": {"text": "Accession Number"}, "value": study.accession_number}]
    if observations:
        report["result"] = [{"reference": entry["fullUrl"]} for entry in observations]
    if conclusion := _conclusion(whole, reading):
        report["conclusion"] = conclusion
    return [_entry(report, study, reading, "report"), *observations]


def _observation(study: StudyReview, review: Review, common: Mapping[str, Any]) -> dict[str, Any]:
    """A decision on a finding, a target or a segment."""
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        **common,
        "code": {"text": _code_text(review)},
        "issued": review.created_at,
    }
    value = study.value_of(review) if review.subject_kind is SubjectKind.FINDING else None
    if value is not None:
        code, display = _FHIR_VALUES[value]
        observation["valueCodeableConcept"] = {
            "coding": [{"system": _SNOMED, "code": code, "display": display}],
            "text": value.value,
        }
    elif review.value or review.verdict:
        observation["valueString"] = review.value or _verdict_text(review)
    if review.comment:
        observation["note"] = [{"text": review.comment}]
    components = []
    if review.verdict:
        components.append({"code": {"text": "verdict on the model's answer"}, "valueString": _verdict_text(review)})
    word = study.model.get(review.subject or "")
    if word is not None and review.subject_kind is SubjectKind.FINDING:
        components.append({"code": {"text": "model probability"}, "valueQuantity": {"value": word.probability}})
    components.append({"code": {"text": "on the screen"}, "valueString": review.shown.value})
    return observation | {"component": components}


def _code_text(review: Review) -> str:
    name = readable(review.subject or "")
    return f"outline of {name}" if review.subject_kind is SubjectKind.SEGMENT else name


def _verdict_text(review: Review) -> str:
    words = {Verdict.ACCEPTED: "accepted", Verdict.REJECTED: "rejected", Verdict.UNSURE: "unsure"}
    return words[review.verdict] if review.verdict else ""


def _conclusion(whole: Review | None, reading: Reading) -> str:
    said = [_verdict_text(whole) + (f": {whole.comment}" if whole.comment else "")] if whole else []
    return "\n".join([*said, *([reading.signed.comment] if reading.signed and reading.signed.comment else [])])


def _entry(resource: dict[str, Any], study: StudyReview, reading: Reading, name: str) -> dict[str, Any]:
    """A resource under an address that is the same in every export of it."""
    address = uuid.uuid5(_NAMESPACE, f"{study.study_instance_uid}\n{reading.reviewer}\n{name}")
    return {"fullUrl": f"urn:uuid:{address}", "resource": resource}


def _dicom_uid(uid: str) -> dict[str, str]:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}
