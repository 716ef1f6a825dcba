"""What SearchImageSets can search for, and what its filters mean.

Source: the service model and devguide/search-image-sets. Where they are silent: EQUAL takes one value,
BETWEEN two of the same kind, both included; all filters must match; attributes match exactly, apart from
padding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from lightwell.errors import ValidationError

EQUAL_COLUMNS = {
    "DICOMPatientId": "patient_id",
    "DICOMAccessionNumber": "accession_number",
    "DICOMStudyId": "study_id",
    "DICOMStudyInstanceUID": "study_instance_uid",
    "DICOMSeriesInstanceUID": "series_instance_uid",
    "isPrimary": "is_primary",
}
"""Members that only EQUAL can compare → column."""

RANGE_COLUMNS = {
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "DICOMStudyDateAndTime": "study_moment",
}
"""Members with an order → column; results can be sorted by them."""

_DATE = re.compile(r"\d{8}", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d|60)(?:\.(\d{1,6}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class StudyMoment:
    """A study date, ``YYYYMMDD``, and time, ``HHMMSS`` or ``HHMMSS.FFFFFF``."""

    date: str
    time: str | None = None


Value = str | float | bool | StudyMoment
Bound = int | str


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a request: ``EQUAL`` or ``BETWEEN``, and pairs of a wire name and a value."""

    operator: str
    values: Sequence[tuple[str, Value]]


@dataclass(frozen=True, slots=True)
class SearchCriteria:
    """What to find: columns and values. All conditions must hold.

    ``equals``: column → value, None for sets without the attribute. ``ranges``: column → (lowest, highest),
    both included. ``impossible``: no set can meet the conditions.
    """

    equals: dict[str, str | bool | None] = field(default_factory=dict)
    ranges: dict[str, tuple[Bound, Bound]] = field(default_factory=dict)
    sort: str = "updated_at"
    descending: bool = True
    impossible: bool = False


def read_criteria(filters: Sequence[Filter], sort: tuple[str, str] | None) -> SearchCriteria:
    """``sort`` is the field and ASC or DESC, by default updatedAt, DESC. Raises `ValidationError`."""
    equals: dict[str, str | bool | None] = {}
    ranges: dict[str, tuple[Bound, Bound]] = {}
    impossible = False
    for given in filters:
        name = _only_name(given)
        if name in EQUAL_COLUMNS:
            column, value = EQUAL_COLUMNS[name], _equal_value(given, name)
            impossible |= equals.get(column, value) != value
            equals[column] = value
        else:
            column = RANGE_COLUMNS[name]
            low, high = _range(given, name)
            if column in ranges:
                low, high = max(low, ranges[column][0]), min(high, ranges[column][1])
            impossible |= low > high
            ranges[column] = low, high
    field_name, order = sort or ("updatedAt", "DESC")
    return SearchCriteria(equals, ranges, RANGE_COLUMNS[field_name], order == "DESC", impossible)


def _join_names(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


def _only_name(given: Filter) -> str:
    wanted = 1 if given.operator == "EQUAL" else 2
    if len(given.values) != wanted:
        raise ValidationError(
            f"A filter with operator {given.operator} takes {'one value' if wanted == 1 else 'two values'}, "
            f"not {len(given.values)}."
        )
    names = {name for name, _ in given.values}
    if len(names) != 1:
        raise ValidationError(f"The values of a filter must be of the same kind, not {_join_names(names)}.")
    return names.pop()


def _equal_value(given: Filter, name: str) -> str | bool | None:
    if given.operator != "EQUAL":
        raise ValidationError(
            f"{name} only takes the operator EQUAL; {_join_names(RANGE_COLUMNS)} take BETWEEN too."
        )
    value = given.values[0][1]
    if isinstance(value, bool):
        return value
    assert isinstance(value, str)
    # As in the columns: without padding, and None if the attribute is absent or empty.
    return value.replace("\0", "").strip() or None


def _range(given: Filter, name: str) -> tuple[Any, Any]:
    ends = [value for _, value in given.values]
    if isinstance(ends[0], StudyMoment):
        moments = [_moment(value) for value in ends if isinstance(value, StudyMoment)]
        if moments[0] <= moments[-1]:
            return moments[0], moments[-1]
    else:
        times = [Decimal(repr(float(value))) * 1000 for value in ends if isinstance(value, float | int)]
        if times[0] <= times[-1]:
            return int(times[0].to_integral(ROUND_CEILING)), int(times[-1].to_integral(ROUND_FLOOR))
    raise ValidationError(f"The first value of BETWEEN on {name} must not be greater than the second.")


def _moment(value: StudyMoment) -> str:
    """In the form of the column, ``YYYYMMDDHHMMSS.FFFFFF``; without a time, midnight (the service model)."""
    try:
        if not _DATE.fullmatch(value.date):
            raise ValueError
        date(int(value.date[:4]), int(value.date[4:6]), int(value.date[6:]))
    except ValueError:
        raise ValidationError(
            f"DICOMStudyDate {value.date[:36]!r} is not a date; use YYYYMMDD, such as 20240131."
        ) from None
    time = _TIME.fullmatch(value.time or "000000")
    if time is None:
        raise ValidationError(
            f"DICOMStudyTime {(value.time or '')[:56]!r} is not a time; use HHMMSS or HHMMSS.FFFFFF."
        )
    return f"{value.date}{time[1]}{time[2]}{time[3]}.{time[4] or '':0<6}"
