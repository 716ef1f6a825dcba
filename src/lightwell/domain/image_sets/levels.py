"""Which attributes stand at patient, study and series level of the metadata; all others at the instance.

Source: devguide/metadata-normalization. Private attributes are always at the instance. Only elements of the
data set itself are levelled, never those inside of sequences.
"""

from __future__ import annotations

PATIENT, STUDY, SERIES, INSTANCE = 0, 1, 2, 3

_PATIENT = """
    BreedRegistrationSequence ClinicalTrialProtocolEthicsCommitteeApprovalNumber
    ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolID ClinicalTrialProtocolName
    ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSponsorName ClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID DeidentificationMethod DeidentificationMethodCodeSequence EthnicGroup
    GeneticModificationsSequence GroupOfPatientsIdentificationSequence IssuerOfPatientID
    IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence OtherPatientNames PatientAlternativeCalendar
    PatientBirthDate PatientBirthDateInAlternativeCalendar PatientBirthTime PatientBreedCodeSequence
    PatientBreedDescription PatientComments PatientDeathDateInAlternativeCalendar PatientID
    PatientIdentityRemoved PatientName PatientSex PatientSpeciesCodeSequence PatientSpeciesDescription
    QualityControlSubject ReferencedPatientPhotoSequence ReferencedPatientSequence ResponsibleOrganization
    ResponsiblePerson ResponsiblePersonRole SourcePatientGroupIdentificationSequence
    StrainAdditionalInformation StrainCodeSequence StrainDescription StrainNomenclature StrainStockSequence
    TypeOfPatientID
"""
_STUDY = """
    AccessionNumber AdditionalPatientHistory AdmissionID AdmittingDiagnosesCodeSequence
    AdmittingDiagnosesDescription Allergies ClinicalTrialTimePointDescription ClinicalTrialTimePointID
    ConsentForClinicalTrialUseSequence ConsultingPhysicianIdentificationSequence ConsultingPhysicianName
    IssuerOfAccessionNumberSequence IssuerOfAdmissionIDSequence IssuerOfServiceEpisodeIDSequence
    LastMenstrualDate LongitudinalTemporalEventType LongitudinalTemporalOffsetFromEvent MeasuredAPDimension
    MeasuredLateralDimension MedicalAlerts NameOfPhysiciansReadingStudy Occupation PatientAge
    PatientBodyMassIndex PatientSexNeutered PatientSize PatientSizeCodeSequence PatientState PatientWeight
    PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence PhysiciansReadingStudyIdentificationSequence
    PregnancyStatus ProcedureCodeSequence ReasonForPerformedProcedureCodeSequence ReasonForVisit
    ReasonForVisitCodeSequence ReferencedStudySequence ReferringPhysicianIdentificationSequence
    ReferringPhysicianName RequestingService RequestingServiceCodeSequence ServiceEpisodeDescription
    ServiceEpisodeID SmokingStatus StudyDate StudyDescription StudyID StudyInstanceUID StudyTime
"""
_SERIES = """
    AnatomicalOrientationType BodyPartExamined ClinicalTrialCoordinatingCenterName
    ClinicalTrialSeriesDescription ClinicalTrialSeriesID DateOfLastCalibration DeviceSerialNumber DeviceUID
    FrameOfReferenceUID GantryID InstitutionAddress InstitutionName InstitutionalDepartmentName
    InstitutionalDepartmentTypeCodeSequence LargestPixelValueInSeries Laterality Manufacturer
    ManufacturerDeviceClassUID ManufacturerModelName Modality OperatorIdentificationSequence OperatorsName
    PatientPosition PerformingPhysicianIdentificationSequence PerformingPhysicianName PixelPaddingValue
    PositionReferenceIndicator ProtocolName ReferencedPerformedProcedureStepSequence RelatedSeriesSequence
    RequestAttributesSequence SeriesDate SeriesDescription SeriesDescriptionCodeSequence SeriesInstanceUID
    SeriesNumber SeriesTime SmallestPixelValueInSeries SoftwareVersions SpatialResolution StationName
    TimeOfLastCalibration TreatmentSessionUID UDISequence
"""

#: keyword → PATIENT, STUDY or SERIES; a keyword that is not here belongs to the instance
LEVELS: dict[str, int] = {
    keyword: level
    for level, keywords in ((PATIENT, _PATIENT), (STUDY, _STUDY), (SERIES, _SERIES))
    for keyword in keywords.split()
}


def level_of(keyword: str) -> int:
    """PATIENT, STUDY, SERIES or INSTANCE."""
    return LEVELS.get(keyword, INSTANCE)
