"""Reports in DICOM: the texts of a structured report's content tree (PS3.3 section C.17.3) as sections.

Headings are concept names, by code where PS3.16 has one (CID 7001 and 7002, headings and elements of diagnostic imaging
reports), else by their words. A text without a known concept belongs to the nearest container that has one.
Observation context (who observed, PS3.3 table C.17.3-3, HAS OBS CONTEXT) names people and is left out.
"""

from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset

from medfuse.domain import Report, SectionName
from medfuse.domain.report import ANSWER_SECTIONS
from medfuse.errors import UnreadableFileError, UnreadableReportError
from medfuse.ingest.dicom.files import READ_ERRORS, quiet, read_header
from medfuse.ingest.reports.codes import SECTION_OF_CODE
from medfuse.ingest.reports.sectioning import is_subheading, report_of, section_of

REPORT_SOP_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR
        "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
        "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.88.35",  # Extensible SR
    }
)
"""SOP classes that a person's report comes in; dose, CAD and procedure-log SR are no reports."""

_LEFT_OUT = frozenset({"HAS OBS CONTEXT", "HAS ACQ CONTEXT"})
_STATING = frozenset({"CONTAINS", "HAS PROPERTIES", "INFERRED FROM"})


def read_structured_report(path: Path) -> Report:
    """Read the texts of a DICOM structured report, in the order of its content tree.

    Args:
        path: A DICOM file of one of `REPORT_SOP_CLASSES`.

    Returns:
        A report whose text holds one `HEADING:` line and the texts below it for each run of items of one section.

    Raises:
        UnreadableReportError: The file breaks off (`TRUNCATED_FILE`), breaks DICOM's rules, is another SOP class
            (`NOT_A_REPORT`), or holds no text (`EMPTY_REPORT`).
    """
    try:
        with quiet():
            head, _ = read_header(path, ("SOPClassUID",))  # skips the texts, and so finds that they break off
            if str(head.get("SOPClassUID", "")) not in REPORT_SOP_CLASSES:
                detail = f"{path.name}: a DICOM object that is no structured report for reading"
                raise UnreadableReportError(detail, reason="NOT_A_REPORT")
            texts = _texts(read_header(path)[0])
    except UnreadableFileError as error:
        raise UnreadableReportError(f"{path.name}: {error.detail}", reason=error.reason) from error
    except READ_ERRORS as error:
        raise UnreadableReportError(f"{path.name}: breaks DICOM's rules ({type(error).__name__})") from error
    if not texts:
        raise UnreadableReportError(f"{path.name}: the structured report holds no text", reason="EMPTY_REPORT")
    return report_of(texts)


def _texts(root: Dataset) -> list[tuple[SectionName, str]]:
    """The section and the text of every item, depth first in document order.

    Codes and measurements are told in words beside texts. A document of nothing else (TID 1500) is no report to read.
    """
    texts: list[tuple[SectionName, str]] = []
    stack = [(root, SectionName.OTHER, "")]
    has_text = False
    while stack:
        item, inherited, above = stack.pop()
        if item.get("RelationshipType") in _LEFT_OUT:
            continue
        title = _concept(item)
        section = inherited if item is root else _section(item, inherited)
        text = str(item.get("TextValue") or "").strip() if item.get("ValueType") == "TEXT" else ""
        has_text |= bool(text)
        said = text or (_said(item, title) if item is not root else "")
        if said:
            subtitle = next((one for one in (title, above) if is_subheading(one)), "") if text else ""
            texts.append((section, f"{subtitle}: {said}" if subtitle else said))
        below = title if item.get("ValueType") == "CONTAINER" else above
        stack.extend((child, section, below) for child in reversed(item.get("ContentSequence") or []))
    return texts if has_text else []


def _said(item: Dataset, title: str) -> str:
    """A code or a measurement in words; an empty string for anything else, and for how a container is to be taken."""
    if item.get("RelationshipType") not in _STATING or not title:
        return ""
    if item.get("ValueType") == "CODE":
        value = _meaning(item.get("ConceptCodeSequence"))
        return f"{title}: {value}" if value else ""
    if item.get("ValueType") == "NUM":
        for measured in item.get("MeasuredValueSequence") or []:
            units = next((str(u.get("CodeValue", "")) for u in measured.get("MeasurementUnitsCodeSequence") or []), "")
            return f"{title}: {measured.get('NumericValue', '')} {'' if units == '1' else units}".strip()
    return ""


def _concept(item: Dataset) -> str:
    return _meaning(item.get("ConceptNameCodeSequence"))


def _meaning(codes: Iterable[Dataset] | None) -> str:
    return next((str(code.get("CodeMeaning", "")).strip() for code in codes or []), "")


def _section(item: Dataset, inherited: SectionName) -> SectionName:
    """The section of an item: its own concept's, unless it stands in a container that already has one.

    A concept that states the answer counts wherever it stands.
    """
    for concept in item.get("ConceptNameCodeSequence") or []:
        by_code = SECTION_OF_CODE.get(str(concept.get("CodeValue", "")))
        known = by_code or section_of(str(concept.get("CodeMeaning", "")))
        if known in ANSWER_SECTIONS and inherited not in ANSWER_SECTIONS:
            return known
        if known is not None and inherited is SectionName.OTHER:
            return known
    return inherited
