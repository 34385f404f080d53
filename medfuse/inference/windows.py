"""A study read in windows by an engine, and the answers of its windows.

Windows in which every channel stands at its floor (air below a CT's window, what lies around a stripped brain) are one
and the same input, so the network reads the first of them and its answer stands for all: nothing is approximated.
The text is encoded once a study.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfuse.data.cache import floor_of
from medfuse.data.collate import collate
from medfuse.data.samples import Case, sample_of
from medfuse.domain.labels import LabelSet
from medfuse.heads.targets import shown_in
from medfuse.inference.engines.base import Engine
from medfuse.inference.ranked import RankedBlend, RankedScores, passing_order
from medfuse.inference.sliding_window import Blend, Index, batched, window_starts
from medfuse.preprocess import Recipe
from medfuse.tensors import Batch, ModelOutput, TextTokens

WINDOWS_A_BATCH = 2

WHOLE_SCORES_BYTES = 1 << 30
"""Up to here the class scores of a study are kept whole, in float32; beyond it, the highest of each voxel."""

BATCH_SCORES_BYTES = 1 << 28
"""Up to here the class scores of a batch of several windows may go; beyond it, windows go one by one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowAnswers:
    """What an engine says of the windows of a study, on the CPU.

    Args:
        starts: First voxel of each window, in the order of the answers.
        finding_logits: Shape `(W, F)`.
        text_attention: Shape `(W, F, words)`.
        offsets: Characters of each sub-word of the text, shape `(words, 2)`.
        target_outputs: Of each window, target -> its outputs.
        shown: How much each window counts for the targets (see `medfuse.heads.targets.shown_in`).
        class_scores: Probability of each class, shape `(S1, I, J, K)` on the model grid, background first, or the
            highest of each voxel where there are too many; of each segment alone where they overlap; None from a
            network that delineates nothing.
    """

    starts: tuple[Index, ...]
    finding_logits: Tensor
    text_attention: Tensor
    offsets: Tensor
    target_outputs: tuple[Mapping[str, Tensor], ...]
    shown: tuple[float, ...]
    class_scores: NDArray[np.float32] | RankedScores | None


@torch.inference_mode()
def answer_windows(engine: Engine, case: Case, recipe: Recipe, label_set: LabelSet) -> WindowAnswers:
    """Read a study window by window.

    Args:
        engine: Runs the network.
        case: The study.
        recipe: States the size of a window.
        label_set: What is predicted.
    """
    shape = _grid_shape(case)
    classes = label_set.channels if engine.delineates and case.channel_present.any() else 0
    starts = window_starts(shape, recipe.size)
    blend = _blend(classes, shape, recipe.size, starts, ranked=not label_set.overlapping)
    if isinstance(blend, RankedBlend):
        starts = passing_order(starts, shape, recipe.size)
    outputs: list[ModelOutput] = []
    shown: list[float] = []
    tokens = engine.tokenize([case.text])
    for start, output in _outputs(engine, case, recipe, label_set, starts, tokens):
        shown += shown_in(output, label_set.overlapping).tolist() if label_set.targets else [1.0]
        outputs.append(replace(output, segment_logits=None))
        if blend is not None and output.segment_logits is not None:
            blend.add(_probabilities(output.segment_logits[0], label_set.overlapping), start)
        del output  # the scores of a window of many classes are large, and the next ones come
    return WindowAnswers(
        starts=tuple(starts),
        finding_logits=torch.cat([output.finding_logits.cpu() for output in outputs]),
        text_attention=torch.cat([output.text_attention.cpu() for output in outputs]),
        offsets=tokens.offsets[0].cpu(),
        target_outputs=tuple(
            {name: value[0].cpu() for name, value in output.target_outputs.items()} for output in outputs
        ),
        shown=tuple(shown),
        class_scores=None if blend is None else blend.mean(),
    )


def _probabilities(logits: Tensor, overlapping: bool) -> Tensor:
    scores = logits.float()
    return (scores.sigmoid() if overlapping else scores.softmax(dim=0)).cpu()


