import re

import pytest
import torch

from medfuse.encoders.text.numbers import NumberEmbedding, number_values


def offsets(*spans: tuple[int, int]) -> torch.Tensor:
    return torch.tensor([spans])


def test_every_piece_of_a_number_carries_its_whole_value() -> None:
    text = "aged 103, 4.5 mm"
    values = number_values([text], offsets((0, 0), (0, 4), (5, 7), (7, 8), (8, 9), (10, 13), (14, 16)))[0]
    assert values[2:4].tolist() == [103.0, 103.0]
    assert values[5] == 4.5
    assert values[[0, 1, 4, 6]].isnan().all()


def test_a_linear_function_of_the_value_can_be_read_off() -> None:
    torch.manual_seed(0)
    embedding = NumberEmbedding(32)
    ages = torch.arange(20.0, 95.0)[None]
    features = embedding(ages)[0]
    features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    target = 3330 - 32 * (ages[0] - 70)
    weights = torch.linalg.lstsq(features.double(), target.double()[:, None]).solution
    assert (features.double() @ weights - target[:, None]).abs().max() < 1


def test_neighbours_in_value_are_neighbours_in_code() -> None:
    torch.manual_seed(0)
    embedding = NumberEmbedding(32)
    code = embedding(torch.tensor([[4.0, 5.0, 14.0, 74.0, 75.0]]))[0]
    assert (code[0] - code[1]).norm() < (code[0] - code[2]).norm()
    assert (code[3] - code[4]).norm() < (code[3] - code[2]).norm()


def test_what_is_no_number_gets_nothing() -> None:
    assert NumberEmbedding(8)(torch.tensor([[float("nan"), 3.0]]))[0, 0].eq(0).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 14 mm nodule", [14.0]),
        ("a 1.4 cm nodule", [14.0]),
        ("Herd von 1,4 cm", [14.0]),
        ("2.1 x 1.4 cm, aged 70", [21.0, 14.0, 70.0]),
        ("2 × 3 × 4cm", [20.0, 30.0, 40.0]),
        ("MMSE 24/30", [24.0, 30.0]),
        ("5 cmH2O", [5.0, 2.0]),
    ],
)
def test_lengths_count_in_mm_whatever_their_unit(text: str, expected: list[float]) -> None:
    spans = [match.span() for match in re.finditer(r"\d+(?:[.,]\d+)?", text)]
    assert number_values([text], offsets(*spans))[0].tolist() == expected
