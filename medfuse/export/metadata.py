"""What a bundle says of itself."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from medfuse import __version__
from medfuse.domain.study import Modality
from medfuse.model.checkpoint import Checkpoint
from medfuse.preprocess.rules import ChannelRule

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
INTENDED_USE = "Research only. It informs a clinician and never decides; it is no medical device."


def metadata_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """The content of `configs/metadata.json`.

    Source: MONAI Bundle Specification, "metadata.json File".
    """
    recipe, label_set = checkpoint.recipe, checkpoint.label_set
    segments = ", ".join(label_set.segments)
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported from {checkpoint.name}, epoch {checkpoint.epoch}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"medfuse": __version__} | _versions("nibabel", "pytorch-ignite", "fire"),
        "optional_packages_version": {},
        "name": checkpoint.name,
        "task": f"Segmentation of {segments}",
        "description": _description(checkpoint),
        "authors": "whoever trained the model, with medfuse",
        "copyright": "whoever trained the model",
        "data_source": "see the run of the model",
        "data_type": "nibabel",
        "image_classes": f"{len(recipe.channels)} channels: {', '.join(rule.name for rule in recipe.channels)}",
        "label_classes": f"single channel, 0 is background, then in order {segments}",
        "pred_classes": f"{len(label_set.segments) + 1} channels: background, {segments}",
        "eval_metrics": {},
        "intended_use": INTENDED_USE,
        "references": [],
        "medfuse": {
            "weights_sha256": checkpoint.weights_sha256,
            "config_sha256": checkpoint.config_sha256,
            "leakage_allowed": recipe.allow_leakage,
            "spacing_mm": list(recipe.spacing_mm),
        },
        "network_data_format": _tensors(checkpoint),
    }


def _tensors(checkpoint: Checkpoint) -> dict[str, Any]:
    """What goes into the network and comes out, window by window."""
    channels = checkpoint.recipe.channels
    classes = ("background", *checkpoint.label_set.segments)
    common = {
        "type": "image",
        "modality": _modality(channels),
        "spatial_shape": list(checkpoint.recipe.size),
        "dtype": "float32",
        "is_patch_data": True,
    }
    image = {
        **common,
        "format": _format(channels),
        "num_channels": len(channels),
        "value_range": [-1, 1] if all(rule.window for rule in channels) else [],
        "channel_def": {str(number): rule.name for number, rule in enumerate(channels)},
    }
    scores = {
        **common,
        "format": "segmentation",
        "num_channels": len(classes),
        "value_range": [],
        "channel_def": {str(number): name for number, name in enumerate(classes)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": scores}}


def _description(checkpoint: Checkpoint) -> str:
    spec, label_set = checkpoint.spec, checkpoint.label_set
    text = f", {spec.text} text encoder, {spec.fusion}" if spec.text else ""
    answers = f" and answers {', '.join(label_set.findings)}" if label_set.findings else ""
    return (
        f"A medfuse model ({spec.image} image encoder{text}) that delineates {', '.join(label_set.segments)}{answers}."
    )


def readme_of(checkpoint: Checkpoint) -> str:
    """The content of `docs/README.md`."""
    channels = "\n".join(f"{number}. {rule.name}" for number, rule in enumerate(checkpoint.recipe.channels))
    segments = "\n".join(f"{number}. {name}" for number, name in enumerate(checkpoint.label_set.segments, start=1))
    spacing = " x ".join(f"{mm:g}" for mm in checkpoint.recipe.spacing_mm)
    leakage = (
        "\nThe model was trained on report sections that state the answer (`allow_leakage`): its figures say little.\n"
        if checkpoint.recipe.allow_leakage
        else ""
    )
    return f"""# {checkpoint.name}

{INTENDED_USE}
{leakage}
Exported by medfuse {__version__}; whoever runs it installs medfuse (`pip install 'medfuse[bundle]'`). From the bundle's
folder, over the NIfTI images of a folder, with a report beside each as a text file of the same name where there is one:

    python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES --output_dir RESULTS

`--inferer#engine auto --inferer#precision auto` takes the fastest engine that agrees with PyTorch on the machine.
`medfuse score models STUDIES --output RESULTS` scores DICOM studies with the same weights.

## Channels

All on one grid, in this order, brought to {spacing} mm:

{channels}

## Segments

{segments}
"""


def _format(channels: tuple[ChannelRule, ...]) -> str:
    return "hounsfield" if all(rule.modality is Modality.CT for rule in channels) else "magnitude"


def _modality(channels: tuple[ChannelRule, ...]) -> str:
    named = sorted({rule.modality.value for rule in channels if rule.modality is not None})
    return " and ".join(named) or "n/a"


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
