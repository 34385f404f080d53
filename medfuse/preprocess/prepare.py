"""One study -> channels on the model grid, text, and truth on the same grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.domain.geometry import VolumeGeometry
from medfuse.domain.study import Series, Study
from medfuse.domain.volume import Volume
from medfuse.errors import MissingInputError
from medfuse.ingest import read_volume
from medfuse.preprocess.channels import choose_series
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
    """

    study: Study
    image: NDArray[np.float32]
    grid: VolumeGeometry
    source_grid: VolumeGeometry
    series: dict[str, Series]
    text: str

    @property
    def reference_series(self) -> Series:
        """The series whose grid the results are on: the first channel that the study has."""
        return next(iter(self.series.values()))


def prepare_study(study: Study, recipe: Recipe) -> PreparedStudy:
    """Read the study's series and bring them onto one grid.

    Raises:
        MissingInputError: No series fits any channel.
        UnreadableSeriesError: A chosen series cannot become a volume.
    """
    series = choose_series(study.series, recipe.channels)
    if not series:
        wanted = "; ".join(_describe(rule) for rule in recipe.channels)
        there = ", ".join(sorted({one.modality.value for one in study.series})) or "none"
        raise MissingInputError(
            f"no series of the study fits the model's channels ({wanted}); the study has "
            f"{len(study.series)} image series: {there}",
            reason="NO_FITTING_SERIES",
        )
    volumes = {name: read_volume(one) for name, one in series.items()}
    source_grid = next(iter(volumes.values())).geometry
    grid = model_grid(source_grid, recipe.spacing_mm)
    image = np.zeros((len(recipe.channels), *grid.shape), dtype=np.float32)
    for index, rule in enumerate(recipe.channels):
        if rule.name in volumes:
            image[index] = _channel(volumes[rule.name], grid, rule)
    return PreparedStudy(
        study=study, image=image, grid=grid, source_grid=source_grid, series=series, text=text_input(study, recipe)
    )


def prepare_truth(label_map: NDArray[np.uint8], source: VolumeGeometry, grid: VolumeGeometry) -> NDArray[np.uint8]:
    """A label map on `source` brought to the model grid, nearest neighbour; uint8 of the grid's shape."""
    return resample(label_map, source, grid, mode="nearest").astype(np.uint8)


def _channel(volume: Volume, grid: VolumeGeometry, rule: ChannelRule) -> NDArray[np.float32]:
    outside = background(rule.window) if rule.window else float(volume.voxels.min())
    return normalise(resample(volume.voxels, volume.geometry, grid, outside=outside), rule.window)


def _describe(rule: ChannelRule) -> str:
    modality = rule.modality.value if rule.modality else "any modality"
    return f"{rule.name}: {modality}" + (f" with description like {rule.match!r}" if rule.match else "")
