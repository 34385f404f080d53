"""DICOM SEGs that highdicom refuses, and every real object: read right or refused with a reason."""

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from medfuse.domain import Affine, VolumeGeometry
from medfuse.errors import UnreadableFileError
from medfuse.ingest import find_studies, read_segmentation, read_volume
from medfuse.ingest.dicom.seg import read_seg
from tests.unit.ingest.made_dicom import OBLIQUE, save, uid

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEG = "1.2.840.10008.5.1.4.1.1.66.7"
SHAPE = (6, 5, 4)
STEP = np.array([0.3, 0.2, 2.5])


def item(**tags: object) -> Sequence:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return Sequence([dataset])


def masks() -> NDArray[np.uint8]:
    """Two overlapping segments `(columns, rows, slices, 2)`; each misses a slice."""
    out = np.zeros((*SHAPE, 2), np.uint8)
    out[1:4, 1:3, :3, 0] = 1
    out[3:, 2:, 1:, 1] = 1
    return out


def labels_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    labels = np.zeros(pixels.shape[:3], np.uint8)
    for n in range(pixels.shape[3]):
        labels[pixels[..., n] > 0] = n + 1
    return labels


def bare_seg(
    *,
    step: NDArray[np.float64] = STEP,
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    numbers: tuple[int, int] = (1, 2),
) -> Dataset:
    """A binary SEG with no more than its pixels need: no dimension indices, frames in a shuffled order."""
    pixels = masks()
    frames = [(k, n) for n in (1, 0) for k in (2, 0, 3, 1) if pixels[:, :, k, n].any()]
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = SEG, uid("bare seg"), "SEG"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid("bare seg series")
    dataset.SegmentationType = "BINARY"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = SHAPE[1], SHAPE[0], len(frames)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 1, 1, 0, 0
    dataset.SegmentSequence = Sequence()
    for number in numbers:
        dataset.SegmentSequence.extend(item(SegmentNumber=number, SegmentLabel=f"organ {number}"))
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(orientation))
    shared.PixelMeasuresSequence = item(PixelSpacing=[1.5, 0.5], SliceThickness=2.5)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence()
    for k, n in frames:
        group = Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=[float(x) for x in 7 + k * step])
        group.SegmentIdentificationSequence = item(ReferencedSegmentNumber=numbers[n])
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    bits = np.concatenate([pixels[:, :, k, n].T.ravel() for k, n in frames])
    packed = np.packbits(bits, bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset["PixelData"].VR = "OB"
    return dataset


def on(step: NDArray[np.float64] = STEP) -> VolumeGeometry:
    matrix = np.diag([0.5, 1.5, 1, 1])
    matrix[:3, 2], matrix[:3, 3] = step, 7
    return VolumeGeometry(shape=SHAPE, affine=Affine(matrix))


def test_sheared_slices_without_dimension_indices(tmp_path: Path) -> None:
    path = save(bare_seg(), tmp_path / "seg")
    labels, geometry, segments = read_seg(path)
    np.testing.assert_array_equal(labels, labels_of(masks()))
    assert geometry.is_close(on())
    assert [s.name for s in segments] == ["organ 1", "organ 2"]
    np.testing.assert_array_equal(read_segmentation(path, on()).label_map, labels_of(masks()))


def test_other_orders_of_the_slices(tmp_path: Path) -> None:
    row, column = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
    down = -2.5 * np.cross(row, column)
    labels, geometry, _ = read_seg(save(bare_seg(step=down, orientation=OBLIQUE), tmp_path / "seg"))
    np.testing.assert_array_equal(labels, labels_of(masks())[:, :, ::-1])
    np.testing.assert_allclose(geometry.affine.apply([0, 0, 3]), [7, 7, 7], atol=1e-6)


def test_numbers_above_a_byte_are_counted_through(tmp_path: Path) -> None:
    labels, _, segments = read_seg(save(bare_seg(numbers=(300, 4000)), tmp_path / "seg"))
    np.testing.assert_array_equal(labels, labels_of(masks()))
    assert [(s.number, s.name) for s in segments] == [(1, "organ 300"), (2, "organ 4000")]


def test_a_label_map_of_two_bytes(tmp_path: Path) -> None:
    dataset = bare_seg(numbers=(300, 4000))
    dataset.SOPClassUID, dataset.SegmentationType = LABEL_MAP_SEG, "LABELMAP"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.NumberOfFrames = 15, 4
    values = np.array([0, 300, 4000], np.uint16)[labels_of(masks())]
    groups = []
    for k in range(4):
        group = Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=[float(x) for x in 7 + k * STEP])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.PixelData = b"".join(values[:, :, k].T.tobytes() for k in range(4))
    dataset["PixelData"].VR = "OW"
    labels, _, _ = read_seg(save(dataset, tmp_path / "seg"))
    np.testing.assert_array_equal(labels, labels_of(masks()))


