"""The columns of `scores.csv` and `scores.parquet`, and what stands in each for one study.

`study_instance_uid`, `accession_number`, `status` (`scored` or `rejected`), `reason` (a rejection's stable code; its
detail can hold a path and stays out), `model` (name, `@`, start of the weights' hash); then, each empty where a study
has no such value:

- `probability_<finding>`, `volume_mm3_<segment>`, and from an ensemble or test-time augmentations `spread_<finding>`
- `prediction_set_<finding>`: what cannot be ruled out, apart by `;`, or `NONE`
- `target_<name>`: the most probable class or grade, with `target_<name>_probability`; or the number
- `familiarity_distance` to the training set, and whether the study is `unfamiliar` (`true` or `false`)
- `quality`: codes of what is odd about the input, apart by `;`
- `seconds_<stage>`
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast

from medfuse.domain import LabelSet, LabelValue, ModelIdentity, Prediction, Rejected, StudyOutcome, TargetPrediction
from medfuse.errors import StudyError, UsageError

Value = TypeVar("Value")

FIRST = ("study_instance_uid", "accession_number", "status", "reason", "model")
STAGES = ("read", "preprocess", "network", "restore", "save")

_PROBABILITY, _VOLUME, _SPREAD = "probability_", "volume_mm3_", "spread_"
_SET, _TARGET, _SECONDS = "prediction_set_", "target_", "seconds_"
_TARGET_PROBABILITY = "_probability"
_DISTANCE, _UNFAMILIAR, _QUALITY = "familiarity_distance", "unfamiliar", "quality"
_BETWEEN, _NONE = ";", "NONE"
_STATUSES = ("scored", "rejected")
_FORMULA = re.compile(r"'* *[=+\-@]")
_GUARDED = re.compile(r"'+ *[=+\-@]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_REASON = re.compile(r"[A-Z][A-Z0-9_]*")
_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One row of `scores.csv`.

    Args:
        study_instance_uid: Which study.
        accession_number: May be empty.
        status: `scored` or `rejected`.
        reason: A rejection's code; empty for a scored study.
        model: Name and start of the weights' hash.
        probabilities: Finding -> probability, None where there is none.
        volumes_mm3: Segment -> volume in mm3, None where there is none.
        spreads: Finding -> standard deviation over the members; empty for a table of a single model.
        prediction_sets: Finding -> what cannot be ruled out, None where that is not known.
        targets: Target -> its class, grade or number as text; empty where there is none.
        target_probabilities: Target -> probability of that class; only targets with classes.
        familiarity_distance: Distance to the training set.
        unfamiliar: Whether that is farther than is usual.
        quality: Codes of what is odd about the input.
        seconds: Stage -> how long it took.
    """

    study_instance_uid: str
    accession_number: str
    status: Literal["scored", "rejected"]
    reason: str
    model: str
    probabilities: dict[str, float | None]
    volumes_mm3: dict[str, float | None]
    spreads: dict[str, float | None] = field(default_factory=dict)
    prediction_sets: dict[str, tuple[LabelValue, ...] | None] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    target_probabilities: dict[str, float | None] = field(default_factory=dict)
    familiarity_distance: float | None = None
    unfamiliar: bool | None = None
    quality: tuple[str, ...] = ()
    seconds: dict[str, float | None] = field(default_factory=dict)


def columns_of(label_set: LabelSet, *, ensemble: bool = False) -> tuple[str, ...]:
    """The columns of a label set's table, in order; an ensemble's has the spread of each finding too."""
    findings, segments = label_set.findings, label_set.segments
    named = [f"{_PROBABILITY}{name}" for name in findings]
    named += [f"{_VOLUME}{name}" for name in segments]
    named += [f"{_SPREAD}{name}" for name in findings if ensemble]
    named += [f"{_SET}{name}" for name in findings]
    for target in label_set.targets:
        named.append(f"{_TARGET}{target.name}")
        if target.classes:
            named.append(f"{_TARGET}{target.name}{_TARGET_PROBABILITY}")
    named += [_DISTANCE, _UNFAMILIAR, _QUALITY, *(f"{_SECONDS}{stage}" for stage in STAGES)]
    return tuple(dict.fromkeys((*FIRST, *map(one_line, named))))


def may_be_added(column: str) -> bool:
    """Whether a table of an older medfuse may lack this column and still be of the same label set."""
    return column.startswith((_SET, _SECONDS)) or column in {_DISTANCE, _UNFAMILIAR, _QUALITY}


def is_number(column: str) -> bool:
    """Whether a column holds numbers alone."""
    if column.startswith(_TARGET):
        return column.endswith(_TARGET_PROBABILITY)
    return column.startswith((_PROBABILITY, _VOLUME, _SPREAD, _SECONDS)) or column == _DISTANCE


def is_truth(column: str) -> bool:
    """Whether a column holds `true`, `false` or nothing."""
    return column == _UNFAMILIAR


def cells_of(
    outcome: StudyOutcome, columns: Sequence[str], label_set: LabelSet, model: ModelIdentity | None
) -> list[str]:
    """The cells of a study, one a column.

    Args:
        outcome: The study.
        columns: As `columns_of` gives them.
        label_set: Whose columns these are.
        model: Stands in the `model` column of rejected studies.

    Raises:
        ValueError: The findings, segments or targets are not those of the label set.
    """
    if isinstance(outcome, Rejected):
        reason = outcome.reason if _REASON.fullmatch(outcome.reason) else StudyError.default_reason
        texts = [outcome.study_instance_uid, outcome.accession_number, "rejected", reason]
        values = dict(zip(FIRST, [*texts, "" if model is None else _model_cell(model)], strict=True))
    else:
        prediction = outcome.prediction
        texts = [prediction.study_instance_uid, prediction.accession_number, "scored", ""]
        values = dict(zip(FIRST, [*texts, _model_cell(prediction.model)], strict=True))
        values |= _answers(prediction, label_set)
        values |= _circumstances(prediction)
    return [_cell(values.get(column, "")) for column in columns]


