"""Frames of enhanced objects: a frame's own groups come before the shared ones, those before the top of the header."""

from pathlib import Path
from typing import Any

import pytest

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame, frames_of

PATH = Path("IM1")
ORIENTATION = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def group(z: float, **macros: Any) -> dict[str, Any]:
    position = {"PlanePositionSequence": [{"ImagePositionPatient": [1.0, 2.0, z]}]}
    return {**position, **{keyword: [values] for keyword, values in macros.items()}}


def header(groups: list[dict[str, Any]], shared: dict[str, Any] | None = None, **tags: Any) -> dict[str, Any]:
    common = {
        "PlaneOrientationSequence": [{"ImageOrientationPatient": ORIENTATION}],
        "PixelMeasuresSequence": [{"PixelSpacing": [2.0, 1.0], "SliceThickness": 3.0, "SpacingBetweenSlices": 4.0}],
        **(shared or {}),
    }
    return {
        "Modality": "MR",
        "Rows": 4,
        "Columns": 5,
        "NumberOfFrames": len(groups),
        "SOPInstanceUID": "1.2",
        "SharedFunctionalGroupsSequence": [common],
        "PerFrameFunctionalGroupsSequence": groups,
        **tags,
    }


def only(made: dict[str, Any], **tags: Any) -> Frame:
    (frame,) = frames_of(PATH, header([group(0, **made)], **tags))
    return frame


def test_frames_keep_the_order_of_the_pixels() -> None:
    found = frames_of(PATH, header([group(9), group(3), group(6)]))
    assert [(one.index, one.position_mm[2]) for one in found] == [(0, 9), (1, 3), (2, 6)]
    assert {(one.spacing_mm, one.shape, one.sop_instance_uid) for one in found} == {((2, 1), (4, 5), "1.2")}
    assert found[0].facts is found[2].facts
    assert (found[0].facts.acquisition.thickness_mm, found[0].facts.spacing_between_mm) == (3, 4)


def test_what_a_frame_says_itself_comes_first() -> None:
    scale = {"RescaleSlope": 2.0, "RescaleIntercept": -5.0}
    shared = {"PixelValueTransformationSequence": [{"RescaleSlope": 9.0, "RescaleIntercept": 9.0}]}
    own = only({"PixelValueTransformationSequence": scale}, shared=shared)
    assert (own.slope, own.intercept) == (2, -5)
    inherited = only({}, shared=shared)
    assert (inherited.slope, inherited.intercept) == (9, 9)
    top = only({}, RescaleSlope=7.0)
    assert (top.slope, top.intercept) == (7, 0)


FACTS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "echo": ({"MREchoSequence": {"EffectiveEchoTime": 5.5}}, lambda f: f.facts.acquisition.echo_time_ms, 5.5),
    "b": ({"MRDiffusionSequence": {"DiffusionBValue": 700.0}}, lambda f: f.facts.acquisition.b_value, 700),
    "b of none": (
        {"MRDiffusionSequence": {"DiffusionDirectionality": "NONE"}},
        lambda f: f.facts.acquisition.b_value,
        0,
    ),
    "gradient": (
        {"MRDiffusionSequence": {"DiffusionGradientDirectionSequence": [{"DiffusionGradientOrientation": [0, 1, 0]}]}},
        lambda f: f.gradient,
        (0, 1, 0),
    ),
    "trace": ({"MRDiffusionSequence": {"DiffusionDirectionality": "ISOTROPIC"}}, lambda f: f.gradient, (0, 0, 0)),
    "phase": (
        {"MRImageFrameTypeSequence": {"ComplexImageComponent": "PHASE", "FrameType": ["ORIGINAL", "PRIMARY", "M"]}},
        lambda f: f.facts.kind,
        "phase",
    ),
    "frame type": (
        {"MRImageFrameTypeSequence": {"FrameType": ["DERIVED", "PRIMARY", "ADC"]}},
        lambda f: f.facts.acquisition.image_type,
        ("DERIVED", "PRIMARY", "ADC"),
    ),
    "repetition": (
        {"MRTimingAndRelatedParametersSequence": {"RepetitionTime": 800.0, "FlipAngle": 15.0}},
        lambda f: (f.facts.acquisition.repetition_time_ms, f.facts.flip_angle),
        (800, 15),
    ),
    "inversion": (
        {"MRModifierSequence": {"InversionTimes": [900.0]}},
        lambda f: f.facts.acquisition.inversion_time_ms,
        900,
    ),
    "kernel": (
        {"CTReconstructionSequence": {"ConvolutionKernel": "B30f"}},
        lambda f: f.facts.acquisition.kernel,
        "B30f",
    ),
    "trigger": (
        {"CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 80.0}},
        lambda f: f.trigger_time_ms,
        80,
    ),
    "content": (
        {
            "FrameContentSequence": {
                "StackID": "A",
                "TemporalPositionIndex": 3,
                "FrameAcquisitionNumber": 7,
                "FrameAcquisitionDateTime": "20200101000130.5",
                "DimensionIndexValues": [1, 4],
            }
        },
        lambda f: (f.stack_id, f.temporal_position, f.acquisition_number, f.acquired_s, f.dimension_index),
        ("A", 3, 7, 90.5, (1, 4)),
    ),
}


@pytest.mark.parametrize("case", FACTS)
def test_what_tells_frames_apart(case: str) -> None:
    macros, value_of, expected = FACTS[case]
    assert value_of(only(macros)) == expected
    assert value_of(only({}, shared={keyword: [values] for keyword, values in macros.items()})) == expected


def test_a_header_without_per_frame_groups_is_one_frame() -> None:
    made = header([], shared={"PlanePositionSequence": [{"ImagePositionPatient": [0, 0, 5.0]}]}, NumberOfFrames=1)
    (frame,) = frames_of(PATH, made)
    assert frame.position_mm == (0, 0, 5)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({**header([group(0), group(1)]), "NumberOfFrames": 3}, "INCONSISTENT_GEOMETRY"),
        (header([group(0), {}]), "MISSING_GEOMETRY"),
        (header([group(0)], shared={"PixelMeasuresSequence": []}), "MISSING_GEOMETRY"),
        (header([group(0, PixelValueTransformationSequence={"RescaleSlope": 0})]), "INVALID_RESCALE"),
    ],
)
def test_what_does_not_fit_is_refused(made: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnreadableSeriesError) as caught:
        frames_of(PATH, made)
    assert caught.value.reason == reason
