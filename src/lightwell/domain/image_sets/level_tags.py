"""The tags of the patient, study and series attributes.

What a file has under a VR that does not fit is shown at its instance, by the digits of its tag. It is the
same attribute all the same: an edit of the level covers it.
"""

from __future__ import annotations

_TAGS = """
    AccessionNumber:00080050 AdditionalPatientHistory:001021B0 AdmissionID:00380010
    AdmittingDiagnosesCodeSequence:00081084 AdmittingDiagnosesDescription:00081080 Allergies:00102110
    AnatomicalOrientationType:00102210 BodyPartExamined:00180015 BreedRegistrationSequence:00102294
    ClinicalTrialCoordinatingCenterName:00120060
    ClinicalTrialProtocolEthicsCommitteeApprovalNumber:00120082
    ClinicalTrialProtocolEthicsCommitteeName:00120081 ClinicalTrialProtocolID:00120020
    ClinicalTrialProtocolName:00120021 ClinicalTrialSeriesDescription:00120072
    ClinicalTrialSeriesID:00120071 ClinicalTrialSiteID:00120030 ClinicalTrialSiteName:00120031
    ClinicalTrialSponsorName:00120010 ClinicalTrialSubjectID:00120040
    ClinicalTrialSubjectReadingID:00120042 ClinicalTrialTimePointDescription:00120051
    ClinicalTrialTimePointID:00120050 ConsentForClinicalTrialUseSequence:00120083
    ConsultingPhysicianIdentificationSequence:0008009D ConsultingPhysicianName:0008009C
    DateOfLastCalibration:00181200 DeidentificationMethod:00120063
    DeidentificationMethodCodeSequence:00120064 DeviceSerialNumber:00181000 DeviceUID:00181002
    EthnicGroup:00102160 FrameOfReferenceUID:00200052 GantryID:00181008
    GeneticModificationsSequence:00100221 GroupOfPatientsIdentificationSequence:00100027
    InstitutionAddress:00080081 InstitutionName:00080080 InstitutionalDepartmentName:00081040
    InstitutionalDepartmentTypeCodeSequence:00081041 IssuerOfAccessionNumberSequence:00080051
    IssuerOfAdmissionIDSequence:00380014 IssuerOfPatientID:00100021
    IssuerOfPatientIDQualifiersSequence:00100024 IssuerOfServiceEpisodeIDSequence:00380064
    LargestPixelValueInSeries:00280109 LastMenstrualDate:001021D0 Laterality:00200060
    LongitudinalTemporalEventType:00120053 LongitudinalTemporalOffsetFromEvent:00120052
    Manufacturer:00080070 ManufacturerDeviceClassUID:0018100B ManufacturerModelName:00081090
    MeasuredAPDimension:00101023 MeasuredLateralDimension:00101024 MedicalAlerts:00102000
    Modality:00080060 NameOfPhysiciansReadingStudy:00081060 Occupation:00102180
    OperatorIdentificationSequence:00081072 OperatorsName:00081070 OtherPatientIDsSequence:00101002
    OtherPatientNames:00101001 PatientAge:00101010 PatientAlternativeCalendar:00100035
    PatientBirthDate:00100030 PatientBirthDateInAlternativeCalendar:00100033 PatientBirthTime:00100032
    PatientBodyMassIndex:00101022 PatientBreedCodeSequence:00102293 PatientBreedDescription:00102292
    PatientComments:00104000 PatientDeathDateInAlternativeCalendar:00100034 PatientID:00100020
    PatientIdentityRemoved:00120062 PatientName:00100010 PatientPosition:00185100 PatientSex:00100040
    PatientSexNeutered:00102203 PatientSize:00101020 PatientSizeCodeSequence:00101021
    PatientSpeciesCodeSequence:00102202 PatientSpeciesDescription:00102201 PatientState:00380500
    PatientWeight:00101030 PerformingPhysicianIdentificationSequence:00081052
    PerformingPhysicianName:00081050 PhysiciansOfRecord:00081048
    PhysiciansOfRecordIdentificationSequence:00081049
    PhysiciansReadingStudyIdentificationSequence:00081062 PixelPaddingValue:00280120
    PositionReferenceIndicator:00201040 PregnancyStatus:001021C0 ProcedureCodeSequence:00081032
    ProtocolName:00181030 QualityControlSubject:00100200 ReasonForPerformedProcedureCodeSequence:00401012
    ReasonForVisit:00321066 ReasonForVisitCodeSequence:00321067 ReferencedPatientPhotoSequence:00101100
    ReferencedPatientSequence:00081120 ReferencedPerformedProcedureStepSequence:00081111
    ReferencedStudySequence:00081110 ReferringPhysicianIdentificationSequence:00080096
    ReferringPhysicianName:00080090 RelatedSeriesSequence:00081250 RequestAttributesSequence:00400275
    RequestingService:00321033 RequestingServiceCodeSequence:00321034 ResponsibleOrganization:00102299
    ResponsiblePerson:00102297 ResponsiblePersonRole:00102298 SeriesDate:00080021
    SeriesDescription:0008103E SeriesDescriptionCodeSequence:0008103F SeriesInstanceUID:0020000E
    SeriesNumber:00200011 SeriesTime:00080031 ServiceEpisodeDescription:00380062 ServiceEpisodeID:00380060
    SmallestPixelValueInSeries:00280108 SmokingStatus:001021A0 SoftwareVersions:00181020
    SourcePatientGroupIdentificationSequence:00100026 SpatialResolution:00181050 StationName:00081010
    StrainAdditionalInformation:00100218 StrainCodeSequence:00100219 StrainDescription:00100212
    StrainNomenclature:00100213 StrainStockSequence:00100216 StudyDate:00080020 StudyDescription:00081030
    StudyID:00200010 StudyInstanceUID:0020000D StudyTime:00080030 TimeOfLastCalibration:00181201
    TreatmentSessionUID:300A0700 TypeOfPatientID:00100022 UDISequence:0018100A
"""

#: keyword → eight upper-case hex digits (PS3.6)
DIGITS: dict[str, str] = dict(pair.split(":") for pair in _TAGS.split())
