"""PET to SUV: the factor of a series, or what is missing. A dictionary is a header."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.suv import suv_scale

DOSE, WEIGHT, HALF_LIFE = 200e6, 80.0, 6000.0
AT_INJECTION = WEIGHT * 1000 / DOSE


def header(tracer: dict[str, Any] | None = None, **tags: Any) -> dict[str, Any]:
    """Injected at 10:00, imaged at 11:40, which is one half-life later."""
    made = {
        "RadionuclideTotalDose": DOSE,
        "RadionuclideHalfLife": HALF_LIFE,
        "RadiopharmaceuticalStartTime": "100000",
        **(tracer or {}),
    }
    return {
        "Units": "BQML",
        "DecayCorrection": "START",
        "PatientWeight": WEIGHT,
        "SeriesDate": "20200101",
        "SeriesTime": "114000",
        "RadiopharmaceuticalInformationSequence": [made],
        **tags,
    }


def refusal(*headers: Any) -> str:
    with pytest.raises(UnreadableSeriesError) as caught:
        suv_scale(headers)
    assert caught.value.reason == "SUV_INPUT_MISSING"
    return caught.value.detail


def test_the_dose_decays_until_the_series() -> None:
    scale = suv_scale([header()])
    assert scale.factor == pytest.approx(2 * AT_INJECTION)
    assert (
        scale.note
        == "SUV by body weight 80 kg and dose 200 MBq decayed for 100.0 min until the scan (half-life 100 min)."
    )


def test_images_corrected_to_the_injection_need_no_times() -> None:
    tags = {"DecayCorrection": "ADMIN", "SeriesTime": None}
    assert suv_scale([header({"RadiopharmaceuticalStartTime": None}, **tags)]).factor == pytest.approx(AT_INJECTION)


def test_a_series_processed_later_counts_from_its_first_image() -> None:
    beds = [header(SeriesTime="180000", AcquisitionTime=time) for time in ("115500", "114000", "121000")]
    assert suv_scale(beds).factor == pytest.approx(2 * AT_INJECTION)


def test_over_midnight_with_and_without_dates() -> None:
    late = {"RadiopharmaceuticalStartTime": "232000"}
    assert suv_scale([header(late, SeriesTime="010000")]).factor == pytest.approx(2 * AT_INJECTION)
    dated = {**late, "RadiopharmaceuticalStartDateTime": "20191231232000.000000+0100"}
    assert suv_scale([header(dated, SeriesTime="010000")]).factor == pytest.approx(2 * AT_INJECTION)


def test_a_slow_tracer_may_be_imaged_on_another_day() -> None:
    slow = {"RadionuclideHalfLife": 86400.0 * 2, "RadiopharmaceuticalStartDateTime": "20191230114000"}
    assert suv_scale([header(slow)]).factor == pytest.approx(2 * AT_INJECTION)


@pytest.mark.parametrize("start", ["20200102100000", "20180101100000"])
def test_an_injection_after_the_scan_or_long_before_it_is_refused(start: str) -> None:
    assert "hours after the injection" in refusal(header({"RadiopharmaceuticalStartDateTime": start}))


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (header(PatientWeight=None), "PatientWeight (0010,1030)"),
        (header(PatientWeight=0), "PatientWeight (0010,1030)"),
        (header({"RadionuclideHalfLife": None}), "RadionuclideHalfLife (0018,1075)"),
        (header({"RadionuclideTotalDose": "0"}), "RadionuclideTotalDose (0018,1074)"),
        (header({"RadiopharmaceuticalStartTime": ""}), "RadiopharmaceuticalStartTime (0018,1072)"),
        (header(SeriesTime=""), "SeriesTime (0008,0031)"),
        (header(DecayCorrection="NONE"), "found NONE"),
        (header(CorrectedImage=["ATTN", "SCAT"]), "DECY in CorrectedImage"),
        (header(RadiopharmaceuticalInformationSequence=None), "(0054,0016)"),
        (header(Units="PROPCPS"), "PROPCPS"),
        (header(Units=""), "empty"),
        (header(Units="CNTS"), "(7053,1000)"),
    ],
)
def test_what_is_missing_is_named(made: dict[str, Any], named: str) -> None:
    assert named in refusal(made)


def test_every_missing_element_is_named_at_once() -> None:
    said = refusal(header({"RadionuclideHalfLife": None}, PatientWeight=None))
    assert "PatientWeight" in said
    assert "RadionuclideHalfLife" in said


def test_images_of_two_units_are_refused() -> None:
    assert "BQML, GML" in refusal(header(), header(Units="GML"))


def test_scanners_suv_is_kept_and_its_kind_said() -> None:
    scale = suv_scale([{"Units": "gml ", "SUVType": "LBM"}])
    assert scale.factor == 1
    assert "LBM" in scale.note


def philips(suv: float | None, activity: float | None) -> Dataset:
    dataset = Dataset()
    item = Dataset()
    for keyword, value in header()["RadiopharmaceuticalInformationSequence"][0].items():
        setattr(item, keyword, value)
    for keyword, value in header(Units="CNTS", RadiopharmaceuticalInformationSequence=[item]).items():
        setattr(dataset, keyword, value)
    dataset.add_new((0x7053, 0x10), "LO", "Philips PET Private Group")
    for element, factor in ((0x1000, suv), (0x1009, activity)):
        if factor is not None:
            dataset.add_new((0x7053, element), "DS", f"{factor:g}")
    return dataset


def test_counts_of_philips() -> None:
    assert suv_scale([philips(0.25, 1.5)]).factor == 0.25
    assert suv_scale([philips(None, 1.5)]).factor == pytest.approx(1.5 * 2 * AT_INJECTION)
    assert suv_scale([philips(0, 1.5)]).factor == pytest.approx(1.5 * 2 * AT_INJECTION)
    assert "(7053,1009)" in refusal(philips(0, 0))
    assert "different private factors" in refusal(philips(0.25, None), philips(0.5, None))
