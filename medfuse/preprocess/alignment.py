"""Bringing a series into the space of the reference series: by geometry alone, or by rigid registration."""

import logging

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.prediction import Alignment
from medfuse.domain.study import Series
from medfuse.domain.volume import Volume
from medfuse.preprocess.recipe import Registration

_LOG = logging.getLogger(__name__)


def shares_space(series: Series, reference: Series) -> bool | None:
    """Whether two series share one frame of reference; None where a header does not say (as with NIfTI)."""
    one, other = series.acquisition.frame_of_reference_uid, reference.acquisition.frame_of_reference_uid
    return one == other if one and other else None


def align(
    series: Series, volume: Volume, reference: Series, reference_volume: Volume, mode: Registration
) -> tuple[Alignment | None, str]:
    """How the series comes into the space of the reference series.

    Args:
        series: The series, and what it is brought onto below.
        volume: Its voxels.
        reference: The series whose space the study is prepared in.
        reference_volume: Its voxels.
        mode: The recipe's `registration`.

    Returns:
        The registration where one was run, used or not, and one sentence.
    """
    shared = shares_space(series, reference)
    if mode is Registration.NEVER or (mode is Registration.AUTO and shared is not False):
        return None, _by_geometry(shared)
    from medfuse.preprocess.registration import register_rigid

    match = register_rigid(reference_volume, volume)
    figures = f"normalised mutual information {match.nmi_before:.3f} before, {match.nmi_after:.3f} after"
    if match.accepted:
        moved = f"turned {match.rotation_deg:.1f} degrees, shifted {match.shift_mm:.1f} mm"
        sentence = f"registered to the first channel's series: {moved}; {figures}"
    else:
        sentence = f"registration not used: {match.refusal}; {figures}; brought together by geometry alone"
        if shared is False:
            sentence += " although the frames of reference differ: check that the series lie on one another"
            _LOG.warning("series %s: %s", series.key, sentence)
    alignment = Alignment(
        reference=reference.key,
        matrix_lps=tuple(tuple(float(value) for value in row) for row in match.matrix_lps),
        nmi_before=match.nmi_before,
        nmi_after=match.nmi_after,
        applied=match.accepted,
    )
    return alignment, sentence


def matrix_of(alignment: Alignment | None) -> NDArray[np.float64] | None:
    """The 4x4 matrix that `resample` takes, or None where geometry alone is used."""
    return np.array(alignment.matrix_lps) if alignment is not None and alignment.applied else None


def _by_geometry(shared: bool | None) -> str:
    if shared is None:
        return "its frame of reference is not stated: taken as that of the first channel's series"
    if shared:
        return "shares the frame of reference of the first channel's series"
    return (
        "another frame of reference than the first channel's series: brought together by geometry alone, as configured"
    )
