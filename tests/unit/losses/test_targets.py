"""The loss of classes, grades and numbers."""

import math

import pytest
import torch

from medfuse.domain import Target, TargetKind
from medfuse.losses import TargetLoss

SUBTYPE = Target(name="subtype", kind=TargetKind.CLASSES, classes=("a", "b", "c"))
GRADE = Target(name="grade", kind=TargetKind.GRADES, classes=("0", "1", "2"))
AGE = Target(name="age", kind=TargetKind.NUMBER)
EVEN = torch.tensor([1.0, 1.0, 10.0])


def outputs(studies: int = 2) -> dict[str, torch.Tensor]:
    return {"subtype": torch.zeros(studies, 3), "grade": torch.zeros(studies, 2), "age": torch.zeros(studies, 1)}


def loss(values: list[list[float]], mask: list[list[bool]], said: dict[str, torch.Tensor] | None = None) -> float:
    made = TargetLoss((SUBTYPE, GRADE, AGE), EVEN)
    return made(said or outputs(len(values)), torch.tensor(values, dtype=torch.float32), torch.tensor(mask)).item()


def test_each_kind_has_its_own_loss() -> None:
    assert loss([[1, 0, 0]], [[True, False, False]]) == pytest.approx(math.log(3))
    assert loss([[0, 1, 0]], [[False, True, False]]) == pytest.approx(math.log(2))
    assert loss([[0, 0, 5]], [[False, False, True]]) == pytest.approx(0.5**2 / 2)
    assert loss([[0, 0, 50]], [[False, False, True]]) == pytest.approx(5 - 0.5)
    said = {**outputs(1), "grade": torch.tensor([[9.0, -9.0]])}
    right, wrong = (loss([[0, grade, 0]], [[False, True, False]], said) for grade in (1.0, 2.0))
    assert right < 1e-3 < wrong == pytest.approx(4.5, abs=1e-3)


def test_the_mean_is_over_what_is_known() -> None:
    one = loss([[1, 0, 0], [0, 2, 5]], [[True, False, False], [False, True, True]])
    assert one == pytest.approx((math.log(3) + math.log(2) + 0.125) / 3)


def test_what_is_not_known_has_no_part_and_gives_no_gradient() -> None:
    made = TargetLoss((SUBTYPE, GRADE, AGE), EVEN)
    said = {name: value.requires_grad_(True) for name, value in outputs().items()}
    values = torch.tensor([[1.0, 1.0, 3.0], [2.0, 2.0, 1e30]])
    mask = torch.tensor([[False, True, True], [False, True, False]])
    made(said, values, mask).backward()
    assert said["subtype"].grad is not None
    assert said["subtype"].grad.eq(0).all()
    assert said["age"].grad is not None
    assert said["age"].grad[0].abs() > 0
    assert said["age"].grad[1].eq(0).all()
    nothing = made(said, values, torch.zeros_like(mask))
    assert nothing.item() == 0
    assert nothing.requires_grad


SHARES = torch.tensor([0.7, 0.2, 0.1])
TRUTH = {"subtype": SHARES.log(), "grade": torch.tensor([0.3, 0.1]).logit()}


@pytest.mark.parametrize("target", [SUBTYPE, GRADE])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_best_constant_answer_is_the_true_frequency_with_and_without_balance(
    target: Target, balanced: bool
) -> None:
    values = torch.tensor([0.0] * 7 + [1.0] * 2 + [2.0])[:, None]
    made = TargetLoss((target,), torch.ones(1), {target.name: SHARES} if balanced else None)
    answer = TRUTH[target.name].clone().requires_grad_(True)
    made({target.name: answer.expand(10, -1)}, values, torch.ones_like(values, dtype=torch.bool)).backward()
    assert answer.grad is not None
    torch.testing.assert_close(answer.grad, torch.zeros_like(answer), atol=1e-6, rtol=0)


def test_balanced_classes_and_grades_weigh_by_the_inverse_of_their_shares() -> None:
    for target, expected in (
        (SUBTYPE, [math.log(3) / (3 * share) for share in SHARES.tolist()]),
        (GRADE, [math.log(2) / 4 * (a + b) for a, b in ((1 / 0.7, 1 / 0.9), (1 / 0.3, 1 / 0.9), (1 / 0.3, 1 / 0.1))]),
    ):
        made = TargetLoss((target,), torch.ones(1), {target.name: SHARES})
        said, known = {target.name: TRUTH[target.name][None]}, torch.ones((1, 1), dtype=torch.bool)
        found = [made(said, torch.tensor([[value]]), known).item() for value in (0.0, 1.0, 2.0)]
        assert found == pytest.approx(expected, rel=1e-4)


def test_the_scale_and_the_shares_are_no_weights() -> None:
    made = TargetLoss((SUBTYPE, GRADE, AGE), EVEN, {"subtype": torch.full((3,), 1 / 3)})
    assert list(made.parameters()) == []
    assert made.state_dict() == {}
