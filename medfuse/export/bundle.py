"""A checkpoint as a MONAI bundle.

    DIR/configs/metadata.json    what goes in and comes out, versions, intended use
    DIR/configs/inference.json   the workflow that `python -m monai.bundle run` runs
    DIR/models/                  the checkpoint as medfuse reads it (checkpoint.json, model.safetensors), and model.pt
    DIR/docs/README.md, DIR/LICENSE

The workflow takes its weights from safetensors. `model.pt` holds the same tensors as a plain state dict, because the
bundle specification and MONAI Label ask for it; nothing of medfuse reads it, and `torch.load` takes it with
`weights_only=True`.

Source: MONAI Bundle Specification (docs.monai.io), "Directory Structure", "metadata.json File".
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from medfuse.errors import UsageError
from medfuse.export.metadata import metadata_of, readme_of
from medfuse.export.network import load_network
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint
from medfuse.storage import whole_folder

_HERE = "medfuse.export"
_CHECKPOINT = {"checkpoint": "$@bundle_root + '/models'"}

LICENCE = (
    "The code that the configs of this bundle name is medfuse, under the Apache License 2.0.\n"
    "The weights are under the terms of whoever trained them.\n"
)


def write_bundle(checkpoint: Path, directory: Path) -> None:
    """Write a checkpoint as a bundle, whole or not at all; an older bundle there is replaced.

    Args:
        checkpoint: A checkpoint's folder.
        directory: The bundle's folder.

    Raises:
        CheckpointError: The checkpoint is missing or broken.
        UsageError: The model delineates nothing, or `directory` is there and is no bundle.
        StorageError: It cannot be written.
    """
    described = checkpoints.describe(checkpoint)
    if not described.label_set.segments or described.spec.image is None:
        raise UsageError("a MONAI bundle gives label maps, and this model delineates nothing; take --onnx")
    if described.label_set.overlapping:
        raise UsageError("a MONAI bundle gives one label map, and the segments of this model overlap; take --onnx")
    if directory.exists() and not (directory / "configs" / "metadata.json").is_file():
        raise UsageError(f"--bundle {directory} is there and is no bundle; name a folder that is not there")
    network = load_network(str(checkpoint))
    with whole_folder(directory) as folder:
        for name in ("configs", "models", "docs"):
            (folder / name).mkdir(parents=True)
        _write_json(folder / "configs" / "metadata.json", metadata_of(described))
        _write_json(folder / "configs" / "inference.json", inference_config(described))
        for file in sorted(checkpoint.iterdir()):
            if file.name in (checkpoints.DESCRIPTION, checkpoints.WEIGHTS) or file.name == checkpoints.FAMILIARITY:
                shutil.copyfile(file, folder / "models" / file.name)
        torch.save({name: value.cpu() for name, value in network.state_dict().items()}, folder / "models" / "model.pt")
        (folder / "docs" / "README.md").write_text(readme_of(described), encoding="utf-8")
        (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")


def inference_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The workflow of `python -m monai.bundle run`: images of a folder, their reports beside them, label maps out."""
    return {
        "imports": ["$import glob", "$from medfuse.export import prepare_batch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "network_def": {"_target_": f"{_HERE}.load_network", **_CHECKPOINT},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": _before()},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i, 'report': i[:-len('.nii.gz')] + '.txt'} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": f"{_HERE}.WindowInferer", "engine": "pytorch", "precision": "fp32"},
        "postprocessing": {"_target_": "Compose", "transforms": _after()},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "prepare_batch": "$prepare_batch",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def _before() -> list[dict[str, Any]]:
    return [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": f"{_HERE}.ToModelGridd", "keys": "image", **_CHECKPOINT},
        {"_target_": f"{_HERE}.ReadReportd", "keys": "report", **_CHECKPOINT},
    ]


def _after() -> list[dict[str, Any]]:
    made = {"inferer": "@inferer", "output_dir": "@output_dir", **_CHECKPOINT}
    return [
        {"_target_": f"{_HERE}.FromModelGridd", "keys": "pred", "image": "image", **_CHECKPOINT},
        {"_target_": f"{_HERE}.SaveResultsd", "keys": "pred", **made},
    ]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
