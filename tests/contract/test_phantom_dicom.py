"""What the phantom writes as DICOM, read by others: dicom3tools' dciodvfy, pydicom, highdicom."""

import shutil
import subprocess
from pathlib import Path
from typing import Literal

import highdicom as hd
import numpy as np
import pydicom
import pytest

from medfuse.phantom import FAMILIES, PhantomTruth, StudyTruth, write_phantom
from medfuse.phantom.case import Case
from medfuse.phantom.plan import plan_studies

STUDIES, SEED = 12, 4
Written = tuple[Path, PhantomTruth]


@pytest.fixture(scope="module", params=["chest_ct", "brain_mr"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    family: Literal["chest_ct", "brain_mr"] = request.param
    root = tmp_path_factory.mktemp("contract") / family
    return root, write_phantom(family, root, studies=STUDIES, seed=SEED)


def images(root: Path, study: StudyTruth) -> list[Path]:
    return sorted(path for path in (root / study.directory).rglob("*") if path.is_file() and path.suffix == "")


def made(truth: PhantomTruth, index: int) -> Case:
    family = FAMILIES[truth.family]
    plans = plan_studies(family.name, studies=STUDIES, seed=SEED, ages=family.ages, quantities=family.quantities)
    return family.make(plans[index])


def dciodvfy_errors(path: Path) -> list[str]:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (told.stdout + told.stderr).splitlines()
    assert any("Image" in line or "Segmentation" in line for line in lines), "dciodvfy did not know the kind of object"
    return [line for line in lines if line.startswith("Error")]


def test_images_pass_dciodvfy(written: Written) -> None:
    root, truth = written
    assert any(study.compressed for study in truth.studies)
    for study in truth.studies:
        by_series = {pydicom.dcmread(p, stop_before_pixels=True).SeriesInstanceUID: p for p in images(root, study)}
        assert set(by_series) == set(study.series.values())
        for path in by_series.values():
            assert dciodvfy_errors(path) == []


def test_segmentations_pass_dciodvfy(written: Written) -> None:
    root, truth = written
    for study in truth.studies:
        assert dciodvfy_errors(root / study.directory / "seg.dcm") == []


def test_highdicom_reads_the_segments_voxel_for_voxel(written: Written) -> None:
    root, truth = written
    for index, study in enumerate(truth.studies):
        case = made(truth, index)
        seg = hd.seg.segread(root / study.directory / "seg.dcm")
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in images(root, study)]
        source = [h for h in headers if h.SeriesInstanceUID == study.segmentation_series]
        normal = case.geometry.affine.direction[:, 2]
        source.sort(key=lambda h: float(normal @ np.array(h.ImagePositionPatient, dtype=float)))
        read = seg.get_pixels_by_source_instance(
            [str(h.SOPInstanceUID) for h in source], combine_segments=True, assert_missing_frames_are_empty=True
        )
        assert np.array_equal(read.transpose(2, 1, 0), case.label_map)


def test_segments_lie_where_they_are_in_the_patient(written: Written) -> None:
    root, truth = written
    for index, study in enumerate(truth.studies[:5]):
        case = made(truth, index)
        volume = hd.seg.segread(root / study.directory / "seg.dcm").get_volume(combine_segments=True)
        for number in np.unique(volume.array[volume.array > 0]):
            here = np.argwhere(volume.array == number)
            there = np.argwhere(case.label_map == number)
            centre = volume.map_indices_to_reference(here).mean(axis=0)
            assert centre == pytest.approx(case.geometry.affine.apply(there).mean(axis=0), abs=1e-3)


def test_segments_are_named_coded_and_as_large_as_told(written: Written) -> None:
    root, truth = written
    for study in truth.studies:
        seg = hd.seg.segread(root / study.directory / "seg.dcm")
        names = [seg.get_segment_description(n).segment_label for n in seg.segment_numbers]
        assert names == list(truth.segments)
        voxel = float(np.prod(study.spacing_mm))
        counts = dict.fromkeys(truth.segments, 0)
        frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
        for item, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
            number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            counts[names[number - 1]] += int(frame.sum())
        for name, count in counts.items():
            assert count * voxel == pytest.approx(study.volumes_mm3[name], abs=0.1)


def test_a_study_with_nothing_to_delineate_says_so(written: Written) -> None:
    """Empty segments are written as empty frames; leaving the SEG out would mean "not delineated"."""
    root, truth = written
    empty = [study for study in truth.studies if not any(study.volumes_mm3.values())]
    assert bool(empty) == (truth.family == "brain_mr")
    for study in empty:
        seg = hd.seg.segread(root / study.directory / "seg.dcm")
        assert seg.NumberOfFrames == len(truth.segments) * study.shape[2]
        assert not seg.pixel_array.any()


def test_uids_of_a_set_do_not_collide(written: Written) -> None:
    root, truth = written
    seen = [
        pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID
        for study in truth.studies
        for path in (*images(root, study), root / study.directory / "seg.dcm")
    ]
    assert len(set(seen)) == len(seen)
