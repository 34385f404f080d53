"""What a run is: plain data, filled from a config."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medfuse.data.augment import AugmentOptions
from medfuse.data.blocks import BlockOptions
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
        folds_by: Column of the manifest whose values stay together, e.g. `site`: a test fold is of whole sites, and of
            one site where there are as many folds as sites. Null for folds of patients.
        validation_fraction: Share of the other studies that chooses the checkpoint and calibrates it.
        cache: Folder where prepared studies are kept for the next run or fold, and mapped into memory from; they hold
            the images of patients, so none is kept unless it is asked for.
        shuffle_reports: Give each study's report to a study of another patient in its split: a control, which shows
            what a model gains by having a note at all. A study without a report stays without.
    """

    manifest: Path | None = None
    folds: int = 5
    test_fold: int = 0
    folds_by: str | None = None
    validation_fraction: float = 0.125
    cache: Path | None = None
    shuffle_reports: bool = False

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
        accumulate: Batches whose gradients add up to one step of the optimiser.
        learning_rate: Peak of the schedule, for AdamW.
        schedule: After a linear warm-up to the peak, down to zero along half a `cosine`, or as `poly`, a power of 0.9.
        warmup_steps: Batches of the warm-up.
        weight_decay: AdamW's.
        clip_norm: Largest norm of the gradient.
        average_decay: Keep a running average of the weights with this decay, e.g. 0.999, and validate and save that;
            None for the weights themselves.
        finding_weight: Weight of the findings' loss.
        target_weight: Weight of the targets' loss.
        segment_weight: Weight of the segmentation's loss.
        volume_weight: Weight, within it, of the error of the segments' volumes.
        task_weights: `fixed`: the findings', targets' and segmentation's weight as given; `learned`: by the uncertainty
            of each, from there on (Kendall et al. 2018).
        segment_loss: `dice_ce`, Dice and cross-entropy, or `dice_focal`, Dice and focal loss, for small segments.
        finding_balance: `inverse`: present and absent weigh alike in sum, whatever their number in the training set;
            `none`: every label weighs one.
        target_balance: `inverse`: the classes of a target, or its grades above and below each threshold, weigh alike in
            sum; `none`: every study weighs one.
        select: Which epoch becomes `RUN/best`: the one with the lowest loss on `validation`, or the `last` one, where
            the schedule ends, for a validation split of too few studies to tell.
        validate_every: Epochs between validations; the last epoch is always validated.
        patience: Stop after this many validations without a lower loss; None to train to the end.
        precision: `bf16` or `fp32`; `auto` takes bf16 where the device is faster with it.
        augment: How much samples are varied; None for not at all.
        blocks: How training looks at studies that are larger than the network's input.
        workers: Processes that make samples beside the training; 0 makes them in between.
        recompute: Compute the activations of the image encoder and the decoder again on the way back instead of
            keeping them: less memory, more time.
        compile: Let torch compile the network (takes minutes at the start, and a C++ compiler on a CPU).
        start_from: A run of `medfuse pretrain` or `medfuse train` whose encoders' weights this one starts from; its
            training and validation patients may not be in this run's test split.
        freeze: Encoders that stay as they are: `image`, `text`.
    """

    epochs: int = 40
    batch_size: int = 4
    accumulate: int = 1
    learning_rate: float = 3e-3
    schedule: Literal["cosine", "poly"] = "cosine"
    warmup_steps: int = 100
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    average_decay: float | None = None
    finding_weight: float = 1.0
    target_weight: float = 1.0
    segment_weight: float = 1.0
    volume_weight: float = 0.3
    task_weights: Literal["fixed", "learned"] = "fixed"
    segment_loss: Literal["dice_ce", "dice_focal"] = "dice_ce"
    finding_balance: Literal["none", "inverse"] = "none"
    target_balance: Literal["none", "inverse"] = "none"
    select: Literal["validation", "last"] = "validation"
    validate_every: int = 1
    patience: int | None = None
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    augment: AugmentOptions | None = field(default_factory=AugmentOptions)
    blocks: BlockOptions = field(default_factory=BlockOptions)
    workers: int = 0
    recompute: bool = False
    compile: bool = False
    start_from: str | None = None
    freeze: tuple[Literal["image", "text"], ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("accumulate", 1), ("validate_every", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; expected at least {least}")
        if self.average_decay is not None and not 0 < self.average_decay < 1:
            raise ConfigError(f"training.average_decay is {self.average_decay}; expected between 0 and 1, or null")
        if self.patience is not None and (self.patience < 1 or self.select != "validation"):
            raise ConfigError(
                f"training.patience is {self.patience} with training.select: {self.select}; expected at least 1, and "
                "select: validation, which says what a better epoch is"
            )


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
