"""A run, from a manifest to a calibrated checkpoint.

    RUN/config.yaml      the resolved config
    RUN/splits.csv       which study is in which split
    RUN/last, RUN/best   checkpoints; `last` also holds what resuming needs
    RUN/log              TensorBoard

`best` is the checkpoint with the lowest validation loss, or the last one (`training.select`). Its temperatures and
operating points come from the validation split. A resumed run equals an uninterrupted one: it goes on from the last
whole epoch.
"""

import csv
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medfuse.data.augment import Augmentation
from medfuse.data.cases import CaseSet, read_cases
from medfuse.data.collate import collate
from medfuse.data.loaders import CaseSamples, EpochBatches
from medfuse.data.samples import Case
from medfuse.data.splits import SplitItem, split_by_patient
from medfuse.domain.prediction import Rejected
from medfuse.errors import CheckpointError, ConfigError, ManifestError
from medfuse.ingest.manifest import ManifestRow, read_manifest
from medfuse.metrics.calibration import apply_temperature, fit_temperature
from medfuse.metrics.operating_point import choose_operating_point
from medfuse.model import assemble
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Calibration, Checkpoint
from medfuse.seeding import derived_seed
from medfuse.storage import sweep, write_file
from medfuse.tensors import Batch
from medfuse.training import state
from medfuse.training.average import WeightAverage
from medfuse.training.loop import Criterion, Losses, Validation, train_epoch, validate
from medfuse.training.options import TrainingPlan
from medfuse.training.runtime import accelerator_for
from medfuse.training.state import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

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


def train(plan: TrainingPlan, output: Path, watcher: Watcher, *, resume: bool = False) -> TrainingResult:
    """Train a model.

    Args:
        plan: The run.
        output: The run folder; made when it is not there.
        watcher: Is told how it goes.
        resume: Go on from `output/last`; without one the run starts from the beginning.

    Raises:
        ManifestError: The manifest does not fit the plan.
        CheckpointError: `output` cannot be resumed, or was made by another config.
        StorageError: The run folder cannot be written.
    """
    if plan.data.manifest is None:
        raise ManifestError("data.manifest is not set; add --set data.manifest=FILE, made by medfuse index")
    rows = read_manifest(plan.data.manifest)
    splits = _splits(rows, plan)
    watcher.on_studies(len(rows))
    case_set = read_cases(rows, plan.recipe, plan.label_set, watcher.on_study)
    parts = {name: _cases(case_set, splits, name) for name in ("train", "validation", "test")}
    for name in ("train", "validation"):
        if not parts[name]:
            raise ManifestError(f"the {name} split has no study that can be used; take more studies or fewer folds")
    write_file(output / "config.yaml", lambda aside: aside.write_text(plan.config_yaml, encoding="utf-8"))
    _write_splits(output / "splits.csv", rows, splits)
    run = _Run(plan, output, watcher, parts["train"], parts["validation"])
    best_epoch = run.go(resume=resume)
    counts = {name: len(cases) for name, cases in parts.items()}
    return TrainingResult(output=output, best_epoch=best_epoch, counts=counts, rejected=case_set.rejected)


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
        self.criterion = Criterion(plan.training)
        augment = plan.training.augment
        self.samples = CaseSamples(
            training,
            plan.recipe.size,
            plan.label_set,
            augmentation=Augmentation(augment, plan.label_set) if augment and self.network.image_encoder else None,
            seed=plan.seed,
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
        trainable = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            trainable, lr=plan.training.learning_rate, weight_decay=plan.training.weight_decay
        )
        self.model, self.optimizer = self.accelerator.prepare(self.network, optimizer)
        self.network.recompute = plan.training.recompute
        if plan.training.compile:
            self.model = torch.compile(self.model)
        decay = plan.training.average_decay
        self.average = WeightAverage(self.network, decay) if decay is not None else None

    def go(self, *, resume: bool) -> int:
        """Train what is left to train; returns the epoch of the best checkpoint."""
        from torch.utils.tensorboard import SummaryWriter

        progress = self._resume() if resume else Progress()
        options = self.plan.training
        self.watcher.on_training(progress, options.epochs, self.steps)
        with ExitStack() as stack:
            log = None
            if self.accelerator.is_main_process:
                log = stack.enter_context(SummaryWriter(str(self.output / "log"), purge_step=progress.epoch))
            for epoch in range(progress.epoch, options.epochs):
                losses = self._train_epoch(epoch, progress.step)
                due = (epoch + 1) % options.validate_every == 0 or epoch + 1 == options.epochs
                with self.average.in_place() if self.average else nullcontext() as own:
                    seen = self._validate() if due else None
                    progress = self._save(epoch, progress, seen, own)
                if log is not None:
                    _record(log, epoch, losses, seen)
                self.watcher.on_epoch(epoch, losses, seen)
                if options.patience and epoch - progress.best_epoch >= options.patience * options.validate_every:
                    break
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
        loader = DataLoader(self.validation, batch_size=self.plan.training.batch_size, collate_fn=self._collate)
        return validate(self.network, loader, self.criterion, self.accelerator)

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
            files = state.as_files(self.optimizer, progress, own)
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

    def _resume(self) -> Progress:
        last = self.output / "last"
        if self.output.is_dir():
            sweep(self.output)
        if not last.exists():
            return Progress()
        saved = checkpoints.describe(last)
        if saved.config_sha256 != self.plan.config_sha256:
            raise CheckpointError(
                f"{last} was made by another config; resume with the one in {self.output / 'config.yaml'}, "
                "or train into another folder"
            )
        checkpoints.load_weights(self.network, last, saved.weights_sha256)
        return state.restore(self.optimizer, last, self.average)

    def _fit_regions(self, training: Sequence[Case]) -> None:
        regions = self.network.regions
        volumes = [
            [float((case.truth == number + 1).sum()) * case.voxel_volume_ml for number in range(regions.segments)]
            for case in training
            if regions is not None and case.truth is not None
        ]
        if regions is not None and volumes:
            regions.fit(torch.tensor(volumes))


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


