"""Studies unlike those of training are flagged, each for its own reason; those like them are not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfuse.batch.gates import CODES, flags_of
from medfuse.domain import (
    Acquisition,
    Affine,
    Modality,
    Report,
    ReportSection,
    SectionName,
    Series,
    Study,
    VolumeGeometry,
)
from medfuse.preprocess import ChannelRule, PreparedStudy, Recipe
from medfuse.preprocess.ranges import TrainingRanges, training_ranges

RECIPE = Recipe(channels=(ChannelRule(name="scan"),), spacing_mm=(1, 1, 1), size=(8, 8, 8))
GRID = VolumeGeometry(shape=(8, 8, 8), affine=Affine(np.eye(4)))


def report(name: SectionName) -> Report:
    text = "a man of 74"
    return Report(text=text, sections=(ReportSection(name=name, start=0, end=len(text), body_start=0),))


def study(modality: Modality = Modality.CT, reports: tuple[Report, ...] = (), **acquisition: Any) -> Study:
    made = Acquisition(**({"n_slices": 40, "spacing_mm": (0.7, 0.7, 2.5), "body_part": "CHEST"} | acquisition))
    series = Series(series_instance_uid="1.3", modality=modality, files=(Path("a"),), acquisition=made)
    return Study(study_instance_uid="1.2", patient_key="k", path=Path("a"), series=(series,), reports=reports)


def image(scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(0).normal(shift, scale, (1, 8, 8, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def ranges() -> TrainingRanges:
    """Ten chest CTs of 30 to 48 slices."""
    with_text = (report(SectionName.HISTORY),)
    studies = [(study(n_slices=30 + 2 * n, reports=with_text), image(1 + n / 100)) for n in range(10)]
    return training_ranges(studies, RECIPE)


def codes(
    one: Study,
    ranges: TrainingRanges | None,
    voxels: np.ndarray | None = None,
    *,
    reads_text: bool = False,
    text: str = "",
) -> list[str]:
    prepared = PreparedStudy(
        study=one,
        image=image() if voxels is None else voxels,
        grid=GRID,
        source_grid=GRID,
        series={"scan": one.series[0]} if one.series else {},
        text=text,
    )
    return [flag.code for flag in flags_of(prepared, RECIPE, ranges, reads_text=reads_text)]


def test_a_study_like_those_of_training_is_not_flagged(ranges: TrainingRanges) -> None:
    assert codes(study(), ranges) == []
    assert codes(study(n_slices=60, spacing_mm=(0.8, 0.8, 3.0)), ranges) == []


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (study(Modality.MR), "UNEXPECTED_MODALITY"),
        (study(body_part="KNEE"), "UNEXPECTED_BODY_PART"),
        (study(n_slices=14), "TOO_FEW_SLICES"),
        (study(spacing_mm=(0.7, 0.7, 5.0)), "SPACING_OUT_OF_RANGE"),
        (study(spacing_mm=(0.2, 0.7, 2.5)), "SPACING_OUT_OF_RANGE"),
    ],
)
def test_a_header_beyond_training_is_flagged(ranges: TrainingRanges, one: Study, code: str) -> None:
    assert codes(one, ranges) == [code]
    assert codes(one, None) == []


def test_a_study_that_does_not_say_its_body_part_passes(ranges: TrainingRanges) -> None:
    assert codes(study(body_part=""), ranges) == []
    assert codes(study(body_part="Mr. Doe's left knee, second look"), ranges) == []


def test_intensities_beyond_training_are_flagged(ranges: TrainingRanges) -> None:
    assert codes(study(), ranges, image(3.0)) == ["INTENSITIES_OUT_OF_RANGE"]
    assert codes(study(), ranges, image(1.0, 1.5)) == ["INTENSITIES_OUT_OF_RANGE"]
    assert codes(study(), ranges, np.zeros((1, 8, 8, 8), np.float32)) == ["NO_CONTRAST_IN_IMAGE"]
    assert codes(study(), None, np.zeros((1, 8, 8, 8), np.float32)) == ["NO_CONTRAST_IN_IMAGE"]


def test_what_is_missing_is_flagged(ranges: TrainingRanges) -> None:
    assert codes(study(), ranges, reads_text=True) == ["MISSING_REPORT"]
    findings_alone = study(reports=(report(SectionName.FINDINGS),))
    assert codes(findings_alone, ranges, reads_text=True) == ["MISSING_SECTIONS"]
    assert codes(study(), ranges, reads_text=True, text="aged 74") == []
    assert codes(replace(study(), series=()), ranges) == ["MISSING_CHANNEL"]


def test_a_channel_that_some_training_studies_lacked_may_be_missing() -> None:
    lacking = replace(study(), series=())
    partial = training_ranges([(study(), image()), (lacking, image())], RECIPE)
    assert codes(lacking, partial) == []


def test_ranges_hold_no_free_text_and_nothing_of_one_patient(ranges: TrainingRanges) -> None:
    odd = [(study(body_part=part), image()) for part in ("CHEST", "CHEST", "Mr. Doe's knee", "ELBOW")]
    assert training_ranges(odd, RECIPE).channels["scan"].body_parts == ("CHEST",)
    assert (ranges.n_studies, ranges.n_with_text, ranges.channels["scan"].slices) == (10, 10, (30, 48))


def test_every_gate_is_explained(checkout: Path) -> None:
    table = (checkout / "data_manifests" / "reasons.md").read_text(encoding="utf-8")
    more = ("WORKER_CRASHED", "TIME_LIMIT", "MEMORY_LIMIT", "OUTPUT_NOT_WRITABLE")
    assert [code for code in (*CODES, *more) if f"`{code}`" not in table] == []
