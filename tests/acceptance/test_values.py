"""What voxels are worth: rows 8, 9 and 12-15 of the pitfalls, see `test_pitfalls.py`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medfuse.domain import Quantity
from tests.acceptance.encoders import LOSSLESS, LOSSY, NATIVE, encode, planes_of, save_compressed
from tests.dicom_cases import (
    Truth,
    affine_of,
    assert_same,
    enhanced,
    frames_of_truth,
    item,
    outcome,
    save,
    slices,
    truth_of,
    uid,
    write,
)


def of(voxels: NDArray[Any]) -> Truth:
    return Truth(voxels=voxels, affine=affine_of())


def random(low: int, high: int, dtype: type, shape: tuple[int, int, int] = (6, 5, 4), seed: int = 4) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(low, high, shape, dtype=dtype, endpoint=True)


# Row 8: rescale a slice.


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_row_08_rescale_is_applied_slice_by_slice(tmp_path: Path, modality: str) -> None:
    stored = random(0, 4000, np.int16)
    slopes, intercepts = [0.25, 0.123456, 0.5, 0.0625], [-20.0, 0.0, 3.5, -1.25]
    each = lambda k: {"RescaleSlope": slopes[k], "RescaleIntercept": intercepts[k]}  # noqa: E731
    write(slices(of(stored), modality=modality, each=each, Units="GML"), tmp_path)
    volume = outcome(tmp_path).only
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(volume.voxels, stored * np.float64(slopes) + np.float64(intercepts), rtol=1e-6)
    assert any("rescale" in line.lower() for line in volume.provenance)


def test_row_08_rescale_is_applied_frame_by_frame(tmp_path: Path) -> None:
    truth = of(random(0, 4000, np.int16))
    rescales = [(1.0, 0.0), (2.0, -5.0), (0.5, 1.0), (0.25, 0.0)]
    frames = frames_of_truth(truth)
    frames = [
        type(frame)(plane=frame.plane, position=frame.position, slope=slope, intercept=intercept)
        for frame, (slope, intercept) in zip(frames, rescales, strict=True)
    ]
    save(enhanced(frames, modality="MR", shared=False), tmp_path / "x")
    expected = truth.voxels * np.array([s for s, _ in rescales]) + np.array([i for _, i in rescales])
    assert_same(outcome(tmp_path).only, Truth(voxels=expected, affine=truth.affine), atol=1e-3)


@pytest.mark.parametrize("slope", ["0", "nan", "inf", "-inf", "1e999", "one"])
def test_row_08_a_rescale_without_meaning_is_refused(tmp_path: Path, slope: str) -> None:
    folder = write(slices(truth_of(), RescaleSlope="7.125"), tmp_path)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"7.125 ", f"{slope:<6}".encode()))
    found = outcome(tmp_path)
    assert found.reasons & {"INVALID_RESCALE", "UNREADABLE_HEADER"}
    assert not found.volumes


def test_row_08_a_lookup_table_is_applied(tmp_path: Path) -> None:
    """A Modality LUT Sequence stands in place of the rescale (PS3.3 section C.11.1)."""
    stored = random(0, 255, np.uint8)
    table = np.random.default_rng(3).permutation(256).astype(np.uint16) * 7
    lut = item(LUTDescriptor=[256, 0, 16], ModalityLUTType="US", LUTData=table.tobytes())
    datasets = slices(of(stored), modality="MR", RescaleSlope=None, RescaleIntercept=None)
    for dataset in datasets:
        dataset.ModalityLUTSequence = lut
        dataset.ModalityLUTSequence[0]["LUTDescriptor"].VR = "US"
        dataset.ModalityLUTSequence[0]["LUTData"].VR = "OW"
    write(datasets, tmp_path)
    assert_same(outcome(tmp_path).only, of(table[stored]))


def test_row_08_a_series_without_rescale_gives_stored_values(tmp_path: Path) -> None:
    truth = truth_of()
    write(slices(truth, modality="MR", RescaleSlope=None, RescaleIntercept=None), tmp_path)
    assert_same(outcome(tmp_path).only, truth)


def test_row_08_the_last_digit_of_32_bit_values_survives(tmp_path: Path) -> None:
    stored = random(2**30, 2**31 - 1, np.int32)
    write(slices(of(stored), modality="MR", RescaleSlope=1e-6, RescaleIntercept=-1000.0), tmp_path)
    np.testing.assert_allclose(outcome(tmp_path).only.voxels, stored * 1e-6 - 1000.0, atol=2e-4)


# Row 9: Philips private scale, real world values.


def philips(scale_slope: float, scale_intercept: float = 0.0) -> Any:
    block = {(0x2005, 0x10, "LO"): "Philips MR Imaging DD 001"}
    block |= {(0x2005, 0x100D, "FL"): scale_intercept, (0x2005, 0x100E, "FL"): scale_slope}
    return {"Manufacturer": "Philips Medical Systems", **block}


def test_row_09_the_private_scale_of_philips_is_recorded(tmp_path: Path) -> None:
    stored = random(0, 4095, np.int16)
    datasets = slices(of(stored), modality="MR", each=lambda _: philips(0.005), RescaleSlope=2.5, RescaleIntercept=0.0)
    write(datasets, tmp_path)
    volume = outcome(tmp_path).only
    displayed, precise = stored * 2.5, stored * 2.5 / (2.5 * 0.005)
    np.testing.assert_allclose(volume.voxels, displayed if volume.voxels.max() < 2.6 * 4095 else precise, rtol=1e-5)
    assert any("philips" in line.lower() for line in volume.provenance)


def test_row_09_private_scales_that_differ_between_slices_are_not_mixed(tmp_path: Path) -> None:
    truth = random(100, 4000, np.int16)
    scales = np.array([0.5, 0.25, 1.0, 0.125])
    stored = np.rint(truth * scales).astype(np.int16)
    each = lambda k: philips(float(scales[k]))  # noqa: E731
    write(slices(of(stored), modality="MR", each=each, RescaleSlope=1.0, RescaleIntercept=0.0), tmp_path)
    volume = outcome(tmp_path).only
    np.testing.assert_allclose(volume.voxels, stored / scales, rtol=1e-5)


def test_row_09_a_real_world_value_map_changes_nothing_in_silence(tmp_path: Path) -> None:
    stored = random(0, 4095, np.int16)
    mapping = item(
        RealWorldValueFirstValueMapped=0,
        RealWorldValueLastValueMapped=4095,
        RealWorldValueSlope=2.0,
        RealWorldValueIntercept=7.0,
    )
    write(slices(of(stored), modality="MR", RealWorldValueMappingSequence=mapping), tmp_path)
    volume = outcome(tmp_path).only
    mapped = not np.array_equal(volume.voxels, stored)
    if mapped:
        np.testing.assert_allclose(volume.voxels, stored * 2.0 + 7.0)
    assert not mapped or any("real world" in line.lower() for line in volume.provenance)


# Row 12: signs, bits, padding.


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_row_12_every_pixel_type(tmp_path: Path, dtype: type) -> None:
    limits = np.iinfo(dtype)
    reach = min(limits.max, 2**23)
    stored = random(max(limits.min, -reach), reach, dtype)
    write(slices(of(stored), modality="MR"), tmp_path)
    assert_same(outcome(tmp_path).only, of(stored))


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: UID(syntax).keyword)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_row_12_a_plane_of_an_odd_number_of_bytes(tmp_path: Path, syntax: str, dtype: type) -> None:
    stored = random(0, 100, dtype, (7, 5, 3))
    write(slices(of(stored), modality="MR"), tmp_path, syntax=syntax)
    assert_same(outcome(tmp_path).only, of(stored))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, NATIVE[2], NATIVE[3]])
def test_row_12_overlay_bits_above_bits_stored_are_dropped(tmp_path: Path, signed: bool, syntax: str) -> None:
    voxels = random(-2048, 2047, np.int16) if signed else random(0, 4095, np.int16)
    stored = (voxels.astype(np.uint16) & 0x0FFF) | random(0, 15, np.uint16) << 12
    tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed)}
    write(slices(of(stored), modality="MR", **tags), tmp_path, syntax=syntax)
    assert_same(outcome(tmp_path).only, of(voxels))


def test_row_12_a_high_bit_at_the_top_shifts_or_is_refused(tmp_path: Path) -> None:
    voxels = random(0, 4095, np.uint16)
    write(slices(of(voxels << 4), modality="MR", BitsStored=12, HighBit=15), tmp_path)
    found = outcome(tmp_path)
    if found.volumes:
        assert_same(found.only, of(voxels))
    else:
        assert found.reasons


@pytest.mark.parametrize(("modality", "fill"), [("CT", -1024), ("MR", 0)])
@pytest.mark.parametrize(("vr", "value"), [("SS", -2000), ("US", 63536)])
@pytest.mark.parametrize("implicit", [False, True])
def test_row_12_padding_becomes_air_before_rescale_whatever_its_vr(
    tmp_path: Path, modality: str, fill: float, vr: str, value: int, implicit: bool
) -> None:
    voxels = random(-900, 900, np.int16)
    voxels[0, :, :] = -2000
    datasets = slices(of(voxels), modality=modality, RescaleSlope=2, RescaleIntercept=10)
    for dataset in datasets:
        dataset.add_new("PixelPaddingValue", vr, value)
    write(datasets, tmp_path, syntax=NATIVE[0] if implicit else ExplicitVRLittleEndian)
    expected = voxels * 2.0 + 10
    expected[0] = fill
    volume = outcome(tmp_path).only
    assert_same(volume, of(expected))
    assert any("padding" in line for line in volume.provenance)


def test_row_12_a_padding_range(tmp_path: Path) -> None:
    voxels = random(-900, 900, np.int16)
    voxels[0, 0, :] = [-3000, -2500, -2000, -1999]
    write(slices(of(voxels), PixelPaddingValue=-2000, PixelPaddingRangeLimit=-3000), tmp_path)
    assert outcome(tmp_path).only.voxels[0, 0].tolist() == [-1024, -1024, -1024, -1999]


def test_row_12_padding_of_an_unsigned_series(tmp_path: Path) -> None:
    voxels = random(100, 2000, np.uint16)
    voxels[:, 2, :] = 0xF830
    datasets = slices(of(voxels), RescaleIntercept=-1024)
    for dataset in datasets:
        dataset.add_new("PixelPaddingValue", "SS", -2000)
    write(datasets, tmp_path)
    expected = voxels.astype(float) - 1024
    expected[:, 2] = -1024
    assert_same(outcome(tmp_path).only, of(expected))


def test_row_12_padding_of_compressed_pixels(tmp_path: Path) -> None:
    voxels = random(-900, 900, np.int16, (32, 32, 3))
    voxels[:9] = -2000
    for n, dataset in enumerate(slices(of(voxels), PixelPaddingValue=-2000)):
        save_compressed(dataset, tmp_path / str(n), JPEGLSLossless)
    expected = voxels.copy()
    expected[:9] = -1024
    assert_same(outcome(tmp_path).only, of(expected))


def test_row_12_signedness_that_differs_between_slices(tmp_path: Path) -> None:
    signed, unsigned = random(-900, 900, np.int16), random(0, 900, np.uint16)
    both = np.concatenate([signed[..., :2], unsigned[..., 2:].astype(np.int16)], axis=2)
    datasets = slices(of(signed))[:2] + slices(of(unsigned), each=lambda k: {"SOPInstanceUID": uid("u", k)})[2:]
    write(datasets, tmp_path)
    assert_same(outcome(tmp_path).only, of(both))


# Row 13: MONOCHROME1.


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_row_13_monochrome1_says_how_to_display_and_leaves_values_alone(tmp_path: Path, modality: str) -> None:
    truth = truth_of()
    write(slices(truth, modality=modality, PhotometricInterpretation="MONOCHROME1"), tmp_path)
    volume = outcome(tmp_path).only
    assert_same(volume, truth)
    assert volume.quantity is (Quantity.HOUNSFIELD if modality == "CT" else Quantity.ARBITRARY)


# Row 14: rescaled twice.


def body(air: int = -1000, shape: tuple[int, int, int] = (24, 24, 4)) -> NDArray[np.int16]:
    """A disc of tissue with a lung, in air; HU."""
    i, j = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:2]), indexing="ij")
    plane = np.where(i**2 + j**2 < 0.6, 40, air)
    plane[(i - 0.3) ** 2 + j**2 < 0.05] = -850
    noise = np.random.default_rng(6).integers(-20, 20, shape)
    return np.asarray(plane[:, :, None] + noise, dtype=np.int16)


def test_row_14_values_that_were_rescaled_before_are_refused(tmp_path: Path) -> None:
    write(slices(of(body()), RescaleIntercept=-1024), tmp_path)
    found = outcome(tmp_path)
    assert "HU_IMPLAUSIBLE" in found.reasons
    assert not found.volumes


def test_row_14_the_other_series_go_on(tmp_path: Path) -> None:
    write(slices(of(body()), series="twice", RescaleIntercept=-1024), tmp_path / "a")
    write(slices(of(body()), series="once"), tmp_path / "b")
    assert_same(outcome(tmp_path).of("once"), of(body()))


@pytest.mark.parametrize(
    ("stored", "tags"),
    [
        (body(), {}),
        (body() + 1024, {"RescaleIntercept": -1024}),
        (body(air=-1020), {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}),
        (np.full((8, 8, 3), 40, np.int16), {}),
        (body(air=30), {}),
    ],
    ids=["stored as HU", "stored with an offset", "cold air", "all tissue", "no air at all"],
)
def test_row_14_plausible_values_are_not_refused(tmp_path: Path, stored: NDArray[Any], tags: dict[str, Any]) -> None:
    write(slices(of(stored), **tags), tmp_path)
    assert_same(outcome(tmp_path).only, of(stored.astype(float) + tags.get("RescaleIntercept", 0)))


def test_row_14_what_lies_outside_the_scanned_circle_is_no_sign_of_a_second_rescale(tmp_path: Path) -> None:
    stored = body() + 1024
    i, j = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 24), indexing="ij")
    stored[i**2 + j**2 > 1.1] = -2000
    write(slices(of(stored), RescaleIntercept=-1024), tmp_path)
    volume = outcome(tmp_path).only
    inside = i**2 + j**2 <= 1.1
    np.testing.assert_array_equal(volume.voxels[inside], (stored[inside] - 1024))


# Row 15: transfer syntaxes.


@pytest.mark.parametrize("syntax", [*NATIVE, *LOSSLESS], ids=lambda syntax: UID(syntax).keyword)
@pytest.mark.parametrize("kind", ["signed 16", "unsigned 12", "unsigned 8"])
def test_row_15_lossless_syntaxes_give_back_every_voxel(tmp_path: Path, syntax: str, kind: str) -> None:
    voxels = {
        "signed 16": random(-1000, 3000, np.int16, (33, 27, 3)),
        "unsigned 12": random(0, 4095, np.uint16, (33, 27, 3)),
        "unsigned 8": random(0, 255, np.uint8, (34, 27, 3)),
    }[kind]
    bits = {"unsigned 12": {"BitsStored": 12, "HighBit": 11}}.get(kind, {})
    for n, dataset in enumerate(slices(of(voxels), modality="MR", **bits)):
        save_compressed(dataset, tmp_path / str(n), syntax)
    assert_same(outcome(tmp_path).only, of(voxels))


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda syntax: UID(syntax).keyword)
def test_row_15_lossy_syntaxes_come_close(tmp_path: Path, syntax: str) -> None:
    i, j, k = np.indices((64, 48, 3))
    voxels = (1000 + 15 * i + 20 * j + k).astype(np.uint16)
    bits = {"BitsStored": 12, "HighBit": 11}
    if syntax == JPEGBaseline8Bit:
        voxels, bits = (voxels // 16).astype(np.uint8), {}
    for n, dataset in enumerate(slices(of(voxels), modality="MR", **bits)):
        save_compressed(dataset, tmp_path / str(n), syntax)
    assert_same(outcome(tmp_path).only, of(voxels), atol=12)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_row_15_compressed_frames_of_an_enhanced_object(tmp_path: Path, syntax: str) -> None:
    truth = of(random(0, 4000, np.int16, (33, 27, 5)))
    dataset = enhanced(frames_of_truth(truth)[::-1], modality="MR")
    save_compressed(dataset, tmp_path / "x", syntax)
    assert_same(outcome(tmp_path).only, truth)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_row_15_a_frame_in_many_fragments(tmp_path: Path, syntax: str) -> None:
    truth = of(random(0, 4000, np.int16, (33, 27, 3)))
    for n, dataset in enumerate(slices(truth, modality="MR")):
        data = encode(planes_of(dataset)[0], syntax)
        if syntax == RLELossless:
            fragments = [data]
        else:
            cut = len(data) // 3 // 2 * 2
            fragments = [data[:cut], data[cut : 2 * cut], data[2 * cut :]]
        save(dataset, tmp_path / str(n), syntax=syntax, fragments=fragments[:1])
        save_in_fragments(dataset, tmp_path / str(n), fragments)
    assert_same(outcome(tmp_path).only, truth)


def save_in_fragments(dataset: Dataset, path: Path, fragments: list[bytes]) -> None:
    """Write one frame as several fragments after an empty offset table."""
    parts = [b"\xfe\xff\x00\xe0\0\0\0\0"]
    for fragment in fragments:
        padded = fragment + b"\0" * (len(fragment) % 2)
        parts.append(b"\xfe\xff\x00\xe0" + len(padded).to_bytes(4, "little") + padded)
    dataset.PixelData = b"".join(parts)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path, enforce_file_format=True)


def test_row_15_a_stream_of_another_precision_than_the_header(tmp_path: Path) -> None:
    """12 bits in the codestream, 16 in the header: the values are the stream's (dcm2niix and pydicom agree)."""
    import imagecodecs

    voxels = random(0, 4095, np.uint16, (33, 27, 3))
    for n, dataset in enumerate(slices(of(voxels), modality="MR")):
        stream = imagecodecs.jpeg2k_encode(planes_of(dataset)[0], codecformat="j2k", reversible=True, bitspersample=12)
        save(dataset, tmp_path / str(n), syntax=JPEG2000Lossless, fragments=[bytes(stream)])
    assert_same(outcome(tmp_path).only, of(voxels))


