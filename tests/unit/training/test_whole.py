"""Validation of studies that are larger than the network's input."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from medfuse.data.collate import collate
from medfuse.data.loaders import CaseSamples
from medfuse.data.samples import sample_of
from medfuse.domain import LabelSet, Target, TargetKind
from medfuse.heads.targets import shown_in
from medfuse.inference.sliding_window import window_starts
from medfuse.training.runtime import accelerator_for
from medfuse.training.whole import answers
from tests.parts import LABELS, SIZE, make_case, make_network

SHAPE = (14, 30, 12)


def test_studies_that_fit_come_in_batches_and_larger_ones_in_windows(tiny_bert: Path) -> None:
    network = make_network(tiny_bert).eval()
    assert network.text_encoder is not None
    join: Any = partial(collate, tokenize=network.text_encoder.tokenize)
    fitting = [make_case(index, shape=(14, 16, 12)) for index in range(3)]
    larger = make_case(3, shape=SHAPE)
    samples = CaseSamples([fitting[0], larger, *fitting[1:]], SIZE, LABELS)
    with torch.no_grad():
        found = list(answers(network, samples, join, 2, accelerator_for("fp32")))
        together = network(join([samples[0], samples[2]]))
        starts = window_starts(SHAPE, SIZE)
        windows = network(join([sample_of(larger, SIZE, LABELS, start=start) for start in starts]))
    assert [batch.study_instance_uids for _, batch in found] == [("1.2.0", "1.2.1"), ("1.2.2",), ("1.2.3",)]
    torch.testing.assert_close(found[0][0].finding_logits, together.finding_logits)
    torch.testing.assert_close(found[0][0].segment_logits, together.segment_logits)
    output, batch = found[2]
    assert len(starts) > 2
    torch.testing.assert_close(output.finding_logits[0], windows.finding_logits.max(dim=0).values)
    assert batch.segment_targets.shape[1:] == SHAPE
    assert int((batch.segment_targets > 0).sum()) == int((larger.truth > 0).sum())  # type: ignore[operator]
    assert output.segment_logits is not None
    shown = output.segment_logits.softmax(dim=1)
    assert shown.shape == (1, 3, *SHAPE)
    assert shown.sum(dim=1).mean().item() == pytest.approx(1, abs=1e-4)
    corner = windows.segment_logits[0].softmax(dim=0)[:, 1, 0, 2]  # the first voxel, which one window sees
    torch.testing.assert_close(shown[0, :, 0, 0, 0], corner, rtol=1e-4, atol=1e-5)


def test_targets_of_a_larger_study_are_the_mean_of_what_shows_something(tiny_bert: Path) -> None:
    labels = LabelSet(segments=LABELS.segments, targets=(Target(name="age", kind=TargetKind.NUMBER),))
    network = make_network(tiny_bert, label_set=labels).eval()
    assert network.text_encoder is not None
    join: Any = partial(collate, tokenize=network.text_encoder.tokenize)
    case = make_case(3, shape=SHAPE)
    with torch.no_grad():
        ((output, batch),) = answers(network, CaseSamples([case], SIZE, labels), join, 2, accelerator_for("fp32"))
        starts = window_starts(SHAPE, SIZE)
        windows = network(join([sample_of(case, SIZE, labels, start=start) for start in starts]))
    weights = shown_in(windows)
    expected = (windows.target_outputs["age"][:, 0] * weights).sum() / weights.sum()
    torch.testing.assert_close(output.target_outputs["age"], expected[None, None], rtol=1e-4, atol=1e-5)
    assert weights.std() > 0
    assert batch.target_mask.tolist() == [[False]]
