"""PET -> body-weight standardised uptake value (SUVbw), or a refusal that names what is missing.

SUVbw = concentration (Bq/ml) x body weight (g) / dose at the time that the images are decay-corrected to (Bq). Nothing
is ever assumed: no default half-life, no default weight. Image units that are SUV already (GML) are kept.

Sources: PS3.3 section C.8.9.1 (PET series: Units, Decay Correction) and C.8.9.2 (PET isotope); the QIBA profile
FDG-PET/CT, appendix on SUV from DICOM; Philips' private elements (7053,1000) and (7053,1009) as the same appendix has
them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import number, private, seconds, text, words
from medfuse.ingest.dicom.header import Header

_PHILIPS_PET = (0x7053, "Philips PET Private Group")
_SUV_FACTOR, _ACTIVITY_FACTOR = 0x00, 0x09
_LONGEST_HALF_LIVES = 10
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class SuvScale:
    """What turns the rescaled values of a PET series into SUV.

    Args:
        factor: Multiplies them.
        note: A sentence for the provenance.
    """

    factor: float
    note: str


def suv_scale(headers: Sequence[Header]) -> SuvScale:
    """The factor of a series, one for all of its slices.

    Args:
        headers: Headers of its files.

    Raises:
        UnreadableSeriesError: `SUV_INPUT_MISSING`, naming the elements; the detail does not name the series.
    """
    first = headers[0]
    units = {text(header.get("Units")).upper() for header in headers}
    if len(units) != 1:
        _missing(f"has images in several Units (0054,1001): {', '.join(sorted(units))}")
    (unit,) = units
    if unit == "GML":
        kind = text(first.get("SUVType")) or "not said"
        return SuvScale(1.0, f"Values are SUV as the scanner wrote them (Units GML, SUV Type {kind}).")
    if unit == "BQML":
        factor, note = _per_concentration(headers)
        return SuvScale(factor, note)
    if unit == "CNTS":
        return _counts(headers)
    return _missing(f"has Units (0054,1001) {unit or 'empty'}, expected BQML, CNTS of Philips, or GML")


def _counts(headers: Sequence[Header]) -> SuvScale:
    """Counts of Philips, which a private factor turns into SUV or into activity."""
    suv = _shared(private(header, *_PHILIPS_PET, _SUV_FACTOR) for header in headers)
    if suv:
        return SuvScale(suv, f"SUV from counts by Philips' factor (7053,1000) {suv:g}.")
    activity = _shared(private(header, *_PHILIPS_PET, _ACTIVITY_FACTOR) for header in headers)
    if not activity:
        _missing(
            "has Units (0054,1001) CNTS and neither SUV factor (7053,1000) nor activity factor (7053,1009) of Philips"
        )
    factor, note = _per_concentration(headers)
    return SuvScale(activity * factor, f"{note} Counts became Bq/ml by Philips' factor (7053,1009) {activity:g}.")


def _shared(values: Iterable[Any]) -> float:
    """A positive number that all headers agree on; 0 where there is none.

    Raises:
        UnreadableSeriesError: `SUV_INPUT_MISSING`: they differ.
    """
    found = {number(value[0] if isinstance(value, (list, tuple)) and value else value) or 0.0 for value in values}
    if len(found) > 1:
        _missing("has images with different private factors for counts")
    (factor,) = found
    return factor if factor > 0 else 0.0


def _per_concentration(headers: Sequence[Header]) -> tuple[float, str]:
    """SUV per Bq/ml."""
    first = headers[0]
    tracer = next(iter(_items(first.get("RadiopharmaceuticalInformationSequence"))), None)
    if tracer is None:
        _missing("lacks RadiopharmaceuticalInformationSequence (0054,0016)")
    correction = text(first.get("DecayCorrection")).upper()
    values = {
        "PatientWeight (0010,1030)": number(first.get("PatientWeight")),
        "RadionuclideTotalDose (0018,1074)": number(tracer.get("RadionuclideTotalDose")),
        "RadionuclideHalfLife (0018,1075)": number(tracer.get("RadionuclideHalfLife")),
    }
    lacking = [name for name, value in values.items() if value is None or value <= 0]
    if correction not in ("ADMIN", "START"):
        lacking.append(f"DecayCorrection (0054,1102) ADMIN or START (found {correction or 'nothing'})")
    corrected = words(first.get("CorrectedImage"))
    if corrected and "DECY" not in corrected:
        lacking.append("DECY in CorrectedImage (0028,0051)")
    if lacking:
        _missing(f"lacks {', '.join(lacking)}")
    weight_kg, dose_bq, half_life_s = (float(value or 0) for value in values.values())
    if correction == "ADMIN":
        return weight_kg * 1000 / dose_bq, _note(weight_kg, dose_bq, half_life_s, None)
    elapsed_s = _elapsed_s(headers, tracer)
    if not 0 <= elapsed_s <= _LONGEST_HALF_LIVES * half_life_s:
        _missing(
            f"was imaged {elapsed_s / 3600:.1f} hours after the injection by its header, expected 0 to "
            f"{_LONGEST_HALF_LIVES * half_life_s / 3600:.1f}"
        )
    left_bq = dose_bq * math.pow(0.5, elapsed_s / half_life_s)
    return weight_kg * 1000 / left_bq, _note(weight_kg, dose_bq, half_life_s, elapsed_s)


def _note(weight_kg: float, dose_bq: float, half_life_s: float, elapsed_s: float | None) -> str:
    when = "at the injection" if elapsed_s is None else f"decayed for {elapsed_s / 60:.1f} min until the scan"
    half_life = f"half-life {half_life_s / 60:.4g} min"
    return f"SUV by body weight {weight_kg:g} kg and dose {dose_bq / 1e6:g} MBq {when} ({half_life})."


def _elapsed_s(headers: Sequence[Header], tracer: Header) -> float:
    """Seconds from the injection to the time that the series is corrected to.

    That is the series' time, unless an image is older: then the series was processed later, and the first image counts.
    """
    moments = (_moment(headers[0], "Series"), *(_moment(header, "Acquisition") for header in headers))
    known = [moment for moment in moments if moment is not None]
    if not known:
        _missing("lacks SeriesTime (0008,0031) and AcquisitionTime (0008,0032)")
    scan = min(known)
    full = _date_time(tracer.get("RadiopharmaceuticalStartDateTime"))
    if full is not None and scan.year > 1:
        return (scan - full).total_seconds()
    injected = seconds(tracer.get("RadiopharmaceuticalStartTime") or tracer.get("RadiopharmaceuticalStartDateTime"))
    if injected is None:
        _missing("lacks RadiopharmaceuticalStartTime (0018,1072) and RadiopharmaceuticalStartDateTime (0018,1078)")
    clock = (scan - scan.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    return (clock - injected) % _DAY_S


def _moment(header: Header, which: str) -> datetime | None:
    """Date and time of a series or an acquisition; year 1 where there is a time and no date."""
    clock = seconds(header.get(f"{which}Time"))
    if clock is None:
        return None
    day = _date(text(header.get(f"{which}Date")) or text(header.get("SeriesDate"))) or datetime(1, 1, 1)
    return day + timedelta(seconds=clock)


def _date_time(value: Any) -> datetime | None:
    written = text(value)
    day, clock = _date(written[:8]), seconds(written)
    return None if day is None or clock is None or len(written) < 10 else day + timedelta(seconds=clock)


def _date(value: str) -> datetime | None:
    try:
        return datetime.strptime(value.replace(".", ""), "%Y%m%d")
    except ValueError:
        return None


def _items(value: Any) -> Sequence[Header]:
    return list(value) if value else []


def _missing(detail: str) -> NoReturn:
    raise UnreadableSeriesError(
        f"{detail}; SUV cannot be computed without it, and nothing is assumed", reason="SUV_INPUT_MISSING"
    )
