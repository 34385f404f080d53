"""Codes that name a section of a report: LOINC and DICOM (PS3.16 CID 7001 and 7002), and HL7's suffixes.

Used where a report comes in coded pieces: DICOM SR, HL7 version 2, FHIR.
"""

from medfuse.domain import SectionName
from medfuse.ingest.reports.phrases import fold
from medfuse.ingest.reports.sectioning import section_of

SECTION_OF_CODE: dict[str, SectionName] = {
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
"""Code -> section. The schemes share no code, so that their names, which files spell in many ways, are not needed."""

_SUFFIXES = {
    "IMP": SectionName.IMPRESSION,
    "GDT": SectionName.FINDINGS,
    "REC": SectionName.IMPRESSION,
    "ADT": SectionName.OTHER,
    "HIS": SectionName.HISTORY,
    "HIST": SectionName.HISTORY,
    "TEC": SectionName.TECHNIQUE,
    "TCM": SectionName.TECHNIQUE,
    "CMP": SectionName.COMPARISON,
}
"""Suffixes of OBX-3 in a narrative report (HL7 version 2.9, chapter 7.2.4: impression, general description, ...)."""


_WHOLE = frozenset({"report", "bericht", "informe", "reporte", "compte rendu", "compte-rendu", "报告", "报告内容"})
"""Names of the whole report where it comes in pieces: its sections are found by its headings."""


def section_of_code(code: str) -> SectionName | None:
    """The section that a code, a suffix or a heading names, or None for any other."""
    if fold(code.strip()) in _WHOLE:
        return None
    return SECTION_OF_CODE.get(code) or _SUFFIXES.get(code.upper()) or section_of(code)