def test_row_15_an_unsigned_stream_under_a_signed_header(tmp_path: Path) -> None:
    """Values below half of the range mean the same either way; the header's sign extends the others."""
    import imagecodecs

    voxels = random(-2000, 2000, np.int16, (33, 27, 3))
    for n, dataset in enumerate(slices(of(voxels), modality="MR")):
        plane = planes_of(dataset)[0].view(np.uint16)
        stream = imagecodecs.jpeg2k_encode(plane, codecformat="j2k", reversible=True)
        save(dataset, tmp_path / str(n), syntax=JPEG2000Lossless, fragments=[bytes(stream)])
    found = outcome(tmp_path)
    if found.volumes:
        assert_same(found.only, of(voxels))
    else:
        assert "PIXELS_UNDECODABLE" in found.reasons


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_row_15_a_stream_of_another_size_than_the_header_is_refused(tmp_path: Path, syntax: str) -> None:
    voxels = random(0, 4000, np.int16, (33, 27, 3))
    for n, dataset in enumerate(slices(of(voxels), modality="MR")):
        path = save_compressed(dataset, tmp_path / str(n), syntax)
        if n == 1:
            import pydicom

            changed = pydicom.dcmread(path)
            stream = changed.PixelData
            for k, other in enumerate(slices(of(voxels[:, :20, :]), modality="MR")):
                if k == n:
                    other.file_meta, other.PixelData = changed.file_meta, stream
                    other["PixelData"].VR, other["PixelData"].is_undefined_length = "OB", True
                    other.Rows = 27
                    other.Columns = 40
                    other.save_as(path, enforce_file_format=True)
    found = outcome(tmp_path)
    assert found.reasons
    assert all(volume.geometry.shape[2] < 3 for volume in found.volumes.values())


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_row_15_a_broken_stream_fails_its_series_only(tmp_path: Path, syntax: str) -> None:
    import pydicom
    from pydicom.encaps import encapsulate, generate_frames

    voxels = random(0, 4000, np.int16, (33, 27, 3))
    for name in ("good", "bad"):
        for n, dataset in enumerate(slices(of(voxels), series=name, modality="MR")):
            path = save_compressed(dataset, tmp_path / name / str(n), syntax)
            if name == "bad" and n == 1:
                cut = pydicom.dcmread(path)
                stream = next(generate_frames(cut.PixelData, number_of_frames=1))
                cut.PixelData = encapsulate([stream[: len(stream) // 3]])
                cut.save_as(path)
    found = outcome(tmp_path)
    assert_same(found.of("good"), of(voxels))
    assert uid("bad") not in found.volumes
    assert found.reasons & {"PIXELS_UNDECODABLE", "TRUNCATED_FILE"}


def test_row_15_a_syntax_that_nobody_decodes_is_named(tmp_path: Path) -> None:
    truth = of(random(0, 4000, np.int16))
    for n, dataset in enumerate(slices(truth, modality="MR")):
        save(dataset, tmp_path / str(n), syntax="1.2.840.10008.1.2.4.100", fragments=[b"\0" * 64])
    found = outcome(tmp_path)
    assert not found.volumes
    assert "DECODER_MISSING" in found.reasons
    said = " ".join([*found.lines, *(error.detail for error in found.refusals.values())])
    assert "MPEG2" in said or "1.2.840.10008.1.2.4.100" in said


def test_row_15_syntaxes_may_differ_within_a_series(tmp_path: Path) -> None:
    truth = of(random(-1000, 3000, np.int16, (33, 27, 4)))
    syntaxes = [NATIVE[0], NATIVE[1], RLELossless, JPEG2000Lossless]
    for n, (dataset, syntax) in enumerate(zip(slices(truth, modality="MR"), syntaxes, strict=True)):
        save_compressed(dataset, tmp_path / str(n), syntax)
    assert_same(outcome(tmp_path).only, truth)
