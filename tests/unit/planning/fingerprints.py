"""Fingerprints of made data sets."""

from collections.abc import Mapping, Sequence
from typing import Any

from medfuse.domain import Modality
from medfuse.planning import Device, Fingerprint
from medfuse.planning.fingerprint import ChannelPrint, Grid, Intensities, SegmentPrint, TextPrint

CPU = Device(kind="cpu", memory_gib=16.0, cores=2)
GPU = Device(kind="cuda", memory_gib=24.0, cores=16, bf16=True)
HU = Intensities(foreground="inside the segments", low=-93.4, median=40.0, high=214.6, body_low=-912.0, body_high=803.0)
NO_TEXT = TextPrint()
MR = ChannelPrint(name="t1", preset="t1", modality=Modality.MR, studies=100)
CT = ChannelPrint(name="ct", preset="ct", modality=Modality.CT, studies=100, intensities=HU)


def fingerprint(
    grids: Sequence[tuple[tuple[float, float, float], tuple[int, int, int]]] = (((1.0, 1.0, 1.0), (35, 50, 36)),),
    *,
    patients: int = 100,
    channels: Sequence[ChannelPrint] = (MR,),
    segments: Mapping[str, float] | None = None,
    findings: Mapping[str, tuple[int, int]] | None = None,
    text: TextPrint = NO_TEXT,
    device: Device = CPU,
    **more: Any,
) -> Fingerprint:
    """A fingerprint of `patients` studies whose grids repeat `grids`; segments with their volume in ml; findings with
    their studies present and absent."""
    made = tuple(
        Grid(spacing_mm=spacing, shape=shape) for spacing, shape in (grids[n % len(grids)] for n in range(patients))
    )
    named = {"hippocampus": 3.0} if segments is None else segments
    return Fingerprint(
        studies=patients,
        patients=patients,
        looked_at=patients,
        findings={name: {"ABSENT": no, "PRESENT": yes} for name, (yes, no) in (findings or {}).items()},
        channels=tuple(channels),
        grids=made,
        delineated=patients if named else 0,
        segments=tuple(
            SegmentPrint(name=name, studies=patients, median_ml=volume, small_ml=volume / 2)
            for name, volume in named.items()
        ),
        text=text,
        device=device,
        **more,
    )
