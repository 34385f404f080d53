"""PET: row 10 of the pitfalls. Body-weight SUV, or a refusal that names what is missing; nothing is ever assumed.

SUVbw = activity concentration (Bq/ml) x body weight (g) / dose at the scan's reference time (Bq), see the QIBA
profile FDG-PET/CT and PS3.3 section C.8.9.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfuse.domain import Quantity
from tests.dicom_cases import Truth, affine_of, assert_same, item, outcome, slices, write

DOSE, WEIGHT, HALF_LIFE = 370e6, 75.0, 6586.2
STORED = np.random.default_rng(8).integers(0, 30000, (6, 5, 4), dtype=np.int16)
SLOPES = np.array([0.5, 1.25, 2.0, 0.75])
BQML = STORED * SLOPES


def pet(radiopharmaceutical: dict[str, Any] | None = None, **tags: Any) -> list[Any]:
    """A PET series: injected at 11:00, imaged at 12:00 on the same day."""
    tracer: dict[str, Any] = {
        "RadionuclideTotalDose": DOSE,
        "RadionuclideHalfLife": HALF_LIFE,
        "RadiopharmaceuticalStartTime": "110000",
        **(radiopharmaceutical or {}),
    }
    values: dict[str, Any] = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["ATTN", "DECY"],
        "PatientWeight": WEIGHT,
        "SeriesDate": "20200101",
        "SeriesTime": "120000",
        "AcquisitionDate": "20200101",
        "AcquisitionTime": "120000",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "RadiopharmaceuticalInformationSequence": item(**tracer),
        **tags,
    }
    truth = Truth(voxels=STORED, affine=affine_of())
    return slices(truth, modality="PT", each=lambda k: {"RescaleSlope": float(SLOPES[k])}, **values)


def factor(hours: float = 1.0, dose: float = DOSE) -> float:
    return WEIGHT * 1000 / (dose * 0.5 ** (hours * 3600 / HALF_LIFE))


def assert_suv(folder: Path, datasets: list[Any], expected: Any) -> None:
    write(datasets, folder)
    volume = outcome(folder).only
    assert volume.quantity is Quantity.SUV
    assert_same(volume, Truth(voxels=volume.voxels, affine=affine_of()))
    np.testing.assert_allclose(volume.voxels, expected, rtol=1e-4)
    assert any("SUV" in line for line in volume.provenance)


def test_row_10_decay_to_the_start_of_the_series(tmp_path: Path) -> None:
    assert_suv(tmp_path, pet(), BQML * factor())


def test_row_10_decay_to_the_injection(tmp_path: Path) -> None:
    assert_suv(tmp_path, pet(DecayCorrection="ADMIN"), BQML * WEIGHT * 1000 / DOSE)


def test_row_10_the_reference_is_the_series_and_not_the_bed_position(tmp_path: Path) -> None:
    datasets = pet()
    for k, dataset in enumerate(datasets):
        dataset.AcquisitionTime = f"12{10 * k:02d}00"
    assert_suv(tmp_path, datasets, BQML * factor())


def test_row_10_a_full_start_date_and_time_wins(tmp_path: Path) -> None:
    tracer = {"RadiopharmaceuticalStartDateTime": "20200101103000.00", "RadiopharmaceuticalStartTime": None}
    assert_suv(tmp_path, pet(tracer), BQML * factor(1.5))


def test_row_10_a_start_date_without_a_time_says_nothing(tmp_path: Path) -> None:
    assert_suv(tmp_path, pet({"RadiopharmaceuticalStartDateTime": "20200101"}), BQML * factor())


@pytest.mark.parametrize("dated", [True, False])
def test_row_10_over_midnight(tmp_path: Path, dated: bool) -> None:
    tracer = {"RadiopharmaceuticalStartTime": "235000"}
    if dated:
        tracer["RadiopharmaceuticalStartDateTime"] = "20191231235000"
    tags = {"SeriesTime": "005000", "AcquisitionTime": "005000"}
    assert_suv(tmp_path, pet(tracer, **tags), BQML * factor(1.0))


def test_row_10_grams_per_millilitre_are_suv_already(tmp_path: Path) -> None:
    assert_suv(tmp_path, pet(Units="GML", PatientWeight=None), BQML)


def with_private(tags: dict[int, float]) -> list[Any]:
    datasets = pet(Units="CNTS", Manufacturer="Philips Medical Systems")
    for dataset in datasets:
        dataset.add_new((0x7053, 0x10), "LO", "Philips PET Private Group")
        for element, value in tags.items():
            dataset.add_new((0x7053, element), "DS", f"{value:.6g}")
    return datasets


def test_row_10_counts_with_the_suv_factor_of_philips(tmp_path: Path) -> None:
    assert_suv(tmp_path, with_private({0x1000: 0.000421}), BQML * 0.000421)


def test_row_10_counts_with_the_activity_factor_of_philips(tmp_path: Path) -> None:
    assert_suv(tmp_path, with_private({0x1009: 1.75}), BQML * 1.75 * factor())


def test_row_10_a_zero_suv_factor_of_philips_is_no_factor(tmp_path: Path) -> None:
    assert_suv(tmp_path, with_private({0x1000: 0.0, 0x1009: 1.75}), BQML * 1.75 * factor())


MISSING: dict[str, list[Any]] = {
    "half-life": pet({"RadionuclideHalfLife": None}),
    "half-life of zero": pet({"RadionuclideHalfLife": 0}),
    "dose": pet({"RadionuclideTotalDose": None}),
    "dose of zero": pet({"RadionuclideTotalDose": 0}),
    "injection time": pet({"RadiopharmaceuticalStartTime": None}),
    "injection time of the day": pet(
        {"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": "20200101"}
    ),
    "injection after the scan": pet({"RadiopharmaceuticalStartDateTime": "20200101130000"}),
    "injection on another day": pet({"RadiopharmaceuticalStartDateTime": "20191225110000"}),
    "weight": pet(PatientWeight=None),
    "weight of zero": pet(PatientWeight=0),
    "tracer": pet(RadiopharmaceuticalInformationSequence=None),
    "series time": pet(SeriesTime=None, AcquisitionTime=None),
    "units": pet(Units=None),
    "decay correction": pet(DecayCorrection=None),
    "no decay correction": pet(DecayCorrection="NONE"),
    "counts": pet(Units="CNTS"),
    "counts of Philips without factors": pet(Units="CNTS", Manufacturer="Philips Medical Systems"),
}


@pytest.mark.parametrize("missing", MISSING)
def test_row_10_what_is_missing_is_refused_and_never_assumed(tmp_path: Path, missing: str) -> None:
    write(MISSING[missing], tmp_path)
    found = outcome(tmp_path)
    assert not found.volumes
    assert found.reasons == {"SUV_INPUT_MISSING"}


def test_row_10_a_refused_pet_leaves_the_ct_alone(tmp_path: Path) -> None:
    truth = Truth(voxels=STORED // 30, affine=affine_of())
    write(pet(Units="CNTS", series="pet"), tmp_path / "pet")
    write(slices(truth, series="ct"), tmp_path / "ct")
    assert_same(outcome(tmp_path).of("ct"), truth)
