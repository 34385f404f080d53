"""The weights of encoders by themselves: where a training run may start from.

DIR/encoders.safetensors   the weights by modality, without those of a frozen text encoder
DIR/encoders.json          which encoders they are of, and how they were trained
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from medfuse import __version__
from medfuse.errors import CheckpointError
from medfuse.model import checkpoint as checkpoints
from medfuse.model.assemble import ModelSpec
from medfuse.storage import whole_folder

WEIGHTS, DESCRIPTION = "encoders.safetensors", "encoders.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDescription:
    """What encoder weights say of themselves.

    Args:
        name: Name of the run that made them.
        objective: What they were trained by.
        spec: The parts; only its encoders and its width count.
        channels: Image channels, in order.
        config_sha256: Hash of the run's resolved config.
        epoch: The epoch that they were saved after, from 0.
        weights_sha256: Hash of the weights file.
        version: medfuse's version that trained them.
        schema_version: Version of this layout.
    """

    name: str
    objective: str
    spec: ModelSpec
    channels: tuple[str, ...]
    config_sha256: str
    epoch: int
    weights_sha256: str = ""
    version: str = field(default=__version__)
    schema_version: int = SCHEMA_VERSION


_ADAPTER: TypeAdapter[EncoderDescription] = TypeAdapter(EncoderDescription)


def save_encoders(
    description: EncoderDescription,
    encoders: nn.ModuleDict,
    directory: Path,
    extra: Mapping[str, bytes] | None = None,
) -> None:
    """Write encoder weights so that `directory` is whole at every moment.

    Args:
        description: Which they are; its hash is filled in.
        encoders: By modality.
        directory: Where they go; older ones there are replaced.
        extra: Further files by name, e.g. the state of the optimiser.

    Raises:
        StorageError: They cannot be written.
    """
    weights = as_bytes({name: value.detach().cpu().contiguous() for name, value in encoders.state_dict().items()})
    told = _ADAPTER.dump_python(description, mode="json") | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    with whole_folder(directory) as folder:
        (folder / WEIGHTS).write_bytes(weights)
        (folder / DESCRIPTION).write_text(json.dumps(told, indent=1), encoding="utf-8")
        for name, content in (extra or {}).items():
            (folder / name).write_bytes(content)


def describe_encoders(directory: Path) -> EncoderDescription:
    """Read what encoder weights are.

    Raises:
        CheckpointError: They are missing, broken, or of a later medfuse.
    """
    path = directory / DESCRIPTION
    try:
        told = json.loads(path.read_bytes())
        if told["schema_version"] != SCHEMA_VERSION:
            raise CheckpointError(f"{path} has layout {told['schema_version']}, this medfuse reads {SCHEMA_VERSION}")
        return _ADAPTER.validate_python(told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}); give a run folder of medfuse pretrain"
        ) from error


def start_weights(path: Path) -> tuple[Path, bool]:
    """The folder of weights that a path means, and whether they are of a pre-training run.

    Args:
        path: A run folder of `medfuse pretrain` or `medfuse train`, or its `best` or `last`.

    Raises:
        CheckpointError: There are none.
    """
    for candidate in (path, path / "best", path / "last"):
        if (candidate / DESCRIPTION).is_file():
            return candidate, True
    try:
        return checkpoints.locate(path), False
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} holds no weights to start from; give a run folder of medfuse pretrain or medfuse train"
        ) from error


def start_sha256(path: Path) -> str:
    """Hash of the weights that a path means.

    Raises:
        CheckpointError: There are none.
    """
    folder, pretrained = start_weights(path)
    return describe_encoders(folder).weights_sha256 if pretrained else checkpoints.describe(folder).weights_sha256


def start_from(encoders: nn.ModuleDict, spec: ModelSpec, channels: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Put weights of an earlier run into encoders of the same kind; the others stay as they are.

    Args:
        encoders: By modality.
        spec: What they are.
        channels: Image channels, in order.
        path: As `start_weights`.

    Returns:
        The modalities whose encoder has been filled.

    Raises:
        CheckpointError: There are no weights, or none of an encoder of this network, or they do not fit.
    """
    folder, pretrained = start_weights(path)
    if pretrained:
        told = describe_encoders(folder)
        theirs, their_channels, file, sha256 = told.spec, told.channels, folder / WEIGHTS, told.weights_sha256
    else:
        run = checkpoints.describe(folder)
        theirs, their_channels = run.spec, tuple(rule.name for rule in run.recipe.channels)
        file, sha256 = folder / checkpoints.WEIGHTS, run.weights_sha256
    weights = _read(file, sha256)
    prefix = "" if pretrained else "encoders."
    filled = []
    for name, encoder in encoders.items():
        own = {
            key.removeprefix(f"{prefix}{name}."): value
            for key, value in weights.items()
            if key.startswith(f"{prefix}{name}.")
        }
        if own and not (differs := _differs(name, spec, theirs, channels, their_channels)):
            _fill(encoder, own, path, name)
            filled.append(name)
        elif own:
            raise CheckpointError(
                f"{path} holds the weights of another {name} encoder: its {differs}; start from a run with the same "
                "model and recipe"
            )
    if not filled:
        raise CheckpointError(f"{path} holds weights of no encoder of this network ({', '.join(encoders)})")
    return tuple(filled)


def _differs(
    name: str, ours: ModelSpec, theirs: ModelSpec, channels: tuple[str, ...], their_channels: tuple[str, ...]
) -> str:
    pairs: list[tuple[str, object, object]] = [
        ("name is", getattr(theirs, name), getattr(ours, name)),
        ("width is", theirs.width, ours.width),
    ]
    if name == "image":
        pairs.append(("channels are", list(their_channels), list(channels)))
    return next((f"{what} {found}, expected {wanted}" for what, found, wanted in pairs if found != wanted), "")


def _fill(encoder: nn.Module, weights: Mapping[str, Tensor], path: Path, name: str) -> None:
    try:
        encoder.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} holds the weights of a {name} encoder with other options (other names or sizes); start from a run "
            f"with the same model.{name}"
        ) from error


def _read(file: Path, sha256: str) -> dict[str, Tensor]:
    try:
        if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            raise CheckpointError(f"{file} is not the file that its description names (other hash); copy both again")
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read ({type(error).__name__}); pre-train again") from error
