"""Key slices and the page of PDF."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from medfuse.domain import (
    Affine,
    Familiarity,
    Finding,
    Quantity,
    Segment,
    Segmentation,
    Volume,
    VolumeGeometry,
)
from medfuse.outputs.colours import rgb_of
from medfuse.outputs.key_slices import key_slices
from medfuse.outputs.measurements import measure
from medfuse.outputs.pdf import prediction_pdf
from tests.unit.outputs import cases


def ball(quantity: Quantity, value: float) -> tuple[Segmentation, Volume]:
    geometry = VolumeGeometry(
        shape=(40, 30, 9),
        affine=Affine.from_parts(origin_mm=(0, 0, 0), direction=np.eye(3), spacing_mm=(1.0, 2.0, 3.0)),
    )
    index = np.indices(geometry.shape).transpose(1, 2, 3, 0)
    away = np.linalg.norm((index - [20, 15, 4]) * [1, 2, 3], axis=-1)
    masks = (away <= 8).astype(np.uint8)
    voxels = np.where(masks == 1, value, -1000.0).astype(np.float32)
    segments = (Segment(number=1, name="nodule"), Segment(number=2, name="nothing"))
    return Segmentation(label_map=masks, geometry=geometry, segments=segments), Volume(
        voxels=voxels, geometry=geometry, quantity=quantity
    )


@pytest.mark.parametrize(("value", "is_white"), [(40.0, False), (1200.0, True), (-650.0, False)])
def test_a_ct_is_shown_in_the_window_of_what_is_inside(value: float, is_white: bool) -> None:
    segmentation, image = ball(Quantity.HOUNSFIELD, value)
    (one,) = key_slices(segmentation, image, measure(segmentation, image))
    centre = one.pixels[one.pixels.shape[0] // 2 - 40, one.pixels.shape[1] // 2]
    assert one.k == 4
    assert centre[0] == centre[1] == centre[2]
    assert centre[0] > 40
    assert (centre[0] > 200) == is_white


def test_a_picture_keeps_the_proportions_in_mm_and_outlines_in_colour() -> None:
    segmentation, image = ball(Quantity.ARBITRARY, 100.0)
    (one,) = key_slices(segmentation, image, measure(segmentation, image))
    outline = np.argwhere((one.pixels == rgb_of(1)).all(axis=-1))
    height, width = np.ptp(outline, axis=0) + 1
    assert height / width == pytest.approx(1, abs=0.2), "a ball is round although its voxels are not"
    assert one.pixels.shape[1] == 512
    assert one.pixels.shape[0] > 768, "and there is a caption"


def test_a_narrow_slice_has_room_for_its_caption() -> None:
    geometry = VolumeGeometry(
        shape=(2, 200, 3),
        affine=Affine.from_parts(origin_mm=(0, 0, 0), direction=np.eye(3), spacing_mm=(1, 1, 1)),
    )
    masks = np.ones(geometry.shape, dtype=np.uint8)
    segmentation = Segmentation(label_map=masks, geometry=geometry, segments=(Segment(number=1, name="海马"),))
    image = Volume(voxels=np.zeros(geometry.shape, dtype=np.float32), geometry=geometry)
    (one,) = key_slices(segmentation, image, measure(segmentation, image))
    assert one.pixels.shape[1] >= 384
    assert max(one.pixels.shape) <= 1100


def test_another_grid_is_refused() -> None:
    segmentation, image = ball(Quantity.ARBITRARY, 1.0)
    elsewhere = VolumeGeometry(shape=image.geometry.shape, affine=image.geometry.affine.shifted((0, 0, 1)))
    moved = dataclasses.replace(image, geometry=elsewhere)
    with pytest.raises(ValueError, match="another grid"):
        key_slices(segmentation, moved, measure(segmentation))


def text_of(pdf: bytes, folder: Path) -> str:
    """What ghostscript reads on the page; it also counts the pages."""
    if shutil.which("gs") is None:
        pytest.skip("ghostscript is not installed: apt-get install ghostscript")
    (folder / "page.pdf").write_bytes(pdf)
    command = ["gs", "-q", "-dNOPAUSE", "-dBATCH", "-sDEVICE=txtwrite", "-o", "%stdout%", str(folder / "page.pdf")]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "replace")


def test_the_page_says_what_was_found_and_by_whom(tmp_path: Path) -> None:
    segmentation, image = ball(Quantity.HOUNSFIELD, 40.0)
    measured = measure(segmentation, image)
    said = dataclasses.replace(
        cases.prediction(text="72 y"),
        findings=(Finding(name="<b>atrophy</b> & co", probability=0.25, operating_point=0.125, spread=0.0625),),
        familiarity=Familiarity(distance=3.0, threshold=2.0),
        model=dataclasses.replace(cases.MODEL, leakage_allowed=True),
    )
    pictures = key_slices(segmentation, image, measured)
    page = prediction_pdf(said, measurements=measured, pictures=pictures, notes=["a note"])
    text = text_of(page, tmp_path)
    for words in ("Research software", "<b>atrophy</b> & co", "0.250", "present", "nodule", "40 HU", "a note"):
        assert words in text
    for words in ("unlike those", "state the answer", cases.STUDY_UID, cases.MODEL.weights_sha256[:16]):
        assert words in text
    assert "72 y" not in text, "no text of a report"
    assert page.count(b"/Type /Page\n") == 1
    assert prediction_pdf(said, measurements=measured, pictures=pictures, notes=["a note"]) == page


def test_long_lists_are_cut_and_stay_on_one_page(tmp_path: Path) -> None:
    findings = tuple(Finding(name=f"finding {n} with a long name", probability=0.5) for n in range(60))
    page = prediction_pdf(dataclasses.replace(cases.prediction(), findings=findings), notes=["word " * 80] * 10)
    assert page.count(b"/Type /Page\n") == 1
    assert "and 46 more" in text_of(page, tmp_path)


@pytest.mark.parametrize("name", ["海马", "海馬の萎縮", "해마", "Ödem – Läsion", "гиппокамп", "اختبار", "🧠"])
def test_names_in_any_script_make_a_page(name: str) -> None:
    finding = Finding(name=name, probability=0.5)
    assert prediction_pdf(dataclasses.replace(cases.prediction(), findings=(finding,))).startswith(b"%PDF-")
