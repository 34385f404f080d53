"""Dates moved by whole days."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.ingest.deidentify.dates import shifted_value

TEN = timedelta(days=-10)


@pytest.mark.parametrize(
    ("value", "vr", "expected"),
    [
        ("20200105", "DA", "20191226"),
        ("2020.01.05", "DA", "20191226"),
        ("20200105120000.123456+0100", "DT", "20191226120000.123456+0100"),
        ("202001", "DT", "202001"),
        ("2020", "DT", "2020"),
        ("123456.5", "TM", "123456.5"),
        ("Zebulon", "TM", ""),
        ("Zebulon", "DA", ""),
        ("20200105 Zebulon", "DT", ""),
        ("20200105x", "DA", ""),
        ("20201305", "DA", ""),
        ("00010101", "DA", ""),
    ],
)
def test_values(value: str, vr: str, expected: str) -> None:
    assert shifted_value(value, vr, TEN) == expected


@given(st.dates(min_value=date(1900, 1, 1)), st.dates(min_value=date(1900, 1, 1)), st.integers(30, 3650))
def test_the_time_between_two_dates_is_kept(first: date, second: date, days: int) -> None:
    moved = [shifted_value(f"{day:%Y%m%d}", "DA", timedelta(days=-days)) for day in (first, second)]
    one, two = (date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in moved)
    assert two - one == second - first
    assert one == first - timedelta(days=days)
