"""A checkpoint of random weights that scores small CT studies."""

from pathlib import Path

import torch

from medfuse.domain import LabelSet, Modality
from medfuse.model import ModelSpec, assemble
from medfuse.model import checkpoint as checkpoints
from medfuse.model.checkpoint import Checkpoint
from medfuse.preprocess import ChannelRule, Recipe, Window
from medfuse.preprocess.ranges import TrainingRanges

LABELS = LabelSet(findings=("lesion",), segments=("organ",))
RECIPE = Recipe(
    channels=(ChannelRule(name="ct", modality=Modality.CT, window=Window(low=-1000, high=1000)),),
    spacing_mm=(1, 1, 1),
    size=(16, 16, 16),
)


def write_checkpoint(folder: Path, *, seed: int = 0, ranges: TrainingRanges | None = None) -> Path:
    """Write a checkpoint; its weights follow from the seed."""
    torch.manual_seed(seed)
    spec = ModelSpec(text=None, fusion="concat", width=8, image_options={"features": (2, 4)})
    checkpoint = Checkpoint(name="made", label_set=LABELS, recipe=RECIPE, spec=spec, ranges=ranges)
    checkpoints.save(checkpoint, assemble(spec, LABELS, 1), folder)
    return folder
