from pathlib import Path

import pytest

from medfuse.cli.main import main
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint
from medfuse.preprocess import Recipe
from medfuse.preprocess.rules import ChannelRule
from tests.parts import LABELS, make_network, make_spec

RECIPE = Recipe(channels=(ChannelRule(name="mr"),), spacing_mm=(1.0, 1.0, 1.0), size=(16, 16, 16))


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    network = make_network(tiny_bert, channels=1).eval()
    described = Checkpoint(
        name="head",
        label_set=LABELS,
        recipe=RECIPE,
        spec=make_spec(tiny_bert),
        text_weights_sha256=checkpoints.text_weights_sha256(network),
    )
    checkpoints.save(described, network, place / "best")
    return place


def test_a_bundle_and_an_onnx_file_are_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    assert _code("export", run, "--bundle", tmp_path / "bundle", "--onnx", tmp_path / "head.onnx") == 0
    said = capsys.readouterr().err
    assert "python -m monai.bundle run" in said
    assert "differs from PyTorch by at most" in said
    assert (tmp_path / "head.onnx").stat().st_size > 1000
    assert (tmp_path / "bundle" / "configs" / "inference.json").is_file()


def test_what_is_asked_wrongly_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _code("export", run) == 2
    assert "--bundle FOLDER or --onnx FILE" in capsys.readouterr().err
    assert _code("export", tmp_path / "nothing", "--onnx", tmp_path / "x.onnx") == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    checkpoints.write_members(tmp_path / "cv", 2)
    for fold in (0, 1):
        (tmp_path / "cv" / f"fold-{fold}").mkdir()
        (tmp_path / "cv" / f"fold-{fold}" / "best").symlink_to(run / "best")
    assert _code("export", tmp_path / "cv", "--onnx", tmp_path / "x.onnx") == 2
    assert "cross-validation of 2 runs; export one of them" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "x.onnx").exists()


def _code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)
