"""The page: it stands alone, says what it must once, and takes no word for markup."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from medfuse.errors import UsageError
from medfuse.evaluation import EvaluationReport
from medfuse.evaluation.figures import Failure
from medfuse.evaluation.report import RESEARCH_USE
from medfuse.reporting import RunArtifacts, compose, document_schema, read_artifacts, render_page, write_document
from medfuse.reporting.document import Line, Plot, ShownFailure
from medfuse.reporting.drawing import draw
from medfuse.reporting.page import shown
from tests.report_parts import CHECKPOINT, CONFIG, WEIGHTS

EVIL = '<script>alert("1")</script> & $\\frac$ `x` | <img src=x onerror=y>'


class Page(HTMLParser):
    """The elements, attributes and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def page_text(artifacts: RunArtifacts) -> str:
    return render_page(compose(artifacts))


@pytest.fixture(scope="module")
def page(page_text: str) -> Page:
    return Page(page_text)


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medfuse.reporting.page.draw", lambda plot: "")


def test_nothing_is_fetched_and_nothing_runs(page: Page) -> None:
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert links
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in links)
    (policy,) = [value for _, value in page.attributes if "default-src" in value]
    assert policy.startswith("default-src 'none'")


def test_what_identifies_model_and_data(page: Page, artifacts: RunArtifacts) -> None:
    assert page.words.count(RESEARCH_USE) == 1
    for stamp in (WEIGHTS, CONFIG, "0.1.0", "test", "label leakage", "not allowed", "30 resamples"):
        assert stamp in page.words
    assert compose(artifacts).stamps["studies"] == 12


def test_every_part_of_the_evaluation_is_there(page: Page) -> None:
    for title in ("Data", "Finding: large", "Segment: anterior", "Target: grade", "Target: age", "By sex", "Failures"):
        assert title in page.words
    for told in ("AUROC", "ECE before scaling", "set coverage", "relative volume error", "quadratic kappa"):
        assert told in page.words
    for plot in ("ROC: large", "Reliability: large", "Decision curve: large", "Volume: anterior", "Agreement: age"):
        assert plot in page.words
    assert "STUDY_NOT_FOUND" in page.words


def test_every_plot_is_drawn(page: Page, artifacts: RunArtifacts) -> None:
    sections = compose(artifacts).sections
    plots = sum(len(one.plots) for one in sections)
    assert page.tags.count("svg") == plots > 10
    assert page.tags.count("figure") == plots + sum(len(one.failures) for one in sections)


def test_no_place_on_a_machine_is_told(artifacts: RunArtifacts, page_text: str, tmp_path: Path) -> None:
    write_document(compose(artifacts), tmp_path / "report.json")
    for text in (page_text, (tmp_path / "report.json").read_text()):
        assert "/somewhere" not in text
        assert str(tmp_path.parent) not in text  # every folder of the tests lies there


@pytest.mark.usefixtures("no_drawing")
def test_leakage_is_a_warning(run: Path, artifacts: RunArtifacts) -> None:
    assert not [warning for warning in compose(artifacts).warnings if "LEAKAGE" in warning]
    told = CHECKPOINT | {"recipe": CHECKPOINT["recipe"] | {"allow_leakage": True}}
    (run / "best/checkpoint.json").write_text(json.dumps(told))
    document = compose(read_artifacts(run, run.parent / "evaluation.json"))
    assert document.stamps["label leakage"] == "allowed"
    assert document.warnings[0].startswith("LABEL LEAKAGE")
    assert document.warnings[0] in Page(render_page(document)).words


@pytest.mark.usefixtures("no_drawing")
def test_shared_patients_are_a_warning(run: Path) -> None:
    (run / "splits.csv").write_text((run / "splits.csv").read_text() + "8.99,p000,train\n")
    document = compose(read_artifacts(run, run.parent / "evaluation.json"))
    assert document.warnings[0].startswith("SHARED PATIENTS: 1 ")
    assert "no patient is in two splits" not in render_page(document)


