"""The images: a component of ours around NiiVue, fed once a series; scrolling and windowing never reach Python.

The `niivue-streamlit` package was tried first. Its `niivue_viewer` takes no window, no label colours, no outline and no
layout, and sends voxels as base64 in JSON. So its frontend serves here as the offline carrier of NiiVue alone
(`slices/niivue.js` takes the class out of it), and the component's page, toolbar and keys are ours.
"""

from dataclasses import asdict
from pathlib import Path

import niivue_component  # type: ignore[import-untyped, unused-ignore]  # registers the frontend that carries NiiVue
import streamlit as st
import streamlit.components.v1 as components

from apps.viewer.panels import html
from medfuse.domain import Prediction, Series, Study
from medfuse.errors import MedfuseError
from medfuse.ingest import read_volume
from medfuse.review import DisplayImage, SeriesChoice, display_image, segment_views, series_choices

_SLICES = components.declare_component("medfuse_slices", path=Path(__file__).with_name("slices"))
_HEIGHT = 640
_KEPT_IMAGES = 6

NIIVUE_CARRIER: str = niivue_component.__name__
"""The package that carries NiiVue."""


def show(study: Study | None, prediction: Prediction | None, segmentation: Path | None, problem: str) -> None:
    """Draw the pane.

    Args:
        study: The study on the disk, or None where it cannot be found.
        prediction: For the series that the model read and the names of the segments; None without one.
        segmentation: The label map file, or None without one.
        problem: Why there is no study; empty where there is one.
    """
    if study is None:
        html.notice("error", f"The images cannot be shown: {problem}")
        return
    choices = series_choices(study, prediction)
    if not choices:
        html.notice("info", "This study has no series that can be shown as a volume.")
        for line in study.problems:
            html.notice("warning", line)
        return
    _fragment(study, prediction, segmentation, choices)


@st.fragment
def _fragment(
    study: Study, prediction: Prediction | None, segmentation: Path | None, choices: tuple[SeriesChoice, ...]
) -> None:
    with st.container(key="series"):  # always there, so that the component below keeps its place and its WebGL
        chosen = _chosen(study, choices)
    try:
        image, provenance = _image(chosen.series.key, chosen.series.channel, str(study.path), chosen.series)
        overlay = segmentation.read_bytes() if segmentation and prediction else None
    except (MedfuseError, OSError) as error:
        html.notice("error", f"This series cannot be shown: {error}")
        return
    _draw(study, prediction, image, overlay)
    for line in provenance:
        html.notice("info", line)


def _chosen(study: Study, choices: tuple[SeriesChoice, ...]) -> SeriesChoice:
    """The series that the reader chose; the first one until then."""
    if len(choices) == 1:
        return choices[0]
    number = st.segmented_control(
        "Series",
        range(len(choices)),
        format_func=lambda n: choices[n].label,
        default=0,
        key=f"series/{study.study_instance_uid}",
        label_visibility="collapsed",
        required=True,
    )
    return choices[number or 0]


def _draw(study: Study, prediction: Prediction | None, image: DisplayImage, overlay: bytes | None) -> None:
    segments = segment_views(prediction) if prediction and overlay else ()
    _SLICES(
        image=image.voxels,
        image_key=image.key,
        shape=list(image.shape),
        data_type=image.data_type,
        affine_ras=list(image.affine_ras),
        unit=image.unit,
        windows=[asdict(window) for window in image.windows],
        overlay=overlay,
        overlay_key=f"{study.study_instance_uid}" if overlay else "",
        study_key=study.study_instance_uid,
        segments=[asdict(segment) for segment in segments],
        height=_HEIGHT,
        key="slices",
        default=None,
    )


@st.cache_resource(show_spinner="Reading the images …", max_entries=_KEPT_IMAGES)
def _image(series_key: str, channel: int | None, place: str, _series: Series) -> tuple[DisplayImage, tuple[str, ...]]:
    """The packed image of a series, and what was done to it; the underscored argument is no part of the cache's key.

    Missing slices are interpolated, since a model may have been allowed to read the series so; the reader is told.
    """
    volume = read_volume(_series, fill_gaps=True)
    return display_image(volume, _series.modality), volume.provenance