@pytest.mark.parametrize("kind", ["PROBABILITY", "OCCUPANCY"])
def test_fractions_count_from_half_of_their_largest_value(tmp_path: Path, kind: str) -> None:
    dataset = bare_seg()
    dataset.SegmentationType, dataset.SegmentationFractionalType = "FRACTIONAL", kind
    dataset.MaximumFractionalValue = 200
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    frames = int(dataset.NumberOfFrames)
    values = np.tile(np.array([0, 99, 100, 101, 200, 255], np.uint8), 5 * frames)
    dataset.PixelData = values.tobytes() + b"\0" * (values.size % 2)
    labels, _, _ = read_seg(save(dataset, tmp_path / "seg"))
    assert np.unique(labels[:2]).tolist() == [0]
    assert (labels[2:] > 0).all()


def uneven(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [7, 7, 8.1]


def far_apart(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [7, 7, 7 + 2.5e9]


def too_large(dataset: Dataset) -> None:
    dataset.Rows = dataset.Columns = 60000


def too_many(dataset: Dataset) -> None:
    dataset.SegmentSequence = [item(SegmentNumber=n)[0] for n in range(1, 300)]


def no_segments(dataset: Dataset) -> None:
    del dataset.SegmentSequence


def cut(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:4]


def without_position(dataset: Dataset) -> None:
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (uneven, "UNREADABLE_SEGMENTATION"),
        (far_apart, "TOO_LARGE"),
        (too_large, "TRUNCATED_FILE"),
        (too_many, "TOO_MANY_SEGMENTS"),
        (no_segments, "UNREADABLE_SEGMENTATION"),
        (cut, "TRUNCATED_FILE"),
        (without_position, "NO_PATIENT_GEOMETRY"),
    ],
)
def test_what_has_no_grid_is_refused(tmp_path: Path, spoil: Callable[[Dataset], None], reason: str) -> None:
    dataset = bare_seg()
    spoil(dataset)
    with pytest.raises(UnreadableFileError, match=r"seg\.dcm") as caught:
        read_seg(save(dataset, tmp_path / "seg.dcm"))
    assert caught.value.reason == reason


OBJECTS = "dicom-objects"
READ = {
    *(f"seg_image_ct_{kind}.dcm" for kind in ("binary", "binary_fractional", "binary_overlap", "true_fractional")),
    "seg_image_ct_binary_single_frame.dcm",
    *(f"liver{kind}.dcm" for kind in ("", "_deflate", "_expb", "_j2k", "_rle")),
    *(f"liver_nonbyte_aligned{kind}.dcm" for kind in ("", "_deflate", "_j2k", "_rle")),
    *("rt.dcm", "dummy_rt.dcm", "invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"),
}


@pytest.mark.realdata
def test_every_real_object_is_read_or_refused_with_a_reason(shared_data: Path) -> None:
    here = VolumeGeometry(shape=(8, 8, 8), affine=Affine(np.diag([40.0, 40, 40, 1])))
    read, reasons = set(), {}
    for path in sorted((shared_data / OBJECTS).rglob("*")):
        if path.is_file():
            try:
                read_segmentation(path, here)
                read.add(path.name)
            except UnreadableFileError as error:
                reasons[path.name] = error.reason if path.name in str(error) else "NAMELESS"
    assert read == READ
    slides = {name for name, reason in reasons.items() if reason == "NO_PATIENT_GEOMETRY"}
    assert slides == {name for name in reasons if name.startswith(("seg_image_sm_", "seg_image_cr_"))}
    assert {reason for name, reason in reasons.items() if name not in slides} == {"UNREADABLE_SEGMENTATION"}


