"""Opening a folder of results: one clear line for whatever is missing or broken."""

import json
from pathlib import Path

import pytest

from medfuse.domain import LabelSet, ModelIdentity, Prediction, Rejected
from medfuse.errors import UsageError
from medfuse.outputs import ScoreTable, write_prediction
from medfuse.review import Results

UID = "1.2.3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with ScoreTable(tmp_path / "scores.csv", LabelSet(findings=("nodule",))) as table:
        table.append(Rejected(study_instance_uid=UID, accession_number="A1", reason="MIXED_PATIENTS", detail="two"))
    return tmp_path


def sources(folder: Path, content: object) -> None:
    (folder / "sources.json").write_text(content if isinstance(content, str) else json.dumps(content))


def prediction(uid: str) -> Prediction:
    model = ModelIdentity(name="m", version="1", weights_sha256="a", config_sha256="b")
    return Prediction(
        study_instance_uid=uid, accession_number="", model=model, findings=(), series_used={}, created_at="2026"
    )


def test_a_missing_folder_or_table_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        Results(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"has no scores\.csv"):
        Results(tmp_path)


def test_prediction_is_read_and_must_be_of_the_study(folder: Path) -> None:
    write_prediction(prediction(UID), folder / UID / "prediction.json")
    assert Results(folder).prediction(UID) == prediction(UID)
    write_prediction(prediction("9"), folder / UID / "prediction.json")
    with pytest.raises(UsageError, match="of another study"):
        Results(folder).prediction(UID)


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_missing_or_broken_prediction_says_so(folder: Path, content: str | None) -> None:
    if content is not None:
        (folder / UID).mkdir()
        (folder / UID / "prediction.json").write_text(content)
    with pytest.raises(UsageError, match=r"prediction\.json"):
        Results(folder).prediction(UID)


@pytest.mark.parametrize("uid", ["../../etc", "/etc", "", "."])
def test_a_uid_never_leads_out_of_the_folder(folder: Path, uid: str) -> None:
    with pytest.raises(UsageError, match="digits and dots"):
        Results(folder).segmentation(uid)


def test_the_segmentation_is_there_or_none(folder: Path) -> None:
    assert Results(folder).segmentation(UID) is None
    (folder / UID).mkdir()
    (folder / UID / "segmentation.nii.gz").touch()
    assert Results(folder).segmentation(UID) == folder / UID / "segmentation.nii.gz"


def test_a_source_is_relative_to_the_results_or_absolute(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (folder / "images").mkdir()
    for told, expected in (("images", folder / "images"), (str(outside), outside)):
        sources(folder, {UID: {"path": told}})
        assert Results(folder).source(UID) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, r"cannot read .*sources\.json"),
        ("{", "is not JSON"),
        ([], "no table"),
        ({}, "does not say where"),
        ({UID: "images"}, "does not say where"),
        ({UID: {"path": 3}}, "does not say where"),
        ({UID: {"path": "gone"}}, "is missing; mount it"),
    ],
)
def test_an_unknown_source_says_so(folder: Path, content: object, expected: str) -> None:
    if content is not None:
        sources(folder, content)
    with pytest.raises(UsageError, match=expected):
        Results(folder).source(UID)
