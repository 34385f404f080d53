"""Predictions as files: a folder a study, one table a run.

Every file is written aside, forced to the disk and renamed, so that nothing stands half-written. Patient names and
identifiers go into the headers of DICOM results alone, where an archive needs them. pydicom, highdicom and nibabel load
on first use.
"""

from medfuse.outputs.dicom_seg import write_dicom_seg
from medfuse.outputs.edited_seg import edited_segmentation, write_dicom, write_edited_segmentation
from medfuse.outputs.json import prediction_json, prediction_schema, read_prediction, write_prediction
from medfuse.outputs.measurements import SegmentMeasurement, measure
from medfuse.outputs.nifti import write_nifti
from medfuse.outputs.parametric_map import write_parametric_map
from medfuse.outputs.registry import DEFAULT_OUTPUTS, OUTPUTS, Output, chosen_outputs
from medfuse.outputs.review_sr import SignOff, review_sr, write_review_sr
from medfuse.outputs.store import study_folder, write_study_outputs
from medfuse.outputs.table import ScoreTable, read_scores
from medfuse.outputs.table_columns import ScoreRow

__all__ = [
    "DEFAULT_OUTPUTS",
    "OUTPUTS",
    "Output",
    "ScoreRow",
    "ScoreTable",
    "SegmentMeasurement",
    "SignOff",
    "chosen_outputs",
    "edited_segmentation",
    "measure",
    "prediction_json",
    "prediction_schema",
    "read_prediction",
    "read_scores",
    "review_sr",
    "study_folder",
    "write_dicom",
    "write_dicom_seg",
    "write_edited_segmentation",
    "write_nifti",
    "write_parametric_map",
    "write_prediction",
    "write_review_sr",
    "write_study_outputs",
]
