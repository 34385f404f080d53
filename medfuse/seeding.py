"""One seed, spawned into independent streams: per rank, worker, epoch, sample."""

import hashlib

import numpy as np


def stream(seed: int, *path: int | str) -> np.random.Generator:
    """A generator for one place of a run, independent of every other place.

    The same seed and path give the same stream on every machine; there is no global state.

    Args:
        seed: The run's one seed, at least 0.
        path: Where the numbers are used, e.g. `("augment", epoch, index)`.

    Source: `numpy.random.SeedSequence` (O'Neill 2015, "Developing a seed_seq Alternative").
    """
    words = [seed, *(_word(part) for part in path)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def derived_seed(seed: int, *path: int | str) -> int:
    """A 63-bit seed for a library that wants an integer, from the same stream."""
    return int(stream(seed, *path).integers(0, 2**63 - 1))


def _word(part: int | str) -> int:
    if isinstance(part, int):
        return part
    return int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "big")
