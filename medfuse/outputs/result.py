"""One scored study on its way into files: what the outputs share, each part made once and only when asked for."""

import dataclasses
import logging
from functools import cached_property
from typing import TYPE_CHECKING

from medfuse.domain import Prediction, Scored, Segmentation, Series, Study, Volume, VoxelMap
from medfuse.errors import StudyError
from medfuse.ingest import read_volume, source_datasets
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs.dicom_seg import dicom_seg
from medfuse.outputs.equipment import new_uid
from medfuse.outputs.masking import identity_terms, masked
from medfuse.outputs.measurements import SegmentMeasurement, measure
from medfuse.outputs.source_grid import SourceGridError

if TYPE_CHECKING:
    from pydicom import Dataset

_LOG = logging.getLogger(__name__)


class StudyResult:
    """A scored study with what its files are made of.

    Args:
        scored: The answer.
        study: The study that was scored.
        volume: The source volume that the label map is on, where the caller has it; read again when asked for if not.

    Attributes:
        notes: What a reader of the result should know, one line each; outputs add to it.

    Raises:
        ValueError: `scored` is of another study, or of a series that the study does not have.
        StudyError: The headers of the study can no longer be read.
    """

    def __init__(self, scored: Scored, study: Study, volume: Volume | None = None) -> None:
        if scored.prediction.study_instance_uid != study.study_instance_uid:
            raise ValueError("the prediction is of another study")
        self.study = study
        self.segmentation: Segmentation | None = scored.segmentation
        self.maps: tuple[VoxelMap, ...] = scored.maps
        self.series = _source_series(scored, study)
        self.headers = [] if self.series is None or self.series.is_nifti else source_datasets(self.series)
        self.prediction: Prediction = _without_identity(scored.prediction, self.headers)
        self.notes: list[str] = []
        self._volume = volume

    @property
    def series_instance_uid(self) -> str | None:
        """The source series' UID."""
        return None if self.series is None else self.series.series_instance_uid

    @cached_property
    def map_series_uid(self) -> str:
        """The new series of the parametric maps."""
        return new_uid()

    @cached_property
    def source_headers(self) -> "list[Dataset]":
        """The headers of the source series.

        Raises:
            SourceGridError: There are none.
        """
        if not self.headers:
            raise SourceGridError("the source is NIfTI, so there are no DICOM images that it could refer to")
        return self.headers

    @cached_property
    def volume(self) -> Volume:
        """The source volume.

        Raises:
            StudyError: It can no longer be read, or there is no series to read.
        """
        if self._volume is not None:
            return self._volume
        if self.series is None:
            raise SourceGridError("the study has no image series")
        return read_volume(self.series)

    @cached_property
    def measurements(self) -> tuple[SegmentMeasurement, ...]:
        """The measures of each segment; without means where the source image cannot be read or is on another grid."""
        if self.segmentation is None:
            return ()
        try:
            return measure(self.segmentation, self.volume)
        except StudyError as error:
            _LOG.warning("study %s: no means: %s", self.prediction.study_instance_uid, error.reason)
            return measure(self.segmentation)

    @cached_property
    def dicom_seg(self) -> "Dataset":
        """The label map as DICOM SEG.

        Raises:
            SourceGridError: The study cannot carry one.
        """
        headers = self.source_headers
        if self.segmentation is None:
            raise SourceGridError("the model has no segments")
        return dicom_seg(
            self.segmentation,
            headers,
            model=self.prediction.model,
            study_instance_uid=self.prediction.study_instance_uid,
            series_instance_uid=self.series_instance_uid,
        )


def _source_series(scored: Scored, study: Study) -> Series | None:
    """The series whose grid the label map is on; without a label map, any DICOM series, for its headers."""
    key = scored.segmentation_series_uid
    if scored.segmentation is None:
        used = set(scored.prediction.series_used.values())
        choices = [series for series in study.series if not series.is_nifti]
        return next((series for series in choices if series.key in used), choices[0] if choices else None)
    for series in study.series:
        if series.key == key:
            return series
    raise ValueError("the study has no series that the label map is on")


def _without_identity(prediction: Prediction, headers: "list[Dataset]") -> Prediction:
    if not prediction.text_input or not headers:
        return prediction
    with quiet():
        terms = identity_terms(headers[0])
    return dataclasses.replace(prediction, text_input=masked(prediction.text_input, terms))
