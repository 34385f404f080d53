"""Segmentations read onto a volume's grid by position, from DICOM SEG and NIfTI."""

import json
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from scipy import ndimage

from medfuse.domain import Affine, Modality, Segment, Segmentation, Series, VolumeGeometry
from medfuse.errors import UnreadableFileError
from medfuse.ingest import find_studies, read_segmentation, read_volume, source_datasets, write_nifti
from medfuse.ingest.dicom.objects import resample_labels
from medfuse.ingest.nifti import read_label_map
from tests.unit.ingest.made_dicom import OBLIQUE, ramp, uid, write_series

SHAPE = (6, 5, 4)


@pytest.fixture
def series(tmp_path: Path) -> Series:
    files = write_series(tmp_path / "ct", ramp(SHAPE), orientation=OBLIQUE, spacing=(0.5, 1.5, 2.5))
    return Series(series_instance_uid=uid("series"), modality=Modality.CT, files=tuple(files))


def masks(overlap: bool = False) -> NDArray[np.uint8]:
    """Two segments `(columns, rows, slices, 2)`; the second misses the first and last slice."""
    out = np.zeros((*SHAPE, 2), np.uint8)
    out[1:4, 1, :, 0] = 1
    out[2, 3:, 1:3, 1] = 1
    if overlap:
        out[1, 1, 1, 1] = 1
    return out


def write_seg(path: Path, series: Series, pixels: NDArray, kind: str) -> Path:
    """Write `(columns, rows, slices, segments)` as DICOM SEG with highdicom."""
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=n + 1,
            segment_label=f"organ {n + 1}",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n in range(pixels.shape[3])
    ]
    seg = highdicom.seg.Segmentation(
        source_images=source_datasets(series),
        pixel_array=np.ascontiguousarray(pixels.transpose(2, 1, 0, 3)),
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=uid("seg"),
        series_number=9,
        sop_instance_uid=uid("seg", 1),
        instance_number=1,
        manufacturer="made",
        manufacturer_model_name="made",
        software_versions="1",
        device_serial_number="1",
        max_fractional_value=200,
    )
    seg.save_as(path)
    return path


def expected(pixels: NDArray) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    for n in range(pixels.shape[3]):
        labels[pixels[..., n] > 0] = n + 1
    return labels


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.filterwarnings("ignore::UserWarning:highdicom")
def test_dicom_seg_of_every_type_is_an_exact_copy(tmp_path: Path, series: Series, kind: str) -> None:
    path = write_seg(tmp_path / "seg", series, masks(), kind)
    volume = read_volume(series)
    found = read_segmentation(path, volume.geometry)
    np.testing.assert_array_equal(found.label_map, expected(masks()))
    assert found.geometry is volume.geometry
    assert [(s.number, s.name, s.algorithm_type) for s in found.segments] == [
        (1, "organ 1", "MANUAL"),
        (2, "organ 2", "MANUAL"),
    ]
    assert found.segments[0].type is not None
    assert (found.segments[0].type.value, found.segments[0].type.scheme) == ("10200004", "SCT")


@pytest.mark.filterwarnings("ignore::UserWarning:highdicom")
def test_fractions_count_from_one_half(tmp_path: Path, series: Series) -> None:
    fractions = np.zeros((*SHAPE, 1))
    fractions[0, 0, 0, 0], fractions[1, 0, 0, 0], fractions[2, 0, 3, 0] = 0.49, 0.5, 1.0
    found = read_segmentation(
        write_seg(tmp_path / "seg", series, fractions, "FRACTIONAL"), read_volume(series).geometry
    )
    assert found.label_map[:3, 0, 0].tolist() == [0, 1, 0]
    assert found.label_map[2, 0, 3] == 1


@pytest.mark.filterwarnings("ignore::UserWarning:highdicom")
def test_the_highest_number_stands_where_segments_overlap(tmp_path: Path, series: Series) -> None:
    path = write_seg(tmp_path / "seg", series, masks(overlap=True), "BINARY")
    found = read_segmentation(path, read_volume(series).geometry)
    np.testing.assert_array_equal(found.label_map, expected(masks(overlap=True)))
    assert found.label_map[1, 1, 1] == 2


def permuted(affine: Affine, shape: tuple[int, ...], axes: tuple[int, ...], flips: tuple[bool, ...]) -> VolumeGeometry:
    """The same grid with its axes in another order and direction."""
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for target, source in enumerate(axes):
        matrix[source, target] = -1 if flips[target] else 1
        matrix[source, 3] += (shape[source] - 1) if flips[target] else 0
    return VolumeGeometry(shape=tuple(shape[a] for a in axes), affine=Affine(affine.matrix @ matrix))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, True)])
