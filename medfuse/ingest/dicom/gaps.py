"""Missing slices: filled in by linear interpolation between the slices around them, when the caller allows that.

Nothing is averaged in silence (MONAI's readers take the mean spacing and move every slice): the slices that exist keep
their values and their places, and the provenance counts the ones that were made up.
"""

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.stack import Stack

MOST_MISSING = 0.5
"""Largest share of slices that may be made up."""


def check_fillable(stack: Stack) -> None:
    """Refuse to make up most of a volume.

    Raises:
        UnreadableSeriesError: `MISSING_SLICES`.
    """
    total = stack.geometry.shape[2]
    if stack.n_missing > MOST_MISSING * total:
        raise UnreadableSeriesError(
            f"lacks {stack.n_missing} of {total} slices, more than can be filled in by interpolation "
            f"({MOST_MISSING:.0%}); send the series again",
            reason="MISSING_SLICES",
        )


def fill_gaps(planes: NDArray[np.float32], stack: Stack) -> tuple[NDArray[np.float32], str]:
    """Spread planes over the slots of a stack and interpolate the missing ones.

    Args:
        planes: The existing slices, k ascending; shape `(n, rows, columns)`.
        stack: Where they belong.

    Returns:
        All slices, shape `(K, rows, columns)`, and a sentence for the provenance.
    """
    whole = np.empty((stack.geometry.shape[2], *planes.shape[1:]), dtype=np.float32)
    whole[list(stack.slots)] = planes
    missing = sorted(set(range(len(whole))) - set(stack.slots))
    slots = np.array(stack.slots)
    for k in missing:
        after = int(np.searchsorted(slots, k))
        low, high = int(slots[after - 1]), int(slots[after])
        weight = np.float32((k - low) / (high - low))
        np.add(planes[after - 1] * (1 - weight), planes[after] * weight, out=whole[k])
    numbers = ", ".join(str(k + 1) for k in missing[:8]) + (" and others" if len(missing) > 8 else "")
    note = f"Filled in {len(missing)} missing slices of {len(whole)} by linear interpolation (number {numbers})."
    return whole, note
