"""The schema of a training run: one file is the whole run."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

from medfuse.config.base import Settings
from medfuse.config.load import config_sha256, resolved_yaml
from medfuse.config.parts import PartChoice, part_model
from medfuse.domain.labels import LabelSet
from medfuse.encoders.image import IMAGE_ENCODERS
from medfuse.encoders.text import TEXT_ENCODERS
from medfuse.fusion import FUSIONS
from medfuse.model import ModelSpec
from medfuse.model.encoder_weights import start_sha256
from medfuse.preprocess import Recipe
from medfuse.training import DataOptions, TrainingOptions, TrainingPlan


class ModelSettings(Settings):
    """The network's parts.

    Args:
        image: Image encoder, or null for a model that sees no image.
        text: Text encoder, or null for a model that reads no text.
        fusion: Fusion strategy.
        width: Width of a token.
        modality_dropout: Probability with which a training study loses one of its modalities.
        finding_dropout: Dropout of the findings' head.
        deep_supervision: Coarser levels of the decoder that give class scores of their own in training.
        text_levels: Skips of the decoder, from the coarsest on, that look at the text.
    """

    image: Annotated[PartChoice, part_model(IMAGE_ENCODERS)] | None = PartChoice(name="unet")
    text: Annotated[PartChoice, part_model(TEXT_ENCODERS)] | None = PartChoice(name="transformer")
    fusion: Annotated[PartChoice, part_model(FUSIONS)] = PartChoice(name="cross_attention")
    width: int = 64
    modality_dropout: float = 0.1
    finding_dropout: float = 0.4
    deep_supervision: int = 0
    text_levels: int = 0

    def spec(self) -> ModelSpec:
        """The same parts as the model package takes them."""
        return ModelSpec(
            image=self.image.name if self.image else None,
            text=self.text.name if self.text else None,
            fusion=self.fusion.name,
            width=self.width,
            modality_dropout=self.modality_dropout,
            finding_dropout=self.finding_dropout,
            deep_supervision=self.deep_supervision,
            text_levels=self.text_levels,
            image_options=self.image.options if self.image else {},
            text_options=self.text.options if self.text else {},
            fusion_options=self.fusion.options,
        )


class TrainConfig(Settings):
    """One training run.

    Args:
        name: The run's name, as it stands on its predictions.
        seed: The one seed.
        data: Which studies, and how they are split.
        labels: What is predicted.
        recipe: How a study becomes the network's input.
        model: The network's parts.
        training: How the weights are found.
    """

    name: str
    seed: int = 0
    data: DataOptions = DataOptions()
    labels: LabelSet
    recipe: Recipe
    model: ModelSettings = ModelSettings()
    training: TrainingOptions = TrainingOptions()

    def with_test_fold(self, fold: int) -> "TrainConfig":
        """The same run with another fold as its test set."""
        return self.model_copy(update={"data": replace(self.data, test_fold=fold)})

    def portable(self) -> Self:
        """The same config without places: weights to start from are named by their hash.

        Raises:
            CheckpointError: `training.start_from` holds no weights.
        """
        start = self.training.start_from
        named = None if start is None else f"sha256:{start_sha256(Path(start))}"
        changes = {
            "data": replace(self.data, manifest=None, cache=None),
            "training": replace(self.training, start_from=named),
        }
        return self.model_copy(update=changes)

    def plan(self) -> TrainingPlan:
        """The run as the training package takes it. Where the data lie is no part of its hash.

        Raises:
            CheckpointError: `training.start_from` holds no weights.
        """
        portable = self.portable()
        return TrainingPlan(
            name=self.name,
            seed=self.seed,
            data=self.data,
            label_set=self.labels,
            recipe=self.recipe,
            spec=self.model.spec(),
            training=self.training,
            config=portable.model_dump(mode="json"),
            config_sha256=config_sha256(portable),
            config_yaml=resolved_yaml(self),
        )