def test_flipped_and_permuted_grids_are_copied_exactly(axes: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    labels = np.random.default_rng(1).integers(0, 9, SHAPE).astype(np.uint8)
    row, column = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
    direction = np.stack([row, column, np.cross(row, column)], axis=1)
    affine = Affine.from_parts(origin_mm=(3, 4, 5), direction=direction, spacing_mm=(0.7, 1.3, 2.9))
    out = resample_labels(labels, affine, permuted(affine, SHAPE, axes, flips))
    reference = np.flip(labels.transpose(axes), [axis for axis, flip in enumerate(flips) if flip])
    np.testing.assert_array_equal(out, reference)


def test_a_smaller_grid_elsewhere_is_placed_and_the_rest_is_background() -> None:
    labels = np.ones((2, 2, 2), np.uint8)
    affine = Affine.from_parts(origin_mm=(2, 1, 0), direction=np.eye(3), spacing_mm=(1, 1, 1))
    on = VolumeGeometry(shape=(5, 5, 5), affine=Affine(np.eye(4)))
    out = resample_labels(labels, affine, on)
    assert out.sum() == 8
    assert out[2:4, 1:3, 0:2].all()


def test_other_spacing_takes_the_nearest_label_to_the_very_edge() -> None:
    labels = np.arange(1, 5, dtype=np.uint8).reshape(4, 1, 1)
    affine = Affine.from_parts(origin_mm=(0.5, 0, 0), direction=np.eye(3), spacing_mm=(2, 1, 1))
    on = VolumeGeometry(shape=(10, 1, 1), affine=Affine(np.eye(4)))
    assert resample_labels(labels, affine, on).ravel().tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 0, 0]


def test_a_turned_grid_agrees_with_a_lookup_of_each_voxel() -> None:
    labels = ndimage.zoom(np.random.default_rng(2).integers(0, 4, (4, 4, 4)), 4, order=0).astype(np.uint8)
    angle = np.radians(20)
    direction = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    affine = Affine.from_parts(origin_mm=(1, 2, 3), direction=direction, spacing_mm=(1, 1.1, 1.2))
    on = VolumeGeometry(shape=(15, 14, 13), affine=Affine(np.eye(4)))
    out = resample_labels(labels, affine, on)
    places = np.moveaxis(np.indices(on.shape), 0, -1)
    index = np.floor((places - affine.origin_mm) @ np.linalg.inv(affine.matrix[:3, :3]).T + 0.5).astype(int)
    inside = ((index >= 0) & (index < labels.shape)).all(axis=-1)
    reference = np.zeros(on.shape, np.uint8)
    reference[inside] = labels[tuple(index[inside].T)]
    assert (out == reference).mean() > 0.999


def test_nifti_names_come_from_the_description_of_the_set(tmp_path: Path) -> None:
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[0, 0, 0] = 2
    grid = VolumeGeometry(shape=(3, 3, 3), affine=Affine(np.eye(4)))
    (tmp_path / "labelsTr").mkdir()
    path = tmp_path / "labelsTr" / "x.nii.gz"
    write_nifti(Segmentation(label_map=labels, geometry=grid, segments=(Segment(number=2, name="x"),)), path)
    assert [s.name for s in read_segmentation(path, grid).segments] == ["segment_2"]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "Front", "2": "Back"}}))
    assert [(s.number, s.name) for s in read_segmentation(path, grid).segments] == [(1, "Front"), (2, "Back")]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "Front": 1, "Back": 2}}))
    assert [(s.number, s.name) for s in read_segmentation(path, grid).segments] == [(1, "Front"), (2, "Back")]


@pytest.mark.parametrize("content", [b"", b"text" * 100])
def test_what_is_no_segmentation_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seg.dcm").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"seg\.dcm"):
        read_segmentation(tmp_path / "seg.dcm", VolumeGeometry(shape=(2, 2, 2), affine=Affine(np.eye(4))))


def test_an_image_is_no_segmentation(series: Series) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        read_segmentation(series.files[0], VolumeGeometry(shape=(2, 2, 2), affine=Affine(np.eye(4))))
    assert caught.value.reason == "UNREADABLE_SEGMENTATION"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"seg\.dcm"):
        read_segmentation(tmp_path / "seg.dcm", VolumeGeometry(shape=(2, 2, 2), affine=Affine(np.eye(4))))


HIPPOCAMPUS = ["001", "003", "004", "008"]


@pytest.mark.realdata
@pytest.mark.parametrize("name", HIPPOCAMPUS)
def test_real_dicom_seg_equals_the_manual_label_map(shared_data: Path, name: str) -> None:
    (study,) = find_studies(shared_data / "hippocampus" / "dicom" / name).studies
    geometry = read_volume(study.series[0]).geometry
    found = read_segmentation(study.segmentations[0], geometry)
    path = shared_data / "hippocampus" / "nifti" / "labelsTr" / f"hippocampus_{name}.nii.gz"
    reference = read_segmentation(path, geometry)
    np.testing.assert_array_equal(found.label_map, reference.label_map)
    raw, _ = read_label_map(path)
    assert np.bincount(found.label_map.ravel(), minlength=3).tolist() == np.bincount(raw.ravel(), minlength=3).tolist()
    assert [s.name for s in found.segments] == ["anterior hippocampus", "posterior hippocampus"]
    assert [s.name for s in reference.segments] == ["Anterior", "Posterior"]


def test_xml_goes_to_the_reader_of_lidc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medfuse.ingest.importers import lidc

    asked = []
    monkeypatch.setattr(lidc, "read_lidc_segmentation", lambda path, on: asked.append((path, on)))
    on = VolumeGeometry(shape=(2, 2, 2), affine=Affine(np.eye(4)))
    read_segmentation(tmp_path / "069.XML", on)
    assert asked == [(tmp_path / "069.XML", on)]
