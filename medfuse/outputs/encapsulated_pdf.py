"""A page of PDF inside a DICOM object (PS3.3 section A.45.1), for archives; highdicom has no class for it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from medfuse.domain import Code, ModelIdentity
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs.equipment import UTF8, device, new_uid, series_description, series_number
from medfuse.outputs.source_grid import SourceGridError
from medfuse.outputs.source_header import carry_identity, instance_uids, study_uid_of
from medfuse.outputs.source_references import code_item

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_KIND = 5
_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
_REPORT = Code(value="126000", scheme="DCM", meaning="Imaging Measurement Report")
_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)


def encapsulated_pdf(
    pdf: bytes, source_datasets: Sequence["Dataset"], *, model: ModelIdentity, study_instance_uid: str | None = None
) -> "Dataset":
    """Build the object.

    Args:
        pdf: The document.
        source_datasets: Headers of the source series, pixels not needed.
        model: Who made it.
        study_instance_uid: For source headers that lack it.

    Raises:
        SourceGridError: There are no source headers, or they lack a UID that the document has to refer to.
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    if not source_datasets:
        raise SourceGridError("there are no DICOM images that a document could refer to")
    now = datetime.now(UTC)
    with quiet():
        dataset = Dataset()
        dataset.SpecificCharacterSet = UTF8
        dataset.SOPClassUID, dataset.SOPInstanceUID = _SOP_CLASS, new_uid()
        for keyword in _EMPTY:
            setattr(dataset, keyword, None)
        dataset.StudyInstanceUID = study_uid_of(source_datasets[0], study_instance_uid)
        dataset.SeriesInstanceUID, dataset.Modality = new_uid(), "DOC"
        dataset.SeriesNumber = series_number(source_datasets[0], SERIES_KIND)
        dataset.SeriesDescription = series_description(model, "page")
        equipment = device(model)
        dataset.Manufacturer, dataset.ManufacturerModelName = equipment["manufacturer"], equipment["manufacturer"]
        dataset.SoftwareVersions = equipment["software_versions"]
        dataset.DeviceSerialNumber = equipment["device_serial_number"]
        dataset.ConversionType, dataset.InstanceNumber = "WSD", 1
        dataset.ContentDate, dataset.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
        dataset.AcquisitionDateTime, dataset.TimezoneOffsetFromUTC = None, "+0000"
        dataset.BurnedInAnnotation, dataset.VerificationFlag = "NO", "UNVERIFIED"
        dataset.DocumentTitle = "medfuse result (research use only)"
        dataset.ConceptNameCodeSequence = [code_item(_REPORT)]
        dataset.SourceInstanceSequence = [_reference(source) for source in source_datasets]
        dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
        dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
        dataset.EncapsulatedDocumentLength = len(pdf)
        carry_identity(source_datasets[0], dataset, keep_encoding=model.name.isascii())
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _reference(source: "Dataset") -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance_uids(source)
    return item
