"""Which engine runs a network on this machine: found by a short trial on a window of the first study, and kept.

An engine is taken only when what it says of that window equals what PyTorch says in fp32, within `TOLERANCES`. The
choice is kept in the user's cache folder by network and machine; it holds times and differences, nothing of a study.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from medfuse.errors import StorageError, UsageError
from medfuse.inference.engines.agreement import TOLERANCES, Difference, difference
from medfuse.inference.engines.base import ENGINES, Encoded, Engine, Precision, PrecisionChoice, Window
from medfuse.inference.engines.graph import channel_count
from medfuse.inference.engines.onnx_graph import cache_folder, network_hash, require
from medfuse.inference.engines.pytorch import PyTorchEngine
from medfuse.model import FusionNetwork
from medfuse.storage import write_file
from medfuse.tensors import Batch, ModelOutput, TextTokens

AUTO = "auto"
CANDIDATES: tuple[tuple[str, Precision], ...] = (
    ("pytorch", "fp32"),
    ("pytorch", "bf16"),
    ("openvino", "bf16"),
    ("openvino", "fp32"),
    ("onnxruntime", "fp32"),
)
"""What `auto` tries. `compiled` is left out: it takes minutes before its first answer."""

ROUNDS = 2
HOPELESS = 2.5
"""A first answer this much slower than the fastest engine so far ends an engine's trial."""

_PACKAGES = ("torch", "openvino", "onnxruntime")

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of trying one engine.

    Args:
        engine: Its name.
        precision: Its precision.
        seconds: A window took it; None when it could not be tried.
        difference: From PyTorch in fp32; None when it could not be tried.
        refused: Why it cannot be taken; empty when it can.
    """

    engine: str
    precision: Precision
    seconds: float | None = None
    difference: Difference | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The engine that was taken, and what it was taken among."""

    engine: str
    precision: Precision
    trials: tuple[Trial, ...]

    def sentence(self) -> str:
        """One line for a person."""
        tried = [
            f"{one.engine} {one.precision} "
            + (one.refused or (f"{1000 * one.seconds:.0f} ms" if one.seconds is not None else ""))
            for one in self.trials
        ]
        return f"engine: {self.engine} {self.precision} (a window: {'; '.join(tried)})"


