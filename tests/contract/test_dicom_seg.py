"""What medfuse writes as DICOM SEG, read by others: highdicom, dcmtk's dcmdump, dicom3tools' dciodvfy."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medfuse.domain import Segment, Segmentation, VolumeGeometry
from medfuse.errors import UnreadableSeriesError
from medfuse.ingest import find_studies, read_segmentation, read_volume, source_datasets
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs import write_dicom_seg
from medfuse.outputs.source_grid import SourceGridError
from tests import dicom_cases as made
from tests.unit.outputs import cases

# Third parties' own remarks on odd real headers.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The string .* is unlikely to represent:UserWarning"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning"),
]

ORIENTATIONS = {
    "axial": cases.AXIAL,
    "sagittal": cases.SAGITTAL,
    "coronal": cases.CORONAL,
    "oblique": cases.oblique(),
    "flipped": cases.FLIPPED,
    "flipped columns": cases.FLIPPED_COLUMNS,
    "backwards": cases.BACKWARDS,
}


def dciodvfy_errors(path: Path) -> list[str]:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]


def written(
    path: Path, segmentation: Segmentation, sources: list[pydicom.Dataset], **options: str
) -> hd.seg.Segmentation:
    write_dicom_seg(segmentation, sources, path, model=cases.MODEL, **options)
    return hd.seg.segread(path)


def read_back(seg: hd.seg.Segmentation, sources: list[pydicom.Dataset]) -> NDArray[np.uint8]:
    """The label map `(I, J, K)` that highdicom finds on the source images, missing frames empty."""
    uids = [str(source.get("SOPInstanceUID") or source.file_meta.MediaStorageSOPInstanceUID) for source in sources]
    voxels = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    return np.asarray(voxels.transpose(2, 1, 0))


def nested(dataset: pydicom.Dataset, keyword: str) -> Iterator[pydicom.DataElement]:
    for element in dataset.iterall():
        if element.keyword == keyword:
            yield element


def referenced(seg: pydicom.Dataset) -> set[str]:
    return {str(element.value) for element in nested(seg, "ReferencedSOPInstanceUID")}


@pytest.mark.parametrize("direction", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_the_mask_comes_back_voxel_for_voxel_from_a_classic_series(tmp_path: Path, direction: NDArray) -> None:
    geometry = cases.grid(direction)
    segmentation, sources = cases.label_map(geometry), cases.classic_series(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, sources)
    np.testing.assert_array_equal(read_back(seg, sources), segmentation.label_map)
    assert referenced(seg) == {source.SOPInstanceUID for source in sources}
    assert seg.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    np.testing.assert_array_equal(
        read_segmentation(tmp_path / "seg.dcm", geometry).label_map, segmentation.label_map, "as medfuse reads it"
    )


@pytest.mark.parametrize("direction", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_the_mask_comes_back_voxel_for_voxel_from_an_enhanced_image(tmp_path: Path, direction: NDArray) -> None:
    geometry = cases.grid(direction)
    segmentation, sources = cases.label_map(geometry), cases.enhanced_series(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, sources)
    frames = range(1, geometry.shape[2] + 1)
    voxels = seg.get_pixels_by_source_frame(
        sources[0].SOPInstanceUID, frames, combine_segments=True, assert_missing_frames_are_empty=True
    )
    order = np.random.default_rng(3).permutation(geometry.shape[2])
    np.testing.assert_array_equal(voxels.transpose(2, 1, 0), segmentation.label_map[:, :, order])
    assert referenced(seg) == {sources[0].SOPInstanceUID}
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize("names", [("lung nodule",), cases.LABELS.segments, tuple(f"region {n}" for n in range(1, 31))])
def test_outside_validators_accept_it(tmp_path: Path, names: tuple[str, ...]) -> None:
    geometry = cases.grid(cases.oblique(), shape=(8, 9, 10))
    written(tmp_path / "seg.dcm", cases.label_map(geometry, names), cases.classic_series(geometry, "CT"))
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


def test_dcmtk_reads_it(tmp_path: Path) -> None:
    if shutil.which("dcmdump") is None:
        pytest.skip("dcmdump is not installed: apt-get install dcmtk")
    geometry = cases.grid()
    written(tmp_path / "seg.dcm", cases.label_map(geometry), cases.classic_series(geometry))
    told = subprocess.run(["dcmdump", str(tmp_path / "seg.dcm")], capture_output=True, text=True, check=True)
    assert "anterior hippocampus" in told.stdout
    assert told.stderr == ""


def test_a_frame_lies_on_its_source_image_and_empty_frames_are_left_out(tmp_path: Path) -> None:
    geometry = cases.grid(cases.oblique())
    sources = cases.classic_series(geometry)
    seg = written(tmp_path / "seg.dcm", cases.label_map(geometry), sources)
    by_uid = {source.SOPInstanceUID: source for source in sources}
    assert seg.NumberOfFrames == 2 * (geometry.shape[2] - 2)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        (item,) = frame.DerivationImageSequence[0].SourceImageSequence
        source = by_uid[item.ReferencedSOPInstanceUID]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
        assert item.SpatialLocationsPreserved == "YES"
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(mm) for mm in measures.PixelSpacing] == [0.9, 0.7]
    assert float(measures.SpacingBetweenSlices) == 2.5


@pytest.mark.parametrize("make", [cases.classic_series, cases.enhanced_series], ids=["classic", "enhanced"])
def test_a_label_map_without_a_voxel_says_so_in_one_empty_frame_a_segment(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    geometry = cases.grid()
    segmentation, sources = cases.label_map(geometry, empty=True), make(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, sources)
    assert seg.NumberOfFrames == 2
    assert not seg.pixel_array.any()
    assert len(seg.SegmentSequence) == 2
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


def test_a_segment_without_a_voxel_is_still_described(tmp_path: Path) -> None:
    geometry = cases.grid()
    both = cases.label_map(geometry)
    segmentation = Segmentation(
        label_map=np.where(both.label_map == 2, 0, both.label_map), geometry=geometry, segments=both.segments
    )
    sources = cases.classic_series(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, sources)
    assert [item.SegmentLabel for item in seg.SegmentSequence] == list(cases.LABELS.segments)
    np.testing.assert_array_equal(read_back(seg, sources), segmentation.label_map)
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


def test_segment_numbers_with_gaps_become_1_2_3(tmp_path: Path) -> None:
    geometry = cases.grid()
    segmentation = cases.label_map(geometry, ("a", "b", "c"), numbers=(2, 7, 200))
    sources = cases.classic_series(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, sources)
    renumbered = np.searchsorted([0, 2, 7, 200], segmentation.label_map)
    np.testing.assert_array_equal(read_back(seg, sources), renumbered)
    assert [(item.SegmentNumber, item.SegmentLabel) for item in seg.SegmentSequence] == [(1, "a"), (2, "b"), (3, "c")]


def test_a_single_slice(tmp_path: Path) -> None:
    geometry = cases.grid(shape=(7, 6, 1))
    segmentation, sources = cases.label_map(geometry), cases.classic_series(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, sources)
    np.testing.assert_array_equal(read_back(seg, sources), segmentation.label_map)
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


def test_a_slice_that_was_filled_in_keeps_its_place(tmp_path: Path) -> None:
    geometry = cases.grid()
    segmentation, sources = cases.label_map(geometry), cases.classic_series(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, [*sources[:2], *sources[3:]])
    assert sources[2].SOPInstanceUID not in referenced(seg)
    np.testing.assert_array_equal(read_segmentation(tmp_path / "seg.dcm", geometry).label_map, segmentation.label_map)


def test_it_says_who_made_it_and_for_what(tmp_path: Path) -> None:
    geometry = cases.grid()
    seg = written(tmp_path / "seg.dcm", cases.label_map(geometry), cases.classic_series(geometry))
    assert seg.SegmentationType == "BINARY"
    assert seg.SeriesDescription == "medfuse hippocampus (research use)"
    assert seg.ContentQualification == "RESEARCH"
    assert "research use" in seg.ContentDescription
    assert (seg.Manufacturer, seg.ManufacturerModelName) == ("medfuse", "medfuse")
    assert seg.SeriesNumber == 1004
    for item in seg.SegmentSequence:
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("medfuse hippocampus", "0.1.0")
        assert cases.MODEL.weights_sha256 in algorithm.AlgorithmParameters
    first, second = seg.SegmentSequence
    for item, modifier in ((first, "Anterior"), (second, "Posterior")):
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("5366008", "SCT")
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == modifier
        assert item.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    assert first.TrackingUID != second.TrackingUID


def test_every_segment_has_its_own_colour(tmp_path: Path) -> None:
    geometry = cases.grid()
    names = tuple(f"region {n}" for n in range(1, 41))
    seg = written(tmp_path / "seg.dcm", cases.label_map(geometry, names), cases.classic_series(geometry))
    colours = np.array([item.RecommendedDisplayCIELabValue for item in seg.SegmentSequence], dtype=float)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1)[np.triu_indices(len(colours), 1)]
    assert apart.min() > 300


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "PatientSex", "StudyID", "StudyTime", "SeriesNumber"])
def test_what_a_source_header_lacks_is_empty(tmp_path: Path, keyword: str) -> None:
    geometry = cases.grid()
    sources = cases.classic_series(geometry)
    for source in sources:
        del source[keyword]
    seg = written(tmp_path / "seg.dcm", cases.label_map(geometry), sources)
    assert (seg.get(keyword) or "") in ("", 1000)
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


def test_blanked_uids_come_from_the_meta_header_and_from_the_caller(tmp_path: Path) -> None:
    geometry = cases.grid()
    sources = cases.classic_series(geometry)
    expected = {source.SOPInstanceUID for source in sources}
    for source in sources:
        source.SOPClassUID = source.SOPInstanceUID = source.StudyInstanceUID = source.SeriesInstanceUID = ""
    uids = {"study_instance_uid": "2.25.1", "series_instance_uid": "2.25.2"}
    seg = written(tmp_path / "seg.dcm", cases.label_map(geometry), sources, **uids)
    assert referenced(seg) == expected
    assert seg.StudyInstanceUID == "2.25.1"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "2.25.2"
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []
    with pytest.raises(SourceGridError, match="StudyInstanceUID"):
        write_dicom_seg(cases.label_map(geometry), sources, tmp_path / "other.dcm", model=cases.MODEL)


def write_and_read(source: pydicom.Dataset, path: Path) -> pydicom.Dataset:
    """A header as it comes from a disk: raw, undecoded elements."""
    source.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


def test_a_series_without_a_frame_of_reference_gets_the_same_one_each_time(tmp_path: Path) -> None:
    geometry = cases.grid()
    sources = cases.classic_series(geometry)
    for source in sources:
        del source.FrameOfReferenceUID
    first, second = (written(tmp_path / f"{n}.dcm", cases.label_map(geometry), sources) for n in (1, 2))
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID
    assert first.FrameOfReferenceUID.is_valid
    np.testing.assert_array_equal(read_back(first, sources), cases.label_map(geometry).label_map)
    assert dciodvfy_errors(tmp_path / "1.dcm") == []


def test_an_odd_name_is_kept_invalid_values_are_not_and_neither_is_quoted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    geometry = cases.grid()
    sources = cases.classic_series(geometry)
    with quiet():
        for n, source in enumerate(sources):
            source.PatientName, source.PatientSex = "Quixana", "X"
            source.PatientBirthDate, source.StudyDate, source.StudyTime = "2.3.1951", "yesterday", "late"
            source.PatientAge, source.PatientSize = "0Y", "1.8"
            sources[n] = write_and_read(source, tmp_path / f"{n}")
    recwarn.clear()
    caplog.clear()
    caplog.set_level("DEBUG")
    write_dicom_seg(cases.label_map(geometry), sources, tmp_path / "seg.dcm", model=cases.MODEL)
    assert not [str(w.message) for w in recwarn.list]
    assert "Quixana" not in caplog.text
    assert "1951" not in caplog.text
    with quiet():
        seg = pydicom.dcmread(tmp_path / "seg.dcm")
        assert (str(seg.PatientName), seg.PatientID) == ("Quixana", cases.PATIENT_ID)
        assert [seg[k].value for k in ("PatientSex", "PatientBirthDate", "StudyDate", "StudyTime")] == ["", "", "", ""]
        assert seg.PatientSize == 1.8
        assert "PatientAge" not in seg
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Müller^Jörg"),
        ("ISO_IR 100", "Müller^Jörg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
@pytest.mark.parametrize("label", ["hippocampus", "海马"], ids=["ascii label", "other label"])
def test_names_in_any_character_set_stay_readable(
    tmp_path: Path, charset: str | list[str], name: str, label: str
) -> None:
    geometry = cases.grid()
    sources = cases.classic_series(geometry)
    for n, source in enumerate(sources):
        source.SpecificCharacterSet, source.PatientName = charset, name
        sources[n] = write_and_read(source, tmp_path / f"{n}")
    seg = written(tmp_path / "seg.dcm", cases.label_map(geometry, (label,)), sources)
    assert str(seg.PatientName) == name
    assert seg.SegmentSequence[0].SegmentLabel == label
    assert seg.SpecificCharacterSet == (charset if label.isascii() else "ISO_IR 192")


def test_a_source_without_a_character_set_gets_one(tmp_path: Path) -> None:
    geometry = cases.grid()
    sources = cases.classic_series(geometry)
    for source in sources:
        del source.SpecificCharacterSet
    assert written(tmp_path / "seg.dcm", cases.label_map(geometry), sources).SpecificCharacterSet == "ISO_IR 100"


def test_labels_that_dicom_cannot_hold_are_made_to_fit(tmp_path: Path) -> None:
    geometry = cases.grid()
    names = ("a\\b\nc", "x" * 100, "\t")
    seg = written(tmp_path / "seg.dcm", cases.label_map(geometry, names), cases.classic_series(geometry))
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["a b c", "x" * 64, "segment 3"]
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


def moved(geometry: VolumeGeometry, index: tuple[float, float, float]) -> VolumeGeometry:
    return VolumeGeometry(shape=geometry.shape, affine=geometry.affine.shifted(index))


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (cases.grid(shape=(7, 6, 4)), "off the label map's grid"),
        (cases.grid(shape=(6, 7, 5)), "7x6, the label map is 6x7"),
        (cases.grid(cases.SAGITTAL), "orientation"),
        (moved(cases.grid(), (0.5, 0, 0)), "off the label map's grid"),
        (moved(cases.grid(), (0, 0, 1)), "off the label map's grid"),
    ],
)
def test_images_off_the_grid_are_refused(tmp_path: Path, grid: VolumeGeometry, says: str) -> None:
    sources = cases.classic_series(cases.grid())
    with pytest.raises(SourceGridError, match=says) as raised:
        write_dicom_seg(cases.label_map(grid), sources, tmp_path / "seg.dcm", model=cases.MODEL)
    assert raised.value.reason == "NO_DICOM_SEG"
    assert list(tmp_path.iterdir()) == []


def test_an_enhanced_image_off_the_grid_is_refused(tmp_path: Path) -> None:
    sources = cases.enhanced_series(cases.grid())
    elsewhere = moved(cases.grid(), (0, 0.5, 0))
    with pytest.raises(SourceGridError, match="no source image lies"):
        write_dicom_seg(cases.label_map(elsewhere), sources, tmp_path / "seg.dcm", model=cases.MODEL)


@pytest.mark.parametrize("keyword", ["ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"])
def test_a_source_without_a_place_in_space_is_refused(tmp_path: Path, keyword: str) -> None:
    sources = cases.classic_series(cases.grid())
    for source in sources:
        del source[keyword]
    with pytest.raises(SourceGridError):
        write_dicom_seg(cases.label_map(cases.grid()), sources, tmp_path / "seg.dcm", model=cases.MODEL)


REAL = {
    "chest CT": ("ct-dicom/series", "CT"),
    "oblique brain MR": ("brain-mr-dicom", "MR"),
    "hippocampus crop": ("hippocampus/dicom/001", "MR"),
}


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "modality"), REAL.values(), ids=REAL.keys())
def test_real_series(tmp_path: Path, shared_data: Path, folder: str, modality: str) -> None:
    studies = find_studies(shared_data / folder).studies
    series = next(s for study in studies for s in study.series if s.modality == modality and len(s.files) > 5)
    geometry = read_volume(series).geometry
    voxels = np.zeros(geometry.shape, dtype=np.uint8)
    i, j, k = (n // 4 for n in geometry.shape)
    voxels[i : 2 * i, j : 3 * j, k:-1] = 1
    voxels[2 * i :, 2 * j : 3 * j, 1:] = 2
    segments = (Segment(number=1, name="edema"), Segment(number=2, name="enhancing tumour"))
    segmentation = Segmentation(label_map=voxels, geometry=geometry, segments=segments)
    sources = source_datasets(series)
    uids = {"study_instance_uid": studies[0].study_instance_uid, "series_instance_uid": series.series_instance_uid}
    seg = written(tmp_path / "seg.dcm", segmentation, sources, **uids)
    np.testing.assert_array_equal(read_back(seg, sources), voxels)
    assert referenced(seg) == {source.SOPInstanceUID for source in sources}
    assert len(sources) == geometry.shape[2]
    assert (seg.PatientID, seg.PatientName) == (sources[0].PatientID, sources[0].PatientName)
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []
    np.testing.assert_array_equal(read_segmentation(tmp_path / "seg.dcm", geometry).label_map, voxels)


@pytest.mark.realdata
def test_every_scanner_series_that_becomes_a_volume_becomes_a_dicom_seg(tmp_path: Path, shared_data: Path) -> None:
    made = 0
    for study in find_studies(shared_data / "dicom-oracle" / "dicom2nifti").studies:
        for series in study.series:
            try:
                geometry, sources = read_volume(series, upright=False).geometry, source_datasets(series)
            except UnreadableSeriesError:
                continue
            if "MOSAIC" in series.acquisition.image_type:
                continue
            voxels = np.zeros(geometry.shape, dtype=np.uint8)
            voxels[1:-1:2, 2:-2:3, ::2] = 1
            segment = Segment(number=1, name="white matter")
            segmentation = Segmentation(label_map=voxels, geometry=geometry, segments=(segment,))
            uids = {
                "study_instance_uid": study.study_instance_uid,
                "series_instance_uid": series.series_instance_uid,
            }
            seg = written(tmp_path / "seg.dcm", segmentation, sources, **uids)
            assert referenced(seg) == {source.SOPInstanceUID for source in sources}
            assert dciodvfy_errors(tmp_path / "seg.dcm") == []
            np.testing.assert_array_equal(read_segmentation(tmp_path / "seg.dcm", geometry).label_map, voxels)
            made += 1
    assert made > 10


def of_made(folder: Path, datasets: list[pydicom.Dataset], part: str = "", *, fill_gaps: bool = False) -> tuple:
    """The sheared or gap-filled grid of a made series, and the headers of the slices that exist."""
    made.write(datasets, folder)
    (series,) = [one for study in find_studies(folder).studies for one in study.series if one.part == part]
    return read_volume(series, upright=False, fill_gaps=fill_gaps).geometry, source_datasets(series)


def whole(geometry: VolumeGeometry) -> Segmentation:
    voxels = np.random.default_rng(5).integers(0, 2, geometry.shape).astype(np.uint8)
    voxels[0, 0] = 1
    return Segmentation(label_map=voxels, geometry=geometry, segments=(Segment(number=1, name="liver"),))


def test_the_frames_of_a_tilted_series_lie_on_its_source_slices(tmp_path: Path) -> None:
    truth = made.truth_of((6, 5, 5), shear=(0, 0.8, 0))
    geometry, sources = of_made(tmp_path / "in", made.slices(truth))
    segmentation = whole(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, sources)
    by_uid = {source.SOPInstanceUID: source for source in sources}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        (item,) = frame.DerivationImageSequence[0].SourceImageSequence
        position = by_uid[item.ReferencedSOPInstanceUID].ImagePositionPatient
        np.testing.assert_allclose(frame.PlanePositionSequence[0].ImagePositionPatient, position, atol=1e-6)
    np.testing.assert_array_equal(read_back(seg, sources), segmentation.label_map)
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


def test_a_filled_slice_refers_to_nothing_and_the_others_to_their_images(tmp_path: Path) -> None:
    datasets = made.slices(made.truth_of((6, 5, 9)))
    geometry, sources = of_made(tmp_path / "in", [d for k, d in enumerate(datasets) if k not in (3, 6)], fill_gaps=True)
    segmentation = whole(geometry)
    seg = written(tmp_path / "seg.dcm", segmentation, sources)
    heights = {source.SOPInstanceUID: float(source.ImagePositionPatient[2]) for source in sources}
    alone = []
    for frame in seg.PerFrameFunctionalGroupsSequence:
        height = float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        items = [item for derived in frame.DerivationImageSequence for item in derived.SourceImageSequence]
        assert [heights[item.ReferencedSOPInstanceUID] for item in items] in ([height], [])
        alone += [] if items else [height]
    assert sorted(alone) == [40 + 3 * 2.5, 40 + 6 * 2.5]
    np.testing.assert_array_equal(read_segmentation(tmp_path / "seg.dcm", geometry).label_map, segmentation.label_map)
    assert dciodvfy_errors(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize(("part", "frames"), [("orientation-1", range(5, 11)), ("orientation-2", range(1, 5))])
def test_a_stack_of_an_enhanced_object_refers_to_its_own_frames(tmp_path: Path, part: str, frames: range) -> None:
    first, second = made.truth_of((6, 5, 4)), made.truth_of((6, 5, 6), orientation=made.SAGITTAL, seed=2)
    planes = [*made.frames_of_truth(first, stack="1"), *made.frames_of_truth(second, stack="2")]
    geometry, sources = of_made(tmp_path / "in", [made.enhanced(planes, shared=False)], part)
    seg = written(tmp_path / "seg.dcm", whole(geometry), sources)
    found = [
        int(item.ReferencedFrameNumber)
        for frame in seg.PerFrameFunctionalGroupsSequence
        for item in frame.DerivationImageSequence[0].SourceImageSequence
    ]
    assert sorted(found) == list(frames)


def test_a_mosaic_is_told_apart_in_words(tmp_path: Path) -> None:
    sources = cases.classic_series(cases.grid())
    for source in sources:
        source.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    with pytest.raises(SourceGridError, match="mosaic"):
        write_dicom_seg(cases.label_map(cases.grid()), sources, tmp_path / "seg.dcm", model=cases.MODEL)
