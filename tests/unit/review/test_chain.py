"""The hash chain: whole when whole, and the first row that was changed, removed or inserted is named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.review.chain import GENESIS, HASHED, digest, first_break, linked

CONTENT = dict.fromkeys((name for name in HASHED if name not in {"number", "previous_sha256"}), "")


def chain(*comments: str) -> list[dict[str, Any]]:
    return list(linked(CONTENT | {"comment": comment} for comment in comments))


def test_an_empty_and_a_whole_chain_have_no_break() -> None:
    rows = chain("a", "b", "c")
    assert first_break([]) is None
    assert first_break(rows) is None
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert rows[0]["previous_sha256"] == GENESIS


@pytest.mark.parametrize("name", [name for name in HASHED if name not in {"number", "previous_sha256"}])
def test_any_changed_column_is_found(name: str) -> None:
    rows = chain("a", "b", "c")
    rows[1][name] = "changed"
    found = first_break(rows)
    assert found is not None
    assert (found.number, found.detail) == (2, "its content is not what was kept")


def test_a_changed_row_with_a_new_hash_of_its_own_breaks_the_next_one() -> None:
    rows = chain("a", "b", "c")
    rows[1]["comment"] = "changed"
    rows[1]["sha256"] = digest(rows[1])
    found = first_break(rows)
    assert found is not None
    assert (found.number, found.detail) == (3, "it does not follow the row before it")


@pytest.mark.parametrize(("gone", "number"), [(0, 1), (1, 2)])
def test_a_removed_row_is_found(gone: int, number: int) -> None:
    rows = chain("a", "b", "c")
    del rows[gone]
    found = first_break(rows)
    assert found is not None
    assert found.number == number
    assert "missing" in found.detail


def test_a_chain_goes_on_where_it_stands() -> None:
    rows = chain("a", "b")
    (last,) = linked([CONTENT | {"comment": "c"}], rows[-1]["number"], rows[-1]["sha256"])
    assert first_break([*rows, last]) is None
    assert last == chain("a", "b", "c")[-1]


def test_the_hash_is_the_one_of_the_first_release() -> None:
    """A store that was written by an earlier version still verifies: this value never changes."""
    row = CONTENT | {"number": 1, "previous_sha256": GENESIS, "comment": "é", "seconds": 2.5, "withdraws": None}
    assert digest(row) == "170e8ec547147f299524b194699ea2d39702097a70223925124275124707ae19"


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6), st.data())
def test_changing_any_comment_breaks_the_chain_there(comments: list[str], data: st.DataObject) -> None:
    rows = chain(*comments)
    place = data.draw(st.integers(0, len(rows) - 1))
    rows[place]["comment"] += "x"
    found = first_break(rows)
    assert found is not None
    assert found.number == place + 1