class ChosenEngine(Engine):
    """Several engines behind one: the fastest that agrees with PyTorch in fp32 answers, once a window has been tried.

    Args:
        network: On the device where it runs.
        window: Size of a window.
        candidates: Names and precisions.
    """

    name = AUTO
    precision: Precision = "fp32"

    def __init__(self, network: FusionNetwork, window: Window, candidates: Sequence[tuple[str, Precision]]) -> None:
        super().__init__(network)
        self.window = window
        self.candidates = tuple(candidates)
        self.reference = PyTorchEngine(network, window)
        self.chosen: Engine | None = None
        self.choice: Choice | None = None

    def encode(self, tokens: TextTokens) -> Encoded:
        """Features of the text of one study."""
        return self.reference.encode(tokens)

    def ready(self, batch: Batch, encoded: Encoded) -> None:
        """Choose by this batch of one window, or as it was chosen before.

        Raises:
            UsageError: The one engine that was asked for is not installed, or differs from PyTorch by too much.
        """
        if self.chosen is not None:
            return
        path = self._path()
        known = _read(path)
        if known is not None:
            self._take(known, self._build(known.engine, known.precision))
            return
        engines = self._trials(batch, encoded)
        choice = self._fastest([trial for trial, _ in engines])
        self._take(choice, next(e for trial, e in engines if _is(trial, choice) and e is not None))
        _write(path, choice)
        LOG.debug("%s", choice.sentence())

    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        """Answer a batch."""
        if self.chosen is None:
            self.ready(batch, self.encode(batch.text) if encoded is None else encoded)
        engine = self.chosen if self.chosen is not None else self.reference
        return engine.run(batch, encoded)

    def _take(self, choice: Choice, engine: Engine) -> None:
        self.chosen, self.choice, self.precision = engine, choice, choice.precision

    def _build(self, name: str, precision: Precision) -> Engine:
        if (name, precision) == ("pytorch", "fp32"):
            return self.reference
        return ENGINES.build(name, self.network, self.window, options={"precision": precision})

    def _trials(self, batch: Batch, encoded: Encoded) -> list[tuple[Trial, Engine | None]]:
        expected = self.reference.run(batch, encoded)
        done: list[tuple[Trial, Engine | None]] = []
        for name, precision in self.candidates:
            best = min((trial.seconds for trial, _ in done if trial.seconds is not None), default=None)
            try:
                engine = self._build(name, precision)
                seconds, answer = _timed(engine, batch, encoded, best)
            except (UsageError, StorageError, RuntimeError) as error:
                LOG.debug("engine %s cannot be used", name, exc_info=True)
                refused = str(error) if isinstance(error, UsageError) else f"failed with {type(error).__name__}"
                done.append((Trial(engine=name, precision=precision, refused=refused), None))
                continue
            differs = difference(answer, expected)
            refused = TOLERANCES[precision].objection(differs)
            trial = Trial(engine=name, precision=precision, seconds=seconds, difference=differs, refused=refused)
            done.append((trial, engine))
        return done

    @staticmethod
    def _fastest(trials: Sequence[Trial]) -> Choice:
        usable = [trial for trial in trials if not trial.refused and trial.seconds is not None]
        if not usable:
            said = "; ".join(f"{one.engine} {one.precision}: {one.refused}" for one in trials)
            raise UsageError(f"no engine that was asked for can be used ({said}); take --engine pytorch")
        best = min(usable, key=lambda trial: trial.seconds or 0.0)
        return Choice(engine=best.engine, precision=best.precision, trials=tuple(trials))

    def _path(self) -> Path:
        machine = [platform.machine(), _processor(), str(os.cpu_count()), str(torch.get_num_threads())]
        versions = [f"{name} {_version(name)}" for name in _PACKAGES]
        key = json.dumps([network_hash(self.network, self.window), machine, versions, self.candidates])
        return cache_folder() / f"choice-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def engine_for(
    network: FusionNetwork,
    window: Window,
    *,
    engine: str = "pytorch",
    precision: PrecisionChoice = "fp32",
) -> Engine:
    """The engine of a network.

    Args:
        network: On the device where it runs.
        window: Size of a window.
        engine: A name of `ENGINES`, or `auto`.
        precision: fp32, bf16, or `auto` for the faster one that agrees. bf16 is offered to `auto` only where the
            processor multiplies in it.

    Raises:
        ConfigError: The engine is unknown.
        UsageError: The precision is unknown, the engine does not have it, or its packages are not installed.
    """
    if precision not in (AUTO, "fp32", "bf16"):
        raise UsageError(f"unknown precision {precision!r}; known: auto, bf16, fp32")
    if engine != AUTO:
        _check(engine, precision)
    if (engine == "pytorch" and precision == "fp32") or not channel_count(network):
        return PyTorchEngine(network, window)
    on_processor = next(network.parameters()).device.type == "cpu"
    return ChosenEngine(network, window, _candidates(engine, precision, on_processor=on_processor))


def _check(engine: str, precision: PrecisionChoice) -> None:
    kind = ENGINES.get(engine)
    if isinstance(kind, type) and issubclass(kind, Engine):
        require(kind.packages, f"engine {engine}")
        if precision not in (AUTO, *kind.precisions):
            raise UsageError(f"engine {engine} computes in {' or '.join(kind.precisions)}, not in {precision}")


def _candidates(engine: str, precision: PrecisionChoice, *, on_processor: bool) -> list[tuple[str, Precision]]:
    both: tuple[Precision, ...] = ("fp32", "bf16")
    known = CANDIDATES if engine == AUTO else tuple((engine, kind) for kind in both)
    return [
        (name, kind)
        for name, kind in known
        if (precision == kind or (precision == AUTO and (kind == "fp32" or multiplies_bf16())))
        and (on_processor or name in ("pytorch", "compiled"))
        and not (name == "onnxruntime" and kind == "bf16")
    ]


def multiplies_bf16() -> bool:
    """Whether the hardware multiplies in bf16; emulated, it is slower than fp32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _timed(engine: Engine, batch: Batch, encoded: Encoded, best: float | None) -> tuple[float, ModelOutput]:
    """Seconds of the fastest answer after the first, and the answer; the first one's where it is hopelessly slow."""
    taken = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        answer = engine.run(batch, encoded)
        taken.append(time.perf_counter() - begun)
        if best is not None and len(taken) > 1 and taken[-1] > HOPELESS * best:
            break
    return min(taken[1:]), answer


def _is(trial: Trial, choice: Choice) -> bool:
    return (trial.engine, trial.precision) == (choice.engine, choice.precision)


def _read(path: Path) -> Choice | None:
    try:
        return TypeAdapter(Choice).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _write(path: Path, choice: Choice) -> None:
    text = json.dumps(asdict(choice), indent=1)
    try:
        write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))
    except StorageError as error:
        LOG.info("the choice of an engine cannot be kept: %s", error)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
