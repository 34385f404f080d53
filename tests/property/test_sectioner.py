"""The sectioner loses no text, whatever the text is."""

from hypothesis import given
from hypothesis import strategies as st

from medfuse.domain import SectionName
from medfuse.domain.report import SAFE_SECTIONS
from medfuse.ingest.reports.heading_languages import HEADINGS, SUBHEADINGS
from medfuse.ingest.reports.reading import parse_report

TITLES = sorted({t for table in (HEADINGS, SUBHEADINGS) for by in table.values() for ts in by.values() for t in ts})
PIECES = st.one_of(
    st.text(),
    st.sampled_from(TITLES),
    st.sampled_from(TITLES).map(str.title),
    st.sampled_from(
        [":", "\n", "\r\n", " ", "  ", ". ", "\u2028", "**", "1. ", " - ", "(", ")", "/", " and ", "İ", "ß"]
    ),
)
WORDS = st.lists(st.sampled_from(["gait", "mild", "left", "7", "mm", "no", "cough,"]), min_size=1).map(" ".join)


@given(st.lists(PIECES).map("".join))
def test_sections_tile_any_text(text: str) -> None:
    report = parse_report(text)
    assert report.text == text
    assert "".join(text[s.start : s.end] for s in report.sections) == text
    assert all(s.start <= s.body_start <= s.end for s in report.sections)
    assert all(s.end > s.start for s in report.sections)


@given(st.lists(st.tuples(st.sampled_from([n for n in SectionName if n is not SectionName.OTHER]), WORDS), min_size=1))
def test_sections_come_back_as_written(parts: list[tuple[SectionName, str]]) -> None:
    for separator in (": ", ":\n", "\n"):
        report = parse_report("\n\n".join(f"{name.value}{separator}{body}" for name, body in parts))
        assert [(s.name, report.body(s)) for s in report.sections] == parts


@given(WORDS, st.sampled_from(["FINDINGS", "Findings", "IMPRESSION", "Conclusion", "OPINION"]), st.sampled_from("\n "))
def test_an_answer_never_reaches_the_safe_text(before: str, heading: str, gap: str) -> None:
    report = parse_report(f"HISTORY: {before}{gap}{heading}: carcinoma")
    assert report.select(SAFE_SECTIONS) == before
