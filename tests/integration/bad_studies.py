"""A folder of good studies with one of each bad kind among them, and the reading stage that two of them break."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pydicom

from medfuse.batch import stages
from medfuse.batch.stages import ReadingTask, ReadStudy
from tests import dicom_cases

GOOD = ("good-1", "good-2", "good-3", "good-4")
EXPECTED = {
    "truncated": "TRUNCATED_FILE",
    "absurd": "INVALID_RESCALE",
    "modality": "NO_FITTING_SERIES",
    "hangs": "TIME_LIMIT",
    "crashes": "WORKER_CRASHED",
    "protected": "OUTPUT_NOT_WRITABLE",
}
"""Study -> the reason for which it is rejected."""

EMPTY, EMPTY_REASON = "empty", "NO_PIXEL_DATA"
"""A study of headers without a slice is no study: its files have a row without a UID."""

_READING_STAGE = stages.reading_stage


def uid_of(name: str) -> str:
    """The Study Instance UID of a study."""
    return dicom_cases.uid("study", name)


def write_studies(folder: Path) -> Path:
    """Write the studies, a folder each, the bad ones between the good ones."""
    names = [*GOOD, *EXPECTED, EMPTY]
    for name in sorted(names, key=lambda name: dicom_cases.uid(name)):
        truth = dicom_cases.truth_of((20, 18, 12), seed=len(name), spacing=(1.0, 1.0, 1.0))
        modality = "MR" if name == "modality" else "CT"
        tags: dict[str, Any] = {"StudyInstanceUID": uid_of(name), "PatientID": name}
        if name == EMPTY:
            tags |= {"NumberOfFrames": 0, "PixelData": None}
        if name == "absurd":
            tags |= {"RescaleSlope": 0}
        slices = dicom_cases.slices(truth, modality=modality, series=name, **tags)
        dicom_cases.write(slices, folder / name)
        if name == "truncated":
            cut(sorted((folder / name).iterdir())[3])
    return folder


def cut(path: Path) -> None:
    """Cut the end of a file's pixels off."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - len(pydicom.dcmread(path).PixelData) // 2])


def reading_stage() -> tuple[Any, None]:
    """The real reading stage, but for one study that kills it and one that keeps it for ever."""
    read, _ = _READING_STAGE()

    def read_or_die(task: ReadingTask) -> ReadStudy:
        if task.study.study_instance_uid == uid_of("crashes"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if task.study.study_instance_uid == uid_of("hangs"):
            time.sleep(600)
        answer: ReadStudy = read(task)
        return answer

    return read_or_die, None
