"""What the viewer is fed and gives back: label maps of any kind, corrected ones checked, things made once."""

import gzip
import threading
from pathlib import Path

import numpy as np
import pytest

from apps.viewer import pictures
from apps.viewer.panels import images, intervals, wording
from apps.viewer.shelf import Shelf
from medfuse.domain import (
    Familiarity,
    Finding,
    LabelValue,
    ModelIdentity,
    Prediction,
    QualityFlag,
    Segment,
    TargetKind,
    TargetPrediction,
)
from medfuse.errors import UsageError
from medfuse.review import local_reader, open_room, series_choices
from tests.apps.scored_folder import SHAPE, label_map


@pytest.fixture
def shown(scored_folder: Path) -> tuple[pictures.Picture, list[pictures.Mask]]:
    """The first series of the first study, and its masks."""
    room = open_room(scored_folder)
    room.refresh()
    desk = room.desk(local_reader("Dr. Test"))
    case = desk.case(desk.page().rows[0].handle)
    shelf = Shelf(4)
    study = pictures.study_of(shelf, case)
    picture = pictures.picture(shelf, case.handle, series_choices(study, case.prediction)[0])
    masks, problems = pictures.masks(shelf, case, study, picture, room.segments)
    assert problems == []
    room.close()
    return picture, masks


def test_the_models_mask_lies_on_the_grid_of_the_image(
    shown: tuple[pictures.Picture, list[pictures.Mask]],
) -> None:
    picture, (mask,) = shown
    assert (pictures.drawn(mask.labels, picture, [1, 2]) == label_map()).all()
    assert [segment.name for segment in mask.segments] == ["nodule", "vessel"]
    assert mask.volumes_mm3[0] == pytest.approx((label_map() == 1).sum() * 2.8 * 2.8 * 5)


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b"\1" * 10),
        gzip.compress(b"\1" * (int(np.prod(SHAPE)) + 1)),
        gzip.compress(b"\7" * int(np.prod(SHAPE))),
        gzip.compress(b"\1" * int(np.prod(SHAPE)))[:-40],
    ],
)
def test_what_is_no_label_map_of_the_image_is_refused(
    shown: tuple[pictures.Picture, list[pictures.Mask]], content: bytes
) -> None:
    with pytest.raises(UsageError, match="corrected segmentation"):
        pictures.drawn(content, shown[0], [1, 2])


@pytest.mark.parametrize(
    "given", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff{}", b"\2\0\0\0[]", b"\2\0\0\0{", b"\3\0\0\0{]}"]
)
def test_a_message_without_a_header_is_refused(given: bytes) -> None:
    with pytest.raises(UsageError, match="no segmentation"):
        images._parted(given)


def test_a_message_falls_into_header_and_content() -> None:
    assert images._parted(b'\x0f\0\0\0{"token": "a1"}rest') == ({"token": "a1"}, b"rest")


def test_segments_to_draw_without_a_model_are_those_of_the_first_mask_or_one_region() -> None:
    mask = pictures.Mask(
        id="a", label="a", labels=b"", key="k", segments=(Segment(number=3, name="liver"),), volumes_mm3=(1.0,)
    )
    assert pictures.label_set((), [mask])[0].number == 3
    assert pictures.label_set((), [])[0].name == "region"


def test_the_shelf_makes_a_thing_once_for_all_who_wait() -> None:
    shelf = Shelf(2)
    made: list[int] = []
    go = threading.Event()

    def make() -> str:
        made.append(1)
        assert go.wait(10)
        return "thing"

    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(shelf.get("a", make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert got == ["thing"] * 4
    assert made == [1]


def test_the_shelf_tries_again_what_failed_and_forgets_the_longest_unused() -> None:
    shelf = Shelf(2)

    def fail() -> None:
        raise UsageError("gone")

    with pytest.raises(UsageError):
        shelf.get("a", fail)
    assert shelf.get("a", lambda: 1) == 1
    assert [shelf.get(key, lambda key=key: key) for key in ("b", "c")] == ["b", "c"]
    assert shelf.get("a", lambda: 2) == 2


@pytest.mark.parametrize(
    ("finding", "word", "basis"),
    [
        (Finding(name="n", probability=0.02, calibrated=True), "no threshold", "very unlikely: about 2 in 100"),
        (Finding(name="n", probability=0.0, calibrated=True), "no threshold", "about none in 1000"),
        (Finding(name="n", probability=0.5, operating_point=0.4), "present", "a score, not a probability"),
        (
            Finding(
                name="n",
                probability=0.5,
                operating_point=0.4,
                calibrated=True,
                prediction_set=(LabelValue.PRESENT, LabelValue.ABSENT),
            ),
            "not sure",
            "either way not ruled out",
        ),
        (Finding(name="n", probability=0.5, prediction_set=()), "unlike anything known", "not calibrated"),
        (Finding(name="n", probability=0.9, prediction_set=(LabelValue.PRESENT,)), "present", "no threshold"),
    ],
)
def test_figures_are_put_in_words_that_do_not_promise(finding: Finding, word: str, basis: str) -> None:
    assert wording.call(finding) == word
    assert basis in wording.basis(finding)


def test_cautions_name_what_is_odd_and_what_was_missing() -> None:
    prediction = Prediction(
        study_instance_uid="1.2",
        accession_number="",
        model=ModelIdentity(name="m", version="0", weights_sha256="a", config_sha256="b"),
        findings=(),
        series_used={},
        missing=("text", "flair"),
        created_at="2026-01-02T03:04:05+00:00",
        familiarity=Familiarity(distance=3.0, threshold=2.0),
        quality=(QualityFlag(code="FEW_SLICES", detail="12 slices, 40 expected"),),
    )
    lines = [line for _, line in wording.cautions(prediction)]
    assert "unlike those that the model was trained on" in lines[0]
    assert lines[1] == "12 slices, 40 expected (FEW_SLICES)"
    assert lines[2] == "The model had to do without: report text, flair."


def test_targets_say_their_class_or_their_number() -> None:
    grade = TargetPrediction(name="g", kind=TargetKind.CLASSES, classes=("low", "very_high"), probabilities=(0.2, 0.8))
    age = TargetPrediction(name="age", kind=TargetKind.NUMBER, value=61.234, unit="a")
    assert [wording.target_value(target) for target in (grade, age)] == ["very high", "61.23 a"]


def test_a_kappa_stands_with_its_interval_or_its_reason() -> None:
    assert intervals.words(0.5, 0.25, 0.75) == "0.50 (0.25 to 0.75)"
    assert intervals.words(None, None, None, "too few") == "too few"
    assert intervals.bar(None, None, None) == ""
    assert "left: 62.5%; width: 25.0%" in intervals.bar(0.5, 0.25, 0.75)
