import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medfuse.domain import LabelSet
from medfuse.domain.labels import Target, TargetKind
from medfuse.errors import ConfigError, UsageError
from medfuse.inference.engines import ENGINES, ChosenEngine, Encoded, Engine, PyTorchEngine, choice, engine_for
from medfuse.inference.engines.agreement import TOLERANCES, Difference, difference
from medfuse.inference.engines.onnx_graph import cache_folder, cached_onnx, network_hash
from medfuse.model import FusionNetwork
from medfuse.tensors import Batch, ModelOutput
from tests.parts import LABELS, SIZE, make_batch, make_network

TARGETS = (
    Target(name="grade", kind=TargetKind.GRADES, classes=("low", "middle", "high")),
    Target(name="size", kind=TargetKind.NUMBER, unit="mm"),
)
EXPORTED = ("openvino", "onnxruntime")


@pytest.fixture(scope="module")
def network(tiny_bert: Path) -> FusionNetwork:
    labels = replace(LABELS, targets=TARGETS)
    return make_network(tiny_bert, label_set=labels, text_levels=1, image="dynunet").eval()


@pytest.mark.parametrize("name", ["pytorch", *EXPORTED])
def test_an_engine_says_what_the_network_says(network: FusionNetwork, name: str) -> None:
    _need(name)
    batch = make_batch(network, 3)
    with torch.inference_mode():
        expected = network(batch)
    found = ENGINES.build(name, network, SIZE, options={"precision": "fp32"}).run(batch)
    assert TOLERANCES["fp32"].objection(difference(found, expected)) == ""
    torch.testing.assert_close(found.text_attention, expected.text_attention, atol=1e-5, rtol=1e-4)
    assert list(found.target_outputs) == ["grade", "size"]


@pytest.mark.parametrize("name", ["pytorch", "openvino"])
def test_bf16_is_close(network: FusionNetwork, name: str) -> None:
    _need(name)
    batch = make_batch(network, 2)
    expected = PyTorchEngine(network, SIZE).run(batch)
    found = ENGINES.build(name, network, SIZE, options={"precision": "bf16"}).run(batch)
    assert found.finding_logits.dtype == torch.float32
    assert found.segment_logits is not None
    assert found.segment_logits.dtype == torch.float32
    differs = difference(found, expected)
    assert 0 < differs.score < 0.01
    assert differs.probability < 0.01


@pytest.mark.parametrize("name", ["pytorch", *EXPORTED])
def test_the_text_of_a_study_is_encoded_once_for_all_of_its_windows(network: FusionNetwork, name: str) -> None:
    _need(name)
    engine = ENGINES.build(name, network, SIZE, options={})
    batch = make_batch(network, 1)
    windows = replace(make_batch(network, 2), text=engine.tokenize(["74 year old man with memory loss."] * 2))
    encoded = engine.encode(engine.tokenize(["74 year old man with memory loss."]))
    torch.testing.assert_close(engine.run(windows, encoded).finding_logits, engine.run(windows).finding_logits)
    assert len(encoded["text"].tokens) == len(batch.image) == 1


@pytest.mark.parametrize("name", EXPORTED)
def test_a_model_without_text_is_exported_too(tiny_bert: Path, name: str) -> None:
    _need(name)
    network = make_network(tiny_bert, text=None, text_options={}).eval()
    batch = make_batch(network, 2)
    found = ENGINES.build(name, network, SIZE, options={}).run(batch)
    assert TOLERANCES["fp32"].objection(difference(found, PyTorchEngine(network, SIZE).run(batch))) == ""


def test_the_exported_graph_is_kept_by_weights_and_window(network: FusionNetwork, tiny_bert: Path) -> None:
    _need("onnxruntime")
    path = cached_onnx(network, SIZE)
    written = path.stat().st_mtime_ns
    assert cached_onnx(network, SIZE) == path
    assert path.stat().st_mtime_ns == written
    assert network_hash(network, (32, 16, 16)) != network_hash(network, SIZE)
    other = make_network(tiny_bert, image="dynunet")
    assert network_hash(other, SIZE) != network_hash(network, SIZE)


class SlowEngine(PyTorchEngine):
    name = "slow"

    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        time.sleep(0.2)
        return super().run(batch, encoded)


