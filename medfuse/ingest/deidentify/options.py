"""The option columns of PS3.15 table E.1-1, by keyword, and the safe private attributes of section E.3.10.

Lists of what an option keeps; everything else is treated by the Basic Profile. Source: table E.1-1 of PS3.15 as
idiscore 1.2.0 read it from the standard on 2024-09-19; newer attributes are not among them,
and so are treated more strictly.
"""

from pydicom.datadict import tag_for_keyword


def _tags(keywords: str) -> frozenset[int]:
    return frozenset(tag for keyword in keywords.split() if (tag := tag_for_keyword(keyword)) is not None)


DESCRIPTORS = _tags("""
    AcquisitionComments AcquisitionDeviceProcessingDescription AcquisitionFieldOfViewLabel
    AcquisitionProtocolDescription AdditionalPatientHistory AdmittingDiagnosesCodeSequence
    AdmittingDiagnosesDescription Allergies AnnotationGroupDescription AnnotationGroupLabel BeamDescription
    BolusDescription ClinicalTrialSeriesDescription ClinicalTrialTimePointDescription CommentsOnRadiationDose
    CommentsOnThePerformedProcedureStep CompensatorDescription ConceptualVolumeCombinationDescription
    ConceptualVolumeDescription ContainerDescription ContrastBolusAgent ContributionDescription
    DecompositionDescription DerivationDescription DischargeDiagnosisDescription DisplacementReferenceLabel
    DoseReferenceDescription EntityDescription EntityLabel EntityLongLabel EntityName
    EquipmentFrameOfReferenceDescription FilterLookupTableDescription FixationDeviceDescription
    FractionGroupDescription FractionationNotes FrameComments IdentifyingComments ImageComments
    ImagingServiceRequestComments Impressions InterlockDescription InterlockOriginDescription
    InterpretationDiagnosisDescription InterpretationText LabelText LongDeviceDescription MedicalAlerts
    MultienergyAcquisitionDescription Occupation PatientComments PatientSetupPhotoDescription PatientState
    PatientTreatmentPreparationMethodDescription PatientTreatmentPreparationProcedureParameterDescription
    PerformedProcedureStepDescription PositionAcquisitionTemplateDescription PositionAcquisitionTemplateName
    PrescriptionDescription PrescriptionNotes PrescriptionNotesSequence PriorTreatmentDoseDescription
    ProtocolName PyramidDescription PyramidLabel ROIDescription ROIGenerationDescription ROIName
    ROIObservationDescription ROIObservationLabel RTPhysicianIntentNarrative RTPlanDescription RTPlanLabel
    RTPlanName RTPrescriptionLabel RTToleranceSetLabel RTTreatmentApproachLabel RadiationDoseIdentificationLabel
    RadiationDoseInVivoMeasurementLabel RadiationGenerationModeDescription RadiationGenerationModeLabel
    ReasonForOmissionDescription ReasonForRequestedProcedureCodeSequence ReasonForStudy ReasonForSuperseding
    ReasonForTheAttributeModification ReasonForTheImagingServiceRequest ReasonForTheRequestedProcedure
    ReasonForVisit ReasonForVisitCodeSequence RequestAttributesSequence RequestedContrastAgent
    RequestedProcedureComments RequestedProcedureDescription RequestedSeriesDescription
    RespiratoryMotionCompensationTechniqueDescription ResultsComments ScheduledProcedureStepDescription
    SelectorLOValue SelectorLTValue SelectorSHValue SelectorSTValue SelectorUTValue SeriesDescription
    ServiceEpisodeDescription SetupTechniqueDescription ShieldingDeviceDescription SpecimenDetailedDescription
    SpecimenShortDescription StructureSetDescription StructureSetLabel StructureSetName StudyComments
    StudyDescription TreatmentPositionGroupLabel TreatmentSite TreatmentSites TreatmentTechniqueNotes
    TreatmentToleranceViolationDescription UserContentLabel UserContentLongLabel VisitComments
    WaveformFilterDescription
""")
"""Clean Descriptors Option, code C; binary ones (Device Setting Description, Maker Note) are left to the profile."""

