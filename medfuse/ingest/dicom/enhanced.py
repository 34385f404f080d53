"""Enhanced multi-frame objects: each frame's place, scale and facts from its functional groups.

A value stands in the frame's own groups, else in the shared ones, else (in files that break the standard) at the top.
The Dimension Index Values are kept and not relied on: writers number them in their own ways (dcm2niix issues 372, 809).

Source: PS3.3 section C.7.6.16; MR macros in C.8.13.5, CT in C.8.15.3, PET in C.8.22.5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import (
    Facts,
    Frame,
    facts_of,
    kind_of,
    number,
    plane_of,
    rescale_of,
    seconds,
    shape_of,
    text,
    whole,
    with_frame,
    words,
)
from medfuse.ingest.dicom.header import Header

_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")


def enhanced_frames(path: Path, header: Header, count: int) -> list[Frame]:
    """The frames of an enhanced object, in the order of its pixels.

    Raises:
        UnreadableSeriesError: `MISSING_GEOMETRY`, `INCONSISTENT_GEOMETRY` or `INVALID_RESCALE`.
    """
    shared = _items(header, "SharedFunctionalGroupsSequence")
    groups = _items(header, "PerFrameFunctionalGroupsSequence")
    if not shared and not groups:
        raise UnreadableSeriesError(
            f"file {path.name} has {count} frames and no position for each: it lacks "
            "PerFrameFunctionalGroupsSequence (5200,9230); export it anew as single frames",
            reason="MISSING_GEOMETRY",
        )
    if len(groups or [None]) != count:
        raise UnreadableSeriesError(
            f"file {path.name} describes {len(groups)} frames, expected {count}", reason="INCONSISTENT_GEOMETRY"
        )
    facts = facts_of(header)
    known: dict[Any, Facts] = {}
    places = groups or [_Nothing()]
    return [
        _frame(path, header, index, _Groups(group, shared, header), facts, known) for index, group in enumerate(places)
    ]


class _Nothing:
    """A header without elements."""

    def get(self, key: Any, default: Any = None, /) -> Any:
        """Always the default."""
        return default

    def __contains__(self, key: str | int, /) -> bool:
        return False


class _Groups:
    """The functional groups that hold for one frame."""

    def __init__(self, own: Header, shared: Sequence[Header], top: Header) -> None:
        self._own = own
        self._shared = shared[0] if shared else _Nothing()
        self._top = top

    def macro(self, keyword: str) -> Header:
        """The item of a functional group; nothing where the frame has none."""
        for place in (self._own, self._shared):
            items = place.get(keyword)
            if items:
                item: Header = items[0]
                return item
        return _Nothing()

    def plane(self, keyword: str, needed: str) -> Header:
        """The item of a functional group of the image plane, or the top of the header where that holds the value."""
        macro = self.macro(keyword)
        return macro if macro.get(needed) is not None else self._top


def _frame(path: Path, header: Header, index: int, groups: _Groups, facts: Facts, known: dict[Any, Facts]) -> Frame:
    position, orientation, spacing = plane_of(
        path,
        groups.plane("PlanePositionSequence", "ImagePositionPatient"),
        groups.plane("PlaneOrientationSequence", "ImageOrientationPatient"),
        groups.plane("PixelMeasuresSequence", "PixelSpacing"),
    )
    slope, intercept = rescale_of(path, groups.plane("PixelValueTransformationSequence", "RescaleSlope"))
    content = groups.macro("FrameContentSequence")
    trigger = groups.macro("CardiacSynchronizationSequence")
    temporal = groups.macro("TemporalPositionSequence").get("TemporalPositionTimeOffset")
    diffusion = groups.macro("MRDiffusionSequence")
    own = _values(groups, diffusion)
    if own not in known:
        known[own] = _with_values(facts, own)
    return Frame(
        path=path,
        index=index,
        position_mm=position,
        orientation=orientation,
        spacing_mm=spacing,
        shape=shape_of(path, header),
        slope=slope,
        intercept=intercept,
        sop_instance_uid=text(header.get("SOPInstanceUID")),
        instance_number=whole(header.get("InstanceNumber")),
        acquisition_number=whole(content.get("FrameAcquisitionNumber") or header.get("AcquisitionNumber")),
        temporal_position=whole(content.get("TemporalPositionIndex")),
        trigger_time_ms=number(trigger.get("NominalCardiacTriggerDelayTime")),
        acquired_s=number(temporal)
        or seconds(content.get("FrameAcquisitionDateTime") or header.get("AcquisitionTime")),
        content_s=seconds(content.get("FrameReferenceDateTime") or header.get("ContentTime")),
        gradient=_gradient(diffusion),
        stack_id=text(content.get("StackID")),
        dimension_index=_indices(content.get("DimensionIndexValues")),
        facts=known[own],
    )


def _values(groups: _Groups, diffusion: Header) -> tuple[Any, ...]:
    """What the functional groups of a frame say over and above the file's header, hashable."""
    frame_type = next((groups.macro(name) for name in _FRAME_TYPES if groups.macro(name).get("FrameType")), _Nothing())
    timing = groups.macro("MRTimingAndRelatedParametersSequence")
    component = kind_of(words(frame_type.get("ComplexImageComponent")))
    kernel = groups.macro("CTReconstructionSequence").get("ConvolutionKernel")
    return (
        component or kind_of(words(frame_type.get("FrameType"))[2:]),
        words(frame_type.get("FrameType")),
        number(groups.macro("MREchoSequence").get("EffectiveEchoTime")),
        number(timing.get("RepetitionTime")),
        number(timing.get("FlipAngle")),
        number(_first(groups.macro("MRModifierSequence").get("InversionTimes"))),
        _b_value(diffusion),
        number(groups.macro("PixelMeasuresSequence").get("SliceThickness")),
        number(groups.macro("PixelMeasuresSequence").get("SpacingBetweenSlices")),
        text(kernel),
    )


