"""Commented YAML reads back as the values that went in."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from medfuse.config.yaml_text import parse_yaml
from medfuse.planning.commented import Noted, as_yaml, values

WORDS = st.text(max_size=12) | st.sampled_from(["yes", "No", "null", "1e3", "a: b", "# x", "- y", "0x1", "~", "é"])
PLAIN = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | WORDS
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(WORDS.filter(bool), PLAIN, max_size=3)


@given(st.dictionaries(st.sampled_from(["alpha", "beta", "gamma"]), VALUES), st.booleans(), WORDS)
def test_any_value_and_any_reason(data: dict[str, Any], itemised: bool, why: str) -> None:
    tree = {
        "name": Noted(value="run", why=why),
        "section": {
            key: Noted(value=value, why=why, itemised=itemised and isinstance(value, list))
            for key, value in data.items()
        },
    }
    read = parse_yaml(as_yaml(tree), "made")

    assert read == (values(tree) if data else {"name": "run", "section": None})
