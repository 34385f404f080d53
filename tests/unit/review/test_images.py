"""Packing a volume for the viewer: nothing lost, the right frame, the windows that readers know."""

import gzip

import numpy as np
import pytest

from medfuse.domain import Affine, Modality, Quantity, Volume, VolumeGeometry
from medfuse.review import CT_WINDOWS, display_image, windows_of

AFFINE = Affine.from_parts(origin_mm=(10, 20, 30), direction=np.eye(3), spacing_mm=(1, 2, 3))


def volume(voxels: np.ndarray, quantity: Quantity = Quantity.ARBITRARY) -> Volume:
    return Volume(voxels=voxels, geometry=VolumeGeometry(shape=voxels.shape, affine=AFFINE), quantity=quantity)


def unpacked(voxels: np.ndarray) -> tuple[np.ndarray, str]:
    image = display_image(volume(voxels), Modality.MR)
    data = np.frombuffer(gzip.decompress(image.voxels), dtype=np.dtype(image.data_type).newbyteorder("<"))
    return data.reshape(image.shape, order="F"), image.data_type


def test_whole_numbers_travel_as_int16_and_come_back_equal() -> None:
    voxels = np.arange(-30, 30, dtype=np.float32).reshape(3, 4, 5)
    back, data_type = unpacked(voxels)
    assert data_type == "int16"
    assert np.array_equal(back, voxels)


@pytest.mark.parametrize("extra", [0.25, 40_000.0, -40_000.0])
def test_what_int16_cannot_hold_travels_as_float32(extra: float) -> None:
    voxels = np.full((2, 3, 4), 1.0)
    voxels[1, 2, 3] = extra
    back, data_type = unpacked(voxels)
    assert data_type == "float32"
    assert np.array_equal(back, voxels)


def test_what_is_no_number_is_sent_as_zero() -> None:
    back, _ = unpacked(np.array([np.nan, np.inf, -np.inf, 7.0]).reshape(2, 2, 1))
    assert back.ravel().tolist() == [0, 0, 0, 7]


def test_the_affine_is_ras_row_by_row() -> None:
    image = display_image(volume(np.zeros((2, 2, 2))), Modality.MR)
    assert image.affine_ras == (-1, 0, 0, -10, 0, -2, 0, -20, 0, 0, 3, 30, 0, 0, 0, 1)


def test_the_key_follows_the_content() -> None:
    def key(voxels: np.ndarray) -> str:
        return display_image(volume(voxels), Modality.MR).key

    assert key(np.zeros((2, 3, 4))) == key(np.zeros((2, 3, 4)))
    assert len({key(np.zeros((2, 3, 4))), key(np.zeros((4, 3, 2))), key(np.ones((2, 3, 4)))}) == 3


def test_ct_has_the_presets_of_ohif_under_its_keys_and_stroke() -> None:
    ct = volume(np.zeros((2, 2, 2)), Quantity.HOUNSFIELD)
    assert windows_of(ct, Modality.CT) is CT_WINDOWS
    assert [(w.name, w.width, w.level) for w in CT_WINDOWS] == [
        ("Soft tissue", 400, 40),
        ("Lung", 1500, -600),
        ("Liver", 150, 90),
        ("Bone", 2500, 480),
        ("Brain", 80, 40),
        ("Stroke", 40, 40),
    ]
    assert display_image(ct, Modality.CT).unit == "HU"


def test_mr_windows_come_from_its_own_values() -> None:
    values = np.linspace(0, 1000, 10_000).reshape(100, 10, 10)
    values.ravel()[-1] = 100_000
    automatic, full = windows_of(volume(values), Modality.MR)
    assert automatic.level + automatic.width / 2 == pytest.approx(995, abs=1)
    assert automatic.level - automatic.width / 2 == pytest.approx(10, abs=1)
    assert full.width == pytest.approx(100_000)


@pytest.mark.parametrize("voxels", [np.full((2, 2, 2), 5.0), np.full((2, 2, 2), np.nan)])
def test_a_flat_or_empty_image_still_has_a_window(voxels: np.ndarray) -> None:
    assert all(window.width > 0 for window in windows_of(volume(voxels), Modality.MR))
