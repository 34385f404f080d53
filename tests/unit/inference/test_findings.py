import math

import pytest
import torch

from medfuse.inference.findings import evidence_of, findings_of
from medfuse.model.checkpoint import Calibration

TEXT = "Aged 74, no memory loss."


def test_logits_are_divided_by_the_temperature() -> None:
    calibration = {"a": Calibration(temperature=2.0, operating_point=0.5)}
    a, b = findings_of(("a", "b"), torch.tensor([2.0, 2.0]), calibration, [(), ()])
    assert a.probability == pytest.approx(1 / (1 + math.exp(-1)))
    assert b.probability == pytest.approx(1 / (1 + math.exp(-2)))
    assert (a.calibrated, a.present) == (True, True)
    assert (b.calibrated, b.present) == (False, None)


def test_evidence_is_whole_words_in_text_order_with_the_heaviest_at_one() -> None:
    offsets = torch.tensor([[0, 0], [0, 4], [5, 7], [7, 8], [12, 16], [16, 18], [0, 0]])
    attention = torch.tensor([0.9, 0.01, 0.2, 0.1, 0.05, 0.1, 0.9])
    found = evidence_of(attention, offsets, TEXT)
    assert [TEXT[e.start : e.end] for e in found] == ["74,", "memory"]
    assert [e.weight for e in found] == [pytest.approx(1.0), pytest.approx(0.5)]


def test_no_text_is_no_evidence() -> None:
    assert evidence_of(torch.zeros(2), torch.zeros(2, 2, dtype=torch.long), "") == ()