def _splits(rows: Sequence[ManifestRow], plan: TrainingPlan) -> dict[str, str]:
    items = [
        SplitItem(
            study_instance_uid=row.study_instance_uid,
            patient_key=row.patient_key,
            stratum="".join(
                row.labels[finding].value[0] for finding in plan.label_set.findings if finding in row.labels
            ),
        )
        for row in rows
    ]
    data = plan.data
    return dict(
        split_by_patient(
            items,
            folds=data.folds,
            test_fold=data.test_fold,
            validation_fraction=data.validation_fraction,
            seed=plan.seed,
        )
    )


def _cases(case_set: CaseSet, splits: Mapping[str, str], name: str) -> list[Case]:
    return [case_set.cases[uid] for uid in sorted(case_set.cases) if splits[uid] == name]


def _write_splits(path: Path, rows: Sequence[ManifestRow], splits: Mapping[str, str]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("study_instance_uid", "patient_key", "split"))
    writer.writerows((row.study_instance_uid, row.patient_key, splits[row.study_instance_uid]) for row in rows)
    write_file(path, lambda aside: aside.write_text(table.getvalue(), encoding="utf-8"))


def _record(log: "SummaryWriter", epoch: int, losses: Losses, seen: Validation | None) -> None:
    scalars: dict[str, float | None] = {
        "train/total": losses.total,
        "train/findings": losses.findings,
        "train/segments": losses.segments,
        "train/waiting": losses.waiting,
    }
    if seen is not None:
        scalars["validation/total"] = seen.losses.total
        scalars |= {"validation/dice": seen.dice, "validation/auroc": seen.auroc}
    for name, value in scalars.items():
        if value is not None and math.isfinite(value):
            log.add_scalar(name, value, epoch)