def is_empty(case: Case, start: Index, size: Index) -> bool:
    """Whether every channel stands at its floor all over a window; what lies beyond the grid does."""
    block = tuple(slice(max(s, 0), s + m) for s, m in zip(start, size, strict=True))
    floor = case.floor if case.floor is not None else floor_of(case.image)
    return all(not (channel[block] > low).any() for channel, low in zip(case.image, floor, strict=True))


def _outputs(
    engine: Engine, case: Case, recipe: Recipe, label_set: LabelSet, starts: Sequence[Index], tokens: TextTokens
) -> Iterator[tuple[Index, ModelOutput]]:
    """Each window with its answer, in order."""
    encoded = engine.encode(tokens)
    engine.ready(_batch(case, recipe, label_set, [_central(case, recipe)], tokens), encoded)
    of_empty: ModelOutput | None = None
    waiting: list[Index] = []
    at_once = _windows_at_once(engine, recipe, label_set)

    def run(some: Sequence[Index]) -> Iterator[tuple[Index, ModelOutput]]:
        for group in batched(some, at_once):
            batch = _batch(case, recipe, label_set, group, tokens)
            yield from zip(group, _apart(engine.run(batch, encoded)), strict=True)

    for start in starts:
        if not is_empty(case, start, recipe.size):
            waiting.append(start)
            if len(waiting) == at_once:
                yield from run(waiting)
                waiting = []
            continue
        yield from run(waiting)
        waiting = []
        if of_empty is None:
            (_, of_empty), *_ = run([start])
        yield start, of_empty
    yield from run(waiting)


def _central(case: Case, recipe: Recipe) -> Index:
    """The window in the middle of a study."""
    i, j, k = ((n - m) // 2 for n, m in zip(_grid_shape(case), recipe.size, strict=True))
    return i, j, k


def _windows_at_once(engine: Engine, recipe: Recipe, label_set: LabelSet) -> int:
    of_one = 4 * prod(recipe.size) * label_set.channels if engine.delineates else 0
    return WINDOWS_A_BATCH if WINDOWS_A_BATCH * of_one <= BATCH_SCORES_BYTES else 1


def _batch(case: Case, recipe: Recipe, label_set: LabelSet, starts: Sequence[Index], tokens: TextTokens) -> Batch:
    batch = collate([sample_of(case, recipe.size, label_set, start=start) for start in starts], None)
    return replace(batch, text=repeated(tokens, len(starts)))


def repeated(tokens: TextTokens, rows: int) -> TextTokens:
    """The tokens of one text, as often as a batch has rows."""
    return TextTokens(
        ids=tokens.ids.expand(rows, -1),
        mask=tokens.mask.expand(rows, -1),
        number_values=tokens.number_values.expand(rows, -1),
        offsets=tokens.offsets.expand(rows, -1, -1),
        present=tokens.present.expand(rows),
    )


def _apart(output: ModelOutput) -> Iterator[ModelOutput]:
    """The answers of a batch, one by one."""
    for row in range(len(output.finding_logits)):
        one = slice(row, row + 1)
        yield ModelOutput(
            finding_logits=output.finding_logits[one],
            segment_logits=None if output.segment_logits is None else output.segment_logits[one],
            text_attention=output.text_attention[one],
            target_outputs={name: value[one] for name, value in output.target_outputs.items()},
        )


def _blend(
    classes: int, shape: Index, size: Index, starts: Sequence[Index], *, ranked: bool
) -> Blend | RankedBlend | None:
    """What the windows' scores go into; segments that overlap are few, and have no highest one to be ranked by."""
    if not classes:
        return None
    if not ranked or 4 * classes * prod(shape) <= WHOLE_SCORES_BYTES:
        return Blend.over(classes, shape)
    return RankedBlend.over(classes, shape, size, starts)


def _grid_shape(case: Case) -> Index:
    i, j, k = case.image.shape[1:]
    return i, j, k
