"""Explanations beside results: what in a study spoke for each finding, as JSON, NIfTI and maps for DICOM."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medfuse.domain import MapMeaning, Scored, Study, VoxelMap

if TYPE_CHECKING:
    from medfuse.explain import Explanation
    from medfuse.inference import Predictor
    from medfuse.preprocess import PreparedStudy

FOLDER = "explanation"
"""Where the explanation goes, in the folder of the study's results."""


def explained(predictor: "Predictor", prepared: "PreparedStudy", scored: Scored) -> "tuple[Scored, Explanation]":
    """An answer with its explanation.

    Args:
        predictor: The model.
        prepared: The study.
        scored: The answer.

    Returns:
        The answer with what each input contributed, and with a map a finding: what speaks for it, its largest weight
        scaled to 1; and the whole explanation.
    """
    from medfuse.explain import explain_prepared

    explanation = explain_prepared(predictor, prepared, scored=scored)
    return replace(explanation.scored, maps=(*scored.maps, *_maps(explanation))), explanation


def write_beside(explanation: "Explanation", study: Study, folder: Path) -> None:
    """Write an explanation into the folder of a study's results.

    Raises:
        StorageError: It cannot be written.
    """
    from medfuse.explain import write_explanation

    write_explanation(explanation, study, folder / FOLDER)


def _maps(explanation: "Explanation") -> list[VoxelMap]:
    maps = []
    for finding in explanation.findings:
        for weights in finding.maps.values():
            values = np.maximum(weights, 0)
            values = np.minimum(values / max(float(values.max()), np.finfo(np.float32).tiny), 1).astype(np.float32)
            maps.append(
                VoxelMap(
                    name=finding.name, meaning=MapMeaning.SALIENCY, values=values, geometry=explanation.source_grid
                )
            )
    return maps
