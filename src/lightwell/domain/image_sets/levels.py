"""The attributes at the Patient, Study and Series level of the metadata; all others belong to the instance.

Source: devguide/metadata-normalization; tags of PS3.6. Private attributes are always at the Instance level.
Only elements of the data set itself have a level, never those inside a sequence.

An attribute whose VR in the file does not fit is shown at its instance, under the digits of its tag. It is
still the same attribute: an edit of the level hides it.
"""

from __future__ import annotations

from typing import Final, Literal

Level = Literal[0, 1, 2, 3]
"""Literals, since the parsers compare them for each element of each file."""

PATIENT: Final = 0
STUDY: Final = 1
SERIES: Final = 2
INSTANCE: Final = 3

LEVEL_NAMES: Final = ("Patient", "Study", "Series", "Instance")

_PATIENT_TAGS: Final = {
    "BreedRegistrationSequence": "00102294",
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber": "00120082",
    "ClinicalTrialProtocolEthicsCommitteeName": "00120081",
    "ClinicalTrialProtocolID": "00120020",
    "ClinicalTrialProtocolName": "00120021",
    "ClinicalTrialSiteID": "00120030",
    "ClinicalTrialSiteName": "00120031",
    "ClinicalTrialSponsorName": "00120010",
    "ClinicalTrialSubjectID": "00120040",
    "ClinicalTrialSubjectReadingID": "00120042",
    "DeidentificationMethod": "00120063",
    "DeidentificationMethodCodeSequence": "00120064",
    "EthnicGroup": "00102160",
    "GeneticModificationsSequence": "00100221",
    "GroupOfPatientsIdentificationSequence": "00100027",
    "IssuerOfPatientID": "00100021",
    "IssuerOfPatientIDQualifiersSequence": "00100024",
    "OtherPatientIDsSequence": "00101002",
    "OtherPatientNames": "00101001",
    "PatientAlternativeCalendar": "00100035",
    "PatientBirthDate": "00100030",
    "PatientBirthDateInAlternativeCalendar": "00100033",
    "PatientBirthTime": "00100032",
    "PatientBreedCodeSequence": "00102293",
    "PatientBreedDescription": "00102292",
    "PatientComments": "00104000",
    "PatientDeathDateInAlternativeCalendar": "00100034",
    "PatientID": "00100020",
    "PatientIdentityRemoved": "00120062",
    "PatientName": "00100010",
    "PatientSex": "00100040",
    "PatientSpeciesCodeSequence": "00102202",
    "PatientSpeciesDescription": "00102201",
    "QualityControlSubject": "00100200",
    "ReferencedPatientPhotoSequence": "00101100",
    "ReferencedPatientSequence": "00081120",
    "ResponsibleOrganization": "00102299",
    "ResponsiblePerson": "00102297",
    "ResponsiblePersonRole": "00102298",
    "SourcePatientGroupIdentificationSequence": "00100026",
    "StrainAdditionalInformation": "00100218",
    "StrainCodeSequence": "00100219",
    "StrainDescription": "00100212",
    "StrainNomenclature": "00100213",
    "StrainStockSequence": "00100216",
    "TypeOfPatientID": "00100022",
}
_STUDY_TAGS: Final = {
    "AccessionNumber": "00080050",
    "AdditionalPatientHistory": "001021B0",
    "AdmissionID": "00380010",
    "AdmittingDiagnosesCodeSequence": "00081084",
    "AdmittingDiagnosesDescription": "00081080",
    "Allergies": "00102110",
    "ClinicalTrialTimePointDescription": "00120051",
    "ClinicalTrialTimePointID": "00120050",
    "ConsentForClinicalTrialUseSequence": "00120083",
    "ConsultingPhysicianIdentificationSequence": "0008009D",
    "ConsultingPhysicianName": "0008009C",
    "IssuerOfAccessionNumberSequence": "00080051",
    "IssuerOfAdmissionIDSequence": "00380014",
    "IssuerOfServiceEpisodeIDSequence": "00380064",
    "LastMenstrualDate": "001021D0",
    "LongitudinalTemporalEventType": "00120053",
    "LongitudinalTemporalOffsetFromEvent": "00120052",
    "MeasuredAPDimension": "00101023",
    "MeasuredLateralDimension": "00101024",
    "MedicalAlerts": "00102000",
    "NameOfPhysiciansReadingStudy": "00081060",
    "Occupation": "00102180",
    "PatientAge": "00101010",
    "PatientBodyMassIndex": "00101022",
    "PatientSexNeutered": "00102203",
    "PatientSize": "00101020",
    "PatientSizeCodeSequence": "00101021",
    "PatientState": "00380500",
    "PatientWeight": "00101030",
    "PhysiciansOfRecord": "00081048",
    "PhysiciansOfRecordIdentificationSequence": "00081049",
    "PhysiciansReadingStudyIdentificationSequence": "00081062",
    "PregnancyStatus": "001021C0",
    "ProcedureCodeSequence": "00081032",
    "ReasonForPerformedProcedureCodeSequence": "00401012",
    "ReasonForVisit": "00321066",
    "ReasonForVisitCodeSequence": "00321067",
    "ReferencedStudySequence": "00081110",
    "ReferringPhysicianIdentificationSequence": "00080096",
    "ReferringPhysicianName": "00080090",
    "RequestingService": "00321033",
    "RequestingServiceCodeSequence": "00321034",
    "ServiceEpisodeDescription": "00380062",
    "ServiceEpisodeID": "00380060",
    "SmokingStatus": "001021A0",
    "StudyDate": "00080020",
    "StudyDescription": "00081030",
    "StudyID": "00200010",
    "StudyInstanceUID": "0020000D",
    "StudyTime": "00080030",
}
_SERIES_TAGS: Final = {
    "AnatomicalOrientationType": "00102210",
    "BodyPartExamined": "00180015",
    "ClinicalTrialCoordinatingCenterName": "00120060",
    "ClinicalTrialSeriesDescription": "00120072",
    "ClinicalTrialSeriesID": "00120071",
    "DateOfLastCalibration": "00181200",
    "DeviceSerialNumber": "00181000",
    "DeviceUID": "00181002",
    "FrameOfReferenceUID": "00200052",
    "GantryID": "00181008",
    "InstitutionAddress": "00080081",
    "InstitutionName": "00080080",
    "InstitutionalDepartmentName": "00081040",
    "InstitutionalDepartmentTypeCodeSequence": "00081041",
    "LargestPixelValueInSeries": "00280109",
    "Laterality": "00200060",
    "Manufacturer": "00080070",
    "ManufacturerDeviceClassUID": "0018100B",
    "ManufacturerModelName": "00081090",
    "Modality": "00080060",
    "OperatorIdentificationSequence": "00081072",
    "OperatorsName": "00081070",
    "PatientPosition": "00185100",
    "PerformingPhysicianIdentificationSequence": "00081052",
    "PerformingPhysicianName": "00081050",
    "PixelPaddingValue": "00280120",
    "PositionReferenceIndicator": "00201040",
    "ProtocolName": "00181030",
    "ReferencedPerformedProcedureStepSequence": "00081111",
    "RelatedSeriesSequence": "00081250",
    "RequestAttributesSequence": "00400275",
    "SeriesDate": "00080021",
    "SeriesDescription": "0008103E",
    "SeriesDescriptionCodeSequence": "0008103F",
    "SeriesInstanceUID": "0020000E",
    "SeriesNumber": "00200011",
    "SeriesTime": "00080031",
    "SmallestPixelValueInSeries": "00280108",
    "SoftwareVersions": "00181020",
    "SpatialResolution": "00181050",
    "StationName": "00081010",
    "TimeOfLastCalibration": "00181201",
    "TreatmentSessionUID": "300A0700",
    "UDISequence": "0018100A",
}

TAG_DIGITS: dict[str, str] = _PATIENT_TAGS | _STUDY_TAGS | _SERIES_TAGS
"""Keyword → tag, as eight upper-case hex digits."""

LEVELS: dict[str, Level] = {
    **dict.fromkeys(_PATIENT_TAGS, PATIENT),
    **dict.fromkeys(_STUDY_TAGS, STUDY),
    **dict.fromkeys(_SERIES_TAGS, SERIES),
}
"""Keyword → level; a keyword that is not here belongs to the instance."""


def level_of(keyword: str) -> Level:
    """PATIENT, STUDY, SERIES or INSTANCE."""
    return LEVELS.get(keyword, INSTANCE)
