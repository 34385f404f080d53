"""Pre-training: it learns what it is meant to, of training patients alone; a killed run goes on as if nothing was."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medfuse.data.cases import CaseSet
from medfuse.data.collate import collate
from medfuse.data.samples import Case, sample_of
from medfuse.domain import SectionName
from medfuse.errors import CheckpointError, ConfigError, ManifestError
from medfuse.ingest import ManifestRow
from medfuse.model import ModelSpec
from medfuse.preprocess import ChannelRule, Recipe
from medfuse.pretraining import PretrainingOptions, PretrainingPlan, pretrain, trainer
from medfuse.pretraining.objectives import ContrastiveObjective, MaskedVolumeObjective, recall_at
from medfuse.seeding import stream
from medfuse.training import DataOptions, TrainingOptions, TrainingPlan
from medfuse.training.state import Progress
from medfuse.training.studies import Studies
from tests.parts import LABELS

SIZE = (16, 16, 16)
CORNERS = [f"{a} {b} {c}" for a in ("left", "right") for b in ("front", "back") for c in ("low", "high")]


class PlugPulledError(Exception):
    """The plug was pulled."""


class Watch:
    """Notes the losses, and pulls the plug at a step."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.losses: list[float] = []
        self.figures: list[Mapping[str, float]] = []
        self.kill_at = kill_at

    def on_studies(self, total: int) -> None: ...

    def on_study(self) -> None: ...

    def on_training(self, progress: Progress, epochs: int, steps_per_epoch: int) -> None: ...

    def on_step(self, loss: float) -> None:
        self.losses.append(loss)
        if len(self.losses) == self.kill_at:
            raise PlugPulledError

    def on_figures(self, epoch: int, figures: Mapping[str, float]) -> None:
        self.figures.append(figures)


def make_case(index: int) -> Case:
    """A bright box in one of eight corners, and a text that says in which."""
    corner = index % 8
    start = [9 if corner >> axis & 1 else 2 for axis in (2, 1, 0)]
    image = stream(0, "pretraining", index).normal(0, 0.2, (1, *SIZE)).astype(np.float32)
    i, j, k = start
    image[0, i : i + 5, j : j + 5, k : k + 5] += 2
    return Case(
        study_instance_uid=f"1.2.{index:03d}",
        image=image,
        channel_present=np.ones(1, dtype=bool),
        text=f"A mass {CORNERS[corner]}.",
        truth=None,
        labels={},
        voxel_volume_ml=0.001,
    )


def make_plan(objective: str = "contrastive", *, epochs: int = 2, **options: Any) -> PretrainingPlan:
    run = TrainingPlan(
        name="made",
        seed=3,
        data=DataOptions(manifest=Path("manifest.csv"), folds=4, validation_fraction=0.25),
        label_set=LABELS,
        recipe=Recipe(channels=(ChannelRule(name="a"),), spacing_mm=(1, 1, 1), size=SIZE),
        spec=ModelSpec(width=32, image_options={"features": (4, 8, 16)}, text="hashing", text_options={"buckets": 256}),
        training=TrainingOptions(
            epochs=epochs, batch_size=8, learning_rate=0.01, warmup_steps=5, augment=None, precision="fp32"
        ),
        config_sha256="one",
    )
    return PretrainingPlan(run=run, pretraining=PretrainingOptions(objective=objective, **options))


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Forty studies of forty patients, in place of a manifest's."""
    made = [make_case(n) for n in range(40)]
    rows = tuple(
        ManifestRow(
            study_instance_uid=case.study_instance_uid,
            patient_key=f"patient {case.study_instance_uid}",
            path=Path("nowhere"),
            source="dicom",
        )
        for case in made
    )

    def read(plan, on_start, on_study, *, need_labels):
        assert not need_labels
        return Studies(rows=rows, case_set=CaseSet(cases={case.study_instance_uid: case for case in made}, rejected=()))

    monkeypatch.setattr(trainer, "read_studies", read)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "epochs"), [("siglip", 80), ("clip", 20)])
def test_images_find_their_reports_among_those_of_other_patients(
    cases: list[Case], tmp_path: Path, loss: str, epochs: int
) -> None:
    watch = Watch()
    result = pretrain(make_plan(epochs=epochs, loss=loss), tmp_path, watch)
    assert watch.figures[-1]["report_in_1"] > 0.8  # one in eight by chance
    assert watch.figures[0]["validation_loss"] > 2 * result.figures["validation_loss"]


def test_hidden_blocks_are_guessed_better_than_by_their_mean(cases: list[Case], tmp_path: Path) -> None:
    plan = make_plan("masked_volume", epochs=12, masked_block=4, masked_share=0.4)
    assert pretrain(plan, tmp_path, Watch()).figures["explained_variance"] > 0.2


