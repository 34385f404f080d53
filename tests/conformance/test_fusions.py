"""Every registered fusion strategy keeps the contract."""

import pytest
import torch

from medfuse.errors import ConfigError
from medfuse.fusion import FUSIONS, Fusion, Presence
from medfuse.tensors import ModalityFeatures

WIDTH, COUNTS = 16, {"image": 12, "text": 5}


def features(seed: int = 0, absent: tuple[str, ...] = ()) -> dict[str, ModalityFeatures]:
    """Two modalities of two studies; the second study lacks the absent ones."""
    random = torch.Generator().manual_seed(seed)
    made = {}
    for name, count in COUNTS.items():
        present = torch.tensor([True, name not in absent])
        mask = present[:, None].expand(2, count)
        tokens = torch.randn(2, count, WIDTH, generator=random) * mask[..., None]
        made[name] = ModalityFeatures(tokens=tokens, mask=mask, present=present)
    return made


@pytest.fixture(params=FUSIONS.names())
def fusion(request: pytest.FixtureRequest) -> Fusion:
    torch.manual_seed(0)
    built = FUSIONS.build(request.param, tuple(COUNTS), WIDTH)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


def test_shapes_and_masks_stay(fusion: Fusion) -> None:
    fused = fusion(features()).modalities
    for name, given in features().items():
        assert fused[name].tokens.shape == given.tokens.shape
        assert torch.equal(fused[name].mask, given.mask)


@pytest.mark.parametrize("absent", [("text",), ("image",)])
def test_a_missing_modality_gives_no_nan(fusion: Fusion, absent: tuple[str, ...]) -> None:
    presence = Presence(tuple(COUNTS), WIDTH)
    for part in fusion(presence(features(absent=absent))).modalities.values():
        assert part.tokens.isfinite().all()


def test_masked_tokens_stay_zero_and_change_nothing(fusion: Fusion) -> None:
    given = features()
    mask = given["text"].mask.clone()
    mask[:, -1] = False
    results = []
    for value in (0.0, 1e3):
        tokens = given["text"].tokens.clone()
        tokens[:, -1] = value * mask.new_zeros(1).float() + value
        text = ModalityFeatures(tokens=tokens, mask=mask, present=given["text"].present)
        results.append(fusion({"image": given["image"], "text": text}).modalities)
    assert torch.equal(results[0]["image"].tokens, results[1]["image"].tokens)
    assert torch.equal(results[0]["text"].tokens[:, :-1], results[1]["text"].tokens[:, :-1])


def test_gradient_reaches_every_input(fusion: Fusion) -> None:
    given = {
        name: ModalityFeatures(tokens=part.tokens.requires_grad_(True), mask=part.mask, present=part.present)
        for name, part in features().items()
    }
    sum(part.tokens.square().sum() for part in fusion(given).modalities.values()).backward()  # type: ignore[union-attr]
    assert all(part.tokens.grad is not None and part.tokens.grad.abs().sum() > 0 for part in given.values())


def test_one_modality_alone_works() -> None:
    for name in FUSIONS.names():
        alone = FUSIONS.build(name, ("image",), WIDTH)
        assert alone({"image": features()["image"]}).modalities["image"].tokens.isfinite().all()


IN_THE_HEADS = ("concat", "late")
"""Fusions in which the modalities' tokens do not meet."""


def test_each_modality_sees_the_other(request: pytest.FixtureRequest, fusion: Fusion) -> None:
    given, other = features(), features(seed=1)
    meets = request.node.callspec.params["fusion"] not in IN_THE_HEADS
    for changed, watched in (("text", "image"), ("image", "text")):
        before = fusion(given).modalities[watched].tokens
        after = fusion({**given, changed: other[changed]}).modalities[watched].tokens
        assert torch.allclose(before, after) != meets


@pytest.mark.parametrize("name", FUSIONS.names())
def test_training_begins_from_the_encoders_own_features(name: str) -> None:
    fused = FUSIONS.build(name, tuple(COUNTS), WIDTH).eval()(features()).modalities
    assert all(torch.equal(fused[key].tokens, part.tokens) for key, part in features().items())


def test_one_way_attention_looks_one_way() -> None:
    fusion = FUSIONS.build("cross_attention", tuple(COUNTS), WIDTH, options={"only": ["image"]}).eval()
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    fused = fusion(features()).modalities
    assert torch.equal(fused["text"].tokens, features()["text"].tokens)
    assert not torch.allclose(fused["image"].tokens, features()["image"].tokens)
    with pytest.raises(ConfigError, match=r"model\.fusion\.only .* expected some of image, text"):
        FUSIONS.build("cross_attention", tuple(COUNTS), WIDTH, options={"only": ["sound"]})


@pytest.mark.parametrize("name", FUSIONS.names())
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="does not know depth"):
        FUSIONS.build(name, tuple(COUNTS), WIDTH, options={"depth": 3})


def test_modality_dropout_never_takes_the_last_one() -> None:
    torch.manual_seed(0)
    presence = Presence(tuple(COUNTS), WIDTH, dropout=1.0).train()
    dropped = presence(features(absent=("text",)))
    lost_by_first = sum(not dropped[name].present[0] for name in COUNTS)
    assert lost_by_first == 1
    assert dropped["image"].present[1]
    assert not dropped["text"].present[1]
