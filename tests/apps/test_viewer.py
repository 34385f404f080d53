"""The dashboard's logic, through Streamlit's AppTest: open, decide, history, hostile text, and every error state."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from medfuse.domain import Verdict
from medfuse.errors import StorageError
from medfuse.review import ReviewStore
from tests.apps.scored_folder import EVIL, FIRST, HOSTILE, SECOND, THIRD

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:streamlit.*")


@pytest.fixture(autouse=True)
def _fresh_caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No result or store of one test is seen by the next."""
    import streamlit as st

    monkeypatch.delenv("MEDFUSE_REVIEW_DIR", raising=False)
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


def read(app: AppTest, uid: str, reviewer: str = "Dr. Test") -> AppTest:
    """Open a study as a click on its row does, signed."""
    app.session_state["study"] = uid
    app.run()
    if reviewer:
        app.text_input(key="reviewer").set_value(reviewer).run()
    assert not app.exception
    return app


def page(app: AppTest) -> str:
    """Everything that the page draws as HTML."""
    return "\n".join(element.proto.body for element in app.get("html"))


def decide(app: AppTest, verdict: Verdict, subject: str = "", uid: str = FIRST, comment: str = "") -> AppTest:
    if comment:
        app.text_input(key=f"comment/{uid}/{subject}").set_value(comment)
    app.button(key=f"{verdict.value}/{uid}/{subject}").click().run()
    assert not app.exception
    return app


def table(app: AppTest) -> list[dict[str, object]]:
    return app.dataframe[0].value.to_dict("records")


def test_worklist_lists_every_study_with_its_result(opened: AppTest) -> None:
    assert not opened.exception
    rows = table(opened)
    assert [row["study"] for row in rows] == ["ACC-001", "ACC-002", "ACC-003", "ACC-005", "ACC-004"]
    assert [row["result"] for row in rows] == ["scored"] * 4 + ["MIXED_PATIENTS"]
    assert (rows[1]["leading"], rows[1]["highest"]) == ("pleural effusion", pytest.approx(0.71))
    assert "<b>4</b> open" in page(opened)
    assert "<b>1</b> without a result" in page(opened)


def test_worklist_filters_and_sorts(opened: AppTest) -> None:
    opened.selectbox(key="filter/finding").set_value("pleural_effusion").run()
    assert [row["study"] for row in table(opened)] == ["ACC-002", "ACC-001", "ACC-003", "ACC-005"]
    opened.slider(key="filter/at_least").set_value(0.1).run()
    assert [row["study"] for row in table(opened)] == ["ACC-002", "ACC-001"]
    opened.text_input(key="filter/text").set_value("nothing like it").run()
    assert "No study matches these filters" in page(opened)


def test_start_opens_the_first_open_study_and_next_goes_on(opened: AppTest) -> None:
    opened.button(key="start").click().run()
    assert opened.session_state["study"] == FIRST
    assert opened.button(key="previous").disabled
    opened.button(key="next").click().run()
    assert opened.session_state["study"] == SECOND
    opened.button(key="close").click().run()
    assert len(table(opened)) == 5
    assert not opened.exception


def test_findings_say_what_they_rest_on(opened: AppTest) -> None:
    html = page(read(opened, FIRST))
    for words in ("lung nodule", "0.91", "present", "threshold 0.50, calibrated", "no operating point, not calibrated"):
        assert words in html
    assert "32,105 mm³" in html
    assert "do without" not in html
    assert "state the answer" not in html


def test_missing_inputs_and_leakage_are_said(opened: AppTest) -> None:
    html = page(read(opened, SECOND))
    assert "The model had to do without: report text." in html
    assert "trained on report sections that state the answer" in html
    assert "This study has no report." in html


def test_a_decision_is_saved_shown_and_kept_in_the_history(opened: AppTest, scored_folder: Path) -> None:
    app = decide(read(opened, FIRST), Verdict.REJECTED, "lung_nodule", comment="a vessel")
    assert "Saved " in page(app)
    assert app.text_input(key=f"comment/{FIRST}/lung_nodule").value == ""
    decide(app, Verdict.ACCEPTED, "lung_nodule")
    decide(app, Verdict.ACCEPTED)
    kept = ReviewStore(scored_folder).history(FIRST)
    assert [(r.subject, r.verdict, r.reviewer, r.comment) for r in kept] == [
        ("lung_nodule", Verdict.REJECTED, "Dr. Test", "a vessel"),
        ("lung_nodule", Verdict.ACCEPTED, "Dr. Test", ""),
        (None, Verdict.ACCEPTED, "Dr. Test", ""),
    ]
    assert kept[0].model_weights_sha256 == "ab" * 32
    assert app.expander[0].label == "History of decisions (3)"
    assert "a vessel" in page(app)
    app.button(key="close").click().run()
    assert "<b>1</b> accepted" in page(app)


