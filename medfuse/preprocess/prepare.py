"""One study -> channels on the model grid, text, and truth on the same grid."""

from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.geometry import VolumeGeometry
from medfuse.domain.prediction import Alignment, ChannelPreparation
from medfuse.domain.study import Series, Study
from medfuse.domain.volume import Volume
from medfuse.errors import MissingInputError
from medfuse.ingest import read_volume
from medfuse.preprocess.alignment import align, matrix_of
from medfuse.preprocess.channels import ChannelDecision, decide
from medfuse.preprocess.grid import model_grid, resample
from medfuse.preprocess.intensity import background, normalise
from medfuse.preprocess.recipe import Recipe
from medfuse.preprocess.rules import ChannelRule
from medfuse.preprocess.text import text_input


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedStudy:
    """A study on the model grid.

    Args:
        study: Where it comes from.
        image: float32, shape `(C, I, J, K)`; a missing channel is zero.
        grid: The model grid, LPS mm.
        source_grid: Grid of the reference series, which results are brought back to.
        series: Channel name -> series, for the channels that the study has, the reference series first.
        text: The text input; empty for none.
        preparation: How each of these channels was made.
        timings: Stages `read` and `preprocess` -> seconds.
    """

    study: Study
    image: NDArray[np.float32]
    grid: VolumeGeometry
    source_grid: VolumeGeometry
    series: dict[str, Series]
    text: str
    preparation: tuple[ChannelPreparation, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def reference_series(self) -> Series:
        """The series whose grid the results are on: the first channel that the study has."""
        return next(iter(self.series.values()))


def prepare_study(study: Study, recipe: Recipe) -> PreparedStudy:
    """Choose the study's series, read them and bring them onto one grid.

    The grid is that of the first channel that the study has. A series is interpolated once, from its own slices
    (sheared ones of a tilted gantry included) through its registration, where there is one.

    Raises:
        MissingInputError: No series fits any channel.
        UnreadableSeriesError: A chosen series cannot become a volume.
        StudyError: `PATTERN_TOO_SLOW`: a pattern of the recipe takes too long on a text of the study.
    """
    begun = perf_counter()
    decisions = {one.rule.name: one for one in decide(study.series, recipe.channels)}
    series = {name: one.chosen for name, one in decisions.items() if one.chosen is not None}
    if not series:
        raise _nothing_fits(study, recipe)
    reference = next(iter(series.values()))
    fixed, read_s = _timed_read(reference, recipe)
    grid = model_grid(fixed.geometry, recipe.spacing_mm)
    image = np.zeros((len(recipe.channels), *grid.shape), dtype=np.float32)
    preparation = []
    for index, rule in enumerate(recipe.channels):
        if rule.name in series:
            one = series[rule.name]
            volume, took_s = (fixed, 0.0) if one.key == reference.key else _timed_read(one, recipe)
            read_s += took_s
            made = _made(decisions[rule.name], one, volume, reference, fixed, recipe)
            image[index] = _channel(volume, grid, rule, made.alignment)
            preparation.append(made)
    text = text_input(study, recipe)
    return PreparedStudy(
        study=study,
        image=image,
        grid=grid,
        source_grid=fixed.geometry,
        series=series,
        text=text,
        preparation=tuple(preparation),
        timings={"read": read_s, "preprocess": perf_counter() - begun - read_s},
    )


def prepare_truth(label_map: NDArray[np.uint8], source: VolumeGeometry, grid: VolumeGeometry) -> NDArray[np.uint8]:
    """A label map on `source` brought to the model grid, nearest neighbour; uint8 of the grid's shape."""
    return resample(label_map, source, grid, mode="nearest").astype(np.uint8)


def _nothing_fits(study: Study, recipe: Recipe) -> MissingInputError:
    wanted = "; ".join(_describe(rule) for rule in recipe.channels)
    there = ", ".join(sorted({one.modality.value for one in study.series})) or "none"
    return MissingInputError(
        f"no series of the study fits the model's channels ({wanted}); the study has "
        f"{len(study.series)} image series: {there}; medfuse inspect shows why each was left out",
        reason="NO_FITTING_SERIES",
    )


def _timed_read(series: Series, recipe: Recipe) -> tuple[Volume, float]:
    begun = perf_counter()
    volume = read_volume(series, upright=False, fill_gaps=recipe.fill_gaps)
    return volume, perf_counter() - begun


def _made(
    decision: ChannelDecision, series: Series, volume: Volume, reference: Series, fixed: Volume, recipe: Recipe
) -> ChannelPreparation:
    """The record of one channel, its registration included."""
    alignment, notes = None, volume.provenance
    if series.key != reference.key:
        alignment, sentence = align(series, volume, reference, fixed, recipe.registration)
        notes = (*notes, sentence)
    return ChannelPreparation(
        channel=decision.rule.name, series=series.key, choice=decision.reason, notes=notes, alignment=alignment
    )


def _channel(
    volume: Volume, grid: VolumeGeometry, rule: ChannelRule, alignment: Alignment | None
) -> NDArray[np.float32]:
    outside = background(rule.window) if rule.window else float(volume.voxels.min())
    voxels = resample(volume.voxels, volume.geometry, grid, outside=outside, transform=matrix_of(alignment))
    return normalise(voxels, rule.window)


def _describe(rule: ChannelRule) -> str:
    modality = rule.modality.value if rule.modality else "any modality"
    return f"{rule.name}: {modality}" + (f" with description like {rule.match!r}" if rule.match else "")
