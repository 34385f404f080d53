"""What a pre-training run is: a training run without labels, and an objective in their place."""

from dataclasses import dataclass, field
from typing import Literal

from medfuse.domain.report import SectionName
from medfuse.errors import ConfigError
from medfuse.training import TrainingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingOptions:
    """What the encoders learn from.

    Args:
        objective: `contrastive`, which report belongs to which image; or `masked_volume`, what stood in blocks of the
            image that are hidden.
        loss: Of the contrastive objective: `siglip`, every pair by itself, for batches that fit here; or `clip`.
        embedding: Width in which images and reports are compared.
        text_sections: Report sections that images are compared with. FINDINGS and IMPRESSION may stand here: they
            teach the encoders, of training patients alone, and are no input of the model that follows. Empty for
            those of the recipe.
        masked_share: Share of the blocks that are hidden.
        masked_block: Edge of a block, voxels.
    """

    objective: Literal["contrastive", "masked_volume"] = "contrastive"
    loss: Literal["siglip", "clip"] = "siglip"
    embedding: int = 128
    text_sections: tuple[SectionName, ...] = ()
    masked_share: float = 0.6
    masked_block: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.masked_share < 1:
            raise ConfigError(f"pretraining.masked_share is {self.masked_share}; expected between 0 and 1")
        for name in ("embedding", "masked_block"):
            if getattr(self, name) < 1:
                raise ConfigError(f"pretraining.{name} is {getattr(self, name)}; expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingPlan:
    """One whole pre-training run.

    Args:
        run: Studies, splits, recipe, encoders and schedule, as a training run has them.
        pretraining: What the encoders learn from.
    """

    run: TrainingPlan
    pretraining: PretrainingOptions = field(default_factory=PretrainingOptions)
