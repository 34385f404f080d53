"""The dashboard's logic, through Streamlit's AppTest: open, decide, sign off, amend, hostile text, error states."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from medfuse.domain import LabelValue, ReviewKind, Shown, Verdict
from medfuse.errors import StorageError
from medfuse.review import CaseStatus, ReadingRoom, ReviewStore, WorklistFilter, local_reader
from tests.apps.scored_folder import EVIL, FIRST, HOSTILE, SECOND, THIRD

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit.*")

ACCESSIONS = {FIRST: "ACC-001", SECOND: "ACC-002", THIRD: "ACC-003", HOSTILE: "ACC-005", "1.2.840.1.14": "ACC-004"}
READER = "Dr. Test"


@pytest.fixture(autouse=True)
def _fresh_caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No review of one test is seen by the next."""
    import streamlit as st

    for name in ("DIR", "DECISIONS", "DATABASE", "USERS", "BLIND"):
        monkeypatch.delenv(f"MEDFUSE_REVIEW_{name}", raising=False)
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture
def opened(scored_folder: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path) -> AppTest:
    """The worklist of the scored folder."""
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(scored_folder))
    return run(checkout)


def run(checkout: Path) -> AppTest:
    return AppTest.from_file(str(checkout / "apps" / "viewer" / "app.py"), default_timeout=120).run()


def handle_of(app: AppTest, uid: str) -> str:
    accession = ACCESSIONS[uid]
    rows = room_of(app).desk(local_reader(READER)).page(WorklistFilter(text=accession)).rows
    return rows[0].handle


def room_of(_: AppTest) -> ReadingRoom:
    from apps.viewer import state

    room: ReadingRoom = state.open_room()
    return room


def read(app: AppTest, uid: str, reviewer: str = READER) -> AppTest:
    """Open a study as a click on its row does, signed."""
    app.query_params["case"] = handle_of(app, uid)
    app.run()
    if reviewer:
        app.text_input(key="reviewer").set_value(reviewer).run()
    assert not app.exception
    return app


def page(app: AppTest) -> str:
    """Everything that the page draws as HTML, without the style."""
    return "\n".join(e.proto.body for e in app.get("html") if not e.proto.body.startswith("<style"))


def arguments(app: AppTest) -> dict[str, Any]:
    """What the component on the page was given."""
    (component,) = app.get("component_instance")
    given: dict[str, Any] = json.loads(component.proto.json_args)
    return given


def decide(
    app: AppTest, choice: str, uid: str, subject: str = "FINDING/lung_nodule", *, comment: str = "", value: str = ""
) -> AppTest:
    key = f"{handle_of(app, uid)}/{subject}"
    if comment:
        app.text_input(key=f"comment/{key}").set_value(comment)
    if value:
        app.selectbox(key=f"value/{key}").set_value(value)
    app.button(key=f"{choice}/{key}").click().run()
    assert not app.exception
    return app


def test_worklist_lists_every_study_in_triage_order_with_its_reason(opened: AppTest) -> None:
    assert not opened.exception
    given = arguments(opened)
    rows = [row["cells"] for row in given["rows"]]
    assert [row["study"] for row in rows[:2]] == ["ACC-001", "ACC-002"]
    assert {row["study"] for row in rows} == set(ACCESSIONS.values())
    assert given["total"] == 5
    assert "lung nodule 0.91" in rows[0]["why"]
    assert rows[1]["flags"] == "LEAKAGE_ALLOWED, MISSING_TEXT"
    assert all(len(row["handle"]) >= 16 and "1.2.840" not in row["handle"] for row in given["rows"])
    assert "<b>4</b> open" in page(opened)


def test_worklist_filters_in_the_database(opened: AppTest) -> None:
    opened.selectbox(key="filter/finding").set_value("pleural_effusion").run()
    opened.slider(key="filter/probability").set_range(0.1, 1.0).run()
    assert {row["cells"]["study"] for row in arguments(opened)["rows"]} == {"ACC-001", "ACC-002"}
    opened.text_input(key="filter/text").set_value("nothing like it").run()
    assert "No study matches these filters" in page(opened)


def test_start_opens_the_first_open_study_and_next_goes_on(opened: AppTest) -> None:
    opened.button(key="start").click().run()
    assert opened.query_params["case"] == handle_of(opened, FIRST)
    assert opened.button(key="previous").disabled
    opened.button(key="next").click().run()
    assert opened.query_params["case"] == handle_of(opened, SECOND)
    opened.button(key="close").click().run()
    assert arguments(opened)["total"] == 5
    assert not opened.exception


