"""From physical values to the network's range."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import ConfigError

CLIP_PERCENTILES = (0.5, 99.5)
"""Percentiles of the foreground between which an arbitrary-unit image is clipped before it is standardised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """An intensity window: `low` maps to -1, `high` to 1, values beyond are clipped. In HU for a CT."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"a window needs low < high, not {self.low} and {self.high}")


def normalise(voxels: NDArray[Any], window: Window | None) -> NDArray[np.float32]:
    """Windowed to [-1, 1], or clipped and standardised by the foreground; float32 of the same shape.

    The foreground of an image in arbitrary units is what lies above its minimum; a constant image becomes zero.
    """
    values = np.asarray(voxels, dtype=np.float32)
    if window is not None:
        scaled = (values - window.low) * np.float32(2 / (window.high - window.low)) - 1
        return np.asarray(np.clip(scaled, -1, 1), dtype=np.float32)
    foreground = values[values > values.min()]
    if foreground.size == 0:
        return np.zeros_like(values)
    low, high = np.percentile(foreground, CLIP_PERCENTILES)
    clipped = np.clip(foreground, low, high)
    deviation = float(clipped.std())
    if deviation == 0:
        return np.zeros_like(values)
    return np.asarray((np.clip(values, low, high) - clipped.mean()) / np.float32(deviation), dtype=np.float32)


def background(window: Window | None) -> float:
    """The value that stands outside the field of view before normalising: the window's floor, or zero."""
    return window.low if window is not None else 0.0
