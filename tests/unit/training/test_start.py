"""Weights to start from: taken over whole, of the same encoder alone, never from a run that saw the test patients."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medfuse.domain import LabelValue
from medfuse.errors import CheckpointError, ConfigError, LabelLeakageError
from medfuse.ingest import ManifestRow
from medfuse.model import checkpoint as checkpoints
from medfuse.model.encoder_weights import EncoderDescription, save_encoders, start_from, start_sha256
from medfuse.training.options import TrainingPlan
from medfuse.training.studies import check_start, write_splits
from medfuse.training.trainer import _Run
from tests.parts import make_network
from tests.unit.training.test_resume import TRAINING, VALIDATION, Watch, make_plan

CHANNELS = ("a", "b")


@pytest.fixture
def pretrained(tiny_bert: Path, tmp_path: Path) -> Path:
    """Encoders of the network of `make_plan`, with other weights than a new one has."""
    network = make_network(tiny_bert)
    with torch.no_grad():
        for weight in network.encoders.parameters():
            weight.add_(0.01)
    spec = make_plan(tiny_bert).spec
    told = EncoderDescription(
        name="made", objective="masked_volume", spec=spec, channels=CHANNELS, config_sha256="", epoch=0
    )
    save_encoders(told, network.encoders, tmp_path / "pretrained" / "best")
    return tmp_path / "pretrained"


def starting(tiny_bert: Path, **changes: Any) -> TrainingPlan:
    plan = make_plan(tiny_bert)
    return replace(plan, training=replace(plan.training, **changes))


def test_a_run_starts_from_the_weights_and_leaves_frozen_ones_alone(
    tiny_bert: Path, pretrained: Path, tmp_path: Path
) -> None:
    plan = starting(tiny_bert, start_from=str(pretrained), freeze=("image",))
    run = _Run(plan, tmp_path / "run", Watch(), TRAINING, VALIDATION)
    begun = {name: value.clone() for name, value in run.network.encoders.state_dict().items()}
    fresh = _Run(make_plan(tiny_bert), tmp_path / "other", Watch(), TRAINING, VALIDATION).network.encoders.state_dict()
    assert all(not torch.equal(begun[name], fresh[name]) for name in begun if name.endswith(".weight"))
    run.go(resume=False)
    ended = run.network.encoders.state_dict()
    assert all(torch.equal(begun[name], ended[name]) for name in begun if name.startswith("image."))
    assert any(not torch.equal(begun[name], ended[name]) for name in begun if name.startswith("text."))


def test_a_training_run_is_a_start_too(tiny_bert: Path, tmp_path: Path) -> None:
    first = _Run(make_plan(tiny_bert), tmp_path / "first", Watch(), TRAINING, VALIDATION)
    first.go(resume=False)
    best = checkpoints.load(tmp_path / "first" / "best")[1].encoders.state_dict()
    run = _Run(starting(tiny_bert, start_from=str(tmp_path / "first")), tmp_path / "b", Watch(), TRAINING, VALIDATION)
    assert all(torch.equal(best[name], value) for name, value in run.network.encoders.state_dict().items())
    assert start_sha256(tmp_path / "first") == checkpoints.describe(tmp_path / "first" / "best").weights_sha256


@pytest.mark.parametrize(
    ("changes", "channels", "said"),
    [
        ({"image": "segresnet", "image_options": {}}, CHANNELS, "its name is unet, expected segresnet"),
        ({"width": 48}, CHANNELS, "its width is 32, expected 48"),
        ({}, ("a", "c"), "its channels are"),
        ({"image_options": {"features": (4, 8, 32)}}, CHANNELS, "with other options"),
    ],
)
def test_weights_of_another_encoder_are_refused(
    tiny_bert: Path, pretrained: Path, changes: dict[str, Any], channels: tuple[str, ...], said: str
) -> None:
    network = make_network(tiny_bert, **changes)
    spec = replace(make_plan(tiny_bert).spec, **changes)
    with pytest.raises(CheckpointError, match=said):
        start_from(network.encoders, spec, channels, pretrained)


def test_altered_and_missing_weights_are_refused(tiny_bert: Path, pretrained: Path) -> None:
    network, spec = make_network(tiny_bert), make_plan(tiny_bert).spec
    with (pretrained / "best" / "encoders.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="other hash"):
        start_from(network.encoders, spec, CHANNELS, pretrained)
    with pytest.raises(CheckpointError, match="holds no weights to start from"):
        start_from(network.encoders, spec, CHANNELS, pretrained.parent / "nowhere")


def test_an_encoder_that_is_off_cannot_be_frozen(tiny_bert: Path, tmp_path: Path) -> None:
    plan = starting(tiny_bert, freeze=("text",))
    with pytest.raises(ConfigError, match=r"training\.freeze names text"):
        _Run(replace(plan, spec=replace(plan.spec, text=None)), tmp_path, Watch(), TRAINING, VALIDATION)


def rows_of(count: int) -> list[ManifestRow]:
    return [
        ManifestRow(
            study_instance_uid=f"1.{n}",
            patient_key=f"p{n}",
            path=Path("nowhere"),
            source="dicom",
            labels={"large": LabelValue.PRESENT},
        )
        for n in range(count)
    ]


def test_weights_that_have_seen_a_test_patient_are_refused(tiny_bert: Path, pretrained: Path) -> None:
    rows = rows_of(4)
    theirs = {"1.0": "train", "1.1": "validation", "1.2": "test", "1.3": "test"}
    write_splits(pretrained / "splits.csv", rows, theirs)
    for place in (pretrained, pretrained / "best"):
        plan = starting(tiny_bert, start_from=str(place))
        check_start(plan, rows, {"1.0": "validation", "1.1": "train", "1.2": "test", "1.3": "train"})
        with pytest.raises(LabelLeakageError, match="seen 1 of the 2 patients"):
            check_start(plan, rows, {"1.0": "train", "1.1": "test", "1.2": "test", "1.3": "train"})


def test_weights_that_do_not_say_whom_they_have_seen_are_refused(tiny_bert: Path, pretrained: Path) -> None:
    with pytest.raises(CheckpointError, match="says whom"):
        check_start(starting(tiny_bert, start_from=str(pretrained)), rows_of(1), {"1.0": "test"})