def test_without_a_name_nothing_can_be_decided(opened: AppTest) -> None:
    app = read(opened, FIRST, reviewer="")
    assert all(app.button(key=f"{verdict.value}/{FIRST}/").disabled for verdict in Verdict)
    app.text_input(key="reviewer").set_value("   ").run()
    assert app.button(key=f"ACCEPTED/{FIRST}/").disabled


def test_a_decision_that_is_not_kept_is_never_called_saved(opened: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    app = read(opened, FIRST)

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(ReviewStore, "add", full)
    decide(app, Verdict.ACCEPTED, "lung_nodule", comment="keep these words")
    assert "NOT saved. the disk is full" in page(app)
    assert ">Saved" not in page(app)
    assert app.text_input(key=f"comment/{FIRST}/lung_nodule").value == "keep these words"


def test_hostile_text_is_drawn_as_text(opened: AppTest) -> None:
    app = read(opened, HOSTILE, reviewer=EVIL[:80])
    decide(app, Verdict.UNSURE, uid=HOSTILE, comment=EVIL)
    html = page(app)
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<img" not in html
    assert not [element for element in app.markdown if EVIL in element.value]


def test_evidence_is_marked_in_the_report(opened: AppTest) -> None:
    app = read(opened, FIRST)
    assert ">former smoker</mark>" in page(app)
    assert "read by the model" in page(app)
    app.pills[0].set_value(None).run()
    assert "<mark" not in page(app)
    assert "former smoker" in page(app)


def test_a_rejected_study_shows_its_reason(opened: AppTest) -> None:
    assert "This study was not scored: MIXED_PATIENTS." in page(read(opened, "1.2.840.1.14", reviewer=""))


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
    read(opened, FIRST)
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
    assert "The prediction cannot be shown" in page(app)
    assert "The images cannot be shown" not in page(app)
    assert len(app.get("component_instance")) == 1


def test_the_viewer_is_fed_the_series_the_overlay_and_the_presets(opened: AppTest) -> None:
    (component,) = read(opened, FIRST).get("component_instance")
    arguments = json.loads(component.proto.json_args)
    assert arguments["shape"] == [128, 128, 40]
    assert [window["name"] for window in arguments["windows"]] == ["Soft tissue", "Lung", "Liver", "Bone", "Brain"]
    assert [(s["number"], s["name"]) for s in arguments["segments"]] == [(1, "nodule"), (2, "vessel")]
    assert {argument.key for argument in component.proto.special_args} == {"image", "overlay"}


def test_no_folder_and_a_folder_without_results_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    assert "start the dashboard with `medfuse review DIR`" in run(checkout).text[0].value
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(tmp_path))
    assert "has no scores.csv" in run(checkout).text[0].value


def test_a_table_without_studies_says_so(scored_folder: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    scores = scored_folder / "scores.csv"
    scores.write_text(scores.read_text().splitlines()[0] + "\n")
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(scored_folder))
    assert "No study has been scored yet" in page(run(checkout))


def test_a_store_that_cannot_be_opened_leaves_reading_possible(
    scored_folder: Path, monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    (scored_folder / "reviews.sqlite").write_text("this is no database " * 200)
    monkeypatch.setenv("MEDFUSE_REVIEW_DIR", str(scored_folder))
    app = read(run(checkout), FIRST)
    assert "Decisions cannot be saved here" in page(app)
    assert app.button(key=f"ACCEPTED/{FIRST}/").disabled
    assert "lung nodule" in page(app)


def test_new_scores_appear_without_a_restart(opened: AppTest, scored_folder: Path) -> None:
    scores = scored_folder / "scores.csv"
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join([*lines, lines[1].replace(FIRST, "1.2.840.1.99").replace("ACC-001", "ACC-099")]) + "\n")
    opened.run()
    assert "ACC-099" in {row["study"] for row in table(opened)}


def test_the_store_is_not_written_by_reading(opened: AppTest, scored_folder: Path) -> None:
    read(opened, FIRST)
    connection = sqlite3.connect(scored_folder / "reviews.sqlite")
    count = connection.execute("SELECT count(*) FROM reviews").fetchone()
    connection.close()
    assert count == (0,)
