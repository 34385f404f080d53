"""A folder of results as `medfuse score` leaves it, opened for reading.

DIR/scores.csv                    the worklist
DIR/<study_instance_uid>/         prediction.json, segmentation.nii.gz, seg.dcm
DIR/sources.json                  study UID -> {"path": where the study's images and reports lie}
"""

import json
from pathlib import Path
from typing import Any

from medfuse.domain import Prediction, Study
from medfuse.errors import StudyError, UsageError
from medfuse.ingest import find_studies
from medfuse.outputs import ScoreRow, read_prediction, read_scores, study_folder

SCORES_FILE = "scores.csv"
SOURCES_FILE = "sources.json"
PREDICTION_FILE = "prediction.json"
SEGMENTATION_FILE = "segmentation.nii.gz"


class Results:
    """A folder of results.

    Args:
        directory: What `medfuse score` wrote.

    Raises:
        UsageError: The folder is missing, or `scores.csv` is missing or broken.
    """

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise UsageError(f"{directory} is not a folder; give the one that `medfuse score` wrote")
        self.directory = directory
        if not (directory / SCORES_FILE).is_file():
            raise UsageError(f"{directory} has no {SCORES_FILE}; give the folder that `medfuse score` wrote")
        self.scores: tuple[ScoreRow, ...] = read_scores(directory / SCORES_FILE)

    def prediction(self, study_instance_uid: str) -> Prediction:
        """The model's answer on one study.

        Raises:
            UsageError: `prediction.json` is missing or broken, or is of another study.
        """
        path = self._folder(study_instance_uid) / PREDICTION_FILE
        prediction = read_prediction(path)
        if prediction.study_instance_uid != study_instance_uid:
            raise UsageError(f"{path} is the prediction of another study; score the study again")
        return prediction

    def segmentation(self, study_instance_uid: str) -> Path | None:
        """The label map of one study, or None when the model made none."""
        path = self._folder(study_instance_uid) / SEGMENTATION_FILE
        return path if path.is_file() else None

    def source(self, study_instance_uid: str) -> Path:
        """The folder (or NIfTI file) that a study was read from.

        Raises:
            UsageError: `sources.json` is missing, broken or silent about the study, or the folder is gone.
        """
        listed = self._sources().get(study_instance_uid)
        told = listed.get("path") if isinstance(listed, dict) else None
        if not isinstance(told, str):
            raise UsageError(f"{self.directory / SOURCES_FILE} does not say where this study lies; score it again")
        path = self.directory / told
        if not path.exists():
            raise UsageError(f"the source folder {path} is missing; mount it, or score the study again")
        return path

    def study(self, study_instance_uid: str) -> Study:
        """One study as it lies on the disk now: its series and reports.

        Raises:
            UsageError: Its source is not known, is gone, or no longer holds it.
        """
        path = self.source(study_instance_uid)
        for study in find_studies(path).studies:
            if study.study_instance_uid == study_instance_uid:
                return study
        raise UsageError(f"the source folder {path} no longer holds this study; score it again")

    def patient_keys(self) -> dict[str, str]:
        """Study -> pseudonym of its patient, as far as `sources.json` says."""
        try:
            sources = self._sources()
        except UsageError:
            return {}
        told = {uid: entry.get("patient_key") for uid, entry in sources.items() if isinstance(entry, dict)}
        return {uid: key for uid, key in told.items() if isinstance(key, str)}

    def _folder(self, study_instance_uid: str) -> Path:
        try:
            return study_folder(self.directory, study_instance_uid)
        except StudyError as error:
            raise UsageError(f"{self.directory / SCORES_FILE}: {error.detail}") from error

    def _sources(self) -> dict[str, Any]:
        path = self.directory / SOURCES_FILE
        try:
            sources = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}; without it the images are not found") from error
        except ValueError as error:
            raise UsageError(f"{path} is not JSON in UTF-8; score the studies again") from error
        if not isinstance(sources, dict):
            raise UsageError(f"{path} holds no table of studies; score the studies again")
        return sources
