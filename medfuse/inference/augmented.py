"""Test-time augmentation: the same study seen a little differently, and each answer brought back to its grid.

Views are shifts by a few voxels, which move the study against the network's strides, and left-right flips. A flip is
made only where training flipped too and no finding, segment or target names a side; it exchanges left and right in the
text as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medfuse.data.cache import floor_of
from medfuse.data.samples import Case
from medfuse.data.sides import names_a_side, swap_sides
from medfuse.domain.labels import LabelSet
from medfuse.inference.ranked import RankedScores
from medfuse.inference.sliding_window import Index
from medfuse.model.checkpoint import Checkpoint

MOST_VIEWS = 53
"""Augmentations that there are with flips; without, 26."""

_STEP = 2
"""Voxels of a shift."""

Value = TypeVar("Value", bound=np.generic)
Scores = NDArray[np.float32] | RankedScores


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to look at a study.

    Args:
        flipped: Left and right exchanged.
        shift: Voxels by which the content moves along i, j, k.
    """

    flipped: bool = False
    shift: Index = (0, 0, 0)

    @property
    def is_plain(self) -> bool:
        """Whether it is the study as it is."""
        return self == View()

    def of(self, case: Case) -> Case:
        """The study as this view shows it; what a shift uncovers stands at the floor of its channel."""
        if self.is_plain:
            return case
        floor = case.floor if case.floor is not None else floor_of(case.image)
        image = case.image[:, ::-1] if self.flipped else case.image
        text = swap_sides(case.text) if self.flipped else case.text
        moved = np.stack([_moved(channel, self.shift, fill=low) for channel, low in zip(image, floor, strict=True)])
        return replace(case, image=moved, text=text, truth=None, floor=floor)

    def undo(self, scores: Scores | None) -> Scores | None:
        """Class scores of the view, on the grid of the study; at the uncovered edge the nearest ones."""
        if scores is None or self.is_plain:
            return scores
        if isinstance(scores, RankedScores):
            return replace(scores, ranked=self._back(scores.ranked), probabilities=self._back(scores.probabilities))
        return self._back(scores)

    def keeps_words(self, text: str) -> bool:
        """Whether the characters of the text stand where they stood."""
        return not self.flipped or swap_sides(text) == text

    def _back(self, scores: NDArray[Value]) -> NDArray[Value]:
        back = scores
        for axis, step in enumerate(self.shift, start=1):
            if step:
                n = scores.shape[axis]
                back = back.take(np.clip(np.arange(n) + step, 0, n - 1), axis=axis)
        return np.ascontiguousarray(back[:, ::-1]) if self.flipped else back


def views_of(checkpoint: Checkpoint, augmentations: int) -> tuple[View, ...]:
    """The plain view and the first `augmentations` others: flips before shifts, small shifts before diagonal ones.

    Args:
        checkpoint: Says whether training flipped, and what is predicted.
        augmentations: How many are wanted; there are at most `MOST_VIEWS`, or 26 without flips.
    """
    return tuple(islice(_views(may_flip(checkpoint)), augmentations + 1))


def may_flip(checkpoint: Checkpoint) -> bool:
    """Whether training showed flipped studies, and nothing that is predicted names a side."""
    augment = (checkpoint.config.get("training") or {}).get("augment") or {}
    return bool(augment.get("flip_probability", 0.0)) and not names_sides(checkpoint.label_set)


def names_sides(label_set: LabelSet) -> bool:
    """Whether a finding, segment, target or class tells left from right."""
    targets = [name for target in label_set.targets for name in (target.name, *target.classes)]
    return any(names_a_side(name) for name in (*label_set.findings, *label_set.segments, *targets))


def _views(flips: bool) -> Iterator[View]:
    steps = (0, _STEP, -_STEP)
    shifts = sorted(
        ((i, j, k) for i in steps for j in steps for k in steps), key=lambda shift: sum(step != 0 for step in shift)
    )
    for shift in shifts:
        yield View(shift=shift)
        if flips:
            yield View(flipped=True, shift=shift)


def _moved(channel: NDArray[np.float32], shift: Index, fill: float) -> NDArray[np.float32]:
    """The channel moved by whole voxels: what was at index `x` stands at `x + shift`."""
    moved = np.full_like(channel, fill)
    to, source = zip(*(_overlap(n, step) for n, step in zip(channel.shape, shift, strict=True)), strict=True)
    moved[to] = channel[source]
    return moved


def _overlap(n: int, step: int) -> tuple[slice, slice]:
    to = slice(min(max(step, 0), n), max(min(n + step, n), 0))
    source = slice(min(max(-step, 0), n), max(min(n - step, n), 0))
    return to, source
