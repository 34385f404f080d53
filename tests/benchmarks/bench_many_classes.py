"""How much memory a study of many classes takes from the first window to the label map, with a stand-in network.

    python tests/benchmarks/bench_many_classes.py [--shape 512 512 600] [--window 128 128 128] [--classes 101]

The stand-in gives each voxel a class by its value, nearly surely, so that the label map can be checked; what it costs
is next to nothing, so that the figures are those of windows, blending, ranking and restoring. Memory is the process's
peak resident size, libraries included. MONAI's `sliding_window_inference` would hold 4 bytes a class and voxel.
"""

import argparse
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from medfuse.data.samples import Case
from medfuse.domain import Affine, LabelSet, VolumeGeometry
from medfuse.inference.engines import Encoded, Engine
from medfuse.inference.restore import restore
from medfuse.inference.windows import answer_windows
from medfuse.preprocess import Recipe
from medfuse.preprocess.rules import ChannelRule
from medfuse.tensors import Batch, ModelOutput, TextTokens

Shape = tuple[int, int, int]
STRIPE = 6
"""Voxels of a class along the last axis."""


@dataclass(frozen=True)
class Found:
    """What one run came to.

    Args:
        peak_bytes: Largest resident size of the process.
        seconds: From the first window to the label map.
        right: Whether nearly every voxel got its class.
    """

    peak_bytes: int
    seconds: float
    right: bool


class StandIn(Engine):
    """Gives each voxel the class that its value says.

    Args:
        classes: Number of classes.
    """

    name = "stand-in"
    precision = "fp32"
    delineates = True

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.network = nn.Identity()  # type: ignore[assignment]

    def tokenize(self, texts: list[str]) -> TextTokens:  # type: ignore[override]
        from medfuse.data.collate import no_text

        return no_text(len(texts))

    def encode(self, tokens: TextTokens) -> Encoded:
        return {}

    def run(self, batch: Batch, encoded: Encoded | None = None) -> ModelOutput:
        rows = len(batch.image)
        logits = torch.zeros((rows, self.classes, *batch.image.shape[2:]))
        logits.scatter_(1, batch.image.long().clamp(0, self.classes - 1), 12.0)
        return ModelOutput(
            finding_logits=torch.zeros((rows, 0)), segment_logits=logits, text_attention=torch.zeros((rows, 0, 1))
        )


def peak_of_many_classes(shape: Shape, window: Shape, classes: int, *, spacing: float = 1.0) -> Found:
    """Answer and restore a made study of stripes.

    Args:
        shape: Of the model grid.
        window: Size of a window.
        classes: With the background.
        spacing: Of the source, in voxels of the model grid: 1 copies the label map, less interpolates.
    """
    labels = LabelSet(segments=tuple(f"segment {n}" for n in range(1, classes)))
    channel = ChannelRule(name="ct")
    recipe = Recipe(channels=(channel,), spacing_mm=(1.0, 1.0, 1.0), size=window)
    stripes = (np.arange(shape[2]) // STRIPE % classes).astype(np.float32)
    image = np.broadcast_to(stripes, shape).copy()
    case = Case(
        study_instance_uid="1.2",
        image=image[None],
        channel_present=np.ones(1, dtype=bool),
        text="",
        truth=None,
        labels={},
        voxel_volume_ml=0.001,
        floor=(0.0,),
    )
    grid = VolumeGeometry(shape=shape, affine=Affine(np.eye(4)))
    finer = tuple(int(n / spacing) for n in shape)
    source = VolumeGeometry(shape=(finer[0], finer[1], finer[2]), affine=Affine(np.diag([spacing] * 3 + [1.0])))
    begun = time.perf_counter()
    scores = answer_windows(StandIn(classes), case, recipe, labels).class_scores
    assert scores is not None
    label_map = restore(scores, grid, source, labels).label_map
    seconds = time.perf_counter() - begun
    expected = stripes[np.minimum(np.rint(np.arange(source.shape[2]) * spacing), shape[2] - 1).astype(int)]
    wrong = np.mean([(plane != expected).mean() for plane in label_map])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Found(peak_bytes=peak, seconds=seconds, right=bool(wrong < (1e-3 if spacing == 1.0 else 0.1)))


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 600))
    parser.add_argument("--window", type=int, nargs=3, default=(128, 128, 128))
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--spacing", type=float, default=1.0)
    told = parser.parse_args()
    found = peak_of_many_classes(tuple(told.shape), tuple(told.window), told.classes, spacing=told.spacing)
    whole = 4 * told.classes * np.prod(told.shape)
    sys.stdout.write(
        f"{told.classes} classes on {'x'.join(map(str, told.shape))}: peak {found.peak_bytes / 2**30:.2f} GiB, "
        f"{found.seconds:.0f} s, label map {'right' if found.right else 'WRONG'}; "
        f"one float a class and voxel would be {whole / 2**30:.1f} GiB\n"
    )


if __name__ == "__main__":
    main()
