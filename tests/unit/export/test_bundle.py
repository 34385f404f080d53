import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medfuse.domain import Affine, LabelSet, Study, VolumeGeometry
from medfuse.domain.volume import Volume
from medfuse.errors import MissingInputError, UsageError
from medfuse.export import BundleNetwork, ToModelGridd, load_network, write_bundle
from medfuse.inference import Predictor
from medfuse.ingest import find_studies, write_nifti
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint
from medfuse.preprocess import Recipe
from medfuse.preprocess.rules import ChannelRule
from tests.parts import LABELS, make_network, make_spec

RECIPE = Recipe(channels=(ChannelRule(name="mr"),), spacing_mm=(1.0, 1.0, 1.0), size=(16, 16, 16))
REPORT = "INDICATION: 74 year old man with memory loss.\nFINDINGS: large lesion.\n"
MANDATORY = {
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "optional_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}
"""Source: MONAI Bundle Specification, "metadata.json File"."""
OF_A_TENSOR = {
    "type",
    "format",
    "modality",
    "num_channels",
    "spatial_shape",
    "dtype",
    "value_range",
    "is_patch_data",
    "channel_def",
}


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights."""
    return _saved(tiny_bert, tmp_path_factory.mktemp("run"), LABELS)


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "head"
    write_bundle(run, folder)
    return folder


def test_the_metadata_says_what_the_specification_asks_for(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert set(metadata) >= MANDATORY
    formats = metadata["network_data_format"]
    assert set(formats["inputs"]["image"]) >= OF_A_TENSOR
    assert set(formats["outputs"]["pred"]) >= OF_A_TENSOR
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "head", "2": "tail"}
    assert formats["inputs"]["image"]["spatial_shape"] == [16, 16, 16]
    assert metadata["medfuse"]["weights_sha256"] == checkpoints.describe(bundle / "models").weights_sha256


def test_the_network_takes_and_gives_what_the_metadata_says(bundle: Path) -> None:
    network = load_network(str(bundle / "models"))
    with torch.inference_mode():
        scores = network(torch.zeros((2, 1, 16, 16, 16)))
    assert scores.shape == (2, 3, 16, 16, 16)


def test_model_pt_holds_the_weights_and_no_code(bundle: Path) -> None:
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    network = load_network(str(bundle / "models"))
    network.load_state_dict(state)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])
    assert isinstance(network, BundleNetwork)


@pytest.mark.slow
def test_the_workflow_predicts_what_medfuse_does(bundle: Path, run: Path, tmp_path: Path) -> None:
    pytest.importorskip("ignite")
    pytest.importorskip("fire")
    images = tmp_path / "images"
    images.mkdir()
    _write_image(images / "one.nii.gz")
    (images / "one.txt").write_text(REPORT)
    _run_bundle(bundle, images, tmp_path / "out")
    expected = _predicted(run, images)
    import nibabel as nib

    written: Any = nib.load(tmp_path / "out" / "one_seg.nii.gz")
    assert written.get_data_dtype() == np.uint8
    found = np.asarray(written.dataobj)
    assert expected.segmentation is not None
    assert len(np.unique(found)) > 1
    assert (found != expected.segmentation.label_map).mean() < 1e-4
    np.testing.assert_allclose(written.affine, expected.segmentation.geometry.affine.to_ras(), atol=1e-4)
    said = json.loads((tmp_path / "out" / "one_findings.json").read_text())
    for finding in expected.prediction.findings:
        assert said["findings"][finding.name] == pytest.approx(finding.probability, abs=1e-4)


def test_an_image_of_other_channels_is_refused(run: Path) -> None:
    from monai.data import MetaTensor

    prepare = ToModelGridd("image", str(run))
    with pytest.raises(MissingInputError, match="has 2 channels; the model takes 1 on one grid: mr"):
        prepare({"image": MetaTensor(torch.zeros((2, 8, 8, 8)))})


def test_a_model_that_delineates_nothing_makes_no_bundle(tiny_bert: Path, tmp_path: Path) -> None:
    place = _saved(tiny_bert, tmp_path / "run", LabelSet(findings=("large", "elderly")))
    with pytest.raises(UsageError, match="delineates nothing"):
        write_bundle(place, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_folder_that_is_no_bundle_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is no bundle"):
        write_bundle(run, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def _saved(tiny_bert: Path, place: Path, labels: LabelSet) -> Path:
    network = make_network(tiny_bert, channels=1, label_set=labels).eval()
    described = Checkpoint(
        name="head",
        label_set=labels,
        recipe=RECIPE,
        spec=make_spec(tiny_bert),
        text_weights_sha256=checkpoints.text_weights_sha256(network),
    )
    checkpoints.save(described, network, place)
    return place


def _write_image(path: Path) -> None:
    matrix = np.array([[-0.9, 0, 0, 20], [0, 0, 1.4, -10], [0, 1.1, 0, 5], [0, 0, 0, 1]])
    voxels = np.random.default_rng(0).normal(100, 30, (28, 20, 24)).astype(np.float32)
    write_nifti(Volume(voxels=voxels, geometry=VolumeGeometry(shape=(28, 20, 24), affine=Affine(matrix))), path)


def _run_bundle(bundle: Path, images: Path, output: Path) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    told = ["--dataset_dir", str(images), "--output_dir", str(output)]
    done = subprocess.run([*command, *told], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, [line for line in done.stderr.splitlines() if "Error" in line]


def _predicted(run: Path, images: Path) -> Any:
    from dataclasses import replace

    from medfuse.ingest.reports.reading import read_report

    (study,) = find_studies(images).studies
    assert isinstance(study, Study)
    return Predictor.from_checkpoint(run).predict(replace(study, reports=(read_report(images / "one.txt"),)))
