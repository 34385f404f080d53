"""Losses that draw an image and its report together, and push it away from the reports of others."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid


def clip_loss(
    similarity: Float[Tensor, "B B"], same: Bool[Tensor, "B B"], log_scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Cross-entropy of picking the right report for an image and the right image for a report; the mean of both.

    Where several reports of a batch are right for an image, being equal word for word, each is right to an equal part.

    Args:
        similarity: Cosine of image `i` and report `j`.
        same: Whether report `j` is one of image `i`; the diagonal is True.
        log_scale: Logarithm of the inverse temperature.

    Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision".
    """
    logits = similarity * log_scale.exp().clamp(max=100)
    truth = same.to(logits.dtype)
    by_image = -(truth / truth.sum(1, keepdim=True) * logits.log_softmax(dim=1)).sum(1).mean()
    by_report = -(truth / truth.sum(0, keepdim=True) * logits.log_softmax(dim=0)).sum(0).mean()
    return (by_image + by_report) / 2


def siglip_loss(
    similarity: Float[Tensor, "B B"],
    same: Bool[Tensor, "B B"],
    log_scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Every pair by itself: right or not. It needs no large batch, since no pair is measured against the others.

    Args:
        similarity: Cosine of image `i` and report `j`.
        same: Whether report `j` is one of image `i`; the diagonal is True.
        log_scale: Logarithm of the inverse temperature.
        bias: Of the logits; starts low, since most pairs are wrong.

    Source: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training".
    """
    logits = similarity * log_scale.exp().clamp(max=100) + bias
    signs = torch.where(same, 1.0, -1.0)
    return -logsigmoid(signs * logits).sum(dim=1).mean()