def test_findings_say_how_sure_and_resting_on_what(opened: AppTest) -> None:
    html = page(read(opened, FIRST))
    for words in ("lung nodule", "0.91", "present", "likely: about 9 in 10 studies scored like this have it"):
        assert words in html
    assert "threshold 0.50" in html
    assert "a score, not a probability: it was not calibrated; no threshold" in html
    assert "32.1 ml" in html
    assert html.count("Research use only") == 1
    assert "AI, unverified" in html


def test_missing_inputs_and_leakage_are_said(opened: AppTest) -> None:
    html = page(read(opened, SECOND))
    assert "The model had to do without: report text." in html
    assert "trained on report sections that state the answer" in html
    assert "This study has no report." in html


def test_a_decision_is_saved_with_what_it_implies_and_kept_in_the_history(opened: AppTest) -> None:
    app = decide(read(opened, FIRST), "REJECTED", FIRST, comment="a vessel")
    assert "Saved " in page(app)
    assert app.text_input(key=f"comment/{handle_of(app, FIRST)}/FINDING/lung_nodule").value == ""
    decide(app, "ACCEPTED", FIRST)
    decide(app, "REJECTED", FIRST, value="UNCERTAIN")
    decide(app, "ACCEPTED", FIRST, "SEGMENT/nodule")
    kept = room_of(app).store.history(FIRST)
    assert [(r.subject, r.verdict, r.value, r.reviewer, r.comment) for r in kept] == [
        ("lung_nodule", Verdict.REJECTED, LabelValue.ABSENT.value, READER, "a vessel"),
        ("lung_nodule", Verdict.ACCEPTED, LabelValue.PRESENT.value, READER, ""),
        ("lung_nodule", Verdict.REJECTED, LabelValue.UNCERTAIN.value, READER, ""),
        ("nodule", Verdict.ACCEPTED, "", READER, ""),
    ]
    assert kept[0].shown is Shown.REVEALED
    assert kept[0].seconds is not None
    assert kept[0].model_weights_sha256 == "ab" * 32
    assert app.expander[0].label == "History (4)"
    assert "a vessel" in page(app)


def test_sign_off_ends_a_case_and_changes_need_a_reason(opened: AppTest) -> None:
    app = decide(read(opened, FIRST), "ACCEPTED", FIRST)
    app.button(key="sign_stay").click().run()
    assert "Signed off" in page(app)
    assert app.button(key="sign_stay").disabled
    decide(app, "REJECTED", FIRST)
    assert "Not saved" in page(app)
    assert [r.kind for r in room_of(app).store.history(FIRST)] == [ReviewKind.DECISION, ReviewKind.SIGN_OFF]
    app.text_input(key=f"reason/{handle_of(app, FIRST)}").set_value("second look").run()
    decide(app, "REJECTED", FIRST)
    assert "amended since" in page(app)
    assert room_of(app).store.history(FIRST)[-1].reason == "second look"
    row = room_of(app).desk(local_reader(READER)).page(WorklistFilter(text="ACC-001")).rows[0]
    assert row.status is CaseStatus.AMENDED


def test_sign_off_goes_on_to_the_next_open_case(opened: AppTest) -> None:
    app = read(opened, FIRST)
    app.button(key="sign_next").click().run()
    assert app.query_params["case"] == handle_of(app, SECOND)
    assert not app.exception


def test_undo_takes_the_last_decision_back(opened: AppTest) -> None:
    app = decide(read(opened, FIRST), "ACCEPTED", FIRST)
    app.button(key="undo").click().run()
    history = room_of(app).store.history(FIRST)
    assert [r.kind for r in history] == [ReviewKind.DECISION, ReviewKind.WITHDRAWAL]
    assert app.button(key=f"ACCEPTED/{handle_of(app, FIRST)}/FINDING/lung_nodule").proto.type == "secondary"


def test_blind_shows_nothing_of_the_model_until_it_is_revealed(
    scored_folder: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(scored_folder))
    monkeypatch.setenv("MEDFUSE_REVIEW_BLIND", "1")
    app = read(run(checkout), FIRST)
    for words in ("0.91", "mf-track", "outline of", "read by the model", "operating point"):
        assert words not in page(app)
    assert arguments(app)["overlays"] == []
    decide(app, "ABSENT", FIRST)
    assert [(r.verdict, r.value, r.shown) for r in room_of(app).store.history(FIRST)] == [(None, "ABSENT", Shown.BLIND)]
    app.button(key="reveal").click().run()
    app.run()
    assert "0.91" in page(app)
    assert "read blind first" in page(app)
    assert [overlay["origin"] for overlay in arguments(app)["overlays"]] == ["model"]
    decide(app, "REJECTED", FIRST)
    assert room_of(app).store.history(FIRST)[-1].shown is Shown.REVEALED


