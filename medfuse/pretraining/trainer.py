"""A pre-training run, from a manifest to the weights of encoders.

    RUN/config.yaml      the resolved config
    RUN/splits.csv       which study is in which split; the encoders see the training split alone
    RUN/last, RUN/best   the encoders; `last` also holds what resuming needs
    RUN/losses.csv       the loss curve, with how well the objective is met on the validation split

`best` is the one with the lowest validation loss. A resumed run equals an uninterrupted one: it goes on from the last
whole epoch, and its random numbers follow from the seed, the epoch and the step.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medfuse.data.augment import Augmentation
from medfuse.data.collate import collate
from medfuse.data.loaders import CaseSamples, EpochBatches
from medfuse.data.samples import Case
from medfuse.domain.prediction import Rejected
from medfuse.encoders.image import IMAGE_ENCODERS
from medfuse.encoders.text import TEXT_ENCODERS
from medfuse.encoders.text.base import TextEncoder
from medfuse.errors import CheckpointError, ConfigError, ManifestError
from medfuse.model.encoder_weights import EncoderDescription, describe_encoders, save_encoders, start_from
from medfuse.pretraining.objectives import ContrastiveObjective, MaskedVolumeObjective, Objective, Seen, recall_at
from medfuse.pretraining.options import PretrainingPlan
from medfuse.seeding import derived_seed
from medfuse.storage import sweep, write_file
from medfuse.tensors import Batch
from medfuse.training import state
from medfuse.training.loop import learning_rate
from medfuse.training.options import TrainingPlan
from medfuse.training.runtime import accelerator_for
from medfuse.training.state import Progress
from medfuse.training.studies import SPLIT_TABLE, parts_of, read_studies, splits_of, write_splits

TABLE = "losses.csv"


class PretrainingWatcher(Protocol):
    """Who is told how a run goes."""

    def on_studies(self, total: int) -> None:
        """Reading begins."""

    def on_study(self) -> None:
        """One study is read."""

    def on_training(self, progress: Progress, epochs: int, steps_per_epoch: int) -> None:
        """Training begins, or goes on from `progress`."""

    def on_step(self, loss: float) -> None:
        """One step is done."""

    def on_figures(self, epoch: int, figures: Mapping[str, float]) -> None:
        """One epoch is done; what stands in the loss curve of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingResult:
    """What a run came to.

    Args:
        output: The run folder.
        best_epoch: The epoch of `best`, from 0.
        counts: Studies a split.
        figures: Of the validation split, at `last`.
        rejected: Studies of the manifest that could not be used.
    """

    output: Path
    best_epoch: int
    counts: Mapping[str, int]
    figures: Mapping[str, float]
    rejected: tuple[Rejected, ...]


def pretrain(
    plan: PretrainingPlan, output: Path, watcher: PretrainingWatcher, *, resume: bool = False
) -> PretrainingResult:
    """Train encoders without labels.

    Args:
        plan: The run.
        output: The run folder; made when it is not there.
        watcher: Is told how it goes.
        resume: Go on from `output/last`; without one the run starts from the beginning.

    Raises:
        ConfigError: The objective needs an encoder that the model lacks.
        ManifestError: The manifest does not fit, or has too few studies with what the objective compares.
        CheckpointError: `output` cannot be resumed, or was made by another config.
        StorageError: The run folder cannot be written.
    """
    _check(plan)
    studies = read_studies(_read_plan(plan), watcher.on_studies, watcher.on_study, need_labels=False)
    splits = splits_of(studies.rows, plan.run)  # by the labels of the run that follows: it holds out the same patients
    parts = {name: _of_use(cases, plan) for name, cases in parts_of(studies, splits, plan.run).items()}
    _check_parts(parts)
    write_file(output / "config.yaml", lambda aside: aside.write_text(plan.run.config_yaml, encoding="utf-8"))
    write_splits(output / SPLIT_TABLE, studies.rows, splits)
    run = _Run(plan, output, watcher, parts["train"], parts["validation"])
    best_epoch, figures = run.go(resume=resume)
    counts = {name: len(cases) for name, cases in parts.items() if name != "test"}
    return PretrainingResult(
        output=output, best_epoch=best_epoch, counts=counts, figures=figures, rejected=studies.case_set.rejected
    )


def _check(plan: PretrainingPlan) -> None:
    spec, objective = plan.run.spec, plan.pretraining.objective
    needed = ("image", "text") if objective == "contrastive" else ("image",)
    lacking = [name for name in needed if getattr(spec, name) is None]
    if lacking:
        raise ConfigError(f"pretraining.objective: {objective} needs model.{lacking[0]}; name an encoder there")


