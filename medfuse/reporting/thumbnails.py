"""A slice of each study that the model failed on, with the outlines of the reference, as PNG for the report.

The slice is that with most of the segment that failed, or else of all segments; the middle one for a study without
delineations. What the model drew is not kept by an evaluation, so that only the reference is outlined. Nothing in a
picture names the patient.
"""

import base64
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medfuse.domain import LabelSet, Volume
from medfuse.domain.references import reference_masks
from medfuse.errors import StudyError
from medfuse.evaluation import EvaluationReport
from medfuse.ingest import ManifestRow, read_segmentation, read_volume, study_of
from medfuse.outputs.colours import rgb_of
from medfuse.preprocess import Recipe
from medfuse.preprocess.channels import choose_series
from medfuse.reporting.artifacts import RunArtifacts
from medfuse.reporting.compose import plain_failures
from medfuse.reporting.document import ShownFailure

MOST_STUDIES = 12
"""Studies that are read for pictures, unless more are asked for."""

_LONGEST_SIDE = 256
_SPREAD = (1.0, 99.0)
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    """What of a study is drawn."""

    volume: Volume
    masks: Mapping[str, NDArray[np.bool_]]


def pictured_failures(artifacts: RunArtifacts, most: int = MOST_STUDIES) -> tuple[ShownFailure, ...]:
    """The failures of the evaluation, each with a picture where its study can be read.

    Args:
        artifacts: With the evaluation and the manifest.
        most: Studies to read at most; the first failure of each kind and name comes first.
    """
    report = artifacts.evaluation
    if report is None:
        return ()
    failures = plain_failures(report)
    rows = {row.study_instance_uid: row for row in artifacts.manifest}
    chosen = [uid for uid in _worst_first(report) if uid in rows][:most]
    recipe = TypeAdapter(Recipe).validate_python(artifacts.at("recipe"))
    labels = TypeAdapter(LabelSet).validate_python(artifacts.at("label_set"))
    pictured: dict[int, ShownFailure] = {}
    for uid in chosen:  # one study in memory at a time
        shown = _read(rows[uid], recipe, labels)
        for place, failure in enumerate(failures):
            if shown is not None and failure.study_instance_uid == uid:
                pictured[place] = _pictured(failure, shown, labels.segments)
    return tuple(pictured.get(place, failure) for place, failure in enumerate(failures))


def _worst_first(report: EvaluationReport) -> list[str]:
    """Studies by the rank of their failure within its kind and name."""
    ranks: dict[tuple[str, str], int] = {}
    ranked: list[tuple[int, int, str]] = []
    for failure in report.failures:
        rank = ranks[failure.kind, failure.name] = ranks.get((failure.kind, failure.name), -1) + 1
        ranked.append((rank, len(ranked), failure.study_instance_uid))
    return list(dict.fromkeys(uid for _, _, uid in sorted(ranked)))


def _read(row: ManifestRow, recipe: Recipe, labels: LabelSet) -> _Shown | None:
    try:
        study = study_of(row)
        series = next(iter(choose_series(study.series, recipe.channels).values()), None)
        if series is None:
            return None
        volume = read_volume(series, fill_gaps=recipe.fill_gaps)
        delineations = [read_segmentation(path, on=volume.geometry) for path in study.segmentations]
        masks = reference_masks(delineations, labels.segments, labels.parts) if delineations else {}
    except StudyError as error:
        LOG.warning("no picture of study %s: %s", row.study_instance_uid, error.reason)
        return None
    return _Shown(volume=volume, masks=masks)


def _pictured(failure: ShownFailure, shown: _Shown, segments: Sequence[str]) -> ShownFailure:
    k = _key_slice(failure.name, shown)
    outlined = [name for name in segments if name in shown.masks and shown.masks[name][:, :, k].any()]
    caption = f"Slice {k + 1} of {shown.volume.voxels.shape[2]} of the source grid"
    caption += f"; outlined: the reference of {', '.join(outlined)}" if outlined else "; no reference in this slice"
    pixels = _drawn(shown, k, segments)
    return replace(failure, picture=_png(pixels), caption=caption)


def _key_slice(name: str, shown: _Shown) -> int:
    """Of the segment that failed, else of all; the middle slice where nothing is delineated."""
    masks = [shown.masks[name]] if name in shown.masks else list(shown.masks.values())
    voxels = sum(np.count_nonzero(mask, axis=(0, 1)) for mask in masks)
    return int(np.argmax(voxels)) if np.any(voxels) else shown.volume.voxels.shape[2] // 2


def _drawn(shown: _Shown, k: int, segments: Sequence[str]) -> NDArray[np.uint8]:
    from PIL import Image
    from scipy.ndimage import binary_erosion

    plane = shown.volume.voxels[:, :, k].T.astype(np.float32)
    low, high = np.percentile(plane, _SPREAD)
    grey = (np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)
    size = _size(grey.shape, shown.volume.geometry.affine.spacing_mm)
    image = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)
    pixels = np.repeat(np.asarray(image)[:, :, None], 3, axis=2)
    for number, name in enumerate(segments, start=1):
        if name in shown.masks:
            mask = Image.fromarray(shown.masks[name][:, :, k].T.astype(np.uint8))
            large = np.asarray(mask.resize(size, Image.Resampling.NEAREST)) > 0
            pixels[large & ~binary_erosion(large)] = rgb_of(number)
    return pixels


def _size(shape: tuple[int, ...], spacing_mm: NDArray[np.float64]) -> tuple[int, int]:
    """Width and height with the slice's own proportions in mm."""
    extent_mm = np.array([shape[1] * spacing_mm[0], shape[0] * spacing_mm[1]])
    width, height = np.maximum(np.rint(extent_mm * _LONGEST_SIDE / extent_mm.max()), 1)
    return int(width), int(height)


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