def test_without_a_name_nothing_can_be_decided(opened: AppTest) -> None:
    app = read(opened, FIRST, reviewer="")
    key = f"{handle_of(app, FIRST)}/FINDING/lung_nodule"
    assert all(app.button(key=f"{verdict.value}/{key}").disabled for verdict in Verdict)
    assert app.button(key="sign_next").disabled
    assert arguments(app)["edit"]["segments"] == []
    app.text_input(key="reviewer").set_value("   ").run()
    assert app.button(key=f"ACCEPTED/{key}").disabled


def test_a_decision_that_is_not_kept_is_never_called_saved_and_its_retry_is_kept_once(
    opened: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = read(opened, FIRST)
    keys: list[object] = []
    add = ReviewStore.add

    def full(*_: object, **options: object) -> None:
        keys.append(options.get("key"))
        raise StorageError("the disk is full")

    monkeypatch.setattr(ReviewStore, "add", full)
    decide(app, "ACCEPTED", FIRST, comment="keep these words")
    assert "NOT saved. the disk is full" in page(app)
    assert ">Saved" not in page(app)
    assert app.text_input(key=f"comment/{handle_of(app, FIRST)}/FINDING/lung_nodule").value == "keep these words"
    decide(app, "ACCEPTED", FIRST)
    assert keys[0]
    assert keys[0] == keys[1]
    monkeypatch.setattr(ReviewStore, "add", add)
    decide(app, "ACCEPTED", FIRST)
    assert len(room_of(app).store.history(FIRST)) == 1


def test_another_readers_case_says_so_and_can_be_taken_over(opened: AppTest) -> None:
    handle = handle_of(opened, FIRST)
    room_of(opened).desk(local_reader("Dr. Other")).claim(handle)
    app = read(opened, FIRST)
    assert "Dr. Other is reading this case" in page(app)
    app.button(key="take_over").click().run()
    assert "Dr. Other is reading this case" not in page(app)


def test_leaving_a_case_releases_it(opened: AppTest) -> None:
    app = read(opened, FIRST)
    desk = room_of(app).desk(local_reader("Dr. Other"))
    assert desk.page(WorklistFilter(text="ACC-001")).rows[0].claimed_by == READER
    app.button(key="close").click().run()
    assert desk.page(WorklistFilter(text="ACC-001")).rows[0].claimed_by == ""


def test_hostile_text_is_drawn_as_text(opened: AppTest) -> None:
    app = read(opened, HOSTILE, reviewer=EVIL[:80])
    decide(app, "UNSURE", HOSTILE, comment=EVIL)
    html = page(app)
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<img" not in html
    assert not [element for element in app.markdown if EVIL in element.value]


def test_evidence_and_mentions_are_marked_in_the_report(opened: AppTest) -> None:
    app = read(opened, FIRST)
    html = page(app)
    assert 'data-finding="lung_nodule" title="the model attended to this (0.80)">former smoker</mark>' in html
    assert "read by the model" in html
    assert 'title="pleural effusion, negated"' in html or "no pleural fluid" in html
    app.pills[0].set_value("lung_nodule").run()
    assert ">former smoker</mark>" in page(app)


def test_a_rejected_study_shows_its_reason(opened: AppTest) -> None:
    assert "This study was not scored: MIXED_PATIENTS." in page(read(opened, "1.2.840.1.14", reviewer=""))


def test_a_handle_that_nobody_has_opens_nothing(opened: AppTest) -> None:
    opened.query_params["case"] = FIRST
    opened.run()
    assert not opened.exception
    assert "This case cannot be opened" in page(opened)
    assert not opened.get("component_instance")
    opened.button(key="close").click().run()
    assert arguments(opened)["total"] == 5


def test_a_missing_source_leaves_the_findings_to_read(opened: AppTest) -> None:
    html = page(read(opened, THIRD))
    assert "The images cannot be shown" in html
    assert "does not say where this study lies" in html
    assert "Text the model read" in html
    assert "lung nodule" in html


def test_a_source_folder_that_is_gone_says_so(opened: AppTest, scored_folder: Path) -> None:
    shutil.rmtree(scored_folder.parent / "source0")
    assert "is missing; mount it" in page(read(opened, FIRST))


def test_images_that_cannot_be_read_say_so(opened: AppTest, scored_folder: Path) -> None:
    for path in (scored_folder.parent / "source1").iterdir():
        path.write_bytes(path.read_bytes()[:-4000])
    html = page(read(opened, SECOND))
    assert "cannot be shown" in html
    assert "lung nodule" in html


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_broken_prediction_says_so_and_the_images_stay(
    opened: AppTest, scored_folder: Path, content: str | None
) -> None:
    path = scored_folder / FIRST / "prediction.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    app = read(opened, FIRST)
    assert "prediction" in page(app)
    assert "mf-error" in page(app)
    assert "The images cannot be shown" not in page(app)
    assert len(app.get("component_instance")) == 1


def test_the_viewer_is_fed_addresses_that_name_nobody(opened: AppTest) -> None:
    (component,) = read(opened, FIRST).get("component_instance")
    given = json.loads(component.proto.json_args)
    (image,) = given["images"]
    assert image["shape"] == [128, 128, 40]
    assert [window["name"] for window in image["windows"]][:5] == ["Soft tissue", "Lung", "Liver", "Bone", "Brain"]
    assert image["address"].endswith(".gz")
    assert "1.2.840" not in component.proto.json_args
    assert "Planted" not in component.proto.json_args
    assert not component.proto.special_args
    assert [(s["number"], s["name"]) for s in given["overlays"][0]["segments"]] == [(1, "nodule"), (2, "vessel")]
    assert {f["name"]: f["segment"] for f in given["findings"]} == {"lung_nodule": 1, "pleural_effusion": None}


def test_another_series_and_the_prior_are_shown_beside(opened: AppTest) -> None:
    app = read(opened, FIRST)
    beside = app.selectbox(key=f"beside/{handle_of(app, FIRST)}")
    assert [option.split(":")[0] for option in beside.options] == ["nothing beside it", "beside", "prior"]
    beside.set_value(beside.options[1]).run()
    assert [image["same_frame"] for image in arguments(app)["images"]] == [True, True]
    beside.set_value("prior: ACC-002").run()
    first, second = arguments(app)["images"]
    assert second["label"] == "prior: ACC-002"
    assert second["same_frame"] is False
    assert first["address"] != second["address"] or first["key"] == second["key"]


def test_agreement_compares_readers_and_the_model(opened: AppTest) -> None:
    app = opened
    app.button(key="agreement").click().run()
    assert "nothing to compare yet" in page(app)
    app.button(key="close").click().run()
    for reader, choice in (("Dr. Test", "ACCEPTED"), ("Dr. Other", "REJECTED")):
        for uid in (FIRST, SECOND):
            decide(read(app, uid, reader), choice, uid)
    app.button(key="close").click().run()
    app.button(key="agreement").click().run()
    assert not app.exception
    html = page(app)
    assert "model and Dr. Test" in html
    assert "Disagreements (" in html
    app.button(key="open/0").click().run()
    assert "case" in app.query_params


def test_no_folder_and_a_folder_without_studies_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    assert "start the dashboard with `medfuse review DIR`" in page(run(checkout))
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(tmp_path / "nowhere"))
    assert "Nothing to review" in page(run(checkout))


def test_a_table_without_studies_says_so(scored_folder: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    scores = scored_folder / "scores.csv"
    scores.write_text(scores.read_text().splitlines()[0] + "\n")
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(scored_folder))
    assert "There is nothing to read yet" in page(run(checkout))


def test_a_store_that_cannot_be_opened_says_so(
    scored_folder: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    (scored_folder / "reviews.sqlite").write_text("this is no database " * 200)
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(scored_folder))
    app = run(checkout)
    assert not app.exception
    assert "Nothing to review" in page(app)


def test_new_scores_appear_without_a_restart(opened: AppTest, scored_folder: Path) -> None:
    scores = scored_folder / "scores.csv"
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join([*lines, lines[1].replace(FIRST, "1.2.840.1.99").replace("ACC-001", "ACC-099")]) + "\n")
    opened.run()
    assert "ACC-099" in {row["cells"]["study"] for row in arguments(opened)["rows"]}


def test_reading_writes_no_decision(opened: AppTest) -> None:
    read(opened, FIRST)
    assert room_of(opened).store.history(FIRST) == ()
