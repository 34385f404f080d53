"""What a run needs to go on as if it had never stopped, beside its weights. Tensors and JSON, nothing pickled.

Random numbers need no state: every stream follows from the seed, the epoch and the index (see `medfuse.seeding`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from medfuse.errors import CheckpointError
from medfuse.training.average import WeightAverage
from medfuse.training.options import TrainingOptions

TENSORS, PROGRESS, OWN = "optimizer.safetensors", "progress.json", "own.safetensors"
CRITERION = "criterion.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    Args:
        epoch: Epochs done.
        step: Steps done.
        best_score: Of the best checkpoint so far.
        best_epoch: The epoch that it was saved after.
    """

    epoch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int = -1

    def is_done(self, options: TrainingOptions) -> bool:
        """Whether nothing is left to train: the last epoch is done, or patience has run out."""
        waited = self.epoch - 1 - self.best_epoch
        impatient = options.patience is not None and waited >= options.patience * options.validate_every
        return self.epoch >= options.epochs or (self.epoch > 0 and impatient)


def as_files(
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    own: Mapping[str, Tensor] | None = None,
    criterion: nn.Module | None = None,
) -> dict[str, bytes]:
    """The files to lay beside a checkpoint.

    Args:
        optimizer: Its moments.
        progress: How far the run has come.
        own: The weights that training goes on from, where the checkpoint holds their average.
        criterion: The losses, for the weights that they have learned.
    """
    tensors = {
        f"{index}.{name}": torch.as_tensor(value).cpu().contiguous()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    files = {TENSORS: as_bytes(tensors), PROGRESS: json.dumps(asdict(progress)).encode()}
    if own is not None:
        files[OWN] = as_bytes({name: value.cpu().contiguous() for name, value in own.items()})
    learned = criterion.state_dict() if criterion is not None else {}
    if learned:
        files[CRITERION] = as_bytes({name: value.cpu().contiguous() for name, value in learned.items()})
    return files


def restore(
    optimizer: torch.optim.Optimizer,
    directory: Path,
    average: WeightAverage | None = None,
    criterion: nn.Module | None = None,
) -> Progress:
    """Put a saved state into the optimiser, the losses, and the network's own weights where it holds their average.

    Raises:
        CheckpointError: The files are missing or broken.
    """
    progress = read_progress(directory)
    try:
        tensors = load_file(directory / TENSORS)
        if average is not None:
            average.restore(read_own(directory))
        if criterion is not None and criterion.state_dict():
            criterion.load_state_dict(load_file(directory / CRITERION))
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise _not_resumable(directory, error) from error
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def read_own(directory: Path) -> dict[str, Tensor]:
    """The weights that stand beside those of a `last` checkpoint.

    Raises:
        CheckpointError: The file is missing or broken.
    """
    try:
        return load_file(directory / OWN)
    except (OSError, SafetensorError) as error:
        raise _not_resumable(directory, error) from error


def read_progress(directory: Path) -> Progress:
    """How far the run of a `last` checkpoint has come.

    Raises:
        CheckpointError: The file is missing or broken.
    """
    try:
        return Progress(**json.loads((directory / PROGRESS).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise _not_resumable(directory, error) from error


def _not_resumable(directory: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{directory} cannot be resumed: {str(error).splitlines()[0]}; start the run anew in another folder"
    )
