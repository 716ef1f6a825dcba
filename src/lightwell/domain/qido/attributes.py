"""Which attributes a QIDO-RS search can match, and which it returns.

Source: AWS's dicomweb-search pages (match keys, ``includefield=all``), PS3.18 Table 10.6.1-5 (match keys that
a server must support) and Tables 10.6.3-3 to -5 (returned attributes), PS3.4 Table C.6-5 (optional keys).
"""

from __future__ import annotations

from dataclasses import dataclass

from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY

LEVELS = (STUDY, SERIES, INSTANCE)


@dataclass(frozen=True, slots=True)
class MatchKey:
    """An indexed attribute. ``path`` holds the tags from the data set down to it.

    ``optional``: neither HealthImaging nor PS3.18 requires that it can be matched. ``multiple``: it may have
    several values (PS3.6), and matches by any of them.
    """

    keyword: str
    path: tuple[int, ...]
    vr: str
    level: str
    optional: bool = False
    multiple: bool = False

    @property
    def name(self) -> str:
        """The tags as they are written in a query."""
        return ".".join(f"{tag:08X}" for tag in self.path)


_REQUEST = "RequestAttributesSequence"

MATCH_KEYS: dict[str, MatchKey] = {
    key.keyword: key
    for key in (
        MatchKey("StudyDate", (0x00080020,), "DA", STUDY),
        MatchKey("StudyTime", (0x00080030,), "TM", STUDY),
        MatchKey("AccessionNumber", (0x00080050,), "SH", STUDY),
        MatchKey("ModalitiesInStudy", (0x00080061,), "CS", STUDY, multiple=True),
        MatchKey("ReferringPhysicianName", (0x00080090,), "PN", STUDY),
        MatchKey("StudyDescription", (0x00081030,), "LO", STUDY),
        MatchKey("PatientName", (0x00100010,), "PN", STUDY),
        MatchKey("PatientID", (0x00100020,), "LO", STUDY),
        MatchKey("PatientBirthDate", (0x00100030,), "DA", STUDY),
        MatchKey("PatientBirthTime", (0x00100032,), "TM", STUDY),
        MatchKey("StudyInstanceUID", (0x0020000D,), "UI", STUDY),
        MatchKey("StudyID", (0x00200010,), "SH", STUDY),
        MatchKey("Modality", (0x00080060,), "CS", SERIES),
        MatchKey("SeriesInstanceUID", (0x0020000E,), "UI", SERIES),
        MatchKey("SeriesNumber", (0x00200011,), "IS", SERIES),
        MatchKey("PerformedProcedureStepStartDate", (0x00400244,), "DA", SERIES),
        MatchKey("PerformedProcedureStepStartTime", (0x00400245,), "TM", SERIES),
        MatchKey(f"{_REQUEST}.ScheduledProcedureStepID", (0x00400275, 0x00400009), "SH", SERIES),
        MatchKey(f"{_REQUEST}.RequestedProcedureID", (0x00400275, 0x00401001), "SH", SERIES),
        MatchKey("SOPClassUID", (0x00080016,), "UI", INSTANCE),
        MatchKey("SOPInstanceUID", (0x00080018,), "UI", INSTANCE),
        MatchKey("InstanceNumber", (0x00200013,), "IS", INSTANCE),
        MatchKey("WarningReason", (0x00081196,), "US", INSTANCE),
        MatchKey("NameOfPhysiciansReadingStudy", (0x00081060,), "PN", STUDY, optional=True, multiple=True),
        MatchKey("IssuerOfPatientID", (0x00100021,), "LO", STUDY, optional=True),
        MatchKey("PatientSex", (0x00100040,), "CS", STUDY, optional=True),
        MatchKey("SeriesDate", (0x00080021,), "DA", SERIES, optional=True),
        MatchKey("SeriesTime", (0x00080031,), "TM", SERIES, optional=True),
        MatchKey("Manufacturer", (0x00080070,), "LO", SERIES, optional=True),
        MatchKey("InstitutionName", (0x00080080,), "LO", SERIES, optional=True),
        MatchKey("StationName", (0x00081010,), "SH", SERIES, optional=True),
        MatchKey("SeriesDescription", (0x0008103E,), "LO", SERIES, optional=True),
        MatchKey("PerformingPhysicianName", (0x00081050,), "PN", SERIES, optional=True, multiple=True),
        MatchKey("OperatorsName", (0x00081070,), "PN", SERIES, optional=True, multiple=True),
        MatchKey("ManufacturerModelName", (0x00081090,), "LO", SERIES, optional=True),
        MatchKey("BodyPartExamined", (0x00180015,), "CS", SERIES, optional=True),
        MatchKey("ProtocolName", (0x00181030,), "LO", SERIES, optional=True),
        MatchKey("Laterality", (0x00200060,), "CS", SERIES, optional=True),
    )
}
"""By keyword; attributes in a sequence by the keywords of their path, joined by dots."""

MATCH_KEYS_BY_PATH = {key.path: key for key in MATCH_KEYS.values()}


def match_keys(level: str, *, optional: bool = True) -> list[MatchKey]:
    """What a search at that level can match: attributes of its own level and of those above."""
    known = LEVELS[: LEVELS.index(level) + 1]
    return [key for key in MATCH_KEYS.values() if key.level in known and (optional or not key.optional)]


def _tags(text: str) -> frozenset[int]:
    return frozenset(int(tag, 16) for tag in text.split())


STUDY_FIELDS = _tags("""
    00080005 00080020 00080030 00080050 00080051 00080056 00080061 00080062 00080090 0008009C 00080201
    00081030 00081032 00081048 00081060 00081080 00081190 00100010 00100020 00100021 00100022 00100024
    00100026 00100027 00100028 00100030 00100032 00100033 00100034 00100035 00100040 00100050 00100101
    00100102 00100200 00100201 00100213 00100214 00100215 00100217 00100219 00100223 00100229 00101001
    00101005 00101010 00101020 00101021 00101022 00101023 00101024 00101030 00101040 00101060 00101080
    00101081 00102000 00102110 00102150 00102152 00102154 00102160 00102180 001021A0 001021C0 001021D0
    001021F0 00102201 00102202 00102203 00102210 00102292 00102293 00102295 00102296 00102297 00102298
    00102299 00109431 0020000D 00200010 00201206 00201208 00321032 00321033 00321034 00321060 00321064
    00321070 00380010 00380016 00380020 00380021 00380050 00380060 00380062 00380300 00380400 00380500
    00400244 00400245 00400250 00400251 00400253 00401012
""")
"""What ``includefield=all`` returns for a study."""

SERIES_FIELDS = STUDY_FIELDS | _tags("""
    00080021 00080031 00080060 00080064 00080068 00080070 00080080 00080082 00081010 0008103E 0008103F
    00081040 00081041 00081050 00081070 00081090 00180010 00180015 00180050 00180088 00181000 00181016
    00181018 00181019 00181020 00181030 00181050 00181200 00181201 00185100 0020000D 0020000E 00200011
    00200052 00200060 00201209 00540081 00540101 00541000
""")
"""What ``includefield=all`` returns for a series."""
