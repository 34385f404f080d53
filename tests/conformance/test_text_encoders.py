"""Every registered text encoder keeps the contract."""

from pathlib import Path

import pytest
import torch

from medfuse.encoders.text import TEXT_ENCODERS, TextEncoder
from medfuse.errors import ConfigError

WIDTH = 24
TEXTS = ["74 year old man with memory loss.", "", "aged 9"]


VARIANTS = {
    "transformer": [{}, {"tuning": "lora", "lora_rank": 2}, {"tuning": "full"}],
    "recurrent": [{}, {"cell": "lstm", "layers": 2}],
}
"""Options under which an encoder is held to the contract, beside small sizes; its defaults alone where none stand."""
BUILDS = [(name, options) for name in TEXT_ENCODERS.names() for options in VARIANTS.get(name, [{}])]


@pytest.fixture(params=BUILDS, ids=lambda build: "-".join([build[0], *map(str, build[1].values())]))
def encoder(request: pytest.FixtureRequest, tiny_bert: Path) -> TextEncoder:
    torch.manual_seed(0)
    name, options = request.param
    known = TEXT_ENCODERS.options(name)
    small = {key: value for key, value in {"weights": str(tiny_bert), "dropout": 0.0}.items() if key in known}
    return TEXT_ENCODERS.build(name, WIDTH, options=small | options)


def test_one_token_a_sub_word_and_none_without_text(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(TEXTS)
    features = encoder(tokens)
    assert features.tokens.shape == (3, tokens.ids.shape[1], WIDTH)
    assert features.present.tolist() == [True, False, True]
    assert features.mask.any(dim=1).tolist() == [True, False, True]
    assert features.tokens[~features.mask].eq(0).all()
    assert features.tokens.isfinite().all()


def test_padding_changes_nothing(encoder: TextEncoder) -> None:
    encoder.eval()
    alone = encoder(encoder.tokenize(["aged 9"])).tokens[0]
    beside = encoder(encoder.tokenize(["aged 9", TEXTS[0]])).tokens[0, : len(alone)]
    torch.testing.assert_close(alone, beside, rtol=1e-4, atol=1e-4)


def test_offsets_point_back_into_the_text(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(TEXTS)
    pieces = {TEXTS[0][start:end] for start, end in tokens.offsets[0].tolist()}
    assert {"man", "with", "memory"} <= pieces


def test_numbers_carry_their_value_and_words_none(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(TEXTS)
    values = tokens.number_values[0]
    assert set(values[~values.isnan()].tolist()) == {74.0}
    assert tokens.number_values[1].isnan().all()


def test_gradient_reaches_every_trainable_weight(encoder: TextEncoder) -> None:
    encoder(encoder.tokenize(TEXTS)).tokens.square().sum().backward()
    # A transformer pools for a task of its own: medfuse reads the tokens and not that.
    trained = [p for name, p in encoder.named_parameters() if p.requires_grad and "pooler" not in name]
    assert trained
    assert all(p.grad is not None for p in trained)


def test_the_words_change_the_tokens(encoder: TextEncoder) -> None:
    encoder.eval()
    one, other = (encoder(encoder.tokenize([text])).tokens for text in ("no lesion in lung", "lesion in left lung"))
    assert not torch.allclose(one, other)


def test_the_state_round_trips(encoder: TextEncoder) -> None:
    tokens = encoder.tokenize(TEXTS)
    before = encoder.eval()(tokens).tokens
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    for parameter in encoder.parameters():
        parameter.data.add_(1)
    encoder.load_state_dict(state)
    assert torch.equal(before, encoder(tokens).tokens)


@pytest.mark.parametrize("name", [name for name in TEXT_ENCODERS.names() if "weights" in TEXT_ENCODERS.options(name)])
def test_weights_that_are_not_there_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        TEXT_ENCODERS.build(name, WIDTH, options={"weights": str(tmp_path)})
    assert "\n" not in str(caught.value)
