"""What a run needs to go on as if it had never stopped, beside its weights. Tensors and JSON, nothing pickled.

Random numbers need no state: every stream follows from the seed, the epoch and the index (see `medfuse.seeding`).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes

from medfuse.errors import CheckpointError

TENSORS, PROGRESS = "optimizer.safetensors", "progress.json"


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


def as_files(optimizer: torch.optim.Optimizer, progress: Progress) -> dict[str, bytes]:
    """The files to lay beside a checkpoint."""
    tensors = {
        f"{index}.{name}": torch.as_tensor(value).cpu().contiguous()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    return {TENSORS: as_bytes(tensors), PROGRESS: json.dumps(asdict(progress)).encode()}


def restore(optimizer: torch.optim.Optimizer, directory: Path) -> Progress:
    """Put a saved state into the optimiser.

    Raises:
        CheckpointError: The files are missing or broken.
    """
    try:
        tensors = load_file(directory / TENSORS)
        progress = Progress(**json.loads((directory / PROGRESS).read_bytes()))
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{directory} cannot be resumed: {str(error).splitlines()[0]}; start the run anew in another folder"
        ) from error
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress
