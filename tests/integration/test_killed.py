"""A run that is killed with SIGKILL at random moments, five times over, has the loss curve of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medfuse.phantom import write_phantom

KILLS = 5
EPOCHS = 60
SETTINGS = [
    f"training.epochs={EPOCHS}",
    "training.batch_size=2",
    "training.validate_every=3",
    "training.precision=bf16",
    "training.average_decay=0.9",
    "training.accumulate=2",
    "model.width=8",
    "model.image.features=[2,4]",
    "model.text={name: hashing, buckets: 64}",
    "model.fusion={name: cross_attention, layers: 1, heads: 2}",
    "recipe.spacing_mm=[14,14,14]",
    "recipe.size=[16,16,16]",
    "data.folds=3",
    "data.validation_fraction=0.34",
]
START_S = 120
"""Longest wait for a process that has to load torch and read the studies."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of a few made studies."""
    folder = tmp_path_factory.mktemp("killed")
    write_phantom("brain_mr", folder / "studies", studies=12, seed=7)
    words = ("index", folder / "studies", "--labels", folder / "studies" / "labels.csv")
    finish(start(*words, "--output", folder / "manifest.csv"))
    return folder / "manifest.csv"


def start(*words: object) -> subprocess.Popen[bytes]:
    """Start one command of medfuse as a process of its own."""
    command = [sys.executable, "-m", "medfuse.cli.main", *map(str, words)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=one_thread, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process that has to end well."""
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()


def train(manifest: Path, run: Path, *more: str) -> subprocess.Popen[bytes]:
    options = [word for value in [f"data.manifest={manifest}", *SETTINGS] for word in ("--set", value)]
    return start("train", "configs/train/phantom_brain_mr.yaml", "--output", run, *options, *more)


def changes(path: Path) -> Iterator[None]:
    """Yields each time the file has been written anew."""
    seen = path.stat().st_mtime_ns if path.is_file() else 0
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        now = path.stat().st_mtime_ns if path.is_file() else 0
        if now != seen:
            seen = now
            yield
        time.sleep(0.002)


def kill_at_random(process: subprocess.Popen[bytes], run: Path, moment: random.Random) -> None:
    """Kill a process some epochs after it began to train, at any place of an epoch."""
    written = changes(run / "losses.csv")
    for _ in range(moment.randint(1, 6)):
        next(written)
    time.sleep(moment.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"


def test_five_times_killed_equals_undisturbed(manifest: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(train(manifest, whole))
    moment = random.Random(0)
    for kill in range(KILLS):
        process = train(manifest, cut, *(["--resume"] if kill else []))
        kill_at_random(process, cut, moment)
        done = len((cut / "losses.csv").read_text().splitlines()) - 1
        assert 0 < done < EPOCHS
    finish(train(manifest, cut, "--resume"))
    curve = (whole / "losses.csv").read_text()
    assert len(curve.splitlines()) == EPOCHS + 1
    assert (cut / "losses.csv").read_text() == curve
    for name in ("best", "last"):
        one, other = (load_file(run / name / "model.safetensors") for run in (whole, cut))
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert scalars(cut) == scalars(whole)


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run, but for the time that it waited."""
    log = EventAccumulator(str(run / "log"), size_guidance={"scalars": 0})
    log.Reload()
    shown = [tag for tag in log.Tags()["scalars"] if tag != "train/waiting"]
    return {tag: [(event.step, event.value) for event in log.Scalars(tag)] for tag in shown}
