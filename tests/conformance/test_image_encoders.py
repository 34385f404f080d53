"""Every registered image encoder keeps the contract."""

import pytest
import torch

from medfuse.encoders.image import IMAGE_ENCODERS, ImageEncoder
from medfuse.errors import ConfigError

WIDTH, SIZE = 24, (16, 24, 16)


@pytest.fixture(params=IMAGE_ENCODERS.names())
def encoder(request: pytest.FixtureRequest) -> ImageEncoder:
    torch.manual_seed(0)
    return IMAGE_ENCODERS.build(request.param, 2, WIDTH, options={"features": (4, 8, 12)})


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(3, 2, *SIZE, generator=torch.Generator().manual_seed(0))


ALL = torch.ones(3, 2, dtype=torch.bool)


def test_the_pyramid_has_the_stated_channels_and_strides(encoder: ImageEncoder, image: torch.Tensor) -> None:
    features = encoder(image, ALL)
    assert [m.shape[1] for m in features.pyramid] == list(encoder.out_channels)
    for level, stride in zip(features.pyramid, encoder.strides, strict=True):
        assert tuple(level.shape[2:]) == tuple(n // stride for n in SIZE)


def test_tokens_are_the_cells_of_the_coarsest_map(encoder: ImageEncoder, image: torch.Tensor) -> None:
    features = encoder(image, ALL)
    assert features.tokens.shape == (3, features.pyramid[-1][0, 0].numel(), WIDTH)
    assert features.mask.all()
    assert features.present.all()


def test_a_study_without_any_channel_is_absent_and_its_tokens_are_zero(
    encoder: ImageEncoder, image: torch.Tensor
) -> None:
    present = ALL.clone()
    present[1] = False
    features = encoder(image, present)
    assert features.present.tolist() == [True, False, True]
    assert not features.mask[1].any()
    assert features.tokens[1].eq(0).all()


def test_what_an_absent_channel_holds_changes_nothing(encoder: ImageEncoder, image: torch.Tensor) -> None:
    present = ALL.clone()
    present[:, 1] = False
    other = image.clone()
    other[:, 1] = 1e6
    assert torch.equal(encoder(image, present).tokens, encoder(other, present).tokens)


def test_gradient_reaches_the_image_and_every_weight(encoder: ImageEncoder, image: torch.Tensor) -> None:
    image.requires_grad_(True)
    present = ALL.clone()
    present[0, 1] = False
    features = encoder(image, present)
    (features.tokens.square().sum() + features.pyramid[0].square().sum()).backward()
    assert image.grad is not None
    assert image.grad[1].abs().sum() > 0
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_the_state_round_trips(encoder: ImageEncoder, image: torch.Tensor) -> None:
    before = encoder.eval()(image, ALL).tokens
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    for parameter in encoder.parameters():
        parameter.data.add_(1)
    encoder.load_state_dict(state)
    assert torch.equal(before, encoder(image, ALL).tokens)


@pytest.mark.parametrize("name", IMAGE_ENCODERS.names())
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="does not know fetures"):
        IMAGE_ENCODERS.build(name, 2, WIDTH, options={"fetures": (4, 8)})
