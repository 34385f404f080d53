"""Findings and measurements as a DICOM Structured Report: TID 1500 of PS3.16, through highdicom.

- One group a segment (TID 1411) with volume, longest diameters and the mean inside, referring to its segment of the
  DICOM SEG and to the source series.
- One group a finding and a target (TID 1501) with its probability, its spread, and whether it is called present.
- One group of what is odd about the input: quality flags, and the distance to the training set.
- Comments at the end say that it is research, what was missing, and whether the model was trained on the answer.

The observer is the model, as a device. The document is complete, preliminary and unverified: nobody has read it.
Patient and study attributes are carried over from the source, so that the report joins its study in an archive.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from medfuse.domain import Code, Finding, LabelValue, ModelIdentity, Prediction, TargetPrediction
from medfuse.ingest.dicom.files import quiet
from medfuse.outputs import report_codes as words
from medfuse.outputs.equipment import (
    MAKER,
    UTF8,
    coded,
    device,
    device_uid,
    new_uid,
    serial_number,
    series_description,
    series_number,
    text,
)
from medfuse.outputs.json import RESEARCH_USE
from medfuse.outputs.measurements import SegmentMeasurement
from medfuse.outputs.report_codes import declare_private_codes, finding_code, private_code, unit_code
from medfuse.outputs.segment_groups import number, segment_group
from medfuse.outputs.source_grid import SourceGridError
from medfuse.outputs.source_header import carry_identity, is_ascii, references_of

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES_KIND = 2
LEAKAGE = "The model was trained on report sections that state the answer: its figures do not count as performance."
_BUILD_ERRORS = (AttributeError, KeyError, TypeError, ValueError)


def dicom_sr(
    prediction: Prediction,
    source_datasets: Sequence["Dataset"],
    *,
    segmentation: "Dataset | None" = None,
    measurements: Sequence[SegmentMeasurement] = (),
    series_instance_uid: str | None = None,
) -> "Dataset":
    """Build the report of one study.

    Args:
        prediction: What the model says.
        source_datasets: Headers of the source series, pixels not needed.
        segmentation: The DICOM SEG that the measurements are of.
        measurements: Of the segments of `segmentation`, in their order.
        series_instance_uid: The source series' UID, for source headers that lack it.

    Raises:
        SourceGridError: There are no source headers, or they lack a UID that the report has to refer to.
    """
    with quiet():
        evidence = evidence_of(
            source_datasets,
            segmentation,
            {"StudyInstanceUID": prediction.study_instance_uid, "SeriesInstanceUID": series_instance_uid},
        )
        groups: list[Any] = []
        if segmentation is not None:
            groups += _segment_groups(segmentation, measurements, str(evidence[0].get("Modality") or ""), prediction)
        groups += [_finding_group(finding, prediction.model) for finding in prediction.findings]
        groups += [_target_group(target, prediction.model) for target in prediction.targets]
        groups += _quality_groups(prediction)
        content = measurement_report(
            groups, [device_observer(prediction.model)], evidence, comments=_comments(prediction)
        )
        return structured_report(
            content,
            evidence,
            source_datasets[0],
            series_description=series_description(prediction.model, "findings"),
            series_kind=SERIES_KIND,
            model=prediction.model,
        )


def evidence_of(
    source_datasets: Sequence["Dataset"], segmentation: "Dataset | None", uids: dict[str, str | None]
) -> list["Dataset"]:
    """The instances that a report refers to: the source images, and the segmentation.

    Raises:
        SourceGridError: There are none, or they lack a UID that the report has to refer to.
    """
    if not source_datasets:
        raise SourceGridError("there are no DICOM images that a report could refer to")
    return [*references_of(source_datasets, uids), *([] if segmentation is None else [segmentation])]


def measurement_report(
    groups: Sequence[Any], observers: Sequence[Any], evidence: Sequence["Dataset"], *, comments: Iterable[str]
) -> Any:
    """The content tree of TID 1500 with its groups, and comments behind them (the template is extensible)."""
    import highdicom as hd

    person = next((observer for observer in observers if _is_person(observer)), None)
    machine = next((observer for observer in observers if not _is_person(observer)), None)
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=person, observer_device_context=machine),
        procedure_reported=_procedure(str(evidence[0].get("Modality") or "")),
        imaging_measurements=list(groups),
    )
    for comment in comments:
        report[0].ContentSequence.append(comment_item(comment))
    return report


def comment_item(comment: str) -> Any:
    """A comment as a content item."""
    import highdicom as hd

    relationship = hd.sr.RelationshipTypeValues.CONTAINS
    return hd.sr.TextContentItem(name=coded(words.COMMENT), value=comment, relationship_type=relationship)


def structured_report(
    content: Any,
    evidence: Sequence["Dataset"],
    source: "Dataset",
    *,
    series_description: str,
    series_kind: int,
    model: ModelIdentity,
    **options: Any,
) -> "Dataset":
    """The document around a content tree, with the identity of the source.

    Args:
        content: What `measurement_report` gives.
        evidence: What it refers to.
        source: Header that patient and study attributes are copied from.
        series_description: Of the new series.
        series_kind: As `equipment.series_number` takes it.
        model: Whose device attributes the document carries.
        options: More arguments of highdicom's `Comprehensive3DSR`.

    Raises:
        SourceGridError: highdicom refuses the headers.
    """
    import highdicom as hd

    try:
        document: Dataset = hd.sr.Comprehensive3DSR(
            evidence=evidence,
            content=content[0],
            series_instance_uid=new_uid(),
            series_number=series_number(source, series_kind),
            sop_instance_uid=new_uid(),
            instance_number=1,
            is_complete=True,
            series_description=series_description,
            specific_character_set=UTF8,
            **device(model),
            **options,
        )
    except _BUILD_ERRORS as error:
        # Not chained: the message may quote a header value.
        kind = type(error).__name__
        raise SourceGridError(f"highdicom refuses the source headers ({kind}); check them with dciodvfy") from None
    declare_private_codes(document)
    carry_identity(source, document, keep_encoding=is_ascii(document))
    return document


def _segment_groups(
    segmentation: "Dataset", measurements: Sequence[SegmentMeasurement], modality: str, prediction: Prediction
) -> list[Any]:
    pairs = zip(segmentation.SegmentSequence, measurements, strict=True)
    return [segment_group(segmentation, item, one, modality, algorithm_of(prediction.model)) for item, one in pairs]


def _finding_group(finding: Finding, model: ModelIdentity) -> Any:
    measured = [number(words.PROBABILITY, finding.probability, words.NO_UNITS)]
    if finding.spread is not None:
        measured.append(number(words.PROBABILITY, finding.spread, words.NO_UNITS, derivation=words.STANDARD_DEVIATION))
    if finding.operating_point is not None:
        measured.append(number(private_code("operating point"), finding.operating_point, words.NO_UNITS))
    evaluations = []
    if finding.present is not None:
        evaluations.append(evaluation(words.PRESENCE, words.PRESENT if finding.present else words.ABSENT))
    if finding.prediction_set is not None:
        evaluations.append(evaluation(private_code("prediction set"), _set_code(finding.prediction_set)))
    calibrated = "calibrated" if finding.calibrated else "not calibrated"
    evaluations.append(evaluation(private_code("calibration"), private_code(calibrated)))
    return group(finding.name, finding_code(finding.name), measured, evaluations, algorithm=algorithm_of(model))


def _target_group(target: TargetPrediction, model: ModelIdentity) -> Any:
    measured, evaluations = [], []
    if target.value is not None:
        measured.append(number(private_code(target.name), target.value, unit_code(target.unit)))
    if target.most_probable is not None:
        evaluations.append(evaluation(private_code(target.name), private_code(target.most_probable)))
    for name, probability in zip(target.classes, target.probabilities, strict=True):
        measured.append(number(private_code(f"probability of {name}"), probability, words.NO_UNITS))
    return group(target.name, private_code(target.name), measured, evaluations, algorithm=algorithm_of(model))


def _quality_groups(prediction: Prediction) -> list[Any]:
    evaluations = [evaluation(private_code("quality flag"), private_code(flag.code)) for flag in prediction.quality]
    measured = []
    if (familiarity := prediction.familiarity) is not None:
        measured.append(number(private_code("distance to training"), familiarity.distance, words.NO_UNITS))
        measured.append(number(private_code("distance limit"), familiarity.threshold, words.NO_UNITS))
        said = private_code("unfamiliar" if familiarity.is_unfamiliar else "familiar")
        evaluations.append(evaluation(private_code("familiarity"), said))
    if not evaluations:
        return []
    algorithm = algorithm_of(prediction.model)
    return [group("input", words.IMAGE_QUALITY, measured, evaluations, algorithm=algorithm)]


def group(
    name: str, finding_type: Code, measured: Sequence[Any], evaluations: Sequence[Any], *, algorithm: Any = None
) -> Any:
    """A group of measurements and evaluations that no region belongs to (TID 1501)."""
    import highdicom as hd

    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=new_uid(), identifier=text(name, fallback="unnamed")),
        finding_type=coded(finding_type),
        algorithm_id=algorithm,
        measurements=list(measured) or None,
        qualitative_evaluations=list(evaluations) or None,
    )


def evaluation(name: Code, value: Code) -> Any:
    """A coded answer to a coded question."""
    import highdicom as hd

    return hd.sr.QualitativeEvaluation(name=coded(name), value=coded(value))


def algorithm_of(model: ModelIdentity) -> Any:
    """TID 4019, Algorithm Identification; without the family, which readers take for an answer of the group."""
    import highdicom as hd

    return hd.sr.AlgorithmIdentification(
        name=text(f"{MAKER} {model.name}", fallback=MAKER),
        version=text(model.version, fallback="unknown"),
        manufacturer=MAKER,
        parameters=[f"weights_sha256={model.weights_sha256}", f"config_sha256={model.config_sha256}"],
    )


def device_observer(model: ModelIdentity) -> Any:
    """The model as an observer (TID 1004)."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    attributes = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(model),
        name=text(model.name, fallback=MAKER),
        manufacturer_name=MAKER,
        model_name=MAKER,
        serial_number=serial_number(model),
    )
    return hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=attributes)


def _is_person(observer: Any) -> bool:
    from pydicom.sr.codedict import codes

    return bool(observer.observer_type == codes.DCM.Person)


def _procedure(modality: str) -> Any:
    """Procedure reported, of CID 100."""
    from pydicom.sr.codedict import codes

    known = {
        "CT": codes.CID100.CTUnspecifiedBodyRegion,
        "MR": codes.CID100.MRIUnspecifiedBodyRegion,
        "PT": codes.CID100.PETUnspecifiedBodyRegion,
    }
    return known.get(modality, codes.CID100.ImagingProcedure)


def _set_code(values: Sequence[LabelValue]) -> Code:
    present, absent = LabelValue.PRESENT in values, LabelValue.ABSENT in values
    if present and absent:
        return words.UNDETERMINED
    if not (present or absent):
        return private_code("neither")
    return words.PRESENT if present else words.ABSENT


def _comments(prediction: Prediction) -> list[str]:
    comments = [RESEARCH_USE]
    if prediction.model.leakage_allowed:
        comments.append(LEAKAGE)
    if prediction.missing:
        comments.append(f"Inputs that the model takes and the study lacks: {', '.join(prediction.missing)}.")
    return [*comments, *(flag.detail for flag in prediction.quality)]
