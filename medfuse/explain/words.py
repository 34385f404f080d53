"""Which words an answer rests on, by taking them away.

A word's weight is the mean of two changes of the log-odds: what is lost when it alone is taken out of the text, and
what is gained when it alone stands there. The first misses words that say the same twice, the second those that mean
something only together; they are the two ends of the sum that Shapley's value is.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medfuse.data.samples import Case
from medfuse.explain.reading import Reading, log_odds

MOST_UNITS = 96
"""Of longer texts, runs of neighbouring words are weighed together."""

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WordWeights:
    """The words of a text, and what each adds to the log-odds of each finding.

    Args:
        spans: First and last-plus-one character of each word, or run of words.
        weights: Shape `(words, F)`; positive speaks for the finding.
    """

    spans: tuple[tuple[int, int], ...]
    weights: NDArray[np.float64]


def word_weights(readings: Sequence[Reading], case: Case) -> WordWeights:
    """Weigh the words of a study's text.

    Args:
        readings: Of the members, of the windows that decide.
        case: The study.

    Source: J. Li, W. Monroe, D. Jurafsky, "Understanding neural networks through representation erasure", 2016, for
    taking words out; both ends of the sum are ours.
    """
    spans = units_of(case.text)
    if not spans:
        none = log_odds(readings, [case])
        return WordWeights(spans=(), weights=np.zeros((0, none.shape[1])))
    every = range(len(spans))
    texts = [text_of(case.text, spans, [o for o in every if o != one]) for one in every]
    alone = [text_of(case.text, spans, [one]) for one in every]
    said = log_odds(readings, [replace(case, text=text) for text in (case.text, "", *texts, *alone)])
    lost = said[0] - said[2 : 2 + len(spans)]
    gained = said[2 + len(spans) :] - said[1]
    return WordWeights(spans=spans, weights=(lost + gained) / 2)


def units_of(text: str) -> tuple[tuple[int, int], ...]:
    """The words of a text, or runs of as many words as make at most `MOST_UNITS` runs."""
    words = [match.span() for match in _WORD.finditer(text)]
    run = max(1, -(-len(words) // MOST_UNITS))
    groups = [words[first : first + run] for first in range(0, len(words), run)]
    return tuple((group[0][0], group[-1][1]) for group in groups)


def text_of(text: str, spans: Sequence[tuple[int, int]], kept: Collection[int]) -> str:
    """The text with the kept words alone, a space or the line's end between them."""
    parts = []
    for position in sorted(kept):
        start, end = spans[position]
        parts.append(text[start:end] + ("\n" if text[end : end + 1] == "\n" else " "))
    return "".join(parts).strip()