def row_of(path: object, header: Sequence[str], cells: Sequence[str]) -> ScoreRow:
    """A row from its cells.

    Args:
        path: The table, for messages.
        header: Its columns.
        cells: One a column.

    Raises:
        UsageError: A cell is none of its column.
    """
    texts = dict(zip(header, map(unguarded, cells), strict=True))
    uid, accession, status, reason, model = (texts.pop(column) for column in FIRST)
    if status not in _STATUSES:
        raise UsageError(f"{path}: study {uid} has status {status!r}, expected one of {', '.join(_STATUSES)}")
    numbers: dict[str, float | None] = {}
    for column in filter(is_number, texts):
        try:
            numbers[column] = float(texts[column]) if texts[column] else None
        except ValueError as error:
            raise UsageError(f"{path}: study {uid} has {texts[column]!r} in {column}, expected a number") from error
    return ScoreRow(
        study_instance_uid=uid,
        accession_number=accession,
        status=cast("Literal['scored', 'rejected']", status),
        reason=reason,
        model=model,
        probabilities=_named(numbers, _PROBABILITY),
        volumes_mm3=_named(numbers, _VOLUME),
        spreads=_named(numbers, _SPREAD),
        prediction_sets={name: _set_of(path, uid, text) for name, text in _named(texts, _SET).items()},
        targets={name: text for name, text in _named(texts, _TARGET).items() if f"{_TARGET}{name}" not in numbers},
        target_probabilities={
            name.removesuffix(_TARGET_PROBABILITY): value for name, value in _named(numbers, _TARGET).items()
        },
        familiarity_distance=numbers.get(_DISTANCE),
        unfamiliar={"true": True, "false": False}.get(texts.get(_UNFAMILIAR, "")),
        quality=tuple(filter(None, texts.get(_QUALITY, "").split(_BETWEEN))),
        seconds=_named(numbers, _SECONDS),
    )


def one_line(text: str) -> str:
    """`text` without control characters and line ends."""
    return _CONTROL.sub(" ", text)


def _answers(prediction: Prediction, label_set: LabelSet) -> dict[str, str]:
    volumes = {segment.name: segment.volume_mm3 for segment in prediction.segment_volumes}
    _check_names("findings", [finding.name for finding in prediction.findings], label_set.findings)
    _check_names("segments", volumes, label_set.segments if volumes else ())
    targets = [target.name for target in prediction.targets]
    _check_names("targets", targets, [target.name for target in label_set.targets] if targets else ())
    values: dict[str, str] = {}
    for finding in prediction.findings:
        name = one_line(finding.name)
        values[f"{_PROBABILITY}{name}"] = _number(finding.probability)
        values[f"{_SPREAD}{name}"] = _number(finding.spread)
        if finding.prediction_set is not None:
            values[f"{_SET}{name}"] = _BETWEEN.join(finding.prediction_set) or _NONE
    values |= {f"{_VOLUME}{one_line(name)}": _number(volume) for name, volume in volumes.items()}
    for target in prediction.targets:
        values |= _target_cells(target)
    return values


def _target_cells(target: TargetPrediction) -> dict[str, str]:
    column = one_line(f"{_TARGET}{target.name}")
    if target.most_probable is None:
        return {column: "" if target.value is None else f"{target.value:.6g}"}
    return {column: target.most_probable, f"{column}{_TARGET_PROBABILITY}": _number(max(target.probabilities))}


def _circumstances(prediction: Prediction) -> dict[str, str]:
    values = {
        f"{_SECONDS}{stage}": f"{prediction.timings[stage]:.3f}" for stage in STAGES if stage in prediction.timings
    }
    values[_QUALITY] = _BETWEEN.join(flag.code for flag in prediction.quality)
    if (familiarity := prediction.familiarity) is not None:
        values[_DISTANCE] = _number(familiarity.distance)
        values[_UNFAMILIAR] = str(familiarity.is_unfamiliar).lower()
    return values


def _set_of(path: object, uid: str, text: str) -> tuple[LabelValue, ...] | None:
    if not text:
        return None
    try:
        return () if text == _NONE else tuple(map(LabelValue, text.split(_BETWEEN)))
    except ValueError as error:
        raise UsageError(f"{path}: study {uid} has the prediction set {text!r}, which is none") from error


def _named(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {column.removeprefix(prefix): value for column, value in values.items() if column.startswith(prefix)}


def _check_names(kind: str, given: Iterable[str], expected: Iterable[str]) -> None:
    if set(given) != set(expected):
        raise ValueError(f"the prediction's {kind} are {sorted(given)}, the table's {sorted(expected)}")


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _model_cell(model: ModelIdentity) -> str:
    return f"{model.name}@{model.weights_sha256[:_HASH_LENGTH]}"


def _cell(text: str) -> str:
    """`text` on one line, and no formula."""
    line = one_line(text)
    return f"'{line}" if _FORMULA.match(line) else line


def unguarded(cell: str) -> str:
    """A cell without the apostrophe that keeps a spreadsheet from running it."""
    return cell[1:] if _GUARDED.match(cell) else cell
