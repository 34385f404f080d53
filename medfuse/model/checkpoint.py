"""A checkpoint: weights as safetensors, and everything else that scoring needs as JSON. Nothing is unpickled.

DIR/model.safetensors         the weights, without those of a frozen text encoder
DIR/checkpoint.json           label set, recipe, parts, calibration, hashes, the resolved config
DIR/familiarity.safetensors   where the training studies lie in the image encoder's features; moments, no study's own
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor

from medfuse import __version__
from medfuse.domain.labels import LabelSet
from medfuse.domain.prediction import ModelIdentity
from medfuse.errors import CheckpointError
from medfuse.model.assemble import ModelSpec, assemble
from medfuse.model.network import FusionNetwork
from medfuse.preprocess import Recipe
from medfuse.preprocess.ranges import TrainingRanges
from medfuse.storage import whole_folder, write_file

SCHEMA_VERSION = 1
WEIGHTS, DESCRIPTION, MEMBERS = "model.safetensors", "checkpoint.json", "folds.json"
FAMILIARITY, ENSEMBLE = "familiarity.safetensors", "calibration.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalThresholds:
    """How improbable a state of a finding may be and still not be ruled out; fitted on data kept from training.

    Args:
        alpha: Share of studies whose true state is ruled out, at most, in the long run, within each state.
        present: PRESENT is in the set when `1 - p` is at most this; None when nothing may rule it out.
        absent: ABSENT is in the set when `p` is at most this; None likewise.
        present_cases: Calibration studies with the finding.
        absent_cases: Those without.
    """

    alpha: float
    present: float | None = None
    absent: float | None = None
    present_cases: int = 0
    absent_cases: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How a finding's logit becomes a probability and a call; fitted on the validation split.

    Args:
        temperature: The logit is divided by it; None when the validation split had one class alone, or with a slope.
        operating_point: Probability from which the finding is called present; None likewise.
        slope: Of Platt's line, `slope * logit + intercept`, which stands in place of the temperature; None without one.
        intercept: Of that line.
        conformal: Thresholds of prediction sets; None where none were fitted.
    """

    temperature: float | None = None
    operating_point: float | None = None
    slope: float | None = None
    intercept: float = 0.0
    conformal: ConformalThresholds | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether probabilities were calibrated."""
        return self.temperature is not None or self.slope is not None

    def scaled(self, logit: float) -> float:
        """The calibrated log-odds of a network's logit."""
        if self.slope is not None:
            return self.slope * logit + self.intercept
        return logit / (self.temperature or 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FamiliarityThreshold:
    """From which distance on a study is unlike the training set, and where the training set lies.

    Args:
        threshold: Distance that a share `false_alarms` of held-out studies exceeds, in the long run.
        false_alarms: That share.
        training_studies: Studies that the place of the training set was measured on.
        held_out_studies: Studies that the threshold was chosen on.
        sha256: Hash of `familiarity.safetensors`.
    """

    threshold: float
    false_alarms: float
    training_studies: int
    held_out_studies: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a checkpoint says beside its weights.

    Args:
        name: The run's name.
        label_set: What the model predicts.
        recipe: How a study becomes its input.
        spec: Which parts it is made of.
        config: The resolved config of the run, as plain data.
        config_sha256: Its hash.
        epoch: The epoch that it was saved after, from 0.
        calibration: By finding.
        familiarity: When a study counts as unlike the training set; None when that was not measured.
        ranges: How the training studies look; None when that was not measured.
        text_weights_sha256: Hash of the frozen text encoder that it was trained with; empty for none.
        version: medfuse's version that trained it.
        weights_sha256: Hash of the weights file; filled in by `save`.
        schema_version: Version of this layout.
    """

    name: str
    label_set: LabelSet
    recipe: Recipe
    spec: ModelSpec
    config: Mapping[str, Any] = field(default_factory=dict)
    config_sha256: str = ""
    epoch: int = 0
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    familiarity: FamiliarityThreshold | None = None
    ranges: TrainingRanges | None = None
    text_weights_sha256: str = ""
    version: str = __version__
    weights_sha256: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def identity(self) -> ModelIdentity:
        """The model's identity, as it stands on every prediction."""
        return ModelIdentity(
            name=self.name,
            version=self.version,
            weights_sha256=self.weights_sha256,
            config_sha256=self.config_sha256,
            leakage_allowed=self.recipe.allow_leakage,
        )


_ADAPTER: TypeAdapter[Checkpoint] = TypeAdapter(Checkpoint)
_CONFORMAL: TypeAdapter[dict[str, ConformalThresholds]] = TypeAdapter(dict[str, ConformalThresholds])


def save(
    checkpoint: Checkpoint, network: FusionNetwork, directory: Path, extra: Mapping[str, bytes] | None = None
) -> None:
    """Write a checkpoint so that `directory` is whole at every moment: beside it first, then renamed.

    Args:
        checkpoint: Its description.
        network: The weights.
        directory: Where it goes; an older checkpoint there is replaced.
        extra: Further files by name, e.g. the state of the optimiser.

    Raises:
        StorageError: It cannot be written.
    """
    with whole_folder(directory) as folder:
        weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        (folder / WEIGHTS).write_bytes(as_bytes(weights))
        stamped = replace(checkpoint, weights_sha256=_file_hash(folder / WEIGHTS))
        (folder / DESCRIPTION).write_bytes(_ADAPTER.dump_json(stamped, indent=1))
        for name, content in (extra or {}).items():
            (folder / name).write_bytes(content)


def amend(directory: Path, checkpoint: Checkpoint, extra: Mapping[str, bytes] | None = None) -> None:
    """Write a checkpoint anew with another description and the same weights; it is whole at every moment.

    Args:
        directory: Where it stands.
        checkpoint: Its new description.
        extra: Further files by name, which replace those of that name.

    Raises:
        StorageError: It cannot be written; the old one is untouched.
    """
    with whole_folder(directory) as folder:
        for file in sorted(directory.iterdir()):
            shutil.copyfile(file, folder / file.name)
        (folder / DESCRIPTION).write_bytes(_ADAPTER.dump_json(checkpoint, indent=1))
        for name, content in (extra or {}).items():
            (folder / name).write_bytes(content)


def read_familiarity(directory: Path, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Where the training set lies; empty for a checkpoint that does not know.

    Raises:
        CheckpointError: The file is missing, altered, or broken.
    """
    if checkpoint.familiarity is None:
        return {}
    path = directory / FAMILIARITY
    try:
        if _file_hash(path) != checkpoint.familiarity.sha256:
            raise CheckpointError(f"{path} is not the file that {DESCRIPTION} describes (other hash); copy both again")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({type(error).__name__}); copy the checkpoint again") from error


def read_ensemble(path: Path) -> dict[str, ConformalThresholds]:
    """The thresholds of prediction sets of a cross-validation's ensemble, by finding; empty where none were fitted.

    Raises:
        CheckpointError: The file is broken.
    """
    if not (path / ENSEMBLE).is_file():
        return {}
    try:
        return _CONFORMAL.validate_json((path / ENSEMBLE).read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / ENSEMBLE} is broken; medfuse calibrate writes it anew") from error


def write_ensemble(path: Path, thresholds: Mapping[str, ConformalThresholds]) -> None:
    """Keep the thresholds of prediction sets of a cross-validation's ensemble.

    Raises:
        StorageError: It cannot be written.
    """
    content = _CONFORMAL.dump_json(dict(thresholds), indent=1)
    write_file(path / ENSEMBLE, lambda aside: aside.write_bytes(content))


def describe(directory: Path) -> Checkpoint:
    """Read a checkpoint's description.

    Raises:
        CheckpointError: It is missing, broken, or of a later medfuse.
    """
    path = directory / DESCRIPTION
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{directory} holds no checkpoint ({DESCRIPTION} cannot be read); give a run folder, or its best/ or last/"
        ) from error
    try:
        version = json.loads(content).get("schema_version")
        if version != SCHEMA_VERSION:
            raise CheckpointError(
                f"{path} has layout {version}, this medfuse reads {SCHEMA_VERSION}; use the medfuse that wrote it"
            )
        return _ADAPTER.validate_json(content)
    except (ValueError, AttributeError) as error:
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(f"{path} is broken: {detail}; train again or take another checkpoint") from error


def load(directory: Path) -> tuple[Checkpoint, FusionNetwork]:
    """Read a checkpoint and build its network, in evaluation mode.

    Raises:
        CheckpointError: It is missing or broken, or its weights do not fit its description.
    """
    checkpoint = describe(directory)
    network = assemble(checkpoint.spec, checkpoint.label_set, len(checkpoint.recipe.channels))
    _check_text_weights(checkpoint, network, directory)
    load_weights(network, directory, checkpoint.weights_sha256)
    return checkpoint, network.eval()


def load_weights(network: FusionNetwork, directory: Path, sha256: str) -> None:
    """Put a checkpoint's weights into a network of the same parts.

    Raises:
        CheckpointError: The file is missing, altered, or of another network.
    """
    path = directory / WEIGHTS
    try:
        if _file_hash(path) != sha256:
            raise CheckpointError(f"{path} is not the file that {DESCRIPTION} describes (other hash); copy both again")
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path} does not fit its {DESCRIPTION}: {reason}") from error


def locate(path: Path) -> Path:
    """The checkpoint that `path` means: itself, or the best (else the last) one of a run.

    Raises:
        CheckpointError: There is none.
    """
    for candidate in (path, path / "best", path / "last"):
        if (candidate / DESCRIPTION).is_file():
            return candidate
    raise CheckpointError(f"{path} holds no checkpoint; give a run folder of medfuse train, or its best/ or last/")


def members(path: Path) -> tuple[Path, ...]:
    """The checkpoints that `path` means: the best one of every fold of a cross-validation, else the one of `locate`.

    Raises:
        CheckpointError: There is none, or a fold is not trained yet.
    """
    return tuple(locate(fold) for fold in fold_runs(path)) or (locate(path),)


def fold_runs(path: Path) -> tuple[Path, ...]:
    """The runs of the folds of a cross-validation; none for a folder that is not one.

    Raises:
        CheckpointError: Not all of them are trained, or their list is broken.
    """
    if not (path / MEMBERS).is_file():
        if (path / fold_name(0)).is_dir():
            raise CheckpointError(
                f"{path} holds folds that are not all trained; go on with medfuse train --folds --resume, or give one"
            )
        return ()
    try:
        count = json.loads((path / MEMBERS).read_bytes())["folds"]
        return tuple(path / fold_name(fold) for fold in range(count))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path / MEMBERS} is broken; medfuse train --folds --resume writes it anew") from error


def fold_name(fold: int) -> str:
    """The folder of a fold within a cross-validation."""
    return f"fold-{fold}"


def write_members(path: Path, folds: int) -> None:
    """State that the folds 0 to `folds - 1` of a cross-validation are trained.

    Raises:
        StorageError: It cannot be written.
    """
    text = json.dumps({"folds": folds})
    write_file(path / MEMBERS, lambda aside: aside.write_text(text, encoding="utf-8"))


def text_weights_sha256(network: FusionNetwork) -> str:
    """Hash of the frozen text encoder's weights; empty when the network has none."""
    encoder = network.text_encoder
    return "" if encoder is None or getattr(encoder, "tuning", "") != "frozen" else str(encoder.weights_sha256)


def _check_text_weights(checkpoint: Checkpoint, network: FusionNetwork, directory: Path) -> None:
    found = text_weights_sha256(network)
    if found != checkpoint.text_weights_sha256:
        raise CheckpointError(
            f"{directory} was trained with other text encoder weights (hash {checkpoint.text_weights_sha256[:12]}, "
            f"found {found[:12]}); install the same weights"
        )


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
