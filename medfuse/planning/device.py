"""The machine that a run is planned for."""

import os
from dataclasses import dataclass
from typing import Literal

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What computes.

    Args:
        kind: `cuda` for a GPU, else `cpu`.
        memory_gib: Memory of the GPU, or of the machine, that is there in all.
        cores: Processor cores that this process may use.
        bf16: Whether it multiplies in bf16 in hardware.
    """

    kind: Literal["cpu", "cuda"]
    memory_gib: float
    cores: int
    bf16: bool = False


def this_device() -> Device:
    """The device that `medfuse train` would take here."""
    import torch

    from medfuse.training.runtime import computes_bf16

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        return Device(kind="cuda", memory_gib=round(total / GIB, 1), cores=cores(), bf16=computes_bf16())
    return Device(kind="cpu", memory_gib=round(_memory() / GIB, 1), cores=cores(), bf16=computes_bf16())


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    """Bytes of the machine's memory; 8 GiB where the system does not tell (Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 * GIB
