"""One folder a study, named by its Study Instance UID: `prediction.json`, and what `--outputs` asks for beside it.

The folder appears whole. A UID names a folder only if it is digits and dots: it comes out of a file that someone else
wrote, and text is data, never a path. What cannot be written for a study (no DICOM SEG without DICOM sources, say) is
left out and said in the `notes` of `prediction.json`.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import medfuse.outputs.study_outputs  # noqa: F401 (registers the outputs)
from medfuse.domain import Scored, Study, Volume
from medfuse.errors import StudyError
from medfuse.outputs.json import prediction_json
from medfuse.outputs.registry import OUTPUTS, PREDICTION, chosen_outputs
from medfuse.outputs.result import StudyResult
from medfuse.storage import whole_folder

PREDICTION_FILE = "prediction.json"

_FAILURES = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_LENGTH = 64
_LOG = logging.getLogger(__name__)


def study_folder(directory: Path, study_instance_uid: str) -> Path:
    """The folder of a study's results.

    Raises:
        StudyError: The UID is not one (PS3.5 section 9.1: digits and dots, at most 64), so it names no folder.
    """
    if len(study_instance_uid) > _UID_LENGTH or not _UID.fullmatch(study_instance_uid):
        detail = "the Study Instance UID is not digits and dots, at most 64, so no folder can be named by it"
        raise StudyError(detail, reason="INVALID_STUDY_UID")
    return directory / study_instance_uid


def write_study_outputs(
    scored: Scored,
    study: Study,
    directory: Path,
    outputs: Sequence[str] | None = None,
    *,
    volume: Volume | None = None,
) -> Path:
    """Write the results of one study; an older result of it is replaced once the new one is whole.

    An output that cannot be made for a study, or that fails, is left out and said in the notes: it never costs the
    study. A full disk does.

    Args:
        scored: The answer, with the label map on the grid of its source series where the model has segments.
        study: The study that was scored, for its source headers.
        directory: Where the study's folder goes.
        outputs: Names of `OUTPUTS`; None for the usual ones. `prediction.json` is always written.
        volume: The source volume that the label map is on, where the caller has it; else it is read again for the
            outputs that show or measure it.

    Returns:
        The study's folder.

    Raises:
        UsageError: An output is unknown.
        ValueError: `scored` is of another study, or of a series that the study does not have.
        StudyError: The study's UID cannot name a folder, or its headers can no longer be read.
        StorageError: It could not be written; nothing of it is left, and an older result is untouched.
    """
    names = [name for name in chosen_outputs(outputs) if name != PREDICTION]
    result = StudyResult(scored, study, volume)
    folder = study_folder(directory, study.study_instance_uid)
    segments = () if result.segmentation is None else result.segmentation.segments
    with whole_folder(folder) as partial:
        files = [PREDICTION_FILE, *_write_all(names, result, partial)]
        text = prediction_json(
            result.prediction,
            segments=segments,
            files=files,
            notes=result.notes,
            measurements=result.__dict__.get("measurements", ()),
        )
        (partial / PREDICTION_FILE).write_text(text, encoding="utf-8")
    return folder


def _write_all(names: Sequence[str], result: StudyResult, folder: Path) -> list[str]:
    """Write the outputs one after the other; what is left out becomes one note a reason."""
    written: dict[str, None] = {}
    left_out: dict[str, list[str]] = {}
    for name in names:
        output = OUTPUTS.build(name)
        try:
            written |= dict.fromkeys(output.write(result, folder))
        except StudyError as error:
            left_out.setdefault(error.detail, []).append(output.files)
        except _FAILURES as error:
            _LOG.debug("output %s failed", name, exc_info=True)
            # The message could quote a header: its kind alone is kept.
            left_out.setdefault(f"it failed with {type(error).__name__}", []).append(output.files)
    for detail, files in left_out.items():
        result.notes.append(f"{' and '.join(files)} {'is' if len(files) == 1 else 'are'} left out: {detail}")
        # Of NIfTI studies nobody expects DICOM results: a line each would drown the others.
        level = logging.WARNING if result.headers else logging.DEBUG
        _LOG.log(level, "study %s: %s", result.prediction.study_instance_uid, result.notes[-1])
    return list(written)