def test_test_patients_are_never_looked_at(cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    real = trainer._Run._look

    def look(self, batch):
        seen.update(batch.study_instance_uids)
        return real(self, batch)

    monkeypatch.setattr(trainer._Run, "_look", look)
    pretrain(make_plan(), tmp_path, Watch())
    with (tmp_path / "splits.csv").open() as file:
        split = {row["study_instance_uid"]: row["split"] for row in csv.DictReader(file)}
    held_out = {uid for uid, name in split.items() if name == "test"}
    assert len(held_out) == 10
    assert not seen & held_out
    assert {uid for uid, name in split.items() if name == "validation"} < seen


@pytest.mark.parametrize("objective", ["contrastive", "masked_volume"])
def test_a_killed_run_goes_on_as_if_nothing_was(cases: list[Case], tmp_path: Path, objective: str) -> None:
    plan, whole, cut = make_plan(objective, epochs=4), Watch(), Watch(kill_at=8)
    pretrain(plan, tmp_path / "whole", whole)
    with pytest.raises(PlugPulledError):
        pretrain(plan, tmp_path / "cut", cut)
    again = Watch()
    pretrain(plan, tmp_path / "cut", again, resume=True)
    assert whole.losses[-len(again.losses) :] == again.losses
    assert (tmp_path / "cut" / "losses.csv").read_text() == (tmp_path / "whole" / "losses.csv").read_text()
    one, other = (load_file(tmp_path / run / "last" / "encoders.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_config_is_not_gone_on_with(cases: list[Case], tmp_path: Path) -> None:
    plan = make_plan()
    pretrain(plan, tmp_path, Watch())
    other = replace(plan, run=replace(plan.run, config_sha256="two"))
    with pytest.raises(CheckpointError, match="made by another config"):
        pretrain(other, tmp_path, Watch(), resume=True)


def test_studies_without_what_is_compared_are_left_out(cases: list[Case], tmp_path: Path) -> None:
    cases[:] = [replace(case, text="") for case in cases]
    with pytest.raises(ManifestError, match="0 studies with what"):
        pretrain(make_plan(), tmp_path, Watch())
    assert not list(tmp_path.iterdir())
    pretrain(make_plan("masked_volume", epochs=1), tmp_path, Watch())


def test_an_objective_says_which_encoder_it_lacks(tmp_path: Path) -> None:
    plan = make_plan()
    with pytest.raises(ConfigError, match=r"needs model\.text"):
        pretrain(replace(plan, run=replace(plan.run, spec=replace(plan.run.spec, text=None))), tmp_path, Watch())


def test_other_sections_are_read_where_they_are_asked_for() -> None:
    plan = make_plan(text_sections=(SectionName.FINDINGS,))
    assert trainer._read_plan(plan).recipe.text_sections == (SectionName.FINDINGS,)
    assert plan.run.recipe.text_sections != (SectionName.FINDINGS,)


def test_a_pair_of_one_teaches_nothing_and_breaks_nothing() -> None:
    plan = make_plan()
    objective = trainer._objective(plan)
    assert isinstance(objective, ContrastiveObjective)
    samples = [sample_of(replace(make_case(n), text="words" if n == 0 else ""), SIZE, LABELS) for n in range(3)]
    seen = objective(collate(samples, objective.encoders["text"].tokenize))
    seen.loss.backward()
    assert (seen.loss.item(), seen.count) == (0, 0)
    assert all(weight.grad is None or not weight.grad.any() for weight in objective.parameters())


def test_absent_channels_and_shown_voxels_do_not_count() -> None:
    objective = trainer._objective(make_plan("masked_volume"))
    assert isinstance(objective, MaskedVolumeObjective)
    absent = replace(make_case(0), channel_present=np.zeros(1, dtype=bool))
    seen = objective(collate([sample_of(absent, SIZE, LABELS)], None))
    assert (seen.loss.item(), seen.count) == (0, 0)
    torch.manual_seed(0)
    hidden = objective._blocks(torch.zeros(20, 1, 16, 12, 20))
    assert hidden.float().mean().item() == pytest.approx(0.6, abs=0.1)
    assert (hidden[:, :, :8, :8, :8].flatten(1).float().mean(1) % 1 == 0).all()  # a block is hidden whole or not at all


def test_recall_counts_equal_reports_as_each_others() -> None:
    images = torch.eye(3)
    reports = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert recall_at(images, reports, ("a", "b", "c"), 1) == pytest.approx((1 / 3, 1 / 3))
    assert recall_at(images, reports, ("a", "a", "c"), 1) == (1, 1)
    assert recall_at(images, reports, ("a", "b", "c"), 5) == (1, 1)
