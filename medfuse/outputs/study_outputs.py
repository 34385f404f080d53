"""The outputs that medfuse ships, under the names that `--outputs` takes."""

from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.outputs.dicom_sr import dicom_sr
from medfuse.outputs.encapsulated_pdf import encapsulated_pdf
from medfuse.outputs.key_slices import KeySlice, key_slices
from medfuse.outputs.nifti import save_nifti
from medfuse.outputs.parametric_map import parametric_map
from medfuse.outputs.pdf import prediction_pdf
from medfuse.outputs.registry import OUTPUTS
from medfuse.outputs.result import StudyResult
from medfuse.outputs.secondary_capture import secondary_captures
from medfuse.outputs.source_grid import SourceGridError

if TYPE_CHECKING:
    from pydicom import Dataset

NIFTI_FILE = "segmentation.nii.gz"
SEG_FILE = "seg.dcm"
SR_FILE = "sr.dcm"
PDF_FILE = "result.pdf"
DICOM_PDF_FILE = "result-pdf.dcm"


@OUTPUTS.register("nifti")
class NiftiOutput:
    """The label map as NIfTI."""

    files = NIFTI_FILE

    def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]:
        """Write `segmentation.nii.gz`."""
        if result.segmentation is None:
            return ()
        save_nifti(result.segmentation, folder / NIFTI_FILE)
        if result.segmentation.overlaps is not None:
            result.notes.append(f"{NIFTI_FILE} holds the last segment of each voxel; {SEG_FILE} holds overlaps too")
        return (NIFTI_FILE,)


@OUTPUTS.register("dicom_seg")
class DicomSegOutput:
    """The label map as DICOM SEG."""

    files = SEG_FILE

    def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]:
        """Write `seg.dcm`."""
        if result.segmentation is None:
            return ()
        _save(result.dicom_seg, folder / SEG_FILE)
        if not result.source_headers[0].get("FrameOfReferenceUID"):
            made = "the source has no Frame of Reference UID; one was made from its series UID"
            result.notes.append(f"{SEG_FILE}: {made}")
        return (SEG_FILE,)


@OUTPUTS.register("dicom_sr")
class DicomSrOutput:
    """Findings and measurements as DICOM SR; it takes the DICOM SEG, which it refers to, along where it was not."""

    files = SR_FILE

    def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]:
        """Write `sr.dcm`."""
        headers = result.source_headers
        segmentation = self._segmentation(result)
        measurements = () if segmentation is None else result.measurements
        document = dicom_sr(
            result.prediction,
            headers,
            segmentation=segmentation,
            measurements=measurements,
            series_instance_uid=result.series_instance_uid,
        )
        _save(document, folder / SR_FILE)
        if segmentation is None or (folder / SEG_FILE).exists():
            return (SR_FILE,)
        _save(segmentation, folder / SEG_FILE)
        return SR_FILE, SEG_FILE

    @staticmethod
    def _segmentation(result: StudyResult) -> "Dataset | None":
        """The DICOM SEG; without one the report holds the findings alone."""
        if result.segmentation is None:
            return None
        try:
            return result.dicom_seg
        except SourceGridError as error:
            result.notes.append(f"{SR_FILE} holds no measurements: {error.detail}")
            return None


@OUTPUTS.register("secondary_capture")
class SecondaryCaptureOutput:
    """The best slice of each segment as DICOM Secondary Capture."""

    files = "key-slice-*.dcm"

    def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]:
        """Write `key-slice-1.dcm` and so on."""
        if result.segmentation is None:
            return ()
        images = secondary_captures(
            _key_slices(result),
            result.segmentation,
            result.source_headers,
            model=result.prediction.model,
            study_instance_uid=result.prediction.study_instance_uid,
        )
        names = tuple(f"key-slice-{number}.dcm" for number in range(1, len(images) + 1))
        for name, image in zip(names, images, strict=True):
            _save(image, folder / name)
        return names


@OUTPUTS.register("pdf")
class PdfOutput:
    """The answer on one page."""

    files = PDF_FILE

    def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]:
        """Write `result.pdf`."""
        (folder / PDF_FILE).write_bytes(_pdf(result))
        return (PDF_FILE,)


@OUTPUTS.register("dicom_pdf")
class DicomPdfOutput:
    """The same page inside a DICOM object."""

    files = DICOM_PDF_FILE

    def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]:
        """Write `result-pdf.dcm`."""
        dataset = encapsulated_pdf(
            _pdf(result),
            result.source_headers,
            model=result.prediction.model,
            study_instance_uid=result.prediction.study_instance_uid,
        )
        _save(dataset, folder / DICOM_PDF_FILE)
        return (DICOM_PDF_FILE,)


@OUTPUTS.register("parametric_map")
class ParametricMapOutput:
    """Each map of the answer as a DICOM Parametric Map."""

    files = "map-*.dcm"

    def write(self, result: StudyResult, folder: Path) -> tuple[str, ...]:
        """Write `map-1.dcm` and so on."""
        if not result.maps:
            raise SourceGridError("the model was not asked for maps")
        names = []
        for number, one in enumerate(result.maps, start=1):
            dataset = parametric_map(
                one,
                result.source_headers,
                model=result.prediction.model,
                study_instance_uid=result.prediction.study_instance_uid,
                series_instance_uid=result.series_instance_uid,
                instance_number=number,
                result_series_uid=result.map_series_uid,
            )
            names.append(f"map-{number}.dcm")
            _save(dataset, folder / names[-1])
        return tuple(names)


def _save(dataset: "Dataset", path: Path) -> None:
    dataset.save_as(path, enforce_file_format=True)


def _key_slices(result: StudyResult) -> tuple[KeySlice, ...]:
    if result.segmentation is None:
        return ()
    if not result.volume.geometry.is_close(result.segmentation.geometry):
        raise SourceGridError("the source image is on another grid than the label map")
    return key_slices(result.segmentation, result.volume, result.measurements)


def _pdf(result: StudyResult) -> bytes:
    try:
        pictures = _key_slices(result)
    except SourceGridError:
        pictures = ()
    return prediction_pdf(result.prediction, measurements=result.measurements, pictures=pictures, notes=result.notes)
