"""prediction.json: written, read back, refused when it is broken."""

import dataclasses
import json
from pathlib import Path

import pytest

from medfuse.domain import Alignment, ChannelPreparation, Evidence, Finding, Prediction, Quantity, Segment
from medfuse.errors import UsageError
from medfuse.outputs import SegmentMeasurement, prediction_json, prediction_schema, read_prediction, write_prediction
from medfuse.outputs.json import RESEARCH_USE
from tests.unit.outputs import cases

ALIGNMENT = Alignment(
    reference="1.2.3.4",
    matrix_lps=((1.0, 0.0, 0.0, 0.1), (0.0, 1.0, 0.0, -2.3), (0.0, 0.0, 1.0, 1e-17), (0.0, 0.0, 0.0, 1.0)),
    nmi_before=1.05,
    nmi_after=1.31,
    applied=True,
)


def full() -> Prediction:
    finding = Finding(
        name="atrophy",
        probability=0.123456789,
        operating_point=0.4,
        calibrated=True,
        evidence=(Evidence(start=0, end=3, weight=0.7), Evidence(start=4, end=9, weight=0.2)),
    )
    return Prediction(
        study_instance_uid="1.2.3",
        accession_number="",
        model=cases.MODEL,
        findings=(finding, Finding(name="ödem", probability=1.0)),
        segment_volumes=cases.prediction().segment_volumes,
        series_used={"t1": "1.2.3.4"},
        missing=("flair", "text"),
        text_input="Übelkeit, 71 y",
        created_at="2026-01-02T03:04:05+00:00",
        preparation=(
            ChannelPreparation(channel="t1", series="1.2.3.4", choice="3 points (thin slices +3)", notes=("a note",)),
            ChannelPreparation(channel="t1ce", series="1.2.3.5/echo-2", choice="fits", alignment=ALIGNMENT),
        ),
    )


@pytest.mark.parametrize("prediction", [full(), cases.prediction(), cases.prediction(segments=False, text="x")])
def test_it_comes_back_equal(tmp_path: Path, prediction: Prediction) -> None:
    write_prediction(prediction, tmp_path / "prediction.json")
    assert read_prediction(tmp_path / "prediction.json") == prediction


def test_the_envelope() -> None:
    segments = [Segment(number=1, name="anterior"), Segment(number=2, name="posterior")]
    text = prediction_json(full(), segments=segments, files=["seg.dcm"], notes=["a note"])
    document = json.loads(text)
    assert document["schema_version"] == 1
    assert document["segments"] == [{"number": 1, "name": "anterior"}, {"number": 2, "name": "posterior"}]
    assert document["files"] == ["seg.dcm"]
    assert document["notes"] == ["a note"]
    assert document["findings"][0]["probability"] == 0.123456789
    assert text.count(RESEARCH_USE) == 1
    assert "Übelkeit" in text


def test_the_published_schema_is_current(checkout: Path) -> None:
    published = checkout / "data_manifests" / "prediction.schema.json"
    if not published.is_file():
        pytest.skip("data_manifests is not part of this installation")
    assert json.loads(published.read_text()) == prediction_schema(), "see data_manifests/README.md"


def test_the_schema_describes_what_is_written() -> None:
    schema = prediction_schema()
    document = json.loads(prediction_json(full(), segments=[Segment(number=1, name="a")]))
    assert set(schema["properties"]) == set(document)
    assert set(schema["required"]) <= set(document)
    assert {"schema_version", "findings", "model", "created_at"} <= set(schema["required"])


def test_the_schema_accepts_it_and_refuses_less() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    measured = (
        SegmentMeasurement(
            number=1, name="a", volume_mm3=8.0, diameter_mm=2.0, mean=-3.5, quantity=Quantity.HOUNSFIELD
        ),
        SegmentMeasurement(number=2, name="b", volume_mm3=0.0),
    )
    document = json.loads(prediction_json(full(), segments=[Segment(number=1, name="a")], measurements=measured))
    assert [one["mean"] for one in document["measurements"]] == [-3.5, None]
    validator = jsonschema.Draft202012Validator(prediction_schema())
    assert list(validator.iter_errors(document)) == []
    del document["findings"]
    assert len(list(validator.iter_errors(document))) == 1


def broken(path: Path, **changes: object) -> Path:
    document = json.loads(prediction_json(full()))
    document.update(changes)
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_version": ...}, "no schema_version"),
        ({"schema_version": True}, "no schema_version"),
        ({"schema_version": "1"}, "no schema_version"),
        ({"schema_version": 2}, "schema_version 2, expected at most 1; update medfuse"),
        ({"findings": ...}, "findings: "),
        ({"model": {}}, "model.name: Field required.*and 1 more"),
        ({"findings": [{"name": "a", "probability": 1.5}]}, "findings.0: .*expected 0 to 1"),
        ({"findings": [{"name": "a", "probability": "0.5"}]}, "findings.0.probability: "),
    ],
)
def test_a_broken_file_says_what_is_wrong_in_one_line(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    path = broken(tmp_path / "prediction.json", **changes)
    with pytest.raises(UsageError, match=says) as raised:
        read_prediction(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"<html>"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "prediction.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"prediction\.json"):
        read_prediction(tmp_path / "prediction.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_prediction(tmp_path / "prediction.json")


def test_keys_of_a_later_minor_version_are_passed_over(tmp_path: Path) -> None:
    assert read_prediction(broken(tmp_path / "prediction.json", novelty=[1])) == full()


def test_a_file_of_before_preparations_were_kept_is_still_read(tmp_path: Path) -> None:
    old = read_prediction(broken(tmp_path / "prediction.json", preparation=...))
    assert old == dataclasses.replace(full(), preparation=())


def test_the_matrix_stands_in_the_file(tmp_path: Path) -> None:
    write_prediction(full(), tmp_path / "prediction.json")
    document = json.loads((tmp_path / "prediction.json").read_text())
    assert document["preparation"][1]["alignment"]["matrix_lps"][1] == [0.0, 1.0, 0.0, -2.3]
    assert document["preparation"][0]["alignment"] is None
