"""The attributes that a DICOMweb search returns of the studies, series and instances that it found."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY
from lightwell.stores.db.qido_tables import UNNUMBERED


@dataclass(frozen=True, slots=True)
class Hit:
    """A study, series or instance that was found.

    ``image_set`` is the primary set of the series; of a study, its oldest one. ``record`` is that of the
    instance; of a study or a series, that of the first instance of the set. ``instance`` is None but for
    instances. ``values``: by keyword, what its level and those above show, with
    ``NumberOfStudyRelatedSeries``, ``NumberOfStudyRelatedInstances`` and ``NumberOfSeriesRelatedInstances``;
    None where there is nothing. Values of several parts are joined by backslashes;
    ``RequestAttributesSequence`` is JSON, an array of [ScheduledProcedureStepID or null, RequestedProcedureID
    or null].
    """

    study: int
    image_set: int
    instance: int | None
    record: int
    values: dict[str, str | int | None]


_STUDY = {
    "StudyInstanceUID": "t.study_instance_uid",
    "StudyDate": "t.study_date",
    "StudyTime": "t.study_time",
    "AccessionNumber": "t.accession_number",
    "ModalitiesInStudy": "t.modalities",
    "ReferringPhysicianName": "t.referring_physician_name",
    "StudyDescription": "t.study_description",
    "PatientName": "t.patient_name",
    "PatientID": "t.patient_id",
    "PatientBirthDate": "t.patient_birth_date",
    "PatientBirthTime": "t.patient_birth_time",
    "PatientSex": "t.patient_sex",
    "StudyID": "t.study_id",
    "TimezoneOffsetFromUTC": "t.timezone_offset",
    "NumberOfStudyRelatedSeries": "t.series_count",
    "NumberOfStudyRelatedInstances": "t.instance_count",
}
_SERIES = {
    "SeriesInstanceUID": "s.series_instance_uid",
    "Modality": "s.modality",
    "SeriesNumber": "m.series_number",
    "SeriesDescription": "m.series_description",
    "BodyPartExamined": "m.body_part_examined",
    "PerformedProcedureStepStartDate": "s.performed_date",
    "PerformedProcedureStepStartTime": "s.performed_time",
    "RequestAttributesSequence": "s.requests",
    "NumberOfSeriesRelatedInstances": "m.instance_count",
}
_INSTANCE = {
    "SOPInstanceUID": "i.sop_instance_uid",
    "SOPClassUID": "i.sop_class_uid",
    "InstanceNumber": "i.number",
    "WarningReason": "i.warnings",
}
_NAMES = {
    STUDY: (*_STUDY,),
    SERIES: (*_STUDY, *_SERIES),
    INSTANCE: (*_STUDY, *_SERIES, *_INSTANCE),
}
# Attributes of levels above a study's instances that are shown only if they are requested.
_ON_REQUEST = {
    "NameOfPhysiciansReadingStudy": "t.reading_physicians",
    "IssuerOfPatientID": "t.issuer_of_patient_id",
    "SeriesDate": "s.series_date",
    "SeriesTime": "s.series_time",
    "Manufacturer": "s.manufacturer",
    "InstitutionName": "s.institution_name",
    "StationName": "s.station_name",
    "PerformingPhysicianName": "s.performing_physicians",
    "OperatorsName": "s.operators",
    "ManufacturerModelName": "s.manufacturer_model_name",
    "ProtocolName": "s.protocol_name",
    "Laterality": "s.laterality",
}
_ARRAYS = ("ModalitiesInStudy", "WarningReason")

_SETS = "primary_series s JOIN image_set m ON m.key = s.image_set JOIN study t ON t.key = s.study"
_OWN = {
    STUDY: "t.key, t.lead, NULL, l.first_record",
    SERIES: "t.key, s.image_set, NULL, s.first_record",
    INSTANCE: "t.key, s.image_set, i.instance, i.record",
}
_COLUMNS = {**_STUDY, **_SERIES, **_INSTANCE, **_ON_REQUEST}
_SQLITE = {
    STUDY: "json_each(?) j CROSS JOIN study t ON t.key = j.value"
    " LEFT JOIN primary_series l ON l.image_set = t.lead",
    SERIES: "json_each(?) j CROSS JOIN primary_series s ON s.image_set = j.value"
    " CROSS JOIN image_set m ON m.key = s.image_set CROSS JOIN study t ON t.key = s.study",
    INSTANCE: "json_each(?) j CROSS JOIN primary_instance i ON i.image_set = j.value ->> 0"
    " AND i.number = j.value ->> 1 AND i.sop_instance_uid = j.value ->> 2"
    " CROSS JOIN primary_series s ON s.image_set = i.image_set"
    " CROSS JOIN image_set m ON m.key = s.image_set CROSS JOIN study t ON t.key = s.study",
}
_POSTGRESQL = {
    STUDY: "unnest(CAST(%s AS bigint[])) WITH ORDINALITY AS j(value, key) JOIN study t ON t.key = j.value"
    " LEFT JOIN primary_series l ON l.image_set = t.lead",
    SERIES: "unnest(CAST(%s AS bigint[])) WITH ORDINALITY AS j(value, key)"
    f" JOIN primary_series s ON s.image_set = j.value {_SETS.removeprefix('primary_series s')}",
    INSTANCE: "unnest(CAST(%s AS bigint[]), CAST(%s AS bigint[]), CAST(%s AS text[]))"
    " WITH ORDINALITY AS j(a, b, c, key)"
    " JOIN primary_instance i ON i.image_set = j.a AND i.number = j.b AND i.sop_instance_uid = j.c"
    f" JOIN primary_series s ON s.image_set = i.image_set {_SETS.removeprefix('primary_series s')}",
}
_FROM = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}


@lru_cache(256)
def _statement(dialect: str, level: str, requested: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The query of a level, and the keywords of its columns after the keys."""
    names = (*_NAMES[level], *requested)
    columns = ", ".join([_OWN[level], *(_COLUMNS[name] for name in names)])
    return f"SELECT {columns} FROM {_FROM[dialect][level]} ORDER BY j.key", names


