"""Series to volume: every voxel where the headers say, in HU, or a refusal with a stable reason."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from medfuse.domain import Modality, Quantity, Series
from medfuse.errors import StudyError, UnreadableSeriesError, UsageError
from medfuse.ingest import find_studies, read_volume, source_datasets
from medfuse.ingest.nifti import read_nifti
from tests.unit.ingest.made_dicom import AXIAL, OBLIQUE, enhanced, ramp, save, slices, uid, write_series


def series(files: list[Path], modality: Modality = Modality.CT) -> Series:
    return Series(series_instance_uid=uid("series"), modality=modality, files=tuple(files))


def write(folder: Path, datasets: list[Dataset]) -> Series:
    return series([save(dataset, folder / f"{n}") for n, dataset in enumerate(datasets)])


def reason(of: Series, **how: bool) -> str:
    with pytest.raises(UnreadableSeriesError) as caught:
        read_volume(of, **how)
    assert of.series_instance_uid in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_every_voxel_is_where_the_headers_say(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    voxels = ramp()
    files = write_series(tmp_path, voxels, orientation=orientation, spacing=(0.5, 1.5, 2.5))
    volume = read_volume(series(files))
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert volume.voxels.dtype == np.float32
    assert volume.quantity is Quantity.HOUNSFIELD
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    i, j, k = 4, 1, 2
    expected = np.array([-10, 20, 30]) + i * 0.5 * row + j * 1.5 * column + k * 2.5 * np.cross(row, column)
    np.testing.assert_allclose(volume.geometry.affine.apply((i, j, k)), expected, atol=1e-5)
    np.testing.assert_allclose(volume.geometry.affine.spacing_mm, (0.5, 1.5, 2.5), atol=1e-6)


def test_instance_numbers_and_file_order_do_not_matter(tmp_path: Path) -> None:
    datasets = slices(ramp())
    for number, dataset in zip((7, 7, 1), datasets, strict=True):
        dataset.InstanceNumber = number
    volume = read_volume(write(tmp_path, [datasets[n] for n in (1, 2, 0)]))
    np.testing.assert_array_equal(volume.voxels, ramp())


def test_nominal_spacings_are_ignored(tmp_path: Path) -> None:
    files = write_series(tmp_path, SliceThickness=9, SpacingBetweenSlices=7, GantryDetectorTilt=20)
    assert read_volume(series(files)).geometry.affine.spacing_mm[2] == pytest.approx(2)


def test_rescale_is_applied_slice_by_slice(tmp_path: Path) -> None:
    datasets = slices(ramp())
    for k, dataset in enumerate(datasets):
        dataset.RescaleSlope = k + 0.5
        dataset.RescaleIntercept = -100 * k
    volume = read_volume(write(tmp_path, datasets))
    k = np.arange(3)
    np.testing.assert_allclose(volume.voxels, ramp() * (k + 0.5) - 100 * k)
    assert "Rescale differs between slices and was applied slice by slice." in volume.provenance


@pytest.mark.parametrize(("modality", "fill"), [(Modality.CT, -1024), (Modality.MR, 0)])
def test_padding_becomes_air_whatever_the_sign_of_its_element(tmp_path: Path, modality: Modality, fill: float) -> None:
    voxels = ramp()
    voxels[0, 0, :] = -2000
    datasets = slices(voxels, RescaleIntercept=-24)
    for dataset in datasets:
        dataset.add_new("PixelPaddingValue", "US", -2000 & 0xFFFF)
    of = write(tmp_path, datasets)
    volume = read_volume(replace(of, modality=modality))
    assert (volume.voxels[0, 0, :] == fill).all()
    np.testing.assert_array_equal(volume.voxels[1:], voxels[1:].astype(np.float32) - 24)
    assert volume.provenance == (f"Set padding to {fill:g} in 3 slices.",)


def test_a_padding_range(tmp_path: Path) -> None:
    voxels = ramp()
    voxels[0, 0, 0], voxels[0, 0, 1], voxels[0, 0, 2] = -3000, -2500, -1999
    files = write_series(tmp_path, voxels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-3000)
    assert read_volume(series(files)).voxels[0, 0].tolist() == [-1024, -1024, -1999]


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_bits_stored_are_dropped(tmp_path: Path, signed: bool) -> None:
    voxels = ramp().astype(np.uint16)
    stored = voxels | 0x7000
    tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed)}
    if signed:
        stored[0] = 0x0FFF
    volume = read_volume(series(write_series(tmp_path, stored, **tags)))
    np.testing.assert_array_equal(volume.voxels[1:], voxels[1:])
    assert (volume.voxels[0] == (-1 if signed else voxels[0])).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32])
def test_every_pixel_type(tmp_path: Path, dtype: type) -> None:
    voxels = ramp().astype(dtype)
    np.testing.assert_array_equal(read_volume(series(write_series(tmp_path, voxels))).voxels, voxels)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
)
def test_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    voxels = ramp((64, 48, 3))
    np.testing.assert_array_equal(read_volume(series(write_series(tmp_path, voxels, syntax=syntax))).voxels, voxels)


def test_big_endian(tmp_path: Path) -> None:
    datasets = slices(ramp())
    for dataset in datasets:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    files = [save(dataset, tmp_path / str(n), syntax=ExplicitVRBigEndian) for n, dataset in enumerate(datasets)]
    np.testing.assert_array_equal(read_volume(series(files)).voxels, ramp())


def test_an_enhanced_object_is_ordered_by_frame_position(tmp_path: Path) -> None:
    voxels = ramp((5, 4, 4))
    of = write(tmp_path, [enhanced(voxels, order=[2, 0, 3, 1])])
    volume = read_volume(of)
    np.testing.assert_array_equal(volume.voxels, voxels * 2.0 - 1000)
    np.testing.assert_allclose(volume.geometry.affine.spacing_mm, (0.5, 1.5, 2.5))
    np.testing.assert_allclose(volume.geometry.affine.origin_mm, (1, 2, 3))
    assert len(source_datasets(of)) == 1


def test_a_compressed_enhanced_object(tmp_path: Path) -> None:
    voxels = ramp((5, 4, 4))
    path = save(enhanced(voxels, order=[2, 0, 3, 1]), tmp_path / "x", syntax=RLELossless)
    np.testing.assert_array_equal(read_volume(series([path])).voxels, voxels * 2.0 - 1000)


def test_an_enhanced_object_with_repeated_positions_is_refused(tmp_path: Path) -> None:
    assert reason(write(tmp_path, [enhanced(ramp((5, 4, 3)), order=[0, 1, 2, 0, 1, 2])])) == "DUPLICATE_POSITIONS"


def test_a_part_is_read_by_its_name(tmp_path: Path) -> None:
    odd = slices(ramp((5, 4, 1)), orientation=OBLIQUE, InstanceNumber=99)
    smaller = slices(ramp((3, 3, 1)), SeriesDescription="other matrix")
    of = write(tmp_path, [*odd, *slices(ramp()), *smaller])
    np.testing.assert_array_equal(read_volume(replace(of, part="matrix-1_orientation-1")).voxels, ramp())
    np.testing.assert_array_equal(read_volume(replace(of, part="matrix-2")).voxels, ramp((3, 3, 1)))
    assert reason(of) == "SEVERAL_VOLUMES"
    assert reason(replace(of, part="echo-2")) == "SEVERAL_VOLUMES"


def test_the_only_volume_of_the_files_is_read_whatever_its_part_is_called(tmp_path: Path) -> None:
    """The files of one echo hold that echo alone: nothing tells it apart any more."""
    np.testing.assert_array_equal(read_volume(replace(write(tmp_path, slices(ramp())), part="echo-2")).voxels, ramp())


def test_copies_of_a_file_are_dropped_and_said(tmp_path: Path) -> None:
    datasets = slices(ramp())
    volume = read_volume(write(tmp_path, [*datasets, datasets[0]]))
    np.testing.assert_array_equal(volume.voxels, ramp())
    assert volume.provenance == ("Dropped 1 copies of instances.",)


def changed(**edits: object) -> list[Dataset]:
    """Four slices; `edits` map `keyword_of_slice` to a value, e.g. `Rows_1=4000`."""
    datasets = slices(ramp((5, 4, 4)))
    for key, value in edits.items():
        keyword, number = key.rsplit("_", 1)
        if value is None:
            del datasets[int(number)][keyword]
        else:
            setattr(datasets[int(number)], keyword, value)
    return datasets


REFUSED = {
    "missing slice": (lambda: [changed()[n] for n in (0, 1, 3)], "MISSING_SLICES"),
    "uneven by two percent": (lambda: changed(ImagePositionPatient_1=[-10, 20, 32.04]), "UNEVEN_SPACING"),
    "same position twice": (lambda: changed(ImagePositionPatient_1=[-10, 20, 30]), "DUPLICATE_POSITIONS"),
    "no pixel data": (lambda: changed(PixelData_2=None), "NO_PIXEL_DATA"),
    "absurd header": (lambda: changed(Rows_0=60000, Columns_0=60000), "TRUNCATED_FILE"),
    "absurd frames": (lambda: [enhanced_with(frames=10**6)], "TRUNCATED_FILE"),
    "no position": (lambda: changed(ImagePositionPatient_3=None), "MISSING_GEOMETRY"),
    "no orientation": (lambda: changed(ImageOrientationPatient_3=None), "MISSING_GEOMETRY"),
    "no pixel spacing": (lambda: changed(PixelSpacing_3=None), "MISSING_GEOMETRY"),
    "zero pixel spacing": (lambda: changed(PixelSpacing_3=[0, 1]), "INCONSISTENT_GEOMETRY"),
    "skew cosines": (lambda: changed(ImageOrientationPatient_0=[1, 0, 0, 0.1, 1, 0]), "INCONSISTENT_GEOMETRY"),
    "two stacks of a size": (
        lambda: [*slices(ramp()), *slices(ramp(), orientation=OBLIQUE, SeriesNumber=9)],
        "SEVERAL_VOLUMES",
    ),
    "one slice off the line": (lambda: changed(ImagePositionPatient_1=[-8, 20, 32]), "INCONSISTENT_GEOMETRY"),
    "slope of zero": (lambda: changed(RescaleSlope_1=0), "INVALID_RESCALE"),
    "colour": (lambda: changed(SamplesPerPixel_0=3), "COLOUR_IMAGE"),
    "mosaic": (lambda: changed(ImageType_0=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "MOSAIC_UNREADABLE"),
    "frames without positions": (
        lambda: [changed(NumberOfFrames_0=1), frames_without_positions()][1:],
        "MISSING_GEOMETRY",
    ),
}


def enhanced_with(frames: int) -> Dataset:
    dataset = enhanced(ramp((5, 4, 2)), order=[0, 1])
    dataset.NumberOfFrames = frames
    return dataset


def frames_without_positions() -> Dataset:
    dataset = slices(ramp((5, 4, 1)), NumberOfFrames=2)[0]
    dataset.PixelData = dataset.PixelData * 2
    return dataset


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_geometry_is_refused_and_never_guessed(tmp_path: Path, case: str) -> None:
    datasets, expected = REFUSED[case]
    assert reason(write(tmp_path, datasets())) == expected


@pytest.mark.parametrize(("degrees", "upright"), [(0.3, False), (1.0, True), (-20.0, True)])
def test_a_sheared_stack_is_set_upright_above_half_a_degree(tmp_path: Path, degrees: float, upright: bool) -> None:
    datasets = slices(ramp())
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient = [-10, round(20 + 2 * k * np.tan(np.radians(degrees)), 6), 30 + 2 * k]
    of = write(tmp_path, datasets)
    sheared = read_volume(of, upright=False)
    expected = (-10, 20 + 4 * np.tan(np.radians(degrees)), 34)
    np.testing.assert_allclose(sheared.geometry.affine.apply((0, 0, 2)), expected, atol=1e-5)
    np.testing.assert_array_equal(sheared.voxels, ramp())
    assert any("upright" in line for line in read_volume(of).provenance) == upright


def test_missing_slices_are_filled_in_on_request_alone(tmp_path: Path) -> None:
    voxels = np.broadcast_to(np.arange(0, 50, 10, dtype=np.int16), (5, 4, 5)).copy()
    datasets = slices(voxels)
    of = write(tmp_path, [datasets[k] for k in (0, 1, 4)])
    assert reason(of) == "MISSING_SLICES"
    volume = read_volume(of, fill_gaps=True)
    np.testing.assert_allclose(volume.voxels, voxels)
    assert volume.provenance == ("Filled in 2 missing slices of 5 by linear interpolation (number 3, 4).",)
    assert len(source_datasets(of)) == 3


def test_more_slices_missing_than_there_are_is_refused_even_then(tmp_path: Path) -> None:
    datasets = slices(ramp((5, 4, 9)))
    assert reason(write(tmp_path, [datasets[k] for k in (0, 1, 8)]), fill_gaps=True) == "MISSING_SLICES"


def test_spacing_jitter_of_half_a_percent_is_ignored(tmp_path: Path) -> None:
    volume = read_volume(write(tmp_path, changed(ImagePositionPatient_1=[-10, 20, 32.005])))
    assert volume.geometry.affine.spacing_mm[2] == pytest.approx(2)


def test_cut_pixels_are_refused(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    files[1].write_bytes(files[1].read_bytes()[:-2])
    assert reason(series(files)) == "TRUNCATED_FILE"


def test_a_file_that_is_no_dicom_is_refused(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    files[1].write_text("text")
    assert reason(series(files)) == "NOT_DICOM"


def test_damaged_compressed_pixels_are_refused(tmp_path: Path) -> None:
    files = write_series(tmp_path, ramp((64, 48, 3)), syntax=JPEG2000Lossless)
    data = files[1].read_bytes()
    files[1].write_bytes(data[:-60])
    assert reason(series(files)) == "PIXELS_UNDECODABLE"


def test_a_volume_beyond_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_series(tmp_path)

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("medfuse.ingest.dicom.assemble.np", SimpleNamespace(empty=no_memory, float32=np.float32))
    assert reason(series(files)) == "TOO_LARGE"


def test_an_absurd_compressed_matrix_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    datasets = slices(ramp((16, 12, 3)))
    files = [save(dataset, tmp_path / str(n), syntax=RLELossless) for n, dataset in enumerate(datasets)]
    datasets[0].Rows = datasets[0].Columns = 65535
    datasets[0].save_as(files[0], enforce_file_format=True)
    assert reason(series(files)) == "TRUNCATED_FILE"


def test_a_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_series(tmp_path, ramp((64, 48, 3)), syntax=JPEG2000Lossless)

    monkeypatch.setattr("medfuse.ingest.dicom.pixels.missing_decoder", lambda _: "JPEG 2000: pylibjpeg-openjpeg")
    with pytest.raises(UnreadableSeriesError, match=r"JPEG 2000.*pylibjpeg-openjpeg") as caught:
        read_volume(series(files))
    assert caught.value.reason == "DECODER_MISSING"


def test_a_transfer_syntax_that_nobody_decodes(tmp_path: Path) -> None:
    files = write_series(tmp_path, ramp((16, 12, 3)), syntax=RLELossless)
    for file in files:
        file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.9\0"))
    assert reason(series(files)) == "DECODER_MISSING"


def test_errors_name_no_patient(tmp_path: Path) -> None:
    of = write(tmp_path, changed(ImagePositionPatient_3=None))
    with pytest.raises(UnreadableSeriesError) as caught:
        read_volume(of)
    assert "PATIENT-7" not in str(caught.value)
    assert "Planted" not in str(caught.value)


def test_source_headers_come_in_the_order_of_the_slices(tmp_path: Path) -> None:
    of = write(tmp_path, [slices(ramp())[n] for n in (1, 2, 0)])
    datasets = source_datasets(of)
    heights = [float(dataset.ImagePositionPatient[2]) for dataset in datasets]
    geometry = read_volume(of).geometry
    assert heights == [geometry.affine.apply((0, 0, k))[2] for k in range(3)]
    assert all("PixelData" not in dataset for dataset in datasets)


def test_source_headers_of_a_descending_series_follow_the_normal(tmp_path: Path) -> None:
    flipped = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    datasets = source_datasets(write(tmp_path, slices(ramp(), orientation=flipped)))
    assert [float(dataset.ImagePositionPatient[2]) for dataset in datasets] == [30, 28, 26]


def test_blank_uids_of_source_headers_are_filled(tmp_path: Path) -> None:
    (dataset, *_) = source_datasets(write(tmp_path, slices(ramp(), SeriesInstanceUID="", SOPClassUID="")))
    assert dataset.SeriesInstanceUID == uid("series")
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def in_world(volume, reference) -> NDArray[np.float32]:
    """Values of `reference` at the voxels of `volume`, for grids that agree up to flips and order of axes."""
    matrix = reference.geometry.affine.inverse() @ volume.geometry.affine.matrix
    assert np.abs(matrix - np.rint(matrix)).max() < 1e-3
    index = np.moveaxis(np.indices(volume.geometry.shape), 0, -1) @ np.rint(matrix[:3, :3]).T + np.rint(matrix[:3, 3])
    assert volume.voxels.size == reference.voxels.size
    return reference.voxels[tuple(np.moveaxis(index.astype(int), -1, 0))]


ORACLES = [
    "ge/anatomical/001",
    "ge/anatomical/001_implicit",
    "generic/anatomical/001",
    "generic/anatomical/002_non_isotropic",
    "generic/compressed/001",
    "generic/compressed_j2k/001",
    "generic/compressed_jpeg/001",
    "generic/compressed_jpegls/001",
    "generic/compressed_rle/001",
    "hitachi/anatomical/001",
    "hyperfine/anatomical/001",
    "philips/anatomical/001",
    "philips_enhanced/anatomical/001",
    "siemens/anatomical/001",
    "siemens_multiframe/anatomical/001",
]


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ORACLES)
def test_scanner_files_equal_the_reference_conversion(shared_data: Path, folder: str) -> None:
    place = shared_data / "dicom-oracle" / "dicom2nifti" / folder
    (study,) = find_studies(place).studies
    volume = read_volume(study.series[0])
    reference = read_nifti(place.parent / f"{place.name}_ground_truth.nii.gz")
    np.testing.assert_allclose(volume.voxels, in_world(volume, reference), atol=1e-4)


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["lidc-dicom", "ct-dicom/series", "brain-mr-dicom/Study1"])
def test_real_series_equal_simpleitk(shared_data: Path, folder: str) -> None:
    import SimpleITK

    (study,) = find_studies(shared_data / folder).studies
    for one in study.series:
        volume = read_volume(one)
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames([str(dataset.filename) for dataset in source_datasets(one)])
        image = reader.Execute()
        np.testing.assert_array_equal(volume.voxels, SimpleITK.GetArrayViewFromImage(image).transpose(2, 1, 0))
        last = [n - 1 for n in image.GetSize()]
        for index in ([0, 0, 0], last):
            position = image.TransformIndexToPhysicalPoint(index)
            np.testing.assert_allclose(volume.geometry.affine.apply(index), position, atol=1e-2)
        assert volume.quantity is (Quantity.HOUNSFIELD if one.modality is Modality.CT else Quantity.ARBITRARY)


@pytest.mark.realdata
@pytest.mark.parametrize("root", ["dicom-oracle", "dicom-objects"])
def test_nothing_real_crashes(shared_data: Path, root: str) -> None:
    folders = [folder for folder in sorted((shared_data / root).rglob("*")) if folder.is_dir()]
    outcomes: dict[str, int] = {}
    for folder in folders:
        if not any(path.is_file() for path in folder.iterdir()):
            continue
        try:
            found = find_studies(folder)
        except UsageError:
            continue
        for one in (one for study in found.studies for one in study.series):
            try:
                outcome = "read" if read_volume(one).voxels.size else "empty"
            except StudyError as error:
                outcome = error.reason
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes["read"] > 0
    assert set(outcomes) <= {"read"}, outcomes