def _with_values(facts: Facts, values: tuple[Any, ...]) -> Facts:
    kind, frame_type, echo, repetition, flip, inversion, b_value, thickness, spacing, kernel = values
    made = facts.acquisition
    return with_frame(
        facts,
        kind=kind or facts.kind,
        flip_angle=facts.flip_angle if flip is None else flip,
        spacing_between_mm=facts.spacing_between_mm if spacing is None else spacing,
        image_type=frame_type or made.image_type,
        echo_time_ms=made.echo_time_ms if echo is None else echo,
        repetition_time_ms=made.repetition_time_ms if repetition is None else repetition,
        inversion_time_ms=made.inversion_time_ms if inversion is None else inversion,
        b_value=made.b_value if b_value is None else b_value,
        thickness_mm=made.thickness_mm if thickness is None else thickness,
        kernel=kernel or made.kernel,
    )


def _b_value(diffusion: Header) -> float | None:
    """The b-value; 0 for a frame of a diffusion series that says it has no direction and no value."""
    value = number(diffusion.get("DiffusionBValue"))
    return 0.0 if value is None and text(diffusion.get("DiffusionDirectionality")).upper() == "NONE" else value


def _gradient(diffusion: Header) -> tuple[float, ...]:
    items = diffusion.get("DiffusionGradientDirectionSequence")
    values = items[0].get("DiffusionGradientOrientation") if items else None
    found = [number(value) for value in values] if values is not None else []
    if not found and text(diffusion.get("DiffusionDirectionality")).upper() == "ISOTROPIC":
        return (0.0, 0.0, 0.0)  # the trace image, beside the directions that it is made of
    return tuple(round(value, 4) + 0.0 for value in found if value is not None)


def _indices(values: Any) -> tuple[int, ...]:
    if values is None:
        return ()
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    return tuple(whole(value) or 0 for value in listed)


def _first(values: Any) -> Any:
    if values is None or isinstance(values, (str, int, float)):
        return values
    return next(iter(values), None)


def _items(header: Header, keyword: str) -> list[Any]:
    return list(header.get(keyword) or [])
