"""Contrastive losses: the papers' own sums, and reports that are right for several images."""

import torch
from torch.nn.functional import cross_entropy, logsigmoid

from medfuse.losses.contrastive import clip_loss, siglip_loss

SIMILARITY = torch.tensor([[0.9, 0.1, -0.3], [0.2, 0.7, 0.4], [-0.6, 0.3, 0.8]], dtype=torch.float64)
OWN = torch.eye(3, dtype=torch.bool)
SCALE, BIAS = torch.tensor(2.3, dtype=torch.float64), torch.tensor(-1.5, dtype=torch.float64)


def test_clip_is_cross_entropy_both_ways() -> None:
    logits, own = SIMILARITY * SCALE.exp(), torch.arange(3)
    torch.testing.assert_close(
        clip_loss(SIMILARITY, OWN, SCALE), (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    )


def test_siglip_is_the_sum_over_pairs_for_each_image() -> None:
    logits = SIMILARITY * SCALE.exp() + BIAS
    signs = 2 * torch.eye(3, dtype=torch.float64) - 1
    torch.testing.assert_close(siglip_loss(SIMILARITY, OWN, SCALE, BIAS), -logsigmoid(signs * logits).sum() / 3)


def test_equal_reports_do_not_push_each_others_images_away() -> None:
    same = OWN.clone()
    same[0, 1] = same[1, 0] = True
    for loss in (
        lambda similarity, same: clip_loss(similarity, same, SCALE),
        lambda similarity, same: siglip_loss(similarity, same, SCALE, BIAS),
    ):
        similarity = SIMILARITY.clone().requires_grad_()
        loss(similarity, OWN).backward()
        apart = similarity.grad[0, 1].item()
        similarity.grad = None
        loss(similarity, same).backward()
        assert similarity.grad[0, 1].item() < 0 < apart


def test_a_perfect_batch_costs_next_to_nothing() -> None:
    perfect = 2 * torch.eye(4) - 1
    own = torch.eye(4, dtype=torch.bool)
    assert clip_loss(perfect, own, torch.tensor(3.0)) < 1e-6
    assert siglip_loss(perfect, own, torch.tensor(3.0), torch.tensor(0.0)) < 1e-6
