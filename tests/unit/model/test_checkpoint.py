import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from medfuse.errors import CheckpointError, StorageError
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Calibration, Checkpoint, ConformalThresholds, FamiliarityThreshold
from medfuse.preprocess import ChannelRule, Recipe, Window, rules
from tests.parts import LABELS, make_batch, make_network, make_spec


@pytest.fixture
def saved(tmp_path: Path, tiny_bert: Path) -> Path:
    network = make_network(tiny_bert)
    recipe = Recipe(
        channels=(ChannelRule(name="ct", window=Window(low=-1000, high=400)), ChannelRule(name="pet")),
        spacing_mm=(1.0, 1.0, 2.0),
        size=(16, 16, 16),
    )
    checkpoint = Checkpoint(
        name="made",
        label_set=LABELS,
        recipe=recipe,
        spec=make_spec(tiny_bert),
        calibration={"large": Calibration(temperature=1.5, operating_point=0.4)},
        text_weights_sha256=checkpoints.text_weights_sha256(network),
    )
    checkpoints.save(checkpoint, network, tmp_path / "run" / "best")
    return tmp_path / "run" / "best"


def test_it_round_trips(saved: Path, tiny_bert: Path) -> None:
    checkpoint, network = checkpoints.load(saved)
    original = make_network(tiny_bert).eval()
    batch = make_batch(original)
    for one, other in zip(
        (network(batch).finding_logits, network(batch).segment_logits),
        (original(batch).finding_logits, original(batch).segment_logits),
        strict=True,
    ):
        assert torch.equal(one, other)
    assert checkpoint.calibration["large"].operating_point == 0.4
    assert checkpoint.recipe.channels[0].window == Window(low=-1000, high=400)
    assert len(checkpoint.weights_sha256) == 64


def test_the_frozen_text_encoder_is_not_in_it(saved: Path) -> None:
    from safetensors.torch import load_file

    names = load_file(saved / "model.safetensors")
    assert not [name for name in names if "backbone" in name or "frozen" in name]
    assert any(name.startswith("encoders.text.") for name in names)


def test_a_run_means_its_best_else_its_last(saved: Path) -> None:
    assert checkpoints.locate(saved.parent) == saved
    saved.rename(saved.with_name("last"))
    assert checkpoints.locate(saved.parent) == saved.with_name("last")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoints.locate(saved.parent / "elsewhere")


def test_altered_weights_are_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="other hash"):
        checkpoints.load(saved)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 99}', '{"schema_version": 1}'])
def test_a_broken_description_is_refused_in_one_line(saved: Path, text: str) -> None:
    (saved / "checkpoint.json").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(saved)
    assert "\n" not in str(caught.value)


def test_other_text_weights_are_refused(saved: Path) -> None:
    path = saved / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_weights_sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="other text encoder weights"):
        checkpoints.load(saved)


def test_a_failed_write_leaves_the_former_one(saved: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"[Nn]o space left"):
        checkpoints.save(checkpoints.describe(saved), make_network(tiny_bert), saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["best"]


def test_a_checkpoint_of_before_presets_and_registration_is_read(saved: Path) -> None:
    path = saved / "checkpoint.json"
    old = json.loads(path.read_text())
    for channel in old["recipe"]["channels"]:
        for key in ("preset", "any_of", "must", "must_not", "prefer", "contrast_from", "may_share"):
            del channel[key]
    del old["recipe"]["registration"], old["recipe"]["fill_gaps"]
    path.write_text(json.dumps(old))
    recipe = checkpoints.describe(saved).recipe
    assert recipe.channels == (ChannelRule(name="ct", window=Window(low=-1000, high=400)), ChannelRule(name="pet"))
    assert (recipe.registration, recipe.fill_gaps) == ("auto", False)


def test_a_preset_stands_written_out_in_a_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later medfuse makes of the preset does not change what a trained model chooses."""
    checkpoint = checkpoints.describe(saved)
    rule = ChannelRule(preset="t1ce")
    recipe = replace(checkpoint.recipe, channels=(rule,))
    written = TypeAdapter(Checkpoint).dump_json(replace(checkpoint, recipe=recipe))
    monkeypatch.setattr(rules, "PRESETS", {})
    assert TypeAdapter(Checkpoint).validate_json(written).recipe.channels == (rule,)


def test_it_is_amended_whole(saved: Path) -> None:
    before = (saved / "model.safetensors").read_bytes()
    described = checkpoints.describe(saved)
    thresholds = ConformalThresholds(alpha=0.1, present=0.4, present_cases=20)
    fitted = {"large": Calibration(slope=2.0, intercept=-1.0, conformal=thresholds)}
    checkpoints.amend(saved, replace(described, calibration=fitted), {"more": b"1"})
    again, _ = checkpoints.load(saved)
    assert again.calibration == fitted
    assert again.weights_sha256 == described.weights_sha256
    assert (saved / "model.safetensors").read_bytes() == before
    assert (saved / "more").read_bytes() == b"1"
    assert [path.name for path in saved.parent.iterdir()] == ["best"]


def test_an_older_checkpoint_knows_no_familiarity(saved: Path) -> None:
    content = json.loads((saved / "checkpoint.json").read_text())
    for key in ("familiarity", "ranges"):
        del content[key]
    for key in ("slope", "intercept", "conformal"):
        del content["calibration"]["large"][key]
    (saved / "checkpoint.json").write_text(json.dumps(content))
    described = checkpoints.describe(saved)
    assert described.familiarity is None
    assert checkpoints.read_familiarity(saved, described) == {}
    assert described.calibration["large"].scaled(3.0) == 2.0


def test_an_altered_familiarity_file_is_refused(saved: Path) -> None:
    from safetensors.torch import save

    known = FamiliarityThreshold(threshold=1.5, false_alarms=0.01, training_studies=9, held_out_studies=3, sha256="0")
    described = replace(checkpoints.describe(saved), familiarity=known)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.read_familiarity(saved, described)
    (saved / "familiarity.safetensors").write_bytes(save({"mean": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="other hash"):
        checkpoints.read_familiarity(saved, described)


def test_the_thresholds_of_an_ensemble_come_back(tmp_path: Path) -> None:
    assert checkpoints.read_ensemble(tmp_path) == {}
    given = {"large": ConformalThresholds(alpha=0.1, absent=0.3, absent_cases=40)}
    checkpoints.write_ensemble(tmp_path, given)
    assert checkpoints.read_ensemble(tmp_path) == given
    (tmp_path / "calibration.json").write_text("[")
    with pytest.raises(CheckpointError, match="broken"):
        checkpoints.read_ensemble(tmp_path)


def test_a_line_scales_in_place_of_a_temperature() -> None:
    assert Calibration(slope=2.0, intercept=-1.0).scaled(3.0) == 5.0
    assert Calibration().scaled(3.0) == 3.0
    assert [Calibration().is_fitted, Calibration(slope=1.0).is_fitted] == [False, True]