@pytest.mark.realdata
@pytest.mark.parametrize("name", sorted(name for name in READ if name.startswith("seg_") or name == "liver.dcm"))
def test_real_segmentations_equal_what_highdicom_reads(shared_data: Path, name: str) -> None:
    (path,) = (shared_data / OBJECTS).rglob(name)
    labels, geometry, segments = read_seg(path)
    file = highdicom.seg.segread(path)
    volume = file.get_volume()
    expected = np.zeros(volume.array.shape[:3], np.uint8)
    for n, number in enumerate(file.segment_numbers):
        expected[volume.array[..., n] >= 0.5] = number
    np.testing.assert_array_equal(labels, expected.transpose(2, 1, 0))
    for index in ((0, 0, 0), (1, 2, 0)):
        np.testing.assert_allclose(
            geometry.affine.apply(index[::-1]), volume.map_indices_to_reference(np.array([index]))[0]
        )
    assert [s.number for s in segments] == list(file.segment_numbers)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("base", "kind"),
    [
        *(("liver", kind) for kind in ("deflate", "expb", "j2k", "rle")),
        *(("liver_nonbyte_aligned", kind) for kind in ("deflate", "j2k", "rle")),
    ],
)
def test_the_same_segmentation_in_every_transfer_syntax(shared_data: Path, base: str, kind: str) -> None:
    folder = shared_data / OBJECTS / "pydicom-data"
    path = folder / f"{base}_{kind}.dcm"
    expected, grid, _ = read_seg(folder / f"{base}.dcm")
    np.testing.assert_array_equal(read_segmentation(path, grid).label_map, expected)
    assert read_seg(path)[1].shape == grid.shape
    assert expected.any()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_byte_order_changes_nothing(tmp_path: Path, syntax: str) -> None:
    dataset = bare_seg()
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
        SEG,
        dataset.SOPInstanceUID,
    )
    pydicom.dcmwrite(tmp_path / "seg", dataset, enforce_file_format=True)
    np.testing.assert_array_equal(read_seg(tmp_path / "seg")[0], labels_of(masks()))


@pytest.mark.realdata
def test_real_structure_sets_agree_with_rt_utils(shared_data: Path, tmp_path: Path) -> None:
    """rt-utils 1.2.7 rounds corners to pixels and fills the outline too: about one pixel more all around."""
    folder = shared_data / OBJECTS / "rtstruct" / "mock_data"
    for name in ("ct_1.dcm", "ct_2.dcm"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (study,) = find_studies(tmp_path).studies
    geometry = read_volume(study.series[0]).geometry
    by_rt_utils = {"ROI-1": (3090, 2070), "ROI-2": (1493, 2380), "ROI-3": (2853, 1855), "ROI-4": (2593, 4702)}
    for name in ("non_existent_reference_rt.dcm", "invalid_reference_rt.dcm"):
        found = read_segmentation(folder / name, geometry)
        assert [s.name for s in found.segments] == list(by_rt_utils)
        for segment in found.segments:
            counts = np.count_nonzero(found.label_map == segment.number, axis=(0, 1))
            np.testing.assert_allclose(counts, by_rt_utils[segment.name], rtol=0.07)
            assert (counts < by_rt_utils[segment.name]).all()


@pytest.mark.parametrize("indexed", [False, True])
def test_segments_that_overlap_are_both_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indexed: bool) -> None:
    """By highdicom where it reads the object, else frame by frame."""
    path = save(bare_seg(), tmp_path / "seg")
    pixels = masks()
    if indexed:
        grid, bits = on(), (pixels[..., 0] | pixels[..., 1] << 1).transpose(2, 1, 0)

        class Volume:
            def __init__(self, number: int) -> None:
                self.array = (bits >> (number - 1) & 1)[..., None]
                self.affine = grid.affine.matrix[:, [2, 1, 0, 3]]

        class File:
            segment_numbers = (1, 2)

            def get_volume(self, segment_numbers: list[int], combine_segments: bool) -> Volume:
                return Volume(*segment_numbers)

        monkeypatch.setattr(highdicom.seg, "segread", lambda path: File())
    made = read_segmentation(path, on())
    assert np.array_equal(made.label_map, labels_of(pixels))
    assert made.overlaps is not None
    for position, segment in enumerate(made.segments):
        assert np.array_equal(made.mask(segment), pixels[..., position] > 0)


def test_segments_apart_have_no_overlaps(tmp_path: Path) -> None:
    dataset = bare_seg()
    dataset.PixelData = bytes(len(dataset.PixelData))
    assert read_segmentation(save(dataset, tmp_path / "seg"), on()).overlaps is None
    assert read_segmentation(save(bare_seg(numbers=(1, 9)), tmp_path / "nine"), on()).overlaps is None
