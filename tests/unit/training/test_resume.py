"""A run that was killed and resumed equals the one that was not."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medfuse.data.augment import AugmentOptions
from medfuse.data.samples import Case
from medfuse.domain import Target, TargetKind
from medfuse.errors import CheckpointError, ConfigError, ManifestError
from medfuse.preprocess import ChannelRule, Recipe
from medfuse.training.loop import Losses, Validation, learning_rate
from medfuse.training.options import DataOptions, TrainingOptions, TrainingPlan
from medfuse.training.state import Progress
from medfuse.training.trainer import _Run, is_finished
from tests.parts import LABELS, SIZE, make_case, make_spec

TRAINING, VALIDATION = [make_case(n) for n in range(6)], [make_case(n) for n in range(6, 9)]


class PlugPulledError(Exception):
    """The plug was pulled."""


class Watch:
    """Notes the losses, and pulls the plug at a step."""

    def __init__(self, kill_at: int | None = None) -> None:
        self.losses: list[float] = []
        self.first = 0
        self.kill_at = kill_at

    def on_studies(self, total: int) -> None: ...

    def on_study(self) -> None: ...

    def on_training(self, progress: Progress, epochs: int, steps_per_epoch: int) -> None:
        self.first = progress.step

    def on_step(self, loss: float) -> None:
        self.losses.append(loss)
        if self.kill_at is not None and len(self.losses) == self.kill_at:
            raise PlugPulledError

    def on_epoch(self, epoch: int, losses: Losses, validation: Validation | None) -> None: ...


def make_plan(tiny_bert: Path, **changes: Any) -> TrainingPlan:
    return TrainingPlan(
        name="made",
        seed=3,
        data=DataOptions(),
        label_set=LABELS,
        recipe=Recipe(channels=(ChannelRule(name="a"), ChannelRule(name="b")), spacing_mm=(1, 1, 1), size=SIZE),
        spec=make_spec(tiny_bert),
        training=TrainingOptions(
            epochs=3,
            batch_size=2,
            warmup_steps=2,
            precision="fp32",
            augment=AugmentOptions(spatial_probability=1.0),
            **changes,
        ),
        config_sha256="made",
    )


TARGETS = (
    Target(name="subtype", kind=TargetKind.CLASSES, classes=("a", "b", "c")),
    Target(name="grade", kind=TargetKind.GRADES, classes=("1", "2", "3")),
    Target(name="age", kind=TargetKind.NUMBER),
)


def with_targets(case: Case, n: int) -> Case:
    """The case with two of the three targets."""
    known = {"subtype": n % 3, "grade": n % 3, "age": 60.0 + n}
    return dataclasses.replace(case, targets={name: v for k, (name, v) in enumerate(known.items()) if k != n % 3})


def run(tiny_bert: Path, output: Path, watch: Watch, *, resume: bool = False, **changes: Any) -> None:
    plan, training, validation = make_plan(tiny_bert, **changes), TRAINING, VALIDATION
    if "target_balance" in changes:
        plan = dataclasses.replace(plan, label_set=dataclasses.replace(LABELS, targets=TARGETS))
        training, validation = (
            [with_targets(case, n) for n, case in enumerate(part)] for part in (training, validation)
        )
    _Run(plan, output, watch, training, validation).go(resume=resume)


@pytest.mark.parametrize(
    ("kill_at", "changes"),
    [
        (1, {}),
        (4, {}),
        (8, {}),
        (5, {"average_decay": 0.9}),
        (8, {"accumulate": 2, "schedule": "poly"}),
        (5, {"task_weights": "learned", "finding_balance": "inverse"}),
        (5, {"task_weights": "learned", "target_balance": "inverse"}),
    ],
)
def test_killed_and_resumed_equals_undisturbed(
    tiny_bert: Path, tmp_path: Path, kill_at: int, changes: dict[str, Any]
) -> None:
    whole = Watch()
    run(tiny_bert, tmp_path / "whole", whole, **changes)
    killed = Watch(kill_at)
    with pytest.raises(PlugPulledError):
        run(tiny_bert, tmp_path / "cut", killed, **changes)
    resumed = Watch()
    run(tiny_bert, tmp_path / "cut", resumed, resume=True, **changes)
    assert len(whole.losses) == 9
    assert resumed.first == (kill_at - 1) // 3 * 3 if kill_at % 3 else kill_at - 3
    assert killed.losses[: resumed.first] + resumed.losses == whole.losses
    for name in ("best", "last"):
        one, other = (load_file(tmp_path / place / name / "model.safetensors") for place in ("whole", "cut"))
        assert all(torch.equal(one[key], other[key]) for key in one)
    if "task_weights" in changes:
        one, other = (load_file(tmp_path / place / "last" / "criterion.safetensors") for place in ("whole", "cut"))
        assert one["log_variances"].ne(0).all()
        assert torch.equal(one["log_variances"], other["log_variances"])


def test_a_finished_run_resumed_does_nothing(tiny_bert: Path, tmp_path: Path) -> None:
    run(tiny_bert, tmp_path, Watch())
    again = Watch()
    run(tiny_bert, tmp_path, again, resume=True)
    assert again.losses == []


@pytest.mark.parametrize(("select", "best"), [("validation", 0), ("last", 2)])
def test_the_best_epoch_is_the_one_that_was_asked_for(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str, best: int
) -> None:
    losses = iter((1.0, 2.0, 3.0))
    validate = _Run._validate

    def ever_worse(run: _Run) -> Validation:
        seen = validate(run)
        return dataclasses.replace(seen, losses=Losses(total=next(losses), findings=0.0, segments=0.0))

    monkeypatch.setattr(_Run, "_validate", ever_worse)
    plan = make_plan(tiny_bert)
    plan = dataclasses.replace(plan, training=dataclasses.replace(plan.training, select=select))
    assert _Run(plan, tmp_path, Watch(), TRAINING, VALIDATION).go(resume=False) == best


def test_another_config_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    run(tiny_bert, tmp_path, Watch())
    plan = dataclasses.replace(make_plan(tiny_bert), config_sha256="another")
    with pytest.raises(CheckpointError, match="another config"):
        _Run(plan, tmp_path, Watch(), TRAINING, VALIDATION).go(resume=True)


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    options = TrainingOptions(learning_rate=1.0, warmup_steps=10)
    rates = [learning_rate(step, 100, options) for step in range(101)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == rates[9]
    assert rates[-1] == pytest.approx(0)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[9:]))


def test_the_average_is_what_is_saved(tiny_bert: Path, tmp_path: Path) -> None:
    made = _Run(make_plan(tiny_bert, average_decay=0.9), tmp_path, Watch(), TRAINING, VALIDATION)
    made.go(resume=False)
    assert made.average is not None
    saved = load_file(tmp_path / "last" / "model.safetensors")
    own = load_file(tmp_path / "last" / "own.safetensors")
    name = "findings.read_out.all.weight"
    torch.testing.assert_close(saved[name], made.average.averages[name])
    torch.testing.assert_close(own[name], dict(made.network.named_parameters())[name].detach())
    assert not torch.allclose(saved[name], own[name])


def test_a_run_without_progress_stops(tiny_bert: Path, tmp_path: Path) -> None:
    class Counting(Watch):
        epochs = 0

        def on_epoch(self, epoch: int, losses: Losses, validation: Validation | None) -> None:
            self.epochs += 1

    watch = Counting()
    made = _Run(
        make_plan(tiny_bert, patience=1, learning_rate=0.0, weight_decay=0.0), tmp_path, watch, TRAINING, VALIDATION
    )
    assert made.go(resume=False) == 0
    assert watch.epochs == 2


@pytest.mark.parametrize(
    "changes", [{"accumulate": 0}, {"average_decay": 1.0}, {"patience": 0}, {"patience": 2, "select": "last"}]
)
def test_options_without_meaning_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"training.{next(iter(changes))}"):
        TrainingOptions(**changes)


def test_a_run_whose_patience_ran_out_is_finished(tiny_bert: Path, tmp_path: Path) -> None:
    stopped = {"patience": 1, "learning_rate": 0.0, "weight_decay": 0.0}
    run(tiny_bert, tmp_path, Watch(), **stopped)
    again = Watch()
    run(tiny_bert, tmp_path, again, resume=True, **stopped)
    assert again.losses == []
    assert is_finished(make_plan(tiny_bert, **stopped), tmp_path)
    assert not is_finished(make_plan(tiny_bert), tmp_path)
    assert not is_finished(make_plan(tiny_bert), tmp_path / "nothing")


def test_a_kill_between_the_curve_and_the_checkpoint_leaves_no_trace(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny_bert, tmp_path / "whole", Watch())
    save, saved = _Run._save, itertools.count()

    def pulled(made: _Run, *given: Any) -> Progress:
        if next(saved) == 1:
            raise PlugPulledError
        return save(made, *given)

    monkeypatch.setattr(_Run, "_save", pulled)
    with pytest.raises(PlugPulledError):
        run(tiny_bert, tmp_path / "cut", Watch())
    assert len((tmp_path / "cut" / "losses.csv").read_text().splitlines()) == 3
    run(tiny_bert, tmp_path / "cut", Watch(), resume=True)
    one, other = ((tmp_path / place / "losses.csv").read_text() for place in ("whole", "cut"))
    assert one == other
    assert len(one.splitlines()) == 4


def test_a_broken_curve_is_named(tiny_bert: Path, tmp_path: Path) -> None:
    run(tiny_bert, tmp_path, Watch())
    (tmp_path / "losses.csv").write_text("epoch,loss\n0,1.0\n")
    with pytest.raises(CheckpointError, match=r"losses\.csv is no loss curve"):
        run(tiny_bert, tmp_path, Watch(), resume=True)


def test_a_target_that_no_training_study_knows_is_refused_and_a_class_that_none_has_is_told(
    tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = dataclasses.replace(make_plan(tiny_bert), label_set=dataclasses.replace(LABELS, targets=TARGETS))
    known = [with_targets(case, n % 2) for n, case in enumerate(TRAINING)]
    _Run(plan, tmp_path, Watch(), known, VALIDATION)
    assert "target grade: no study of the train split is ['2', '3']" in caplog.text
    assert "target subtype: no study of the train split is ['a', 'c']" in caplog.text
    nothing = [dataclasses.replace(case, targets={"subtype": 0.0, "grade": 0.0}) for case in TRAINING]
    with pytest.raises(ManifestError, match="no study of the train split knows target 'age'"):
        _Run(plan, tmp_path, Watch(), nothing, VALIDATION)
