"""Readers of DICOM that are not medfuse: dicom3tools, dcmtk, and a viewer's way through a segmentation."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

_NO_UTF8 = b"W: The VR checker does not support this Specific Character Set: ISO_IR 192"
"""dcmtk 3.6 says so of every object in UTF-8."""


def dciodvfy_errors(path: Path) -> list[str]:
    """What dicom3tools' validator calls an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert told.returncode == 0 or "Error" in told.stdout + told.stderr
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]


def dcmtk(program: str, path: Path) -> str:
    """What a program of dcmtk says of a file; a complaint fails the test."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install dcmtk")
    told = subprocess.run([program, str(path)], capture_output=True, check=True)
    complaints = [line for line in told.stderr.splitlines() if line and line != _NO_UTF8]
    assert complaints == []
    return told.stdout.decode("utf-8", "replace")


def as_a_viewer_reads(path: Path, sources: list[pydicom.Dataset]) -> dict[str, NDArray[np.bool_]]:
    """The masks `(I, J, K)` of a DICOM SEG as web viewers find them, by the order of the source images given.

    As dcmjs does, on which OHIF is built: bits are unpacked from the raw bytes, least significant first, over the
    frames without padding; a frame belongs to the segment that its Segment Identification says, and lies on the image
    that its Derivation Image says, else on the one at its position.
    """
    seg = pydicom.dcmread(path)
    rows, columns, count = int(seg.Rows), int(seg.Columns), int(seg.NumberOfFrames)
    assert (seg.BitsAllocated, seg.SegmentationType) == (1, "BINARY")
    bits = np.unpackbits(np.frombuffer(seg.PixelData, dtype=np.uint8), bitorder="little")
    frames = bits[: rows * columns * count].reshape(count, rows, columns).astype(bool)
    planes = _planes(sources)
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
    masks = {label: np.zeros((columns, rows, len(planes)), dtype=bool) for label in labels.values()}
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        position = np.array([float(mm) for mm in group.PlanePositionSequence[0].ImagePositionPatient])
        k = _referenced(group, planes)
        nearest = int(np.argmin([np.linalg.norm(plane - position) for _, _, plane in planes]))
        assert k in (None, nearest), "the reference and the position say different images"
        masks[labels[number]][:, :, nearest] |= frame.T
    return masks


def _planes(sources: list[pydicom.Dataset]) -> list[tuple[str, int | None, NDArray[np.float64]]]:
    """Instance, frame and position of every source image, in the order given."""
    planes: list[tuple[str, int | None, NDArray[np.float64]]] = []
    for source in sources:
        groups = source.get("PerFrameFunctionalGroupsSequence")
        holders = [group.PlanePositionSequence[0] for group in groups] if groups else [source]
        for number, holder in enumerate(holders, start=1):
            position = np.array([float(mm) for mm in holder.ImagePositionPatient])
            planes.append((str(source.SOPInstanceUID), number if groups else None, position))
    return planes


def _referenced(group: pydicom.Dataset, planes: list[tuple[str, int | None, NDArray[np.float64]]]) -> int | None:
    for derived in group.DerivationImageSequence:
        for image in derived.SourceImageSequence:
            frame = int(image.ReferencedFrameNumber) if "ReferencedFrameNumber" in image else None
            found = [k for k, plane in enumerate(planes) if plane[:2] == (str(image.ReferencedSOPInstanceUID), frame)]
            return found[0]
    return None
