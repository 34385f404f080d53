"""Augmentation: rotations, shifts, zoom, left-right flips, noise, contrast; nothing that makes a label wrong.

A zoom changes volumes, which findings and targets may depend on: a zoomed sample trains the segmentation alone. A flip
swaps left and right, in the text too; a label set that names sides cannot be flipped.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from monai.transforms import Compose, RandAdjustContrastd, RandAffined, RandGaussianNoised, RandScaleIntensityd

from medfuse.data.sides import names_a_side, swap_sides
from medfuse.domain.labels import LabelSet
from medfuse.errors import ConfigError
from medfuse.seeding import stream
from medfuse.tensors import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentOptions:
    """How much training samples are varied.

    Args:
        rotate_degrees: Largest rotation about each axis.
        shift_voxels: Largest shift along each axis.
        spatial_probability: Share of samples that are rotated and shifted.
        zoom: Largest relative change of size, up or down.
        zoom_probability: Share of samples that are zoomed, rotated and shifted; they train the segmentation alone.
        flip_probability: Share of samples that are flipped left to right.
        noise: Largest deviation of the noise added, in units of the normalised image.
        contrast: Gamma is drawn from 1 - contrast to 1 + contrast.
        gain: Largest relative change of the intensity scale.
    """

    rotate_degrees: float = 15.0
    shift_voxels: float = 3.0
    spatial_probability: float = 0.5
    zoom: float = 0.15
    zoom_probability: float = 0.0
    flip_probability: float = 0.0
    noise: float = 0.1
    contrast: float = 0.2
    gain: float = 0.1


class Augmentation:
    """Varies a sample; the same seed gives the same variation, wherever and whenever it is made.

    Args:
        options: How much.
        label_set: What is predicted.

    Raises:
        ConfigError: Flips are asked for, and the label set names sides.
    """

    def __init__(self, options: AugmentOptions, label_set: LabelSet) -> None:
        answers = [text for target in label_set.targets for text in (target.name, *target.classes)]
        sided = [name for name in (*label_set.findings, *label_set.segments, *answers) if names_a_side(name)]
        if options.flip_probability and sided:
            raise ConfigError(
                f"training.augment.flip_probability is set, and {sided[0]!r} names a side, which a flip would make "
                "wrong; set it to 0"
            )
        self.options = options
        self._moved = _affine(options, options.spatial_probability, zoom=0.0)
        self._zoomed = _affine(options, 1.0, zoom=options.zoom)
        image = ["image"]
        self._shaded: Any = Compose(
            [
                RandGaussianNoised(keys=image, prob=0.3, std=options.noise),
                RandAdjustContrastd(keys=image, prob=0.3, gamma=(1 - options.contrast, 1 + options.contrast)),
                RandScaleIntensityd(keys=image, prob=0.3, factors=options.gain),
            ]
        )

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """A varied copy of `sample`."""
        random = stream(seed)
        zoomed = random.random() < self.options.zoom_probability
        flipped = random.random() < self.options.flip_probability
        varied: Any = {"image": sample.image, "truth": sample.segment_targets[None].float()}
        for transform in (self._zoomed if zoomed else self._moved, self._shaded):
            transform.set_random_state(seed=int(random.integers(2**32)))
            varied = transform(varied)
        made = replace(
            sample,
            image=torch.as_tensor(varied["image"].as_tensor(), dtype=torch.float32),
            segment_targets=torch.as_tensor(varied["truth"].as_tensor()[0]).round().long(),
            finding_mask=sample.finding_mask & (not zoomed),
            target_mask=sample.target_mask & (not zoomed),
        )
        return flip(made) if flipped else made


def flip(sample: Sample) -> Sample:
    """The sample as in a mirror: the first grid axis, which runs to the patient's left, and the sides in the text."""
    return replace(
        sample,
        image=sample.image.flip(1),
        segment_targets=sample.segment_targets.flip(0),
        text=swap_sides(sample.text),
    )


def _affine(options: AugmentOptions, probability: float, *, zoom: float) -> Any:
    return RandAffined(
        keys=["image", "truth"],
        prob=probability,
        rotate_range=(math.radians(options.rotate_degrees),) * 3,
        translate_range=(options.shift_voxels,) * 3,
        scale_range=(zoom,) * 3,
        mode=("bilinear", "nearest"),
        padding_mode=("border", "zeros"),
    )
