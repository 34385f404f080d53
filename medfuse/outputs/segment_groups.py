"""What a report says of one segment of a DICOM SEG: TID 1411, Volumetric ROI Measurements."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medfuse.domain import Code
from medfuse.outputs import report_codes as words
from medfuse.outputs.equipment import coded
from medfuse.outputs.measurements import SegmentMeasurement

if TYPE_CHECKING:
    from pydicom import Dataset

_LATERALITIES = ("Left", "Right")


def segment_group(
    segmentation: "Dataset",
    item: "Dataset",
    measured: SegmentMeasurement | None,
    modality: str,
    algorithm: Any,
    evaluations: Sequence[Any] = (),
) -> Any:
    """The measurements of a segment.

    Args:
        segmentation: The DICOM SEG.
        item: The segment's item of its Segment Sequence (0062,0002).
        measured: Its measures; None for a group that holds no numbers.
        modality: Of the source images.
        algorithm: TID 4019, or None.
        evaluations: Coded answers about it.
    """
    import highdicom as hd

    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=str(item.TrackingUID), identifier=str(item.get("TrackingID") or item.SegmentLabel)
        ),
        referenced_segment=_reference(segmentation, int(item.SegmentNumber)),
        finding_category=_concept(item.SegmentedPropertyCategoryCodeSequence[0]),
        finding_type=_concept(item.SegmentedPropertyTypeCodeSequence[0]),
        finding_sites=_sites(item),
        algorithm_id=algorithm,
        measurements=None if measured is None else _measurements(measured, modality),
        qualitative_evaluations=list(evaluations) or None,
    )


def number(name: Code, value: float, unit: Code, *, derivation: Code | None = None) -> Any:
    """TID 300: a number with its unit."""
    import highdicom as hd

    derived = None if derivation is None else coded(derivation)
    return hd.sr.Measurement(name=coded(name), value=float(f"{value:.6g}"), unit=coded(unit), derivation=derived)


def _measurements(measured: SegmentMeasurement, modality: str) -> list[Any]:
    numbers = [number(words.VOLUME, measured.volume_mm3, words.CUBIC_MM)]
    if measured.axial_diameter_mm is not None:
        numbers.append(number(words.AXIAL_DIAMETER, measured.axial_diameter_mm, words.MM))
    if measured.diameter_mm is not None:
        numbers.append(number(words.DIAMETER_3D, measured.diameter_mm, words.MM))
    if measured.mean is not None and measured.quantity is not None:
        name, unit = words.mean_name(measured.quantity, modality), words.MEAN_UNITS[measured.quantity]
        numbers.append(number(name, measured.mean, unit, derivation=words.MEAN))
    return numbers


def _reference(segmentation: "Dataset", segment_number: int) -> Any:
    """The segment, and the series that it was drawn on: shorter than a thousand images, and as exact."""
    import highdicom as hd

    series = str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID)
    return hd.sr.ReferencedSegment(
        sop_class_uid=str(segmentation.SOPClassUID),
        sop_instance_uid=str(segmentation.SOPInstanceUID),
        segment_number=segment_number,
        source_series=hd.sr.SourceSeriesForSegmentation(referenced_series_instance_uid=series),
    )


def _sites(item: "Dataset") -> list[Any] | None:
    """Where it is, for a part of an organ: the organ with its side and direction (CID 244, CID 2)."""
    import highdicom as hd

    kind = item.SegmentedPropertyTypeCodeSequence[0]
    modifiers = [_concept(code) for code in kind.get("SegmentedPropertyTypeModifierCodeSequence") or ()]
    if not modifiers:
        return None
    side = next((one for one in modifiers if one.meaning in _LATERALITIES), None)
    direction = next((one for one in modifiers if one.meaning not in _LATERALITIES), None)
    return [hd.sr.FindingSite(anatomic_location=_concept(kind), laterality=side, topographical_modifier=direction)]


def _concept(code: "Dataset") -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(
        value=str(code.CodeValue), scheme_designator=str(code.CodingSchemeDesignator), meaning=str(code.CodeMeaning)
    )
