"""Every head keeps the contract: shapes, masks, absent modalities, gradient, saving."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import medfuse.heads
from medfuse.domain import Target, TargetKind
from medfuse.fusion import Presence
from medfuse.heads import FindingHead, RegionMeasures, SegmentationHead, TargetHead
from medfuse.tensors import FusedFeatures, ModalityFeatures

WIDTH, CELLS, WORDS = 16, (2, 3, 2), 5
CHANNELS, STRIDES = (4, 8, 16), ((1, 1, 1), (2, 2, 2), (4, 4, 4))
TARGETS = (
    Target(name="subtype", kind=TargetKind.CLASSES, classes=("a", "b", "c")),
    Target(name="grade", kind=TargetKind.GRADES, classes=("1", "2", "3", "4")),
    Target(name="age", kind=TargetKind.NUMBER, unit="years"),
)
MODALITIES = ("image", "text")

Answer = Callable[[nn.Module, dict[str, ModalityFeatures]], list[Tensor]]


def features(seed: int = 0, absent: tuple[str, ...] = ()) -> dict[str, ModalityFeatures]:
    """An image with its pyramid and a text, of two studies; the second one lacks the absent modalities."""
    random = torch.Generator().manual_seed(seed)
    made = {}
    for name, count in (("image", CELLS[0] * CELLS[1] * CELLS[2]), ("text", WORDS)):
        present = torch.tensor([True, name not in absent])
        mask = present[:, None].expand(2, count)
        tokens = torch.randn(2, count, WIDTH, generator=random) * mask[..., None]
        sizes = [[cell * 4 // stride[0] for cell in CELLS] for stride in STRIDES] if name == "image" else []
        pyramid = tuple(
            torch.randn(2, width, *size, generator=random) for width, size in zip(CHANNELS, sizes, strict=False)
        )
        made[name] = ModalityFeatures(tokens=tokens, mask=mask, present=present, pyramid=pyramid)
    return made


def regions(given: dict[str, ModalityFeatures]) -> tuple[Tensor, Tensor]:
    return torch.full((2, 3, WIDTH), 0.5), given["image"].present


def of_findings(head: nn.Module, given: dict[str, ModalityFeatures]) -> list[Tensor]:
    logits, attention = head(FusedFeatures(modalities=given), *regions(given))
    assert logits.shape == (2, 3)
    assert {name: part.shape for name, part in attention.items()} == {"image": (2, 3, 12), "text": (2, 3, 5)}
    return [logits]


def of_targets(head: nn.Module, given: dict[str, ModalityFeatures]) -> list[Tensor]:
    outputs = head(FusedFeatures(modalities=given), *regions(given))
    assert {name: tuple(part.shape) for name, part in outputs.items()} == {
        "subtype": (2, 3),
        "grade": (2, 3),
        "age": (2, 1),
    }
    return list(outputs.values())


def of_segments(head: nn.Module, given: dict[str, ModalityFeatures]) -> list[Tensor]:
    levels = head(given["image"], given["text"])
    assert levels[0].shape == (2, 3, 8, 12, 8)
    assert len(levels) == (2 if head.training else 1)
    return list(levels)


HEADS: dict[str, tuple[Callable[[], nn.Module], Answer]] = {
    "findings": (lambda: FindingHead(MODALITIES, WIDTH, findings=3, regions=True), of_findings),
    "findings late": (lambda: FindingHead(MODALITIES, WIDTH, findings=3, regions=True, late=True), of_findings),
    "targets": (lambda: TargetHead(MODALITIES, WIDTH, targets=TARGETS, regions=True), of_targets),
    "targets late": (lambda: TargetHead(MODALITIES, WIDTH, targets=TARGETS, regions=True, late=True), of_targets),
    "segments": (
        lambda: SegmentationHead(CHANNELS, STRIDES, WIDTH, classes=3, deep_supervision=1, text_levels=2),
        of_segments,
    ),
}


@pytest.fixture(params=sorted(HEADS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def head(kind: str) -> nn.Module:
    torch.manual_seed(0)
    made = HEADS[kind][0]()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


@pytest.fixture
def answer(kind: str) -> Answer:
    return HEADS[kind][1]


def test_every_head_is_looked_at() -> None:
    """`RegionMeasures` is measured by numbers, not by shapes: see tests/unit/heads."""
    built = {type(make()).__name__ for make, _ in HEADS.values()}
    assert built | {RegionMeasures.__name__} == set(medfuse.heads.__all__)


def test_shapes_in_training_and_after(head: nn.Module, answer: Answer) -> None:
    for training in (True, False):
        assert all(part.isfinite().all() for part in answer(head.train(training), features()))


def test_what_is_masked_changes_nothing(head: nn.Module, answer: Answer) -> None:
    given = features()
    mask = given["text"].mask.clone()
    mask[:, -1] = False
    said = []
    for value in (0.0, 1e3):
        tokens = given["text"].tokens.clone()
        tokens[:, -1] = value
        text = ModalityFeatures(tokens=tokens, mask=mask, present=given["text"].present)
        said.append(answer(head, {**given, "text": text}))
    assert all(torch.equal(*pair) for pair in zip(*said, strict=True))


@pytest.mark.parametrize("absent", [("text",), ("image",), ("image", "text")])
def test_a_missing_modality_gives_no_nan(head: nn.Module, answer: Answer, absent: tuple[str, ...]) -> None:
    given = Presence(MODALITIES, WIDTH).eval()(features(absent=absent))
    assert all(part.isfinite().all() for part in answer(head, dict(given)))


def test_gradient_reaches_every_input_and_every_weight(head: nn.Module, answer: Answer) -> None:
    given = features()
    for part in given.values():
        part.tokens.requires_grad_(True)
        for level in part.pyramid:
            level.requires_grad_(True)
    sum(part.square().sum() for part in answer(head.train(), given)).backward()  # type: ignore[union-attr]
    reached = [part.tokens for part in given.values()]
    reached += given["image"].pyramid if isinstance(head, SegmentationHead) else ()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in reached)
    assert all(weight.grad is not None for weight in head.parameters())


def test_each_study_is_answered_by_itself(head: nn.Module, answer: Answer) -> None:
    first, other = features(), features(seed=1)
    mixed = {
        name: ModalityFeatures(
            tokens=torch.stack([part.tokens[0], other[name].tokens[1]]),
            mask=part.mask,
            present=part.present,
            pyramid=tuple(torch.stack([a[0], b[1]]) for a, b in zip(part.pyramid, other[name].pyramid, strict=True)),
        )
        for name, part in first.items()
    }
    for alone, beside in zip(answer(head, first), answer(head, mixed), strict=True):
        torch.testing.assert_close(alone[0], beside[0])
        assert not torch.allclose(alone[1], beside[1])


def test_the_state_round_trips(kind: str, head: nn.Module, answer: Answer) -> None:
    before = answer(head, features())
    again = HEADS[kind][0]().eval()
    again.load_state_dict(head.state_dict())
    assert all(torch.equal(*pair) for pair in zip(before, answer(again, features()), strict=True))
