from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuse.data.collate import collate
from medfuse.data.samples import Case, sample_of
from medfuse.domain import LabelSet
from medfuse.inference import windows
from medfuse.inference.engines import Encoded, PyTorchEngine
from medfuse.inference.ranked import RankedScores
from medfuse.inference.sliding_window import Blend, window_starts
from medfuse.inference.windows import answer_windows, is_empty
from medfuse.model import FusionNetwork
from medfuse.preprocess import Recipe
from medfuse.preprocess.rules import ChannelRule
from medfuse.tensors import Batch, ModelOutput, TextTokens
from tests.parts import LABELS, SIZE, make_case, make_network

RECIPE = Recipe(channels=(ChannelRule(name="a"), ChannelRule(name="b")), spacing_mm=(1.0, 1.0, 1.0), size=SIZE)


class CountingEngine(PyTorchEngine):
    """Counts the windows that the network reads, and the texts that are encoded."""

    windows = texts = 0

    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        self.windows += len(batch.image)
        return super().run(batch, encoded)

    def encode(self, tokens: TextTokens) -> Encoded:
        self.texts += 1
        return super().encode(tokens)


@pytest.fixture
def network(tiny_bert: Path) -> FusionNetwork:
    return make_network(tiny_bert, text_levels=1).eval()


def test_the_answers_are_those_of_windows_that_the_network_reads_one_by_one(network: FusionNetwork) -> None:
    case = _case_with_air((30, 20, 44))
    answers = answer_windows(PyTorchEngine(network, SIZE), case, RECIPE, LABELS)
    blend = Blend.over(3, (30, 20, 44))
    logits = []
    with torch.inference_mode():
        for start in window_starts((30, 20, 44), SIZE):
            sample = sample_of(case, SIZE, LABELS, start=start)
            output = network(collate([sample], network.text_encoder.tokenize))  # type: ignore[union-attr]
            assert output.segment_logits is not None
            blend.add(output.segment_logits[0].softmax(dim=0), start)
            logits.append(output.finding_logits[0])
    np.testing.assert_allclose(answers.class_scores, blend.mean(), atol=1e-5)
    torch.testing.assert_close(answers.finding_logits, torch.stack(logits), atol=1e-4, rtol=1e-4)


def test_empty_windows_are_read_once_and_the_text_is_encoded_once(network: FusionNetwork) -> None:
    case = _case_with_air((16, 16, 128))
    engine = CountingEngine(network, SIZE)
    answers = answer_windows(engine, case, RECIPE, LABELS)
    starts = window_starts((16, 16, 128), SIZE)
    full = sum(not is_empty(case, start, SIZE) for start in starts)
    assert len(answers.starts) == len(answers.finding_logits) == len(starts) > full + 1
    assert engine.windows == full + 1
    assert engine.texts == 1


def test_a_window_is_empty_where_every_channel_is_at_its_floor() -> None:
    case = _case_with_air((16, 16, 48))
    assert is_empty(case, (0, 0, 32), SIZE)
    assert is_empty(replace(case, floor=None), (0, 0, 32), SIZE)
    image = case.image.copy()
    image[1, 5, 5, 40] += 1
    assert not is_empty(replace(case, image=image), (0, 0, 32), SIZE)


def test_many_classes_are_ranked(network: FusionNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    case = _case_with_air((30, 20, 44))
    engine = PyTorchEngine(network, SIZE)
    whole = answer_windows(engine, case, RECIPE, LABELS)
    monkeypatch.setattr(windows, "WHOLE_SCORES_BYTES", 0)
    ranked = answer_windows(engine, case, RECIPE, LABELS)
    assert isinstance(ranked.class_scores, RankedScores)
    assert isinstance(whole.class_scores, np.ndarray)
    assert (ranked.class_scores.ranked[0] == whole.class_scores.argmax(axis=0)).mean() > 0.995
    torch.testing.assert_close(
        ranked.finding_logits.amax(dim=0), whole.finding_logits.amax(dim=0), atol=1e-4, rtol=1e-4
    )


def test_a_study_without_an_image_is_not_delineated(network: FusionNetwork) -> None:
    case = replace(make_case(), channel_present=np.zeros(2, dtype=bool))
    assert answer_windows(PyTorchEngine(network, SIZE), case, RECIPE, LABELS).class_scores is None


def test_a_model_without_text_or_segments_answers(tiny_bert: Path) -> None:
    labels = LabelSet(findings=("large", "elderly"))
    network = make_network(tiny_bert, label_set=labels, text=None, text_options={}).eval()
    answers = answer_windows(PyTorchEngine(network, SIZE), make_case(), RECIPE, labels)
    assert answers.class_scores is None
    assert answers.finding_logits.shape == (2, 2)


def _case_with_air(shape: tuple[int, int, int]) -> Case:
    """A case whose upper half along k is at the floor."""
    case = make_case(1, shape=shape)
    image = case.image.copy()
    image[..., shape[2] // 3 :] = image.min() - 1
    return replace(case, image=image, floor=tuple(float(channel.min()) for channel in image))