@lru_cache(256)
def page_columns(level: str, requested: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
    """On PostgreSQL, for studies and series: the columns of `hit`, the joins from ``j``, whose ``value`` is
    the key, and the keywords of the columns after the keys.
    """
    names = (*_NAMES[level], *requested)
    columns = ", ".join([_OWN[level], *(_COLUMNS[name] for name in names)])
    return columns, _POSTGRESQL[level].partition(" AS j(value, key) ")[2], names


def hits(
    execute: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]],
    dialect: str,
    level: str,
    keys: Sequence[tuple[Any, ...]],
    requested: tuple[str, ...] = (),
) -> list[Hit]:
    """The hits with these keys, in their order.

    ``requested`` are keywords of the level or of those above whose values are shown only on request.
    """
    if not keys:
        return []
    parameters: tuple[Any, ...]
    if dialect == "sqlite":
        parameters = (json.dumps(keys if level == INSTANCE else [key for (key,) in keys]),)
    else:
        parameters = tuple(list(part) for part in zip(*keys, strict=True))
    statement, names = _statement(dialect, level, requested)
    rows = execute(statement, parameters)
    return [hit(names, row) for row in rows]


def hit(names: Sequence[str], row: tuple[Any, ...]) -> Hit:
    """The hit of a row with these keywords after its keys."""
    values = dict(zip(names, row[4:], strict=True))
    for name in _ARRAYS:
        if text := values.get(name):
            values[name] = "\\".join(map(str, json.loads(text)))
    if values.get("InstanceNumber") == UNNUMBERED:
        values["InstanceNumber"] = None
    return Hit(row[0], row[1], row[2], row[3], values)
