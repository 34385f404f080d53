"""Siemens mosaics: all slices of a volume tiled into one plane, described by a private (CSA) header.

The layout of the header ("SV10") is not in the standard; it is described in the documentation of nibabel
(`nibabel.nicom.csareader`) and dcm2niix.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from tests.dicom_cases import Truth, decimals, set_pixels, set_tags, slices


def csa_header(tags: Mapping[str, Sequence[str]]) -> bytes:
    """A CSA header of the second kind with these text values."""
    data = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, values in tags.items():
        vr = b"FD\0\0" if any("." in value for value in values) else b"IS\0\0"
        data += name.encode().ljust(64, b"\0") + struct.pack("<i4s3i", len(values), vr, 6, 6, 77)
        for n in range(6):
            value = (values[n].encode() + b"\0") if n < len(values) else b""
            data += struct.pack("<4i", len(value), len(value), 77, len(value)) + value + b"\0" * (-len(value) % 4)
    return data


def mosaic(truth: Truth, *, tiles: int = 3, flipped: bool = False, csa: Any = None, **tags: Any) -> Dataset:
    """A mosaic of `tiles` x `tiles` tiles. `flipped`: slices are counted against the normal of rows and columns.

    Image Position (Patient) is that of the mosaic seen as one big slice around the same centre.
    """
    columns, rows, count = truth.voxels.shape
    normal = truth.affine[:3, 2] / np.linalg.norm(truth.affine[:3, 2])
    order = list(range(count))[:: -1 if flipped else 1]
    plane = np.zeros((columns * tiles, rows * tiles), truth.voxels.dtype)
    for place, k in enumerate(order):
        left, top = place % tiles * columns, place // tiles * rows
        plane[left : left + columns, top : top + rows] = truth.voxels[:, :, k]
    dataset = slices(truth, modality="MR")[0]
    set_pixels(dataset, [plane])
    shift = np.array([columns, rows]) * (tiles - 1) / 2
    dataset.ImagePositionPatient = decimals(truth.at(order[0]) - truth.affine[:3, :2] @ shift)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.Manufacturer = "SIEMENS"
    dataset.SpacingBetweenSlices = float(np.linalg.norm(truth.affine[:3, 2]))
    dataset.AcquisitionMatrix = [rows, 0, 0, columns]
    header = csa_header(
        {
            "NumberOfImagesInMosaic": [str(count)],
            "SliceNormalVector": [f"{value:.8f}" for value in normal * (-1 if flipped else 1)],
            "EchoLinePosition": ["32"],
        }
    )
    private = {
        (0x0029, 0x10, "LO"): "SIEMENS CSA HEADER",
        (0x0029, 0x1008, "CS"): "IMAGE NUM 4",
        (0x0029, 0x1010, "OB"): header if csa is None else csa,
    }
    return set_tags(dataset, {**private, **tags})


def protocol(truth: Truth, *, flipped: bool = False) -> bytes:
    """A series header (0029,1020) with the planned centres of the slices; a coordinate of 0 is not written."""
    columns, rows, count = truth.voxels.shape
    text = "### ASCCONV BEGIN ###\n"
    for place, k in enumerate(range(count)[:: -1 if flipped else 1]):
        centre = truth.affine @ [columns / 2, rows / 2, k, 1]
        for axis, value in zip(("Sag", "Cor", "Tra"), centre[:3], strict=True):
            if value:
                text += f"sSliceArray.asSlice[{place}].sPosition.d{axis}\t = \t{value:.8f}\n"
    text += f"sSliceArray.lSize\t = \t{count}\n### ASCCONV END ###"
    return csa_header({"UsedPatientWeight": ["70"]}) + text.encode()
