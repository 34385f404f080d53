"""A run, from a manifest to a calibrated checkpoint.

    RUN/config.yaml      the resolved config
    RUN/splits.csv       which study is in which split
    RUN/last, RUN/best   checkpoints; `last` also holds what resuming needs
    RUN/losses.csv       the loss curve
    RUN/log              the same for TensorBoard

`best` is the checkpoint with the lowest validation loss, or the last one (`training.select`). Its temperatures,
operating points, prediction sets and threshold of familiarity come from the validation split. A resumed run equals an
uninterrupted one: it goes on from the last whole epoch.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from medfuse.data.augment import Augmentation
from medfuse.data.collate import collate
from medfuse.data.loaders import CaseSamples, EpochBatches
from medfuse.data.prevalence import prevalence_of, shares_of, targets_in
from medfuse.data.samples import Case
from medfuse.domain.labels import Target
from medfuse.domain.prediction import Rejected
from medfuse.errors import CheckpointError, ConfigError, ManifestError
from medfuse.losses import Criterion, TargetLoss
from medfuse.metrics.calibration import apply_temperature, fit_temperature
from medfuse.metrics.operating_point import choose_operating_point
from medfuse.model import assemble
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Calibration, Checkpoint
from medfuse.model.encoder_weights import start_from
from medfuse.seeding import derived_seed
from medfuse.storage import sweep, write_file
from medfuse.tensors import Batch, segment_masks
from medfuse.training import state
from medfuse.training.average import WeightAverage
from medfuse.training.calibrate import finish
from medfuse.training.curve import LossCurve
from medfuse.training.loop import Losses, Validation, train_epoch, validate
from medfuse.training.options import TrainingOptions, TrainingPlan
from medfuse.training.runtime import accelerator_for
from medfuse.training.state import Progress
from medfuse.training.studies import SPLIT_TABLE, Studies, check_start, parts_of, read_studies, splits_of, write_splits
from medfuse.training.whole import answers

LOG = logging.getLogger(__name__)


class Watcher(Protocol):
    """Who is told how a run goes."""

    def on_studies(self, total: int) -> None:
        """Reading begins."""

    def on_study(self) -> None:
        """One study is read."""

    def on_training(self, progress: Progress, epochs: int, steps_per_epoch: int) -> None:
        """Training begins, or goes on from `progress`."""

    def on_step(self, loss: float) -> None:
        """One step is done."""

    def on_epoch(self, epoch: int, losses: Losses, validation: Validation | None) -> None:
        """One epoch is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a run came to.

    Args:
        output: The run folder.
        best_epoch: The epoch of `best`, from 0.
        counts: Studies a split.
        rejected: Studies of the manifest that could not be used.
    """

    output: Path
    best_epoch: int
    counts: Mapping[str, int]
    rejected: tuple[Rejected, ...]


def train(
    plan: TrainingPlan, output: Path, watcher: Watcher, *, resume: bool = False, studies: Studies | None = None
) -> TrainingResult:
    """Train a model.

    Args:
        plan: The run.
        output: The run folder; made when it is not there.
        watcher: Is told how it goes.
        resume: Go on from `output/last`; without one the run starts from the beginning.
        studies: What was read of the plan's manifest before; None to read it now.

    Raises:
        ManifestError: The manifest does not fit the plan.
        CheckpointError: `output` cannot be resumed, or was made by another config.
        StorageError: The run folder cannot be written.
    """
    if studies is None:
        studies = read_studies(plan, watcher.on_studies, watcher.on_study)
    splits = splits_of(studies.rows, plan)
    parts = parts_of(studies, splits, plan)
    check_start(plan, studies.rows, splits)
    write_file(output / "config.yaml", lambda aside: aside.write_text(plan.config_yaml, encoding="utf-8"))
    write_splits(output / SPLIT_TABLE, studies.rows, splits)
    run = _Run(plan, output, watcher, parts["train"], parts["validation"])
    best_epoch = run.go(resume=resume)
    if run.accelerator.is_main_process:
        finish(output / "best", parts["train"], parts["validation"], studies.rows, run.accelerator.device)
    counts = {name: len(cases) for name, cases in parts.items()}
    return TrainingResult(output=output, best_epoch=best_epoch, counts=counts, rejected=studies.case_set.rejected)


def is_finished(plan: TrainingPlan, output: Path) -> bool:
    """Whether a run folder holds this run, trained to its end.

    Raises:
        CheckpointError: The checkpoint there is broken, or was made by another config.
    """
    last = _last_checkpoint(plan, output)
    return last is not None and state.read_progress(last).is_done(plan.training)


def _last_checkpoint(plan: TrainingPlan, output: Path) -> Path | None:
    """The checkpoint to go on from; None where there is none yet."""
    last = output / "last"
    if output.is_dir():
        sweep(output)
    if not last.exists():
        return None
    if checkpoints.describe(last).config_sha256 != plan.config_sha256:
        raise CheckpointError(
            f"{last} was made by another config; resume with the one in {output / 'config.yaml'}, "
            "or train into another folder"
        )
    return last


class _Run:
    """The moving parts of one run."""

    def __init__(
        self, plan: TrainingPlan, output: Path, watcher: Watcher, training: Sequence[Case], validation: Sequence[Case]
    ) -> None:
        self.plan, self.output, self.watcher = plan, output, watcher
        self.accelerator = accelerator_for(plan.training.precision)
        torch.manual_seed(derived_seed(plan.seed, "weights"))
        self.network = assemble(plan.spec, plan.label_set, len(plan.recipe.channels))
        self._fit_regions(training)
        self._start()
        self.criterion = self._criterion(training).to(self.accelerator.device)
        augment = plan.training.augment
        self.samples = CaseSamples(
            training,
            plan.recipe.size,
            plan.label_set,
            augmentation=Augmentation(augment, plan.label_set) if augment and self.network.image_encoder else None,
            seed=plan.seed,
            blocks=plan.training.blocks,
        )
        self.order = EpochBatches(len(training), plan.training.batch_size, plan.seed)
        # Every process takes the same number of batches, or the others would wait for it for ever.
        self.steps = len(self.order) // self.accelerator.num_processes
        if not self.steps:
            raise ConfigError(
                f"{self.accelerator.num_processes} processes share {len(self.order)} batches an epoch; start fewer, or "
                "make training.batch_size smaller"
            )
        self.validation = CaseSamples(validation, plan.recipe.size, plan.label_set)
        groups: list[dict[str, Any]] = [
            {"params": [weight for weight in self.network.parameters() if weight.requires_grad]}
        ]
        if learned := list(self.criterion.parameters()):
            groups.append({"params": learned, "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups, lr=plan.training.learning_rate, weight_decay=plan.training.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(self.network, optimizer)
        self.network.recompute = plan.training.recompute
        if plan.training.compile:
            self.model = torch.compile(self.model)
        decay = plan.training.average_decay
        self.average = WeightAverage(self.network, decay) if decay is not None else None

    def go(self, *, resume: bool) -> int:
        """Train what is left to train; returns the epoch of the best checkpoint."""
        progress = self._resume() if resume else Progress()
        options = self.plan.training
        self.watcher.on_training(progress, options.epochs, self.steps)
        main = self.accelerator.is_main_process
        with LossCurve(self.output, progress.epoch) if main else nullcontext() as curve:
            while not progress.is_done(options):
                epoch = progress.epoch
                losses = self._train_epoch(epoch, progress.step)
                due = (epoch + 1) % options.validate_every == 0 or epoch + 1 == options.epochs
                with self.average.in_place() if self.average else nullcontext() as own:
                    seen = self._validate() if due else None
                    if curve is not None:
                        curve.add(epoch, losses, seen)
                    progress = self._save(epoch, progress, seen, own)
                self.watcher.on_epoch(epoch, losses, seen)
        return progress.best_epoch

    def _train_epoch(self, epoch: int, first_step: int) -> Losses:
        self.samples.epoch = self.order.epoch = epoch
        torch.manual_seed(derived_seed(self.plan.seed, "epoch", epoch))
        return train_epoch(
            self.model,
            self._training_batches(),
            self.optimizer,
            self.criterion,
            self.accelerator,
            first_step=first_step,
            total_steps=self.plan.training.epochs * self.steps,
            on_step=self.watcher.on_step,
            average=self.average,
        )

    def _training_batches(self) -> Iterator[Batch]:
        """This process's share of the epoch's batches."""
        workers = self.plan.training.workers
        loader = DataLoader(self.samples, batch_sampler=self.order, collate_fn=self._collate, num_workers=workers)
        processes = self.accelerator.num_processes
        for number, batch in enumerate(islice(loader, self.steps * processes)):
            if number % processes == self.accelerator.process_index:
                yield batch

    def _validate(self) -> Validation:
        batch_size = self.plan.training.batch_size
        seen = answers(self.network, self.validation, self._collate, batch_size, self.accelerator)
        return validate(self.network, seen, self.criterion)

    @property
    def _collate(self) -> "partial[Batch]":
        text = self.network.text_encoder
        return partial(collate, tokenize=text.tokenize if text else None)

    def _save(
        self, epoch: int, progress: Progress, seen: Validation | None, own: Mapping[str, Tensor] | None
    ) -> Progress:
        """Keep `last`, and `best` when the validation says so; `own` is what training goes on from."""
        better = seen is not None and (
            self.plan.training.select == "last"
            or progress.best_score is None
            or seen.losses.total < progress.best_score
        )
        progress = replace(progress, epoch=epoch + 1, step=progress.step + self.steps)
        if better and seen is not None:
            progress = replace(progress, best_score=seen.losses.total, best_epoch=epoch)
        if self.accelerator.is_main_process:
            description = self._describe(epoch, seen)
            if better:
                checkpoints.save(description, self.network, self.output / "best")
            files = state.as_files(self.optimizer, progress, own, self.criterion)
            checkpoints.save(description, self.network, self.output / "last", files)
        return progress

    def _describe(self, epoch: int, seen: Validation | None) -> Checkpoint:
        plan = self.plan
        return Checkpoint(
            name=plan.name,
            label_set=plan.label_set,
            recipe=plan.recipe,
            spec=plan.spec,
            config=plan.config,
            config_sha256=plan.config_sha256,
            epoch=epoch,
            calibration=_calibrate(plan.label_set.findings, seen) if seen else {},
            text_weights_sha256=checkpoints.text_weights_sha256(self.network),
        )

    def _start(self) -> None:
        """Take over the encoders of an earlier run, and leave alone those that are to stay as they are."""
        options, encoders = self.plan.training, self.network.encoders
        if options.start_from is not None:
            channels = tuple(rule.name for rule in self.plan.recipe.channels)
            start_from(encoders, self.plan.spec, channels, Path(options.start_from))
        for name in options.freeze:
            if name not in encoders:
                raise ConfigError(f"training.freeze names {name}, and model.{name} is off; take it out")
            encoders[name].requires_grad_(False)

    def _resume(self) -> Progress:
        last = _last_checkpoint(self.plan, self.output)
        if last is None:
            return Progress()
        checkpoints.load_weights(self.network, last, checkpoints.describe(last).weights_sha256)
        return state.restore(self.optimizer, last, self.average, self.criterion)

    def _criterion(self, training: Sequence[Case]) -> Criterion[TrainingOptions]:
        """The losses; what the targets' scale and frequencies are in the training set is told to the head as well."""
        options, label_set = self.plan.training, self.plan.label_set
        balanced = options.finding_balance == "inverse"
        prevalence = prevalence_of(training, label_set.findings) if balanced else None
        head = self.network.targets
        if head is None:
            return Criterion(options, prevalence, overlapping=label_set.overlapping)
        values, known = targets_in(training, label_set.targets)
        _check_known(label_set.targets, values, known)
        head.fit(values, known)
        shares = shares_of(training, label_set.targets) if options.target_balance == "inverse" else None
        losses = TargetLoss(label_set.targets, head.deviation, shares)
        return Criterion(options, prevalence, losses, overlapping=label_set.overlapping)

    def _fit_regions(self, training: Sequence[Case]) -> None:
        regions = self.network.regions
        volumes = [
            [voxels * case.voxel_volume_ml for voxels in _voxels(case.truth, regions.segments, regions.overlapping)]
            for case in training
            if regions is not None and case.truth is not None
        ]
        if regions is not None and volumes:
            regions.fit(torch.tensor(volumes))


