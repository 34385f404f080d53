"""Many slices in one file: rows 11 and 16 of the pitfalls (enhanced objects), and Siemens mosaics."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from medfuse.domain import Quantity
from medfuse.ingest import source_datasets
from tests.acceptance.siemens import csa_header, mosaic, protocol
from tests.dicom_cases import (
    CORONAL,
    FEET_FIRST,
    OBLIQUE,
    SAGITTAL,
    FrameOf,
    Truth,
    affine_of,
    assert_same,
    enhanced,
    frames_of_truth,
    item,
    outcome,
    same_in_world,
    save,
    truth_of,
    uid,
)


def shuffled(frames: list[FrameOf], seed: int = 3) -> list[FrameOf]:
    return [frames[n] for n in np.random.default_rng(seed).permutation(len(frames))]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
@pytest.mark.parametrize("orientation", [OBLIQUE, FEET_FIRST])
def test_row_11_frames_are_ordered_by_their_positions(
    tmp_path: Path, modality: str, shared: bool, orientation: tuple[float, ...]
) -> None:
    truth = truth_of((6, 5, 7), orientation=orientation)
    dataset = enhanced(shuffled(frames_of_truth(truth)), modality=modality, shared=shared, Units="GML")
    save(dataset, tmp_path / "x")
    volume = outcome(tmp_path).only
    assert_same(volume, truth)
    expected = {"CT": Quantity.HOUNSFIELD, "MR": Quantity.ARBITRARY, "PT": Quantity.SUV}[modality]
    assert volume.quantity is expected


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_row_11_in_other_encodings(tmp_path: Path, syntax: str) -> None:
    truth = truth_of((6, 5, 7))
    save(enhanced(shuffled(frames_of_truth(truth))), tmp_path / "x", syntax=syntax)
    assert_same(outcome(tmp_path).only, truth)


def test_row_11_rescale_of_each_frame_and_of_all(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 4), low=0)
    frames = [replace(frame, slope=2.0, intercept=-1000.0) for frame in frames_of_truth(truth)]
    save(enhanced(frames, modality="CT"), tmp_path / "x")
    assert_same(outcome(tmp_path).only, Truth(voxels=truth.voxels * 2.0 - 1000, affine=truth.affine))


def test_row_11_dimension_indices_and_instance_numbers_lie(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 5))
    frames = [
        replace(frame, content={"DimensionIndexValues": [1, 9 - k], "InStackPositionNumber": (3 * k) % 5 + 1})
        for k, frame in enumerate(frames_of_truth(truth))
    ]
    save(enhanced(shuffled(frames)), tmp_path / "x")
    assert_same(outcome(tmp_path).only, truth)


@pytest.mark.parametrize("same_size", [True, False])
def test_row_11_stacks_become_volumes(tmp_path: Path, same_size: bool) -> None:
    first = truth_of((6, 5, 4))
    second = truth_of((6, 5, 4 if same_size else 6), orientation=SAGITTAL, seed=2)
    frames = [*frames_of_truth(first, stack="1"), *frames_of_truth(second, stack="2")]
    save(enhanced(shuffled(frames), shared=False), tmp_path / "x")
    found = outcome(tmp_path)
    assert not found.refusals
    assert len(found.parts) == 2
    assert all(found.parts)
    for truth in (first, second):
        (match,) = [v for v in found.volumes.values() if v.voxels.shape == truth.voxels.shape and same(v, truth)]
        assert_same(match, truth)


def same(volume: Any, truth: Truth) -> bool:
    return np.array_equal(volume.voxels, truth.voxels)


def test_row_11_parallel_stacks_that_interleave_are_told_apart_by_stack_id(tmp_path: Path) -> None:
    first, second = truth_of((6, 5, 4)), truth_of((6, 5, 4), origin=(-20, 30, 41.0), seed=2)
    frames = [*frames_of_truth(first, stack="A"), *frames_of_truth(second, stack="B")]
    save(enhanced(shuffled(frames)), tmp_path / "x")
    found = outcome(tmp_path)
    low, high = sorted(found.volumes.values(), key=lambda volume: volume.geometry.affine.origin_mm[2])
    assert_same(low, first)
    assert_same(high, second)


def test_row_11_a_stack_id_on_every_frame_splits_nothing(tmp_path: Path) -> None:
    """Some scanners count stacks per frame; positions tile one stack all the same."""
    truth = truth_of((6, 5, 4))
    save(enhanced([replace(frame, stack="") for frame in frames_of_truth(truth)]), tmp_path / "x")
    assert_same(outcome(tmp_path).only, truth)


FOURTH: dict[str, list[dict[str, Any]]] = {
    "time": [{"content": {"TemporalPositionIndex": n + 1}} for n in range(3)],
    "echo": [{"macros": {"MREchoSequence": {"EffectiveEchoTime": 5.0 * (n + 1)}}} for n in range(2)],
    "b": [{"macros": {"MRDiffusionSequence": {"DiffusionBValue": 500.0 * n}}} for n in range(3)],
    "gradient": [
        {
            "macros": {
                "MRDiffusionSequence": {
                    "DiffusionBValue": 1000.0,
                    "DiffusionDirectionality": "DIRECTIONAL",
                    "DiffusionGradientDirectionSequence": item(DiffusionGradientOrientation=direction),
                }
            }
        }
        for direction in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    ],
    "complex": [
        {"macros": {"MRImageFrameTypeSequence": {"ComplexImageComponent": kind, "FrameType": ["ORIGINAL", "PRIMARY"]}}}
        for kind in ("MAGNITUDE", "PHASE")
    ],
    "phase by frame type": [
        {"macros": {"MRImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", kind, "NONE"]}}}
        for kind in ("M", "P")
    ],
    "cardiac": [
        {"macros": {"CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 90.0 * n}}} for n in range(4)
    ],
    "acquisition": [{"content": {"FrameAcquisitionNumber": n + 1}} for n in range(2)],
}


@pytest.mark.parametrize("case", FOURTH)
@pytest.mark.parametrize("volume_first", [True, False])
def test_row_11_and_16_a_fourth_dimension_becomes_volumes(tmp_path: Path, case: str, volume_first: bool) -> None:
    truths = [truth_of(seed=n + 1) for n in range(len(FOURTH[case]))]
    frames = [frame for truth, how in zip(truths, FOURTH[case], strict=True) for frame in frames_of_truth(truth, **how)]
    if not volume_first:
        frames = [frames[4 * n + k] for k in range(4) for n in range(len(truths))]
    save(enhanced(frames), tmp_path / "x")
    found = outcome(tmp_path)
    assert not found.refusals
    assert len(found.parts) == len(truths)
    for volume in found.volumes.values():
        match = next(n for n, truth in enumerate(truths) if same(volume, truth))
        assert_same(volume, truths.pop(match))
    word = {"time": "time", "echo": "echo", "b": "b-", "complex": "phase", "phase by frame type": "phase"}.get(case, "")
    assert any(word in name for name in found.parts)


def test_row_11_frames_that_nothing_tells_apart_are_never_stacked(tmp_path: Path) -> None:
    truths = [truth_of(seed=n + 1) for n in range(2)]
    save(enhanced([frame for truth in truths for frame in frames_of_truth(truth)]), tmp_path / "x")
    found = outcome(tmp_path)
    if found.volumes:
        assert len(found.volumes) == 2
        assert all(any(same(volume, truth) for volume in found.volumes.values()) for truth in truths)
    else:
        assert found.reasons == {"DUPLICATE_POSITIONS"}


@pytest.mark.parametrize("kept", ["classic", "concatenation"])
def test_row_11_a_volume_in_several_enhanced_files(tmp_path: Path, kept: str) -> None:
    truth = truth_of((6, 5, 6))
    frames = frames_of_truth(truth)
    for n, part in enumerate((frames[4:], frames[:4])):
        tags = {"InstanceNumber": n + 1}
        if kept == "concatenation":
            tags |= {"ConcatenationUID": uid("concatenation"), "InConcatenationNumber": 2 - n}
        save(enhanced(part, **tags), tmp_path / str(n))
    assert_same(outcome(tmp_path).only, truth)


def test_row_01_and_11_a_tilted_enhanced_ct(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 6), shear=(0, 0.6, 0))
    save(enhanced(shuffled(frames_of_truth(truth)), modality="CT"), tmp_path / "x")
    assert_same(outcome(tmp_path, upright=False).only, truth)
    assert outcome(tmp_path).only.geometry.affine.is_orthogonal


def test_row_02_and_11_a_missing_frame(tmp_path: Path) -> None:
    truth = truth_of((6, 5, 6))
    frames = frames_of_truth(truth)
    save(enhanced([*frames[:2], *frames[3:]]), tmp_path / "x")
    found = outcome(tmp_path)
    assert "MISSING_SLICES" in found.reasons
    assert not found.volumes


def test_row_11_fewer_groups_than_frames(tmp_path: Path) -> None:
    dataset = enhanced(frames_of_truth(truth_of()))
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    save(dataset, tmp_path / "x")
    found = outcome(tmp_path)
    assert "INCONSISTENT_GEOMETRY" in found.reasons
    assert not found.volumes


def test_row_11_frames_without_positions(tmp_path: Path) -> None:
    dataset = enhanced(frames_of_truth(truth_of()))
    for group in dataset.PerFrameFunctionalGroupsSequence[1:3]:
        del group.PlanePositionSequence
    save(dataset, tmp_path / "x")
    found = outcome(tmp_path)
    assert "MISSING_GEOMETRY" in found.reasons
    assert not found.volumes


def test_row_11_source_headers_of_an_enhanced_object(tmp_path: Path) -> None:
    save(enhanced(frames_of_truth(truth_of())), tmp_path / "x")
    (series,) = outcome(tmp_path).series.values()
    assert len(source_datasets(series)) == 1


def test_row_11_padding_and_signs_in_enhanced_ct(tmp_path: Path) -> None:
    truth = truth_of(low=-900, high=900)
    truth.voxels[0] = -2000
    save(enhanced(frames_of_truth(truth), modality="CT", PixelPaddingValue=-2000), tmp_path / "x")
    expected = truth.voxels.copy()
    expected[0] = -1024
    assert_same(outcome(tmp_path).only, Truth(voxels=expected, affine=truth.affine))


# Siemens mosaics.


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("orientation", [affine_of(), affine_of(OBLIQUE), affine_of(CORONAL)])
def test_a_mosaic_is_taken_apart(tmp_path: Path, flipped: bool, orientation: Any) -> None:
    truth = Truth(voxels=truth_of((8, 6, 7), low=0).voxels, affine=orientation)
    save(mosaic(truth, flipped=flipped), tmp_path / "x")
    volume = outcome(tmp_path).only
    assert volume.geometry.shape == (8, 6, 7)
    assert same_in_world(volume, truth) == ""


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("orientation", [affine_of(), affine_of(OBLIQUE), affine_of(CORONAL)])
def test_a_mosaic_whose_image_header_is_gone_is_placed_by_its_protocol(
    tmp_path: Path, flipped: bool, orientation: Any
) -> None:
    truth = Truth(voxels=truth_of((8, 6, 7), low=0).voxels, affine=orientation)
    dataset = mosaic(truth, flipped=flipped)
    del dataset[0x00291010]
    dataset.add_new((0x0029, 0x1020), "OB", protocol(truth, flipped=flipped))
    save(dataset, tmp_path / "x")
    assert same_in_world(outcome(tmp_path).only, truth) == ""


def test_a_full_mosaic_of_many_tiles(tmp_path: Path) -> None:
    truth = truth_of((4, 4, 36), low=0)
    save(mosaic(truth, tiles=6), tmp_path / "x")
    assert same_in_world(outcome(tmp_path).only, truth) == ""


def test_mosaics_of_several_times_become_volumes(tmp_path: Path) -> None:
    truths = [truth_of((8, 6, 7), low=0, seed=n + 1) for n in range(3)]
    for n, truth in enumerate(truths):
        numbers = {"InstanceNumber": n + 1, "AcquisitionNumber": n + 1, "AcquisitionTime": f"1200{n:02d}"}
        save(mosaic(truth, SOPInstanceUID=uid("mosaic", n), **numbers), tmp_path / str(n))
    found = outcome(tmp_path)
    assert len(found.parts) == 3
    for volume in found.volumes.values():
        match = next(n for n, truth in enumerate(truths) if same_in_world(volume, truth) == "")
        truths.pop(match)


CSA = {"NumberOfImagesInMosaic": ["7"], "SliceNormalVector": ["0.0", "0.0", "1.0"]}
BROKEN = {
    "no header": b"",
    "garbage": bytes(range(256)) * 4,
    "cut": csa_header(CSA)[:150],
    "no count": csa_header({"SliceNormalVector": CSA["SliceNormalVector"]}),
    "count of zero": csa_header({**CSA, "NumberOfImagesInMosaic": ["0"]}),
    "more slices than tiles": csa_header({**CSA, "NumberOfImagesInMosaic": ["9999"]}),
    "negative count": csa_header({**CSA, "NumberOfImagesInMosaic": ["-7"]}),
    "text for a count": csa_header({**CSA, "NumberOfImagesInMosaic": ["seven"]}),
    "absurd number of tags": csa_header(CSA)[:8] + b"\xff\xff\xff\x7f" + csa_header(CSA)[12:],
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_mosaic_without_a_readable_header_is_refused(tmp_path: Path, case: str) -> None:
    save(mosaic(truth_of((8, 6, 7), low=0), csa=BROKEN[case]), tmp_path / "x")
    found = outcome(tmp_path)
    assert not found.volumes
    assert found.reasons == {"MOSAIC_UNREADABLE"}


def test_tiles_that_do_not_fit_the_matrix_are_refused(tmp_path: Path) -> None:
    truth = truth_of((8, 6, 7), low=0)
    save(mosaic(truth, csa=csa_header({**CSA, "NumberOfImagesInMosaic": ["17"]})), tmp_path / "x")
    found = outcome(tmp_path)
    assert not found.volumes
    assert found.reasons == {"MOSAIC_UNREADABLE"}
