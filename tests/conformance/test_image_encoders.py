"""Every registered image encoder keeps the contract."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medfuse.encoders.image import IMAGE_ENCODERS, ImageEncoder
from medfuse.errors import ConfigError
from medfuse.heads import SegmentationHead

WIDTH = 24
SMALL = {
    "unet": {"features": (4, 8, 12)},
    "dynunet": {"features": (4, 8, 12), "strides": (1, (2, 2, 1), 2), "kernels": ((3, 3, 1), 3, 3)},
    "resenc": {"features": (4, 8, 12), "blocks": (1, 2, 1), "strides": (1, 2, (1, 2, 2))},
    "segresnet": {"filters": 8, "blocks": (1, 1, 1)},
    "mednext": {"filters": 4, "blocks": (1, 1, 1)},
    "resnet": {"depth": 10, "stages": 1, "fine": 4, "norm": "instance"},
    "swin": {"features": 12, "depths": (2, 2, 2, 2), "window": 2},
}
"""Options that make each encoder small; one that is registered and not listed here is built with its defaults."""


@pytest.fixture(params=IMAGE_ENCODERS.names())
def encoder(request: pytest.FixtureRequest) -> ImageEncoder:
    torch.manual_seed(0)
    return IMAGE_ENCODERS.build(request.param, 2, WIDTH, options=SMALL.get(request.param, {}))


@pytest.fixture
def size(encoder: ImageEncoder) -> tuple[int, ...]:
    """A size of several cells of the coarsest map, not the same along every axis."""
    cells = (2, 1, 1) if max(encoder.strides[-1]) >= 32 else (2, 3, 2)
    return tuple(cell * stride for cell, stride in zip(cells, encoder.strides[-1], strict=True))


@pytest.fixture
def image(size: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0))


ALL = torch.ones(3, 2, dtype=torch.bool)


def test_the_pyramid_has_the_stated_channels_and_strides(
    encoder: ImageEncoder, image: torch.Tensor, size: tuple[int, ...]
) -> None:
    features = encoder(image, ALL)
    assert encoder.strides[0] == (1, 1, 1)
    assert [m.shape[1] for m in features.pyramid] == list(encoder.out_channels)
    for level, strides in zip(features.pyramid, encoder.strides, strict=True):
        assert tuple(level.shape[2:]) == tuple(n // stride for n, stride in zip(size, strides, strict=True))


def test_a_decoder_fits_on_it(encoder: ImageEncoder, image: torch.Tensor, size: tuple[int, ...]) -> None:
    head = SegmentationHead(encoder.out_channels, encoder.strides, WIDTH, classes=3, deep_supervision=1)
    levels = head(encoder(image, ALL))
    assert [level.shape for level in levels] == [(3, 3, *size), (3, 3, *encoder(image, ALL).pyramid[1].shape[2:])]
    assert len(head.eval()(encoder(image, ALL))) == 1


def test_a_size_that_does_not_fit_is_refused(encoder: ImageEncoder, size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="each must be a multiple of"):
        encoder(torch.zeros(3, 2, size[0] + 1, *size[1:]), ALL)


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
    sum(level.square().sum() for level in (features.tokens, *features.pyramid)).backward()
    assert image.grad is not None
    assert image.grad[1].abs().sum() > 0
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_the_state_round_trips(encoder: ImageEncoder, image: torch.Tensor) -> None:
    before = encoder.eval()(image, ALL).tokens
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    for parameter in encoder.parameters():
        parameter.data.mul_(1.5)
    encoder.load_state_dict(state)
    assert torch.equal(before, encoder(image, ALL).tokens)


@pytest.mark.parametrize("name", IMAGE_ENCODERS.names())
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="does not know fetures"):
        IMAGE_ENCODERS.build(name, 2, WIDTH, options={"fetures": (4, 8)})


def test_weights_of_one_channel_are_spread_over_several(tmp_path: Path) -> None:
    one = IMAGE_ENCODERS.build("resnet", 1, WIDTH, options={"depth": 10})
    path = tmp_path / "medicalnet.safetensors"
    save_file({f"module.{name}": value.contiguous() for name, value in one.net.state_dict().items()}, path)
    two = IMAGE_ENCODERS.build("resnet", 2, WIDTH, options={"depth": 10, "weights": str(path)})
    torch.testing.assert_close(two.net.conv1.weight.sum(dim=1), one.net.conv1.weight.sum(dim=1))
    torch.testing.assert_close(two.net.layer4.state_dict(), one.net.layer4.state_dict())


def test_weights_of_another_depth_and_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": torch.zeros(3, 1, 7, 7, 7)}, path)
    with pytest.raises(ConfigError, match=r"do not fit: .* check model\.image\.depth"):
        IMAGE_ENCODERS.build("resnet", 1, WIDTH, options={"depth": 10, "weights": str(path)})
    torch.save({}, path)
    with pytest.raises(ConfigError, match="expected a safetensors file"):
        IMAGE_ENCODERS.build("resnet", 1, WIDTH, options={"depth": 10, "weights": str(path)})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dynunet", {"features": (4, 8), "strides": (1, 2, 2)}),
        ("dynunet", {"features": (4, 8), "strides": (2, 2)}),
        ("resenc", {"features": (4, 8), "blocks": (1,)}),
        ("swin", {"features": 16}),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"'{name}'"):
        IMAGE_ENCODERS.build(name, 1, WIDTH, options=options)
