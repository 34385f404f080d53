"""`prediction.json`: one `Prediction`, as pydantic writes the dataclass, under a short envelope.

The envelope's keys stand beside the prediction's own: `schema_version`, `research_use` (the one statement), `segments`
(number in the label map -> name), `files` (what lies beside it), `notes` (what was left out, and why), and
`measurements` (of each segment, where an output measured them).
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medfuse.domain import Prediction, Segment
from medfuse.errors import UsageError
from medfuse.outputs.measurements import SegmentMeasurement
from medfuse.storage import write_file

SCHEMA_VERSION = 1
"""Rises when a reader of the older version could misread the file."""

RESEARCH_USE = "Research software: this result informs a clinician, decides nothing, and is not for diagnostic use."

_SHOWN_PROBLEMS = 3


def prediction_json(
    prediction: Prediction,
    *,
    segments: Sequence[Segment] = (),
    files: Sequence[str] = (),
    notes: Sequence[str] = (),
    measurements: Sequence[SegmentMeasurement] = (),
) -> str:
    """The text of a `prediction.json`.

    Args:
        prediction: What the model says.
        segments: The regions of the label map beside it.
        files: Names of the files beside it.
        notes: What was left out and why, one line each.
        measurements: Of the segments, in their order.
    """
    envelope = {
        "schema_version": SCHEMA_VERSION,
        "research_use": RESEARCH_USE,
        **_adapter().dump_python(prediction, mode="json"),
        "segments": [{"number": segment.number, "name": segment.name} for segment in segments],
        "files": list(files),
        "notes": list(notes),
        "measurements": _measurements().dump_python(tuple(measurements), mode="json"),
    }
    return json.dumps(envelope, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_prediction(prediction: Prediction, path: Path) -> None:
    """Write a `prediction.json`, whole or not at all.

    Raises:
        StorageError: It could not be written.
    """
    text = prediction_json(prediction)
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def read_prediction(path: Path) -> Prediction:
    """Read a `prediction.json`; keys that this version does not know are passed over.

    Raises:
        UsageError: The file is missing, broken, or of a newer schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; score the study again") from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON in UTF-8, or is cut off; score the study again") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise UsageError(f"{path} is no prediction of medfuse: it has no schema_version; score the study again")
    if version > SCHEMA_VERSION:
        raise UsageError(f"{path} has schema_version {version}, expected at most {SCHEMA_VERSION}; update medfuse")
    try:
        return _adapter().validate_json(text, strict=True)
    except ValidationError as error:
        raise UsageError(f"{path} is no prediction of medfuse: {_problems(error)}; score the study again") from error


def prediction_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a `prediction.json`."""
    schema = _adapter().json_schema(mode="serialization")
    text_list = {"type": "array", "items": {"type": "string"}}
    segment = {
        "type": "object",
        "properties": {"number": {"type": "integer", "minimum": 1, "maximum": 255}, "name": {"type": "string"}},
        "required": ["number", "name"],
    }
    envelope = {
        "schema_version": {"const": SCHEMA_VERSION},
        "research_use": {"type": "string"},
        "segments": {"type": "array", "items": segment},
        "files": text_list,
        "notes": text_list,
    }
    measured = _measurements().json_schema(mode="serialization")
    schema["$defs"] |= measured.pop("$defs")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"] = {**envelope, "measurements": measured, **schema["properties"]}
    schema["required"] = [*envelope, *schema["required"]]
    return schema


def write_schema(path: Path) -> None:
    """Write `prediction_schema` as JSON; `data_manifests/prediction.schema.json` is made by this.

    Raises:
        StorageError: It could not be written.
    """
    text = json.dumps(prediction_schema(), indent=2) + "\n"
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))


@functools.cache
def _adapter() -> TypeAdapter[Prediction]:
    return TypeAdapter(Prediction)


@functools.cache
def _measurements() -> TypeAdapter[tuple[SegmentMeasurement, ...]]:
    return TypeAdapter(tuple[SegmentMeasurement, ...])


def _problems(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in problems[:_SHOWN_PROBLEMS]]
    more = len(problems) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")
