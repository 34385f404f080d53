"""Siemens mosaics: where the tiles lie, and which way they follow each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfuse.errors import UnreadableSeriesError
from medfuse.ingest.dicom.frames import Frame, frames_of

COUNT, SPACING = 7, 3.5
FIRST = np.array([-10.0, 20.0, 30.0])
OBLIQUE = np.array([[0.8, 0.36], [0.6, -0.48], [0.0, -0.8]])


def header(*, protocol: bytes = b"", creator: bool = True, **tags: Any) -> Dataset:
    """A mosaic of 3 x 3 tiles of 6 rows and 8 columns, pixels of 2 x 1.5 mm."""
    dataset = Dataset()
    row, column = OBLIQUE.T
    position = FIRST - row * 1.5 * 8 - column * 2.0 * 6
    values = {
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
        "Rows": 18,
        "Columns": 24,
        "PixelSpacing": [2.0, 1.5],
        "ImageOrientationPatient": OBLIQUE.T.ravel().tolist(),
        "ImagePositionPatient": position.tolist(),
        "SpacingBetweenSlices": SPACING,
        **tags,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if creator:
        dataset.add_new((0x0029, 0x10), "LO", "SIEMENS CSA HEADER")
    if protocol:
        dataset.add_new((0x0029, 0x1020), "OB", protocol + b" " * (len(protocol) % 2))
    return dataset


def protocol(step: NDArray[np.float64], *, reverse: bool = False, count: int = COUNT) -> bytes:
    """The part of a protocol that plans slices by their centres; a coordinate of zero is not written."""
    row, column = OBLIQUE.T
    centre = FIRST + row * 1.5 * 4 + column * 2.0 * 3
    lines = [f"sSliceArray.lSize = {count}"]
    order = range(count)[::-1] if reverse else range(count)
    for place, n in enumerate(order):
        for axis, value in zip(("Sag", "Cor", "Tra"), centre + n * step, strict=True):
            lines.append(f"sSliceArray.asSlice[{place}].sPosition.d{axis} = {value:.9f}")
    return b"SV10\x04\x03\x02\x01\0\xff" + "\n".join(lines).encode()


def frames(dataset: Dataset) -> list[Frame]:
    return frames_of(Path("IM1"), dataset)


NORMAL = np.cross(*OBLIQUE.T)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("creator", [False, True])
def test_the_planned_positions_tell_the_direction(sign: int, reverse: bool, creator: bool) -> None:
    """Whichever end the protocol counts from, the first tile lies where the header's position puts it."""
    step = sign * SPACING * NORMAL
    found = frames(header(protocol=protocol(step, reverse=reverse), creator=creator))
    assert [one.tile for one in found] == [(0, 0), (0, 8), (0, 16), (6, 0), (6, 8), (6, 16), (12, 0)]
    assert {one.shape for one in found} == {(6, 8)}
    for n, one in enumerate(found):
        np.testing.assert_allclose(one.position_mm, FIRST + n * step, atol=1e-6)


def test_a_protocol_that_plans_other_slices_does_not_decide() -> None:
    with pytest.raises(UnreadableSeriesError, match="which way"):
        frames(header(protocol=protocol(np.array([40.0, 0, 0]))))


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"protocol": b""}, "how many slices"),
        ({"protocol": b"sSliceArray.lSize = 0 "}, "how many slices"),
        ({"protocol": protocol(NORMAL, count=50)}, "does not hold 50 tiles"),
        ({"protocol": b"sSliceArray.lSize = 7 "}, "which way"),
        ({"protocol": protocol(NORMAL), "SpacingBetweenSlices": None}, "SpacingBetweenSlices"),
        ({"protocol": protocol(NORMAL), "SpacingBetweenSlices": -2.0}, "SpacingBetweenSlices"),
    ],
)
def test_what_does_not_describe_its_tiles_is_refused(tags: dict[str, Any], said: str) -> None:
    with pytest.raises(UnreadableSeriesError, match=said) as caught:
        frames(header(**tags))
    assert caught.value.reason == "MOSAIC_UNREADABLE"


@pytest.mark.parametrize("csa", [b"SV10", bytes(range(256)), b"SV10\4\3\2\1" + b"\xff" * 60])
def test_a_spoiled_image_header_is_refused(csa: bytes) -> None:
    dataset = header()
    dataset.add_new((0x0029, 0x1010), "OB", csa)
    with pytest.raises(UnreadableSeriesError) as caught:
        frames(dataset)
    assert caught.value.reason == "MOSAIC_UNREADABLE"
