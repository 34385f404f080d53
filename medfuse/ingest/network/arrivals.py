"""An instance that came over a network: known by its own header, whole, and put where its UIDs say.

    FOLDER/<Series Instance UID>/<SOP Instance UID>.dcm

What a sender says of an instance is not believed: its UIDs are read from its bytes, and are checked before they
become a path. A file is there whole or not at all.
"""

import threading
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filebase import ReadableBuffer
from pydicom.uid import UID

from medfuse.errors import UnreadableFileError
from medfuse.ingest.dicom.files import READ_ERRORS, has_dicom_magic, quiet
from medfuse.ingest.network.archive import InstanceRecord, is_uid
from medfuse.storage import write_file

_UNDEFINED_LENGTH = 0xFFFFFFFF
_READING = threading.Lock()
"""What keeps pydicom quiet holds for the whole process, so threads take turns."""

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an instance says that it is.

    Args:
        study_instance_uid: Its study.
        instance: Its series, itself and its class.
    """

    study_instance_uid: str
    instance: InstanceRecord


def identity_of(data: bytes) -> Identity:
    """Read who an instance is, and make sure that it is all there.

    Args:
        data: A DICOM file (PS3.10).

    Raises:
        UnreadableFileError: `NOT_DICOM`, `TRUNCATED_FILE`, or `INVALID_UID`.
    """
    if not has_dicom_magic(data[:132]):
        raise UnreadableFileError("an instance is no DICOM file", reason="NOT_DICOM")
    try:
        with _READING, quiet():
            dataset = pydicom.dcmread(BytesIO(data))
            uids = {
                name: str(dataset.get(name) or "")
                for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
            }
            is_cut = _is_cut(dataset, UID(uids["SOPClassUID"]))
    except READ_ERRORS as error:
        detail = f"an instance breaks off or breaks DICOM's rules ({type(error).__name__})"
        raise UnreadableFileError(detail, reason="TRUNCATED_FILE") from None
    if is_cut:
        raise UnreadableFileError("an instance breaks off before its end", reason="TRUNCATED_FILE")
    if wrong := [name for name, uid in uids.items() if not is_uid(uid)]:
        raise UnreadableFileError(f"the {wrong[0]} of an instance is no UID", reason="INVALID_UID")
    study, series, instance, sop_class = uids.values()
    record = InstanceRecord(series_instance_uid=series, sop_instance_uid=instance, sop_class_uid=sop_class)
    return Identity(study_instance_uid=study, instance=record)


def place_of(folder: Path, record: InstanceRecord) -> Path:
    """Where an instance of a study goes below the study's folder."""
    return folder / record.series_instance_uid / f"{record.sop_instance_uid}.dcm"


def put(data: bytes, path: Path) -> None:
    """Write an instance whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    write_file(path, lambda aside: aside.write_bytes(data))


def original_bytes(dataset: Dataset) -> bytes:
    """The bytes that pydicom read `dataset` from, or, where it does not keep them, the same dataset written anew."""
    buffer: ReadableBuffer | None = getattr(dataset, "buffer", None)
    if isinstance(buffer, BytesIO):
        data = buffer.getvalue()
        if has_dicom_magic(data[:132]):
            return data
    anew = BytesIO()
    with quiet():
        dataset.save_as(anew, enforce_file_format=True)  # a deflated one: what it was inflated to is all there is
    return anew.getvalue()


def _is_cut(dataset: Dataset, sop_class: UID) -> bool:
    """Whether the last element is shorter than it says, or an image has no pixels.

    pydicom gives back the elements that it could read, the last one as long as the bytes reached; pixel data without
    their end marker give an empty dataset.
    """
    if not len(dataset):
        return True
    last: object = dataset.get_item(list(dataset.keys())[-1])
    if isinstance(last, RawDataElement) and last.length != _UNDEFINED_LENGTH and len(last.value or b"") < last.length:
        return True
    return sop_class.name.endswith("Image Storage") and not any(name in dataset for name in _PIXELS)
