"""Move dates by whole days, in DICOM's formats (PS3.5 section 6.2: DA, DT, TM)."""

import re
from datetime import date, timedelta

_DATE = re.compile(r"(?P<year>\d{4})[.\-/]?(?P<month>\d\d)?[.\-/]?(?P<day>\d\d)?(?P<rest>.*)", re.DOTALL)


def shifted_value(value: str, vr: str, shift: timedelta) -> str:
    """A DA or DT value moved by a shift; times of day stay, for the shift is of whole days.

    A date without a day or month is moved from the middle of its month or year and stays as coarse. What is no date
    comes back empty.
    """
    if vr == "TM":
        return value if re.fullmatch(r"[\d:. ]*", value) else ""
    match = _DATE.fullmatch(value.strip())
    if match is None or (vr == "DA" and match["rest"]) or not re.fullmatch(r"[\d.+\-: ]*", match["rest"]):
        return ""
    month, day = int(match["month"] or 7), int(match["day"] or (15 if match["month"] else 1))
    try:
        moved = date(int(match["year"]), month, day) + shift
    except (ValueError, OverflowError):
        return ""
    text = f"{moved:%Y%m%d}".rjust(8, "0")
    return text[: 8 if match["day"] else 6 if match["month"] else 4] + match["rest"]
