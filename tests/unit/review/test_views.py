"""What a study shows: wording, evidence in the report, series, segments."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from medfuse.domain import (
    Evidence,
    Modality,
    ModelIdentity,
    Prediction,
    Report,
    ReportSection,
    SectionName,
    SegmentVolume,
    Series,
    Study,
)
from medfuse.review import Span, highlighted, readable, segment_views, series_choices
from medfuse.review.views import placed_sections

EVIDENCE = st.lists(
    st.builds(Evidence, start=st.integers(-5, 60), end=st.integers(-5, 60), weight=st.floats(0, 1, allow_nan=False)),
    max_size=6,
)


def report(*sections: tuple[SectionName, str]) -> Report:
    text, parts = "", []
    for name, body in sections:
        heading = f"{name.value}: "
        parts.append(
            ReportSection(
                name=name, start=len(text), body_start=len(text) + len(heading), end=len(text) + len(heading + body) + 1
            )
        )
        text += f"{heading}{body}\n"
    return Report(text=text, sections=tuple(parts))


@given(text=st.text(max_size=50), evidence=EVIDENCE)
def test_highlighting_loses_no_text(text: str, evidence: list[Evidence]) -> None:
    spans = highlighted(text, evidence)
    assert "".join(span.text for span in spans) == text
    assert all(0 <= span.weight <= 1 for span in spans)


def test_where_evidence_overlaps_the_greatest_weight_holds() -> None:
    spans = highlighted("abcdef", [Evidence(start=0, end=4, weight=0.2), Evidence(start=2, end=6, weight=0.7)])
    assert spans == (Span(text="ab", weight=0.2), Span(text="cd", weight=0.7), Span(text="ef", weight=0.7))


def test_bodies_are_found_in_the_models_input_in_their_order() -> None:
    read = report(
        (SectionName.HISTORY, "smoker"), (SectionName.FINDINGS, "smoker, nodule"), (SectionName.TECHNIQUE, "CT")
    )
    assert placed_sections([read], "smoker\nCT") == ((0, None, 7),)
    assert placed_sections([read], "") == ((None, None, None),)


def test_the_same_body_in_two_reports_is_told_apart() -> None:
    reports = [report((SectionName.HISTORY, "cough")), report((SectionName.HISTORY, "cough"))]
    assert placed_sections(reports, "cough\ncough") == ((0,), (6,))


def test_a_text_input_without_the_patients_name_still_matches() -> None:
    read = report((SectionName.HISTORY, "Mr. Miller [2] smokes.\nDaily."))
    assert placed_sections([read], "Mr. XXXXXX [2] smokes.\nDaily.") == ((0,),)


def test_readable_names() -> None:
    assert readable("lung_nodule") == "lung nodule"


def prediction(**fields: object) -> Prediction:
    model = ModelIdentity(name="m", version="1", weights_sha256="a", config_sha256="b")
    values = {
        "study_instance_uid": "1",
        "accession_number": "",
        "model": model,
        "findings": (),
        "series_used": {},
        "created_at": "2026-01-01T00:00:00Z",
    }
    return Prediction(**(values | fields))  # type: ignore[arg-type]


def test_segments_are_numbered_and_coloured_in_the_order_of_the_label_set() -> None:
    volumes = tuple(SegmentVolume(name=f"segment_{n}", volume_mm3=n) for n in range(10))
    views = segment_views(prediction(segment_volumes=volumes))
    assert [view.number for view in views] == list(range(1, 11))
    assert views[0].name == "segment 0"
    assert len({view.colour for view in views[:8]}) == 8
    assert views[8].colour == views[0].colour


def test_series_that_the_model_read_come_first_by_channel() -> None:
    def series(uid: str, description: str, number: int | None = None) -> Series:
        return Series(
            series_instance_uid=uid, modality=Modality.MR, description=description, number=number, files=(Path(uid),)
        )

    study = Study(
        study_instance_uid="1",
        patient_key="p",
        path=Path(),
        series=(series("a", "localizer"), series("b", "T1 ax", 3), series("c", "", 4)),
    )
    choices = series_choices(study, prediction(series_used={"t1": "b", "flair": "gone"}))
    assert [(c.label, c.read_by_model) for c in choices] == [
        ("T1 · T1 ax · series 3", True),
        ("MR · localizer", False),
        ("MR · series 4", False),
    ]
    assert [c.series.series_instance_uid for c in series_choices(study, None)] == ["a", "b", "c"]


def test_parts_of_a_series_are_told_apart_by_their_key() -> None:
    echoes = tuple(
        Series(series_instance_uid="a", part=part, modality=Modality.MR, number=2, files=(Path(part),))
        for part in ("echo-1", "echo-2_phase")
    )
    study = Study(study_instance_uid="1", patient_key="p", path=Path(), series=echoes)
    choices = series_choices(study, prediction(series_used={"t1": "a/echo-2_phase"}))
    assert [(c.label, c.read_by_model) for c in choices] == [
        ("T1 · echo-2 phase · series 2", True),
        ("MR · echo-1 · series 2", False),
    ]