DEVICE = _tags("""
    BeamHoldTransitionDateTime CalibrationDate CalibrationDateTime CalibrationTime CassetteID DateOfInstallation
    DateOfLastCalibration DateOfLastDetectorCalibration DateOfManufacture DateTimeOfLastCalibration DetectorID
    DeviceDescription DeviceLabel DeviceSerialNumber DeviceUID GantryID GeneratorID LensMake LensModel
    LensSerialNumber LensSpecification ManufacturerDeviceClassUID ManufacturerDeviceIdentifier ModifyingDeviceID
    ModifyingSystem PerformedStationGeographicLocationCodeSequence PerformedStationName
    PerformedStationNameCodeSequence PlateID ScheduledProcedureStepLocation
    ScheduledStationGeographicLocationCodeSequence ScheduledStationName ScheduledStationNameCodeSequence
    ScheduledStudyLocation SourceManufacturer SourceSerialNumber StationName TimeOfLastCalibration
    TimeOfLastDetectorCalibration TransducerIdentificationSequence TreatmentMachineName UDISequence
    UniqueDeviceIdentifier XRayDetectorID XRayDetectorLabel XRaySourceID
""")
"""Retain Device Identity Option, code K."""

PATIENT_KEPT = _tags("""
    EthnicGroup EthnicGroupCodeSequence PatientAge PatientSex PatientSexNeutered PatientSize PatientWeight
    PregnancyStatus SelectorASValue SmokingStatus
""")
"""Retain Patient Characteristics Option, code K."""

PATIENT_CLEANED = _tags("""
    Allergies PatientState PreMedication SpecialNeeds
""")
"""Retain Patient Characteristics Option, code C."""

STRUCTURED_CONTENT = _tags("AcquisitionContextSequence ContentSequence SpecimenPreparationSequence TextValue")
"""Clean Structured Content Option, code C, and the text of a content item."""

BIRTH = _tags("GPSTimeStamp PatientBirthDate PatientBirthTime")
"""Dates and times of the table that no option for dates keeps."""

TIME_ZONE = _tags("TimezoneOffsetFromUTC")
"""Kept with the dates, which are nothing without it."""

CLASS_UIDS = _tags("""
    AffectedSOPClassUID CodingSchemeUID ContextUID MappingResourceUID MediaStorageSOPClassUID
    OriginalSpecializedSOPClassUID ReferencedRelatedGeneralSOPClassUIDInFile ReferencedSOPClassUID
    ReferencedSOPClassUIDInFile ReferencedTransferSyntaxUIDInFile RelatedGeneralSOPClassUID RequestedSOPClassUID
    SOPClassesInStudy SOPClassesSupported SOPClassUID TransferSyntaxUID
""")
"""UIDs that name a kind, not an instance."""

SAFE_PRIVATE: dict[str, dict[int, str]] = {
    "ELSCINT1": {0x00E1: "21 50", 0x01E1: "26", 0x01F1: "01 07 26 27"},
    "GEMS_ACQU_01": {0x0019: "23 24 27 9e"},
    "GEMS_HELIOS_01": {0x0045: "01 02"},
    "GEMS_PARM_01": {0x0043: "27 39 6f"},
    "GEMS_SERS_01": {0x0025: "07"},
    "PHILIPS MR IMAGING DD 001": {0x2005: "0d 0e b0 b1 b2"},
    "PHILIPS IMAGING DD 001": {0x2001: "03 04"},
    "PHILIPS PET PRIVATE GROUP": {0x7053: "00 09"},
    "SIEMENS MR HEADER": {0x0019: "0a 0c 0d 0e 27 29"},
}
"""Private creator (upper case) -> group -> elements of the block that are kept by the Retain Safe Private Option.

Those that PixelMed lists after table E.3.10-1 for CT, MR and PET, and besides them the numbers of diffusion, mosaics
and slice timing that readers of volumes need, which are our own choice.
Values are kept if they are numbers or short codes.
"""