def _check_known(targets: Sequence[Target], values: Tensor, known: Tensor) -> None:
    """See that the training studies teach every target; a class that none of them has is told.

    Raises:
        ManifestError: None of them knows a target.
    """
    for position, target in enumerate(targets):
        seen = values[known[:, position], position]
        if not len(seen):
            raise ManifestError(
                f"no study of the train split knows target {target.name!r}; label more studies, or leave it out of "
                "labels.targets"
            )
        never = [name for number, name in enumerate(target.classes) if number not in seen]
        if never:
            LOG.warning("target %s: no study of the train split is %s, so it cannot be learnt", target.name, never)


def _voxels(truth: NDArray[np.uint8], segments: int, overlapping: bool) -> list[float]:
    """How many voxels each segment of a label map has."""
    counts = torch.from_numpy(np.bincount(np.asarray(truth).reshape(-1), minlength=256))
    of_each_number = segment_masks(torch.arange(256).view(256, 1, 1, 1), segments, overlapping).flatten(1)
    return (counts[:, None] * of_each_number).sum(dim=0).double().tolist()


def _calibrate(findings: Sequence[str], seen: Validation) -> dict[str, Calibration]:
    """Temperature and operating point of each finding that has both classes in validation."""
    fitted = {}
    for position, finding in enumerate(findings):
        rows = seen.mask[:, position]
        logits, labels = seen.logits[rows, position].numpy(), seen.targets[rows, position].numpy()
        if 0 < labels.sum() < len(labels):
            temperature = fit_temperature(logits, labels)
            point = choose_operating_point(labels, apply_temperature(logits, temperature))
            fitted[finding] = Calibration(temperature=temperature, operating_point=point)
        else:
            fitted[finding] = Calibration()
    return fitted
