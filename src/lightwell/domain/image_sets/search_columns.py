"""The search columns of an image set, from the level blocks that its document shows.

The six grouping values are taken from `Grouping`, by which instances are assigned to sets, so that the two
never disagree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from datetime import date

from lightwell.domain.image_sets.grouping import Grouping

LONGEST_TEXT = 512
"""Most characters of a text in a column, the greatest length in the service model's DICOMTags. A longer text
cannot be searched for, as AWS says of overlong values; PostgreSQL could not index it."""

_MOST_REQUESTS = 100  # per series; real ones have one or two

OVERLONG = "overlong"
"""The key of `SearchColumns.further` for the keywords of attributes whose text is too long for a column."""
_FURTHER_OF_PATIENT = ("IssuerOfPatientID",)
_FURTHER_OF_STUDY = ("NameOfPhysiciansReadingStudy",)
_FURTHER_OF_SERIES = (
    *("SeriesDate", "SeriesTime", "Manufacturer", "InstitutionName", "StationName"),
    *("PerformingPhysicianName", "OperatorsName", "ManufacturerModelName", "ProtocolName", "Laterality"),
)
# All that DICOMweb can match, by level; what is longer than a column holds must not pass for empty there.
_OF_PATIENT = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientBirthTime", "PatientSex"),
    *_FURTHER_OF_PATIENT,
)
_OF_STUDY = (
    *("AccessionNumber", "ReferringPhysicianName", "StudyDate", "StudyDescription", "StudyID", "StudyTime"),
    *_FURTHER_OF_STUDY,
)
_OF_SERIES = ("BodyPartExamined", "Modality", "SeriesDescription", *_FURTHER_OF_SERIES)

_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(?:\.(\d{1,6}))?)?)?")


@dataclass(frozen=True, slots=True)
class SearchColumns:
    """One value per search column; None where absent or longer than `LONGEST_TEXT`.

    ``further`` is JSON: what only DICOMweb matches, by keyword, and the overlong attributes (see `OVERLONG`).
    """

    patient_id: str | None
    patient_name: str | None
    patient_birth_date: str | None
    patient_sex: str | None
    study_instance_uid: str
    study_id: str | None
    study_description: str | None
    accession_number: str | None
    study_date: str | None
    study_time: str | None
    study_moment: str | None
    series_number: str | None
    modality: str | None
    body_part_examined: str | None
    patient_birth_time: str | None
    referring_physician_name: str | None
    series_description: str | None
    requests: str | None
    further: str | None

    def as_row(self) -> dict[str, str | None]:
        return asdict(self)


def search_columns(
    grouping: Grouping,
    patient: Mapping[str, object],
    study: Mapping[str, object],
    series: Mapping[str, object],
) -> SearchColumns:
    """From the ``DICOM`` objects of the three levels."""
    study_time = _text(study, "StudyTime")
    return SearchColumns(
        patient_id=_clean_or_none(grouping.patient_id),
        patient_name=_text(patient, "PatientName"),
        patient_birth_date=_text(patient, "PatientBirthDate"),
        patient_sex=_text(patient, "PatientSex"),
        study_instance_uid=grouping.study_instance_uid,
        study_id=_clean_or_none(grouping.study_id),
        study_description=_text(study, "StudyDescription"),
        accession_number=_clean_or_none(grouping.accession_number),
        study_date=_clean_or_none(grouping.study_date),
        study_time=study_time,
        study_moment=study_moment(grouping.study_date, study_time),
        series_number=_clean_or_none(grouping.series_number),
        modality=_text(series, "Modality"),
        body_part_examined=_text(series, "BodyPartExamined"),
        patient_birth_time=_text(patient, "PatientBirthTime"),
        referring_physician_name=_text(study, "ReferringPhysicianName"),
        series_description=_text(series, "SeriesDescription"),
        requests=_requests(series),
        further=_further(patient, study, series),
    )


def columns_of_levels(
    patient: Mapping[str, object], study: Mapping[str, object], series: Mapping[str, object]
) -> SearchColumns:
    """From the ``DICOM`` objects of the three levels alone, as a version shows them."""
    grouping = Grouping(
        study_instance_uid=_joined_value(study, "StudyInstanceUID") or "",
        series_instance_uid=_joined_value(series, "SeriesInstanceUID") or "",
        patient_id=_joined_value(patient, "PatientID") or "",
        study_date=_joined_value(study, "StudyDate") or "",
        accession_number=_joined_value(study, "AccessionNumber") or "",
        study_id=_joined_value(study, "StudyID") or "",
        series_number=_joined_value(series, "SeriesNumber") or "",
    )
    return search_columns(grouping, patient, study, series)


def study_moment(study_date: str | None, study_time: str | None) -> str | None:
    """``YYYYMMDDHHMMSS.FFFFFF``, which sorts; None without a real StudyDate (PS3.5 §6.2, DA and TM).

    The older ``YYYY.MM.DD`` and ``HH:MM:SS`` are accepted too. An invalid StudyTime counts as midnight.
    """
    digits = day(study_date)
    return None if digits is None else digits + (clock(study_time) or "000000.000000")


def day(value: str | None) -> str | None:
    """``YYYYMMDD`` of a DA value; None if it is not a date."""
    digits = (value or "").replace(".", "")
    if not re.fullmatch(r"\d{8}", digits, re.ASCII):
        return None
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
    return digits


def clock(value: str | None) -> str | None:
    """``HHMMSS.FFFFFF`` of a TM value; None if it is not a time."""
    match = _TIME.fullmatch(value or "")
    if match is None or not match[0].isascii():
        return None
    hours, minutes, seconds, fraction = (part or "" for part in match.groups())
    return f"{hours or '00'}{minutes or '00'}{seconds or '00'}.{fraction:0<6}"


def integer(value: object) -> int | None:
    """An IS value as a number; None unless it is one that fits in 32 bits (PS3.5 §6.2)."""
    try:
        number = int(str(value).strip())
    except ValueError:
        return None
    return number if -(2**31) <= number < 2**31 else None


def _further(
    patient: Mapping[str, object], study: Mapping[str, object], series: Mapping[str, object]
) -> str | None:
    found: dict[str, object] = {}
    for block, keywords in (
        (patient, _FURTHER_OF_PATIENT),
        (study, _FURTHER_OF_STUDY),
        (series, _FURTHER_OF_SERIES),
    ):
        found.update((keyword, text) for keyword in keywords if (text := _text(block, keyword)) is not None)
    overlong = [
        keyword
        for block, keywords in ((patient, _OF_PATIENT), (study, _OF_STUDY), (series, _OF_SERIES))
        for keyword in keywords
        if keyword in block and len(_joined_value(block, keyword) or "") > LONGEST_TEXT
    ]
    if overlong:
        found[OVERLONG] = sorted(overlong)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) if found else None


def _requests(series: Mapping[str, object]) -> str | None:
    """JSON of the pairs of ScheduledProcedureStepID and RequestedProcedureID."""
    items = series.get("RequestAttributesSequence")
    pairs = [
        [_text(item, "ScheduledProcedureStepID"), _text(item, "RequestedProcedureID")]
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict)
    ]
    pairs = [pair for pair in pairs if pair != [None, None]][:_MOST_REQUESTS]
    return json.dumps(pairs, ensure_ascii=False, separators=(",", ":")) if pairs else None


def _text(block: Mapping[str, object], keyword: str) -> str | None:
    text = _joined_value(block, keyword)
    return None if text is None or len(text) > LONGEST_TEXT else text


def _joined_value(block: Mapping[str, object], keyword: str) -> str | None:
    value = block.get(keyword)
    if isinstance(value, list):
        value = "\\".join(str(part) for part in value)
    return None if value is None else _clean_or_none(str(value))


def clean_text(text: str) -> str:
    """``text`` in a form that both databases take, without padding."""
    # PostgreSQL does not take NUL in text, and SQLite's driver no lone surrogate.
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode().strip()


def clean_grouping(grouping: Grouping) -> Grouping:
    """The grouping values in the form of the columns, so that instances that are imported again find their
    set.
    """
    return Grouping(*map(clean_text, astuple(grouping)))


def _clean_or_none(text: str) -> str | None:
    return clean_text(text) or None
