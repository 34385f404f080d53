"""Marks in the report: evidence and mentions as offsets into a section's text, tied to findings and segments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.domain import Evidence, Finding, LabelValue, ModelIdentity, Prediction
from medfuse.ingest import parse_report
from medfuse.ingest.reports.lexicon import FindingTerms, Lexicon
from medfuse.review import Mark, MarkKind, finding_segments, report_marks

LEXICON = Lexicon(
    findings={
        "lung_nodule": FindingTerms(terms={"en": ("nodule",)}),
        "effusion": FindingTerms(terms={"en": ("effusion",)}),
    }
)
REPORT = parse_report(
    "INDICATION: Cough, former smoker.\n"
    "HISTORY: History of effusion. Mother had a nodule.\n"
    "FINDINGS: No nodule. Possible effusion.\n"
    "IMPRESSION: Nodule in the right lung.\n"
)


def prediction(text: str, *evidence: tuple[str, str, float]) -> Prediction:
    """A prediction whose findings rest on words: (finding, words, weight)."""
    model = ModelIdentity(name="m", version="1", weights_sha256="a", config_sha256="b")
    findings = tuple(
        Finding(
            name=name,
            probability=0.5,
            evidence=tuple(
                Evidence(start=text.index(words), end=text.index(words) + len(words), weight=weight)
                for finding, words, weight in evidence
                if finding == name
            ),
        )
        for name in LEXICON.findings
    )
    return Prediction(
        study_instance_uid="1",
        accession_number="",
        model=model,
        findings=findings,
        series_used={},
        text_input=text,
        created_at="2026",
    )


def told(mark: Mark, text: str) -> tuple[str, str, LabelValue | None, str]:
    return text[mark.start : mark.end], mark.finding, mark.value, mark.note


def test_mentions_say_what_the_report_says_of_them() -> None:
    ((indication, history, findings, impression),) = report_marks([REPORT], lexicon=LEXICON)
    assert indication.marks == ()
    said = [told(mark, section.text) for section in (history, findings, impression) for mark in section.marks]
    assert said == [
        ("effusion", "effusion", LabelValue.PRESENT, "historical"),
        ("nodule", "lung_nodule", LabelValue.PRESENT, "of a relative"),
        ("nodule", "lung_nodule", LabelValue.ABSENT, "negated"),
        ("effusion", "effusion", LabelValue.UNCERTAIN, "uncertain"),
        ("Nodule", "lung_nodule", LabelValue.PRESENT, ""),
    ]
    assert [section.heading for section in (indication, impression)] == ["INDICATION", "IMPRESSION"]


def test_evidence_lies_where_the_model_read_it() -> None:
    said = prediction("Cough, former smoker.", ("lung_nodule", "former smoker", 0.8), ("effusion", "Cough", 0.3))
    ((indication, history, *_),) = report_marks([REPORT], said, segments=("nodule",))
    assert [(indication.text[m.start : m.end], m.finding, m.weight, m.segment) for m in indication.marks] == [
        ("Cough", "effusion", 0.3, None),
        ("former smoker", "lung_nodule", 0.8, 1),
    ]
    assert {mark.kind for mark in indication.marks} == {MarkKind.EVIDENCE}
    assert (indication.read_by_model, history.read_by_model) == (True, False)


def test_one_finding_may_be_asked_for() -> None:
    said = prediction("Cough, former smoker.", ("lung_nodule", "former smoker", 0.8), ("effusion", "Cough", 0.3))
    (sections,) = report_marks([REPORT], said, lexicon=LEXICON, finding="effusion")
    assert {mark.finding for section in sections for mark in section.marks} == {"effusion"}


def test_a_mention_is_tied_to_its_segment() -> None:
    (sections,) = report_marks([REPORT], lexicon=LEXICON, segments=("vessel", "nodule"))
    assert {(m.finding, m.segment) for s in sections for m in s.marks} == {("lung_nodule", 2), ("effusion", None)}


def test_the_same_text_in_two_reports_is_told_apart() -> None:
    reports = [parse_report("HISTORY: cough"), parse_report("HISTORY: cough")]
    first, second = report_marks(reports, prediction("cough\ncough", ("effusion", "cough", 1.0)))
    assert (len(first[0].marks), len(second[0].marks)) == (1, 0)


def test_hostile_text_stays_text() -> None:
    evil = "<script>alert(1)</script> nodule </p>"
    ((section,),) = report_marks([parse_report(f"FINDINGS: {evil}")], lexicon=LEXICON)
    assert section.text == evil
    (mark,) = section.marks
    assert section.text[mark.start : mark.end] == "nodule"


@given(st.text(alphabet="nodule. \n:FINDGSHTORY", max_size=80), st.text(max_size=20))
def test_marks_always_lie_inside_their_text(text: str, more: str) -> None:
    report = parse_report(text + "nodule" + more)
    for sections in report_marks([report], prediction(report.text, ("effusion", "nodule", 0.5)), lexicon=LEXICON):
        for section in sections:
            for mark in section.marks:
                assert 0 <= mark.start < mark.end <= len(section.text)
                if mark.kind is MarkKind.MENTION:
                    assert section.text[mark.start : mark.end].casefold() in {"nodule", "effusion", "nodules"}


@pytest.mark.parametrize(
    ("findings", "segments", "expected"),
    [
        (["lung_nodule"], ["nodule"], {"lung_nodule": 1}),
        (["nodule"], ["lung nodule", "vessel"], {"nodule": 1}),
        (["nodule"], ["lung nodule", "liver nodule"], {}),
        (["nodule"], ["liver nodule", "nodule"], {"nodule": 2}),
        (["effusion", "edema"], ["nodule"], {}),
        (["___"], ["nodule"], {}),
    ],
)
def test_which_segment_shows_a_finding(findings: list[str], segments: list[str], expected: dict[str, int]) -> None:
    assert finding_segments(findings, segments) == expected
