"""Reports in DICOM: the texts of a structured report's content tree (PS3.3 section C.17.3) as sections.

Headings are concept names, by code where PS3.16 has one (CID 7001 and 7002, headings and elements of diagnostic imaging
reports), else by their words. A text without a known concept belongs to the nearest container that has one.
Observation context (who observed, PS3.3 table C.17.3-3, HAS OBS CONTEXT) names people and is left out.
"""

from pathlib import Path

from pydicom import Dataset

from medfuse.domain import Report, SectionName
from medfuse.domain.report import ANSWER_SECTIONS
from medfuse.errors import UnreadableFileError, UnreadableReportError
from medfuse.ingest.dicom.files import READ_ERRORS, quiet, read_header
from medfuse.ingest.sectioning import report_of, section_of

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

_SECTION_OF_CODE = {
    **dict.fromkeys(("11329-0", "121060"), SectionName.HISTORY),
    **dict.fromkeys(("55752-0", "55115-0", "18785-6", "55108-5", "121062", "121109", "121110"), SectionName.INDICATION),
    **dict.fromkeys(("55111-9", "121064", "121065"), SectionName.TECHNIQUE),
    **dict.fromkeys(("18834-2", "55114-3", "121066", "121068", "121069"), SectionName.COMPARISON),
    **dict.fromkeys(("59776-5", "121070", "121071"), SectionName.FINDINGS),
    **dict.fromkeys(
        (
            "19005-8",
            "55110-1",
            "18783-1",
            "55112-7",
            "121072",
            "121073",
            "121074",
            "121075",
            "121076",
            "121077",
            "121111",
        ),
        SectionName.IMPRESSION,
    ),
    **dict.fromkeys(("55107-7", "55109-3", "121078", "121113"), SectionName.OTHER),
}
_LEFT_OUT = frozenset({"HAS OBS CONTEXT", "HAS ACQ CONTEXT"})


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
    """The section and the text of every TEXT item, depth first in document order."""
    texts: list[tuple[SectionName, str]] = []
    stack = [(root, SectionName.OTHER)]
    while stack:
        item, inherited = stack.pop()
        if item.get("RelationshipType") in _LEFT_OUT:
            continue
        section = inherited if item is root else _section(item, inherited)
        text = str(item.get("TextValue") or "").strip()
        if item.get("ValueType") == "TEXT" and text:
            texts.append((section, text))
        stack.extend((child, section) for child in reversed(item.get("ContentSequence") or []))
    return texts


def _section(item: Dataset, inherited: SectionName) -> SectionName:
    """The section of an item: its own concept's, unless it stands in a container that already has one.

    A concept that states the answer counts wherever it stands.
    """
    for concept in item.get("ConceptNameCodeSequence") or []:
        by_code = _SECTION_OF_CODE.get(str(concept.get("CodeValue", "")))
        known = by_code or section_of(str(concept.get("CodeMeaning", "")))
        if known in ANSWER_SECTIONS and inherited not in ANSWER_SECTIONS:
            return known
        if known is not None and inherited is SectionName.OTHER:
            return known
    return inherited
