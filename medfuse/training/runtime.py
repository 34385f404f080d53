"""The device and the precision of a run."""

from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState


def accelerator_for(precision: Literal["auto", "bf16", "fp32"]) -> Accelerator:
    """An accelerator on the best device that is there, alone or as one process of `torchrun`.

    Args:
        precision: `auto` takes bf16 where the hardware computes in it.
    """
    # accelerate keeps the first precision of a process for good; a second run in it may ask for another.
    AcceleratorState._reset_state()
    bf16 = precision == "bf16" or (precision == "auto" and computes_bf16())
    return Accelerator(mixed_precision="bf16" if bf16 else "no", step_scheduler_with_optimizer=False)


def computes_bf16() -> bool:
    """Whether the device multiplies in bf16 in hardware; emulated, it is slower than fp32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
