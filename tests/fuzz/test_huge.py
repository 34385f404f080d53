"""Headers that claim 60,000 x 60,000 pixels, or a billion frames: refused before anything is allocated."""

import gc
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medfuse.errors import StudyError, UsageError
from medfuse.ingest import find_studies, read_segmentation, read_volume
from tests.dicom_cases import save, slices, truth_of
from tests.fuzz.corpus import SEEDS, SHAPE
from tests.fuzz.mutate import Parsed, parse

MOST_BYTES = 64 * 2**20
IMAGES = [name for name in SEEDS if name not in ("RTSTRUCT", "SR", "DeflatedExplicitVRLittleEndian")]
JPEG = [name for name in IMAGES if name.startswith("JPEG") and "2000" not in name]
J2K = [name for name in IMAGES if "2000" in name or name.startswith("HTJ2K")]
MANY_FRAMES = [name for name in IMAGES if name.startswith("enhanced") or name.endswith("SEG")]


def claim(of: Parsed, rows: int, columns: int, frames: bool) -> bytes:
    """The file with another matrix, and 10^n frames where it says how many it has."""
    data = bytearray(of.data)
    for element in of.elements:
        for tag, value in ((0x00280010, rows), (0x00280011, columns)):
            if element.tag == tag:
                data[element.value : element.value + 2] = struct.pack(of.order + "H", value)
        if frames and element.tag == 0x00280008:
            data[element.value : element.value + element.length] = b"9" * element.length
    return bytes(data)


def claim_in_stream(data: bytes, rows: int, columns: int) -> bytes:
    """The same claim in the first frame header of a JPEG or JPEG-LS stream, or in the size segment of JPEG 2000."""
    changed = bytearray(data)
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7"):
        at = data.find(marker, 300)
        if at > 0:
            changed[at + 5 : at + 9] = struct.pack(">HH", rows, columns)
    at = data.find(b"\xff\x4f\xff\x51")
    if at > 0:
        changed[at + 8 : at + 16] = struct.pack(">LL", columns, rows)
        changed[at + 24 : at + 32] = struct.pack(">LL", columns, rows)
    return bytes(changed)


def read_all(folder: Path) -> Iterator[str]:
    """The reason codes of everything that is refused, or the shape of what is read."""
    try:
        found = find_studies(folder)
    except UsageError:
        yield "USAGE"
        return
    yield from (rejected.reason for rejected in found.rejected)
    for study in found.studies:
        yield from (line.split(":")[0] for line in study.problems)
        volumes = []
        for series in study.series:
            try:
                volumes.append(read_volume(series))
                yield str(volumes[-1].geometry.shape)
            except StudyError as error:
                yield "memory was asked for" if isinstance(error.__cause__, MemoryError) else error.reason
        for path in study.segmentations if volumes else ():
            try:
                read_segmentation(path, volumes[0].geometry)
                yield "segmentation"
            except StudyError as error:
                yield "memory was asked for" if isinstance(error.__cause__, MemoryError) else error.reason


def read_watched(folder: Path) -> list[str]:
    """What was said of a folder, while next to no memory was taken."""
    tracemalloc.start()
    try:
        said = list(read_all(folder))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES, f"{peak / 2**20:.0f} MiB were taken"
    assert "memory was asked for" not in said
    assert any(word.isupper() for word in said), said
    return said


@pytest.mark.parametrize(("name", "frames"), [*((name, False) for name in IMAGES), *((n, True) for n in MANY_FRAMES)])
def test_a_huge_claim_of_one_header_is_refused_before_memory_is_taken(tmp_path: Path, name: str, frames: bool) -> None:
    SEEDS[name](tmp_path)
    path = sorted(tmp_path.iterdir())[0]
    path.write_bytes(claim(parse(path.read_bytes()), 60000, 60000, frames))
    assert not any("60000" in word for word in read_watched(tmp_path))


@pytest.mark.parametrize("name", IMAGES)
def test_a_huge_claim_of_every_header_and_stream_is_refused(tmp_path: Path, name: str) -> None:
    SEEDS[name](tmp_path)
    for path in sorted(tmp_path.iterdir()):
        data = claim(parse(path.read_bytes()), 60000, 60000, frames=False)
        path.write_bytes(claim_in_stream(data, 60000, 60000))
    assert not any("60000" in word for word in read_watched(tmp_path))


@pytest.mark.parametrize("name", [*JPEG, *J2K])
def test_a_huge_claim_of_the_stream_alone_is_refused(tmp_path: Path, name: str) -> None:
    SEEDS[name](tmp_path)
    path = sorted(tmp_path.iterdir())[0]
    changed = claim_in_stream(path.read_bytes(), 60000, 60000)
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    read_watched(tmp_path)


def test_a_deflated_file_that_swells_a_thousandfold_is_refused(tmp_path: Path) -> None:
    """Zeros in a private element: 200 kB on disk, 200 MB when inflated."""
    for k, dataset in enumerate(slices(truth_of(SHAPE), modality="MR")):
        if k == 1:
            dataset.add_new((0x0009, 0x10), "LO", "MADE")
            dataset.add_new((0x0009, 0x1001), "OB", bytes(200 * 2**20))
        save(dataset, tmp_path / f"{k}.dcm", syntax=DeflatedExplicitVRLittleEndian)
    gc.collect()
    read_watched(tmp_path)