def test_words_are_never_markup(artifacts: RunArtifacts, evaluation: EvaluationReport) -> None:
    finding = replace(evaluation.findings[0], name=EVIL)
    failure = Failure(study_instance_uid=EVIL, kind="missed", name=EVIL, value=0.1, told=EVIL)
    told = replace(
        evaluation,
        split=EVIL,
        notes=(EVIL,),
        findings=(finding,),
        failures=(failure,),
        segments=(replace(evaluation.segments[0], name=EVIL),),
        targets=(replace(evaluation.targets[0], classes=(EVIL, "b", "c")),),
        subgroups=(replace(evaluation.subgroups[0], column=EVIL),),
    )
    shown_failure = ShownFailure(study_instance_uid=EVIL, kind=EVIL, name=EVIL, told=EVIL, picture="AA", caption=EVIL)
    page = Page(render_page(compose(replace(artifacts, evaluation=told), [shown_failure])))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.words.count(EVIL) > 10


def test_an_older_evaluation_has_tables_alone(artifacts: RunArtifacts, evaluation: EvaluationReport) -> None:
    bare = {"roc": None, "precision_recall": None, "calibration": None, "uncalibrated": None, "decision": None}
    finding = replace(evaluation.findings[0], **bare, selective=None, conformal=None, calls=None)  # type: ignore[arg-type]
    document = compose(replace(artifacts, evaluation=replace(evaluation, findings=(finding,))))
    (section,) = [one for one in document.sections if one.title == "Finding: large"]
    assert not section.plots
    assert "holds no curves" in section.paragraphs[0]


def test_a_report_needs_an_evaluation(run: Path) -> None:
    with pytest.raises(UsageError, match="give --evaluation"):
        compose(read_artifacts(run))


def test_the_json_is_the_document(artifacts: RunArtifacts, tmp_path: Path) -> None:
    document = compose(artifacts)
    write_document(document, tmp_path / "report.json")
    told: dict[str, Any] = json.loads((tmp_path / "report.json").read_bytes())
    jsonschema.validate(told, document_schema())
    assert [one["title"] for one in told["sections"]] == [one.title for one in document.sections]
    row = told["sections"][1]["tables"][0]["rows"][0]
    assert row[:2] == ["AUROC", artifacts.evaluation.findings[0].auroc.value]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (3, "3"),
        (0.12345, "0.123"),
        (-0.0001, "0.000"),
        (-0.25, "-0.250"),
        (12345.67, "12345.7"),
        ("a", "a"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert shown(value) == text  # type: ignore[arg-type]


def test_a_plot_is_text_for_those_who_cannot_see_it() -> None:
    lines = (
        Line(name=EVIL, x=(0.0, 1.0), y=(0.2, 0.8), y_low=(0.1, 0.7), y_high=(0.3, 0.9)),
        Line(name="bars", x=(0.5,), y=(0.5,), style="points", y_low=(0.4,), y_high=(0.7,)),
        Line(name="", x=(), y=(), style="steps"),
        Line(name="level", x=(0.0, 1.0), y=(0.0, 0.0), style="reference"),
    )
    plot = Plot(title="A title of $5 and $6", x_label="x (ml)", y_label="y", lines=lines, note="A note.")
    svg = draw(plot)
    assert svg == draw(plot)  # the same plot gives the same text
    assert svg.startswith("<svg")
    assert 'role="img"' in svg
    assert 'aria-label="A title of $5 and $6. A note."' in svg
    page = Page(svg)
    assert {"A title of $5 and $6", "x (ml)", "bars"} <= {word.strip() for word in page.words.splitlines()}
    assert "metadata" not in page.tags
    assert "script" not in page.tags
    named = {value for name, value in page.attributes if name == "id"}
    assert all(f"#{name}" in svg for name in named)
