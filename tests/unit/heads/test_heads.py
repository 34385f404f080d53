from pathlib import Path

import pytest
import torch

from medfuse.domain import LabelSet
from medfuse.fusion import Presence
from medfuse.heads import FindingHead, RegionMeasures
from medfuse.tensors import FusedFeatures, ModalityFeatures
from tests.parts import LABELS, make_batch, make_network

WIDTH = 16


def tokens(count: int, present: tuple[bool, ...] = (True, True)) -> ModalityFeatures:
    here = torch.tensor(present)
    mask = here[:, None].expand(2, count)
    return ModalityFeatures(tokens=torch.randn(2, count, WIDTH) * mask[..., None], mask=mask, present=here)


def test_volumes_are_soft_counts_times_the_voxel_volume() -> None:
    measures = RegionMeasures(2, WIDTH)
    logits = torch.full((1, 3, 4, 4, 4), -20.0)
    logits[0, 0] = 20.0
    logits[0, :, :2, :2, :1] = torch.tensor([-20.0, 20.0, -20.0])[:, None, None, None]
    volumes = measures.volumes_ml(logits, torch.tensor([0.5]))
    torch.testing.assert_close(volumes, torch.tensor([[2.0, 0.0]]), atol=1e-4, rtol=0)


def test_measures_are_standardised_on_the_training_set() -> None:
    measures = RegionMeasures(2, WIDTH)
    volumes = torch.rand(50, 2) + 1
    measures.fit(volumes)
    standard = (measures._measures(volumes) - measures.mean) / measures.deviation
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(standard.std(dim=0, correction=0), torch.ones(5), atol=1e-4, rtol=0)


def test_truth_is_read_in_training_alone() -> None:
    measures = RegionMeasures(1, WIDTH, truth_share=1.0, noise=0.0)
    logits = torch.zeros(1, 2, 4, 4, 4)
    arguments = (logits, torch.tensor([1.0]))
    empty, full = torch.zeros(1, 4, 4, 4, dtype=torch.long), torch.ones(1, 4, 4, 4, dtype=torch.long)
    has = torch.tensor([True])
    measures.eval()
    assert torch.equal(measures(*arguments, empty, has), measures(*arguments, full, has))
    measures.train()
    assert not torch.allclose(measures(*arguments, empty, has), measures(*arguments, full, has))


def test_no_gradient_goes_from_a_finding_into_the_segmentation() -> None:
    measures = RegionMeasures(1, WIDTH)
    logits = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    out = measures(logits, torch.tensor([1.0]), torch.zeros(1, 4, 4, 4, dtype=torch.long), torch.tensor([False]))
    out.sum().backward()
    assert logits.grad is None


def test_a_masked_token_does_not_move_a_finding() -> None:
    torch.manual_seed(0)
    head = FindingHead(("image", "text"), WIDTH, findings=3).eval()
    image, text = tokens(6), tokens(4)
    mask = text.mask.clone()
    mask[:, 3] = False
    answers = []
    for value in (0.0, 50.0):
        changed = text.tokens.clone()
        changed[:, 3] = value
        text = ModalityFeatures(tokens=changed, mask=mask, present=text.present)
        answers.append(head(FusedFeatures(modalities={"image": image, "text": text}), None, None)[0])
    assert torch.equal(*answers)


def test_attention_sums_to_one_over_each_modality() -> None:
    head = FindingHead(("image", "text"), WIDTH, findings=3).eval()
    _, looked = head(FusedFeatures(modalities={"image": tokens(6), "text": tokens(4)}), None, None)
    for attention in looked.values():
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 3))


def test_an_absent_study_still_gets_a_finite_answer() -> None:
    head = FindingHead(("image", "text"), WIDTH, findings=3, regions=True).eval()
    given = {"image": tokens(6, (True, False)), "text": tokens(4, (False, True))}
    fused = FusedFeatures(modalities=Presence(("image", "text"), WIDTH)(given))
    logits, _ = head(fused, torch.randn(2, 1, WIDTH), torch.tensor([True, False]))
    assert logits.isfinite().all()


def test_the_text_changes_what_is_delineated(tiny_bert: Path) -> None:
    network = make_network(tiny_bert).eval()
    for layer in network.fusion.layers:  # type: ignore[union-attr]
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    batch = make_batch(network, 2)
    other = network.text_encoder.tokenize(["the lesion in left lung of woman 12", "aged 88"])  # type: ignore[union-attr]
    before, after = (
        network(type(batch)(**{**_fields(batch), "text": text})).segment_logits for text in (batch.text, other)
    )
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("changes", [{"text": None}, {"image": None}])
def test_a_model_of_one_modality_answers_with_attention_of_the_same_shape(
    tiny_bert: Path, changes: dict[str, None]
) -> None:
    labels = LABELS if "text" in changes else LabelSet(findings=LABELS.findings)
    network = make_network(tiny_bert, label_set=labels, **changes).eval()
    batch = make_batch(network, 2)
    output = network(batch)
    assert output.finding_logits.shape == (2, 2)
    assert output.text_attention.shape == (2, 2, batch.text.mask.shape[1])
    assert (output.segment_logits is None) == ("image" in changes)


def _fields(batch: object) -> dict[str, object]:
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__}  # type: ignore[attr-defined]


def test_late_fusion_averages_the_sources_that_are_there() -> None:
    torch.manual_seed(0)
    head = FindingHead(("image", "text"), WIDTH, findings=3, late=True).eval()
    image, text, other = tokens(6), tokens(4, present=(True, False)), tokens(4, present=(True, False))
    alone = FindingHead(("image",), WIDTH, findings=3, late=True).eval()
    alone.load_state_dict({k: v for k, v in head.state_dict().items() if ".text." not in k})
    presence = Presence(("image", "text"), WIDTH).eval()
    both, changed = (
        head(FusedFeatures(modalities=presence({"image": image, "text": words})), None, None)[0]
        for words in (text, other)
    )
    image_only, _ = alone(FusedFeatures(modalities={"image": image}), None, None)
    torch.testing.assert_close(both[1], image_only[1])
    assert not torch.allclose(both[0], changed[0])


def test_the_skips_look_at_the_text_once_they_have_learned_to(tiny_bert: Path) -> None:
    network = make_network(tiny_bert, fusion="concat", fusion_options={}, text_levels=2).eval()
    batch = make_batch(network)
    text = type(batch.text)(**{**_fields(batch.text), "ids": batch.text.ids.flip(0), "mask": batch.text.mask.flip(0)})
    other = type(batch)(**{**_fields(batch), "text": text})
    before = [network(given).segment_logits for given in (batch, other)]
    assert torch.equal(*before)
    assert network.segmentation is not None
    assert len(network.segmentation.looks) == 2
    for look in network.segmentation.looks:
        torch.nn.init.normal_(look.out.weight)
    after = [network(given).segment_logits for given in (batch, other)]
    assert not torch.allclose(*after)


def test_coarser_levels_are_supervised_in_training_alone(tiny_bert: Path) -> None:
    network = make_network(tiny_bert, deep_supervision=1)
    batch = make_batch(network)
    network.train()
    assert [tuple(level.shape[2:]) for level in network(batch).deep_logits] == [(8, 8, 8)]
    assert network.eval()(batch).deep_logits == ()
