"""Augmentation: small rotations and shifts, noise, contrast.

There is no zoom, which would change a volume in mm3, and no left-right flip, which would make the text's sides wrong.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from monai.transforms import Compose, RandAdjustContrastd, RandAffined, RandGaussianNoised, RandScaleIntensityd

from medfuse.tensors import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentOptions:
    """How much training samples are varied.

    Args:
        rotate_degrees: Largest rotation about each axis.
        shift_voxels: Largest shift along each axis.
        spatial_probability: Share of samples that are rotated and shifted.
        noise: Largest deviation of the noise added, in units of the normalised image.
        contrast: Gamma is drawn from 1 - contrast to 1 + contrast.
        gain: Largest relative change of the intensity scale.
    """

    rotate_degrees: float = 15.0
    shift_voxels: float = 3.0
    spatial_probability: float = 0.5
    noise: float = 0.1
    contrast: float = 0.2
    gain: float = 0.1


class Augmentation:
    """Varies a sample; the same seed gives the same variation, wherever and whenever it is made.

    Args:
        options: How much.
    """

    def __init__(self, options: AugmentOptions) -> None:
        angle, shift = math.radians(options.rotate_degrees), options.shift_voxels
        both, image = ["image", "truth"], ["image"]
        self._transform: Any = Compose(
            [
                RandAffined(
                    keys=both,
                    prob=options.spatial_probability,
                    rotate_range=(angle,) * 3,
                    translate_range=(shift,) * 3,
                    mode=("bilinear", "nearest"),
                    padding_mode=("border", "zeros"),
                ),
                RandGaussianNoised(keys=image, prob=0.3, std=options.noise),
                RandAdjustContrastd(keys=image, prob=0.3, gamma=(1 - options.contrast, 1 + options.contrast)),
                RandScaleIntensityd(keys=image, prob=0.3, factors=options.gain),
            ]
        )

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """A varied copy of `sample`."""
        self._transform.set_random_state(seed=seed % 2**32)
        varied = self._transform({"image": sample.image, "truth": sample.segment_targets[None].float()})
        return replace(
            sample,
            image=torch.as_tensor(varied["image"].as_tensor(), dtype=torch.float32),
            segment_targets=torch.as_tensor(varied["truth"].as_tensor()[0]).round().long(),
        )
