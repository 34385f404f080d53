"""What a run left behind, as plain data, with the names of the files and keys that a report quotes as its sources.

The checkpoint's description is read as JSON and not by `medfuse.model.checkpoint`, which loads torch: a report needs no
network.
"""

import csv
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medfuse.errors import CheckpointError, UsageError
from medfuse.evaluation import EvaluationReport, read_evaluation
from medfuse.evaluation.run import read_splits
from medfuse.ingest.manifest import ManifestRow, read_manifest

SPLITS = ("train", "validation", "test")
_DESCRIPTION, _MEMBERS = "best/checkpoint.json", "folds.json"
"""As `medfuse.model.checkpoint` writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTable:
    """How the studies of a run were divided.

    Args:
        studies: Split -> number of studies.
        patients: Split -> number of patients.
        shared: Number of patients in more than one split.
        split_of: Study Instance UID -> its split.
    """

    studies: Mapping[str, int]
    patients: Mapping[str, int]
    shared: int
    split_of: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArtifacts:
    """What a report may quote of a run.

    Args:
        prefix: Before the names of the run's files: empty, or the first fold of a cross-validation.
        folds: Number of folds of a cross-validation; 0 for one run.
        checkpoint: The best checkpoint's description; that of the first fold of a cross-validation.
        config: The run's `config.yaml`.
        splits: From its `splits.csv`.
        losses: Column of `losses.csv` -> `(epoch, value)`; empty when it is not there.
        evaluation: What `medfuse evaluate` found; None when it was not given.
        evaluation_name: Name of its file.
        manifest: The studies; empty when the manifest was not given.
    """

    prefix: str = ""
    folds: int = 0
    checkpoint: Mapping[str, Any]
    config: Mapping[str, Any]
    splits: SplitTable
    losses: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    evaluation: EvaluationReport | None = None
    evaluation_name: str = ""
    manifest: tuple[ManifestRow, ...] = ()

    @property
    def name(self) -> str:
        """The run's own name."""
        return str(self.checkpoint.get("name", "")) or "unnamed"

    def at(self, key: str) -> Any:
        """A value of the checkpoint's description by its dotted key; None where it is not there."""
        return value_at(self.checkpoint, key)

    def file(self, name: str) -> str:
        """The name of a file of the run, as a source is quoted."""
        return self.prefix + name


def value_at(tree: Mapping[str, Any], key: str) -> Any:
    """A value by its dotted key; None where it is not there."""
    here: Any = tree
    for part in key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return None
        here = here[part]
    return here


def read_artifacts(run: Path, evaluation: Path | None = None, manifest: Path | None = None) -> RunArtifacts:
    """Read what a run left behind.

    Args:
        run: A run folder of `medfuse train`, or that of a cross-validation.
        evaluation: The JSON of `medfuse evaluate` on this run.
        manifest: The manifest that was measured.

    Raises:
        CheckpointError: The folder holds no trained run, or a file of it is broken.
        UsageError: The evaluation is of another model, or the manifest another than was measured.
        ManifestError: The manifest cannot be read.
    """
    folds = _fold_count(run)
    prefix = "fold-0/" if folds else ""
    checkpoint = _json(run / prefix / _DESCRIPTION)
    report = None if evaluation is None else read_evaluation(evaluation)
    if report is not None and evaluation is not None:
        _check_model(
            report, evaluation, [_json(run / f"fold-{n}" / _DESCRIPTION) for n in range(folds)] or [checkpoint]
        )
    return RunArtifacts(
        prefix=prefix,
        folds=folds,
        checkpoint=checkpoint,
        config=_yaml(run / prefix / "config.yaml"),
        splits=_splits(run / prefix / "splits.csv"),
        losses=_losses(run / prefix / "losses.csv"),
        evaluation=report,
        evaluation_name=evaluation.name if evaluation else "",
        manifest=() if manifest is None else _manifest(manifest, report),
    )


def _fold_count(run: Path) -> int:
    if not (run / _MEMBERS).is_file():
        return 0
    try:
        return int(_json(run / _MEMBERS)["folds"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{run / _MEMBERS} is broken; medfuse train --folds --resume writes it anew") from error


def _json(path: Path) -> Mapping[str, Any]:
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); RUN is a folder that medfuse train wrote"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON; copy the checkpoint again") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path} holds no mapping; copy the checkpoint again")
    return tree


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); RUN is a folder that medfuse train wrote"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} is no YAML ({type(error).__name__}); copy the run again") from error
    return tree if isinstance(tree, dict) else {}


def _splits(path: Path) -> SplitTable:
    told = read_splits(path)
    patients = {name: {patient for _, patient, split in told if split == name} for name in SPLITS}
    places = Counter(patient for members in patients.values() for patient in members)
    return SplitTable(
        studies={name: sum(split == name for _, _, split in told) for name in SPLITS},
        patients={name: len(members) for name, members in patients.items()},
        shared=sum(count > 1 for count in places.values()),
        split_of={uid: split for uid, _, split in told},
    )


def _losses(path: Path) -> dict[str, tuple[tuple[int, float], ...]]:
    if not path.is_file():
        return {}
    curves: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                epoch = int(row.pop("epoch"))
                for column, text in row.items():
                    if text and math.isfinite(float(text)):
                        curves.setdefault(column, []).append((epoch, float(text)))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CheckpointError(f"{path} is no loss curve of medfuse; remove it, and the report goes without") from error
    return {column: tuple(points) for column, points in curves.items()}


def _manifest(path: Path, report: EvaluationReport | None) -> tuple[ManifestRow, ...]:
    rows = read_manifest(path)
    measured = report.manifest_sha256 if report is not None else ""
    if measured and hashlib.sha256(path.read_bytes()).hexdigest() != measured:
        raise UsageError(
            f"{path} is not the manifest that was measured (other hash); run medfuse evaluate again with it"
        )
    return rows


def _check_model(report: EvaluationReport, path: Path, checkpoints: list[Mapping[str, Any]]) -> None:
    weights = [str(checkpoint.get("weights_sha256", "")) for checkpoint in checkpoints]
    expected = weights[0] if len(weights) == 1 else _combined(checkpoints)
    if report.model is None or report.model.weights_sha256 != expected:
        found = "no model" if report.model is None else f"weights {report.model.weights_sha256[:12]}"
        raise UsageError(f"{path} is of {found}, the run has weights {expected[:12]}; run medfuse evaluate on this run")


def _combined(checkpoints: list[Mapping[str, Any]]) -> str:
    """The hash of an ensemble; loads torch."""
    from medfuse.domain import ModelIdentity
    from medfuse.inference.ensemble import combined_identity

    members = [
        ModelIdentity(
            name=str(one.get("name", "")),
            version=str(one.get("version", "")),
            weights_sha256=str(one.get("weights_sha256", "")),
            config_sha256=str(one.get("config_sha256", "")),
        )
        for one in checkpoints
    ]
    return combined_identity(members).weights_sha256
