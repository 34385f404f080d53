"""What encoders learn from, without labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from medfuse.encoders.image import ImageEncoder
from medfuse.heads import SegmentationHead
from medfuse.losses.contrastive import clip_loss, siglip_loss
from medfuse.tensors import Batch, ModalityFeatures


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What an objective made of a batch.

    Args:
        loss: To be minimised; zero, with a gradient of zero, where the batch teaches nothing.
        count: Pairs, or voxels, that it is the mean of.
        embeddings: Of the images and reports that are pairs, each `(P, E)`; None where nothing is compared.
        variance: Mean square of what had to be guessed, about its mean; None where nothing is guessed.
    """

    loss: Tensor
    count: int
    embeddings: tuple[Tensor, Tensor] | None = None
    variance: Tensor | None = None


class Objective(nn.Module, ABC):
    """Encoders and what teaches them.

    Args:
        encoders: By modality; what a checkpoint keeps.
    """

    def __init__(self, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)

    @abstractmethod
    def forward(self, batch: Batch) -> Seen:
        """Look at a batch."""


class ContrastiveObjective(Objective):
    """Which report belongs to which image: mean tokens of each, projected to one space and compared by cosine.

    Args:
        encoders: `image` and `text`.
        width: Width of a token.
        embedding: Width of the common space.
        loss: `siglip` or `clip`.
        batch_size: Pairs that are compared at once.

    Source: Zhang et al. 2020, "Contrastive Learning of Medical Visual Representations from Paired Images and Text".
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], width: int, embedding: int, loss: str, batch_size: int
    ) -> None:
        super().__init__(encoders)
        self.project = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, embedding))
                for name in ("image", "text")
            }
        )
        self.sigmoid = loss == "siglip"
        # Temperatures are where each paper starts. SigLIP's bias is -10 there, for batches of 32,000: it says how rare
        # a right pair is, which in small batches it is not.
        self.log_scale = nn.Parameter(torch.tensor(10.0 if self.sigmoid else 1 / 0.07).log())
        self.bias = nn.Parameter(-torch.tensor(max(2.0, batch_size - 1)).log(), requires_grad=self.sigmoid)

    def forward(self, batch: Batch) -> Seen:
        """Compare the studies of a batch that have an image and a report."""
        image = self.encoders["image"](batch.image, batch.channel_present)
        text = self.encoders["text"](batch.text)
        pairs = image.present & text.present
        images, reports = self._embedded("image", image)[pairs], self._embedded("text", text)[pairs]
        if len(images) < 2:
            return Seen(loss=(images.sum() + reports.sum()) * 0, count=0, embeddings=(images, reports))
        similarity, same = images @ reports.T, _same_text(batch, pairs)
        if self.sigmoid:
            loss = siglip_loss(similarity, same, self.log_scale, self.bias)
        else:
            loss = clip_loss(similarity, same, self.log_scale)
        return Seen(loss=loss, count=len(images), embeddings=(images, reports))

    def _embedded(self, name: str, features: ModalityFeatures) -> Float[Tensor, "B E"]:
        mask = features.mask[..., None].to(features.tokens.dtype)
        mean = (features.tokens * mask).sum(1) / mask.sum(1).clamp(min=1)
        projected: Tensor = self.project[name](mean)
        return normalize(projected.float(), dim=-1)


class MaskedVolumeObjective(Objective):
    """What stood in hidden blocks of the image: a decoder guesses it, and only the hidden voxels count.

    Args:
        encoder: The image encoder.
        width: Width of a token.
        channels: Image channels.
        share: Share of the blocks that are hidden.
        block: Edge of a block, voxels.

    Source: Xie et al. 2022, "SimMIM: A Simple Framework for Masked Image Modeling", in three dimensions.
    """

    def __init__(self, encoder: ImageEncoder, width: int, channels: int, share: float, block: int) -> None:
        super().__init__({"image": encoder})
        self.decoder = SegmentationHead(encoder.out_channels, encoder.strides, width, classes=channels)
        self.hidden = nn.Parameter(torch.zeros(channels))
        self.share = share
        self.block = block

    def forward(self, batch: Batch) -> Seen:
        """Hide blocks of each image and guess them; channels that a study lacks do not count."""
        image, present = batch.image, batch.channel_present
        hidden = self._blocks(image)
        shown = torch.where(hidden, self.hidden[:, None, None, None].to(image.dtype), image)
        guess = self.decoder(self.encoders["image"](shown, present))[0].float()
        counts = (hidden & present[:, :, None, None, None]).float()
        number = counts.sum().clamp(min=1)
        mean = (image * counts).sum() / number
        return Seen(
            loss=((guess - image) ** 2 * counts).sum() / number,
            count=int(counts.sum()),
            variance=((image - mean) ** 2 * counts).sum() / number,
        )

    def _blocks(self, image: Float[Tensor, "B C I J K"]) -> Bool[Tensor, "B 1 I J K"]:
        cells = [-(-n // self.block) for n in image.shape[2:]]
        drawn = torch.rand((image.shape[0], 1, *cells), device=image.device) < self.share
        grown = [n * self.block for n in cells]
        i, j, k = image.shape[2:]
        return interpolate(drawn.float(), size=grown, mode="nearest")[:, :, :i, :j, :k] > 0


def recall_at(
    images: Float[Tensor, "P E"], reports: Float[Tensor, "P E"], texts: Sequence[str], k: int
) -> tuple[float, float]:
    """Share of images whose report is among the `k` most similar ones, and of reports whose image is.

    Reports that are equal word for word are each other's.

    Args:
        images: Unit vectors.
        reports: Unit vectors.
        texts: Their words.
        k: How many are looked at.
    """
    similarity = images @ reports.T
    same = torch.tensor([[a == b for b in texts] for a in texts])
    k = min(k, len(texts))
    by_image = same.gather(1, similarity.topk(k, dim=1).indices).any(1)
    by_report = same.T.gather(1, similarity.T.topk(k, dim=1).indices).any(1)
    return float(by_image.float().mean()), float(by_report.float().mean())


def _same_text(batch: Batch, pairs: Bool[Tensor, "B"]) -> Bool[Tensor, "P P"]:
    """Which reports are equal, sub-word for sub-word: no image should be pushed away from its own words."""
    words = torch.where(batch.text.mask, batch.text.ids, -1)[pairs]
    return (words[:, None] == words[None]).all(dim=-1)
