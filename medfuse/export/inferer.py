"""The inferer of a bundle: medfuse's windows in the place of MONAI's."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch import Tensor

from medfuse.data.cache import floor_of
from medfuse.data.samples import Case
from medfuse.errors import UsageError
from medfuse.export.network import BundleNetwork
from medfuse.inference.engines import PrecisionChoice, engine_for
from medfuse.inference.member import Answer, Member
from medfuse.inference.ranked import RankedScores


class WindowInferer(Inferer):
    """Reads whole images in windows as `medfuse score` does, and keeps what it said of the last one.

    Args:
        engine: A name of `medfuse.inference.engines.ENGINES`, or `auto`.
        precision: fp32, bf16, or auto.

    Attributes:
        answer: Findings and targets of the last image.
    """

    def __init__(self, engine: str = "pytorch", precision: PrecisionChoice = "fp32") -> None:
        super().__init__()
        self.engine = engine
        self.precision: PrecisionChoice = precision
        self.answer: Answer | None = None
        self._member: Member | None = None

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Any],
        *args: Any,
        text: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Class probabilities of prepared images on the model grid, shape `(B, S1, I, J, K)`, background first.

        Args:
            inputs: Shape `(B, C, I, J, K)`.
            network: The bundle's `BundleNetwork`.
            args: Unused.
            text: Text input of each image.
            kwargs: Unused.

        Raises:
            UsageError: The network is no `BundleNetwork`, or there are too many classes for a float each.
        """
        if not isinstance(network, BundleNetwork):
            raise UsageError(f"the inferer of a medfuse bundle reads a BundleNetwork, not {type(network).__name__}")
        texts = list(text) if text else [""] * len(inputs)
        return torch.stack([self._read(image, said, network) for image, said in zip(inputs, texts, strict=True)])

    def _read(self, image: Tensor, text: str, network: BundleNetwork) -> Tensor:
        voxels = np.ascontiguousarray(torch.as_tensor(image).float().cpu().numpy())
        i, j, k = network.checkpoint.recipe.spacing_mm
        case = Case(
            study_instance_uid="",
            image=voxels,
            channel_present=np.ones(len(voxels), dtype=bool),
            text=text,
            truth=None,
            labels={},
            voxel_volume_ml=i * j * k / 1000,
            floor=floor_of(voxels),
        )
        self.answer = self._of(network, image.device).answer(case)
        scores = self.answer.class_scores
        if scores is None or isinstance(scores, RankedScores):
            raise UsageError("the class scores of this image do not fit into memory; take medfuse score")
        return torch.from_numpy(scores)

    def _of(self, network: BundleNetwork, device: torch.device) -> Member:
        if self._member is None or self._member.network is not network.fusion_network:
            checkpoint, inner = network.checkpoint, network.fusion_network.to(device).eval()
            runs = engine_for(inner, checkpoint.recipe.size, engine=self.engine, precision=self.precision)
            self._member = Member(checkpoint, inner, device, engine=runs)
        return self._member


def prepare_batch(
    batch: dict[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **options: Any
) -> tuple[Tensor, None, tuple[()], dict[str, Any]]:
    """What MONAI's evaluator hands to the inferer: the images, no label, and the texts.

    Args:
        batch: Of the data loader.
        device: Where the images go.
        non_blocking: As in `Tensor.to`.
        options: Unused.
    """
    return batch["image"].to(device, non_blocking=non_blocking), None, (), {"text": batch.get("text")}