def _read_plan(plan: PretrainingPlan) -> TrainingPlan:
    """The run with the text that the objective looks at."""
    if not plan.pretraining.text_sections:
        return plan.run
    recipe = replace(plan.run.recipe, text_sections=plan.pretraining.text_sections, allow_leakage=True)
    return replace(plan.run, recipe=recipe)


def _of_use(cases: Sequence[Case], plan: PretrainingPlan) -> list[Case]:
    """The studies that teach something: with an image, and with a report where one is compared."""
    with_text = plan.pretraining.objective == "contrastive"
    return [case for case in cases if case.channel_present.any() and (case.text or not with_text)]


def _check_parts(parts: Mapping[str, Sequence[Case]]) -> None:
    for name in ("train", "validation"):
        if len(parts[name]) < 2:
            raise ManifestError(
                f"the {name} split has {len(parts[name])} studies with what pretraining.objective looks at; expected 2 "
                "or more: take more studies, fewer folds, or other pretraining.text_sections"
            )


class _Run:
    """The moving parts of one run."""

    def __init__(
        self,
        plan: PretrainingPlan,
        output: Path,
        watcher: PretrainingWatcher,
        training: Sequence[Case],
        validation: Sequence[Case],
    ) -> None:
        self.plan, self.output, self.watcher = plan, output, watcher
        run = plan.run
        self.accelerator = accelerator_for(run.training.precision)
        torch.manual_seed(derived_seed(run.seed, "weights"))
        self.objective = _objective(plan)
        augment = run.training.augment
        self.samples = CaseSamples(
            training,
            run.recipe.size,
            run.label_set,
            augmentation=Augmentation(augment, run.label_set) if augment else None,
            seed=run.seed,
            blocks=run.training.blocks,
        )
        self.order = EpochBatches(len(training), run.training.batch_size, run.seed)
        self.steps = len(self.order) // self.accelerator.num_processes
        if not self.steps:
            raise ConfigError(
                f"{self.accelerator.num_processes} processes share {len(self.order)} batches an epoch; start fewer, or "
                "make training.batch_size smaller"
            )
        self.validation = CaseSamples(validation, run.recipe.size, run.label_set)
        weights = [weight for weight in self.objective.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=run.training.learning_rate, weight_decay=run.training.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(self.objective, optimizer)

    def go(self, *, resume: bool) -> tuple[int, dict[str, float]]:
        """Train what is left to train; returns the epoch of the best weights, and the figures of the last epoch."""
        progress = self._resume() if resume else Progress()
        epochs = self.plan.run.training.epochs
        rows = _rows(self.output / TABLE, progress.epoch)
        self.watcher.on_training(progress, epochs, self.steps)
        for epoch in range(progress.epoch, epochs):
            loss = self._train_epoch(epoch, progress.step)
            figures = {"train_loss": loss, **self._validate()}
            rows.append({"epoch": epoch, **figures})
            if self.accelerator.is_main_process:
                _write_rows(self.output / TABLE, rows)
            progress = self._save(epoch, progress, figures["validation_loss"])
            self.watcher.on_figures(epoch, figures)
        told = {name: value for name, value in rows[-1].items() if name != "epoch"} if rows else {}
        return progress.best_epoch, told

    def _train_epoch(self, epoch: int, first_step: int) -> float:
        options = self.plan.run.training
        self.samples.epoch = self.order.epoch = epoch
        torch.manual_seed(derived_seed(self.plan.run.seed, "epoch", epoch))
        self.model.train()
        losses = []
        for step, batch in enumerate(self._batches(), start=first_step):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, options.epochs * self.steps, options)
            seen = self._look(batch)
            self.accelerator.backward(seen.loss)
            self.accelerator.clip_grad_norm_(self.model.parameters(), options.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
            losses.append(float(seen.loss.detach()))
            self.watcher.on_step(losses[-1])
        return sum(losses) / len(losses)

    def _look(self, batch: Batch) -> Seen:
        with self.accelerator.autocast():
            seen: Seen = self.model(batch.to(self.accelerator.device))
        return seen

    def _batches(self) -> Iterator[Batch]:
        """This process's share of the epoch's batches."""
        workers = self.plan.run.training.workers
        loader = DataLoader(self.samples, batch_sampler=self.order, collate_fn=self._collate, num_workers=workers)
        processes = self.accelerator.num_processes
        for number, batch in enumerate(islice(loader, self.steps * processes)):
            if number % processes == self.accelerator.process_index:
                yield batch

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """The loss on the validation studies, and how well the objective is met; the same voxels hidden each time."""
        self.objective.eval()
        torch.manual_seed(derived_seed(self.plan.run.seed, "validation"))
        batch_size = self.order.batch_size
        loader = DataLoader(self.validation, batch_size=batch_size, collate_fn=self._collate)
        seen = [self._look(batch) for batch in loader]
        count = max(1, sum(one.count for one in seen))
        figures = {"validation_loss": sum(float(one.loss) * one.count for one in seen) / count}
        variance = sum(float(one.variance) * one.count for one in seen if one.variance is not None) / count
        if variance > 0:
            figures["explained_variance"] = 1 - figures["validation_loss"] / variance
        pairs = [one.embeddings for one in seen if one.embeddings is not None]
        if pairs:
            images, reports = (torch.cat(part).cpu() for part in zip(*pairs, strict=True))
            texts = [case.text for case in self.validation.cases]
            for k in (1, 5):
                names = (f"report_in_{k}", f"image_in_{k}")
                figures |= dict(zip(names, recall_at(images, reports, texts, k), strict=True))
        return figures

    @property
    def _collate(self) -> "partial[Batch]":
        text = dict(self.objective.encoders.items()).get("text")
        return partial(collate, tokenize=cast(TextEncoder, text).tokenize if text is not None else None)

    def _save(self, epoch: int, progress: Progress, score: float) -> Progress:
        better = progress.best_score is None or score < progress.best_score
        progress = replace(progress, epoch=epoch + 1, step=progress.step + self.steps)
        if better:
            progress = replace(progress, best_score=score, best_epoch=epoch)
        if self.accelerator.is_main_process:
            description = EncoderDescription(
                name=self.plan.run.name,
                objective=self.plan.pretraining.objective,
                spec=self.plan.run.spec,
                channels=_channels(self.plan),
                config_sha256=self.plan.run.config_sha256,
                epoch=epoch,
            )
            if better:
                save_encoders(description, self.objective.encoders, self.output / "best")
            files = state.as_files(self.optimizer, progress, own=_teachers(self.objective))
            save_encoders(description, self.objective.encoders, self.output / "last", files)
        return progress

    def _resume(self) -> Progress:
        last = self.output / "last"
        if self.output.is_dir():
            sweep(self.output)
        if not last.exists():
            return Progress()
        if describe_encoders(last).config_sha256 != self.plan.run.config_sha256:
            raise CheckpointError(
                f"{last} was made by another config; resume with the one in {self.output / 'config.yaml'}, "
                "or pre-train into another folder"
            )
        start_from(self.objective.encoders, self.plan.run.spec, _channels(self.plan), last)
        self.objective.load_state_dict(state.read_own(last), strict=False)
        return state.restore(self.optimizer, last)


def _objective(plan: PretrainingPlan) -> Objective:
    spec, options, channels = plan.run.spec, plan.pretraining, len(plan.run.recipe.channels)
    image = IMAGE_ENCODERS.build(cast(str, spec.image), channels, spec.width, options=spec.image_options)
    if options.objective == "masked_volume":
        return MaskedVolumeObjective(image, spec.width, channels, options.masked_share, options.masked_block)
    text = TEXT_ENCODERS.build(cast(str, spec.text), spec.width, options=spec.text_options)
    encoders = {"image": image, "text": text}
    return ContrastiveObjective(encoders, spec.width, options.embedding, options.loss, plan.run.training.batch_size)


def _channels(plan: PretrainingPlan) -> tuple[str, ...]:
    return tuple(rule.name for rule in plan.run.recipe.channels)


def _teachers(objective: Objective) -> dict[str, Tensor]:
    """The weights that are no encoder's: needed to go on, and by nobody after."""
    return {name: value for name, value in objective.state_dict().items() if not name.startswith("encoders.")}


def _rows(path: Path, epoch: int) -> list[dict[str, float]]:
    """The loss curve before an epoch.

    Raises:
        CheckpointError: The table is broken.
    """
    if not path.is_file() or not epoch:
        return []
    try:
        table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
        rows = [{name: float(value) for name, value in row.items()} for row in table]
        return [row | {"epoch": int(row["epoch"])} for row in rows if row["epoch"] < epoch]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no loss curve of medfuse; remove it, and the curve starts anew") from error


def _write_rows(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, lambda aside: aside.write_text(table.getvalue(), encoding="utf-8"))