class WrongEngine(PyTorchEngine):
    name = "wrong"

    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        output = super().run(batch, encoded)
        return replace(output, finding_logits=output.finding_logits + 1)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Puts stand-ins in the place of registered engines."""
    monkeypatch.setenv("MEDFUSE_CACHE_DIR", str(tmp_path))

    def put(**kinds: type[Engine]) -> None:
        monkeypatch.setattr(ENGINES, "_parts", {"pytorch": PyTorchEngine, **kinds})

    return put


def test_the_fastest_engine_that_agrees_is_taken_and_kept(
    network: FusionNetwork, engines: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines(slow=SlowEngine, wrong=WrongEngine)
    tried: list[tuple[str, Any]] = [("slow", "fp32"), ("wrong", "fp32"), ("pytorch", "fp32")]
    engine = ChosenEngine(network, SIZE, tried)
    output = engine.run(make_batch(network, 1))
    assert engine.choice is not None
    assert engine.choice.engine == "pytorch"
    assert "wrong fp32 differs from pytorch fp32 (probability" in engine.choice.sentence()
    assert output.finding_logits.shape == (1, 2)
    kept = next(cache_folder().glob("choice-*.json"))
    assert json.loads(kept.read_text())["engine"] == "pytorch"
    monkeypatch.setattr(ChosenEngine, "_trials", lambda *_: pytest.fail("tried again"))
    again = ChosenEngine(network, SIZE, tried)
    again.run(make_batch(network, 1))
    assert again.choice == engine.choice


def test_the_one_engine_that_was_asked_for_must_agree(network: FusionNetwork, engines: Callable[..., None]) -> None:
    engines(wrong=WrongEngine)
    with pytest.raises(UsageError, match=r"no engine .*wrong fp32: differs .*take --engine pytorch"):
        ChosenEngine(network, SIZE, [("wrong", "fp32")]).run(make_batch(network, 1))


def test_a_broken_note_of_the_choice_is_made_again(network: FusionNetwork, engines: Callable[..., None]) -> None:
    engines()
    ChosenEngine(network, SIZE, [("pytorch", "fp32")]).run(make_batch(network, 1))
    kept = next(cache_folder().glob("choice-*.json"))
    kept.write_text('{"engine": 3}')
    ChosenEngine(network, SIZE, [("pytorch", "fp32")]).run(make_batch(network, 1))
    assert json.loads(kept.read_text())["precision"] == "fp32"


def test_a_missing_package_is_one_clear_line(network: FusionNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
    with pytest.raises(UsageError, match=r"engine openvino needs openvino: pip install 'medfuse\[engines\]'"):
        engine_for(network, SIZE, engine="openvino")


def test_what_is_not_there_is_refused(network: FusionNetwork) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'tensorrt'; known: compiled, onnxruntime, openvino, pytorch"):
        engine_for(network, SIZE, engine="tensorrt")
    with pytest.raises(UsageError, match="unknown precision 'int8'; known: auto, bf16, fp32"):
        engine_for(network, SIZE, precision="int8")  # type: ignore[arg-type]
    _need("onnxruntime")
    with pytest.raises(UsageError, match="onnxruntime computes in fp32, not in bf16"):
        engine_for(network, SIZE, engine="onnxruntime", precision="bf16")


def test_auto_tries_bf16_only_where_the_processor_has_it(
    network: FusionNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    for has in (True, False):
        monkeypatch.setattr(choice, "multiplies_bf16", lambda has=has: has)
        engine = engine_for(network, SIZE, engine="auto", precision="auto")
        assert isinstance(engine, ChosenEngine)
        assert any(precision == "bf16" for _, precision in engine.candidates) is has
    assert isinstance(engine_for(network, SIZE), PyTorchEngine)


def test_a_model_that_sees_no_image_stays_in_pytorch(tiny_bert: Path) -> None:
    network = make_network(tiny_bert, label_set=LabelSet(findings=("large", "elderly")), image=None, image_options={})
    assert isinstance(engine_for(network, SIZE, engine="auto", precision="auto"), PyTorchEngine)


def test_nothing_that_is_not_a_number_agrees() -> None:
    nan = float("nan")
    assert TOLERANCES["bf16"].objection(Difference(probability=nan, target=0, voxels=0, score=0))
    output = ModelOutput(
        finding_logits=torch.full((1, 2), nan), segment_logits=None, text_attention=torch.zeros(1, 2, 1)
    )
    assert TOLERANCES["bf16"].objection(difference(output, replace(output, finding_logits=torch.zeros(1, 2))))


COMPILED = """
import sys
from pathlib import Path
from medfuse.inference.engines import ENGINES, PyTorchEngine
from medfuse.inference.engines.agreement import TOLERANCES, difference
from tests.parts import SIZE, make_batch, make_network

network = make_network(Path(sys.argv[1]), text_levels=1, image="dynunet").eval()
batch = make_batch(network, 2)
found = ENGINES.build("compiled", network, SIZE, options={}).run(batch)
print(TOLERANCES["fp32"].objection(difference(found, PyTorchEngine(network, SIZE).run(batch))), end="")
"""


@pytest.mark.slow
def test_the_compiled_network_says_what_the_network_says(tiny_bert: Path, checkout: Path) -> None:
    # In a process of its own, since torch.compile cannot look into functions whose types are checked as they run.
    command = [sys.executable, "-W", "ignore", "-c", COMPILED, tiny_bert]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""


def _need(name: str) -> None:
    for package in getattr(ENGINES.get(name), "packages", ()):
        pytest.importorskip(package)
