"""What a run is: plain data, filled from a config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medfuse.data.augment import AugmentOptions
from medfuse.domain.labels import LabelSet
from medfuse.errors import ConfigError
from medfuse.model import ModelSpec
from medfuse.preprocess import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Which studies, and how they are split. Splits are by patient.

    Args:
        manifest: The manifest of `medfuse index`.
        folds: Number of folds; one is the test set.
        test_fold: Which one, from 0.
        validation_fraction: Share of the other studies that chooses the checkpoint and calibrates it.
    """

    manifest: Path | None = None
    folds: int = 5
    test_fold: int = 0
    validation_fraction: float = 0.125

    def __post_init__(self) -> None:
        if not 0 <= self.test_fold < self.folds or self.folds < 2:
            raise ConfigError(f"data.test_fold is {self.test_fold}; expected 0 to data.folds - 1, and 2 folds or more")
        if not 0 < self.validation_fraction < 1:
            raise ConfigError(f"data.validation_fraction is {self.validation_fraction}; expected between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How the weights are found.

    Args:
        epochs: Passes over the training studies.
        batch_size: Studies a step.
        learning_rate: Peak of the schedule (linear warm-up, then cosine to zero), for AdamW.
        warmup_steps: Steps of the warm-up.
        weight_decay: AdamW's.
        clip_norm: Largest norm of the gradient.
        finding_weight: Weight of the findings' loss.
        segment_weight: Weight of the segmentation's loss.
        volume_weight: Weight, within it, of the error of the segments' volumes.
        select: Which epoch becomes `RUN/best`: the one with the lowest loss on `validation`, or the `last` one, where
            the schedule ends, for a validation split of too few studies to tell.
        validate_every: Epochs between validations; the last epoch is always validated.
        precision: `bf16` or `fp32`; `auto` takes bf16 where the device is faster with it.
        augment: How much samples are varied; None for not at all.
    """

    epochs: int = 40
    batch_size: int = 4
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    finding_weight: float = 1.0
    segment_weight: float = 1.0
    volume_weight: float = 0.3
    select: Literal["validation", "last"] = "validation"
    validate_every: int = 1
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    augment: AugmentOptions | None = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """One whole run.

    Args:
        name: The run's name, as it stands on its predictions.
        seed: The one seed.
        data: Which studies.
        label_set: What is predicted.
        recipe: How a study becomes input.
        spec: The network's parts.
        training: How it is trained.
        config: The resolved config, as plain data, for the checkpoint.
        config_sha256: Its hash.
        config_yaml: The same config as YAML, to stand beside the run.
    """

    name: str
    seed: int
    data: DataOptions
    label_set: LabelSet
    recipe: Recipe
    spec: ModelSpec
    training: TrainingOptions
    config: Mapping[str, Any] = field(default_factory=dict)
    config_sha256: str = ""
    config_yaml: str = ""
