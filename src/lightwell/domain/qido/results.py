"""Results of a QIDO-RS search in the DICOM JSON Model, from the columns of the index.

Source: PS3.18 §10.6.3.3 (returned attributes), Annex F (their form).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from urllib.parse import quote

from lightwell.domain.qido.attributes import LEVELS, MATCH_KEYS
from lightwell.domain.qido.criteria import INSTANCE, SERIES, STUDY

Values = Mapping[str, str | int | None]
"""keyword → text as it was imported (backslashes between values, ``=`` between groups of names), number, or
None.
"""

RETRIEVE_URL = 0x00081190
INSTANCE_AVAILABILITY = 0x00080056
REQUEST_ATTRIBUTES = 0x00400275
AVAILABLE_SYNTAXES = 0x00083002

_REQUIRED, _IF_PRESENT, _ON_REQUEST = "required", "present", "asked"
_STEP_ID, _PROCEDURE_ID = "00400009", "00401001"


@dataclass(frozen=True, slots=True)
class Column:
    """An attribute of the index. ``shown``: always, if it has a value, or if it is requested.

    ``if_matched``: it is read from the index only if the search matches it; otherwise it is an attribute like
    all that the index does not have.
    """

    keyword: str
    tag: int
    vr: str
    level: str
    shown: str
    if_matched: bool = False


def _columns() -> Iterable[Column]:
    ever = {
        "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName",
        "StudyDescription", "PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyID",
        "Modality", "SeriesInstanceUID", "SeriesNumber", "SOPClassUID", "SOPInstanceUID", "InstanceNumber",
        "PatientSex",
    }  # fmt: skip
    present = {
        "SeriesDescription",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "WarningReason",
    }
    read = {"PatientSex", "SeriesDescription", "BodyPartExamined"}
    for key in MATCH_KEYS.values():
        if len(key.path) == 1:
            shown = (
                _REQUIRED if key.keyword in ever else _IF_PRESENT if key.keyword in present else _ON_REQUEST
            )
            if_matched = key.optional and key.keyword not in read
            yield Column(key.keyword, key.path[0], key.vr, key.level, shown, if_matched)
    yield Column("NumberOfStudyRelatedSeries", 0x00201206, "IS", STUDY, _REQUIRED)
    yield Column("NumberOfStudyRelatedInstances", 0x00201208, "IS", STUDY, _REQUIRED)
    yield Column("TimezoneOffsetFromUTC", 0x00080201, "SH", STUDY, _IF_PRESENT)
    yield Column("NumberOfSeriesRelatedInstances", 0x00201209, "IS", SERIES, _REQUIRED)
    # JSON, an array of [ScheduledProcedureStepID or null, RequestedProcedureID or null].
    yield Column("RequestAttributesSequence", REQUEST_ATTRIBUTES, "SQ", SERIES, _IF_PRESENT)
    # These are stored with the pixels, or follow from how they are stored; they are not in the index.
    yield Column("AvailableTransferSyntaxUID", AVAILABLE_SYNTAXES, "UI", INSTANCE, _ON_REQUEST)
    yield Column("NumberOfFrames", 0x00280008, "IS", INSTANCE, _IF_PRESENT)
    yield Column("Rows", 0x00280010, "US", INSTANCE, _IF_PRESENT)
    yield Column("Columns", 0x00280011, "US", INSTANCE, _IF_PRESENT)
    yield Column("BitsAllocated", 0x00280100, "US", INSTANCE, _IF_PRESENT)


COLUMNS = {column.tag: column for column in _columns()}


def default_tags(levels: Iterable[str]) -> frozenset[int]:
    """The tags that a search returns without being requested, if it returns these levels."""
    answered = set(levels)
    uids = ("StudyInstanceUID", "SeriesInstanceUID")
    return frozenset(
        column.tag
        for column in COLUMNS.values()
        if column.keyword in uids or (column.level in answered and column.shown != _ON_REQUEST)
    )


_UID = re.compile(r"[0-9.]+", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,15}", re.ASCII)

_ValueWriter = Callable[[str | int], str]
_ElementWriter = tuple[str, str, _ValueWriter, str | None]


class ResultWriter:
    """Writes the results of one search.

    ``levels`` are those whose attributes are always returned, in addition to the columns with the tags
    ``named``, and ``asked`` where they have a value. The UIDs of study and series are always returned, so
    that every result can be identified.
    """

    def __init__(
        self, level: str, levels: Iterable[str], named: Iterable[int] = (), asked: Iterable[int] = ()
    ) -> None:
        known, answered = LEVELS[: LEVELS.index(level) + 1], set(levels)
        keys, wanted = set(named), {*named, *asked}
        steps: list[tuple[int, _ElementWriter]] = []
        for column in COLUMNS.values():
            if column.level not in known:
                continue
            is_uid = column.keyword in ("StudyInstanceUID", "SeriesInstanceUID")
            if not (
                column.tag in wanted or is_uid or (column.level in answered and column.shown != _ON_REQUEST)
            ):
                continue
            key = f'"{column.tag:08X}":{{"vr":"{column.vr}"'
            always = column.tag in keys or (column.shown == _REQUIRED and column.level in answered)
            write = _WRITERS.get(column.vr, _text)
            steps.append(
                (column.tag, (column.keyword, f'{key},"Value":[', write, key + "}" if always else None))
            )
        self.level = level
        ordered = sorted(steps, key=lambda step: step[0])
        # InstanceAvailability and RetrieveURL go where their tags belong.
        self._first = [step for tag, step in ordered if tag < INSTANCE_AVAILABILITY]
        self._second = [step for tag, step in ordered if INSTANCE_AVAILABILITY < tag < RETRIEVE_URL]
        self._third = [step for tag, step in ordered if tag > RETRIEVE_URL]

    def elements(self, values: Values, base: str) -> list[str]:
        """The elements of one result, in tag order; ``base`` is the URL of the data store."""
        found = _written(self._first, values)
        found.append('"00080056":{"vr":"CS","Value":["ONLINE"]}')
        found += _written(self._second, values)
        found.append(f'"00081190":{{"vr":"UR","Value":[{encode_basestring(self._url(values, base))}]}}')
        return found + _written(self._third, values)

    def _url(self, values: Values, base: str) -> str:
        url = f"{base}/studies/{_segment(values, 'StudyInstanceUID')}"
        if self.level != STUDY:
            url += f"/series/{_segment(values, 'SeriesInstanceUID')}"
        if self.level == INSTANCE:
            url += f"/instances/{_segment(values, 'SOPInstanceUID')}"
        return url


@lru_cache(256)
def result_writer(
    level: str, levels: tuple[str, ...], named: frozenset[int], asked: frozenset[int]
) -> ResultWriter:
    """The `ResultWriter` of a search, cached, since most searches recur."""
    return ResultWriter(level, levels, named, asked)


def _segment(values: Values, keyword: str) -> str:
    uid = str(values.get(keyword) or "")
    return uid if _UID.fullmatch(uid) else quote(uid, safe="")


def _written(steps: list[_ElementWriter], values: Values) -> list[str]:
    found = []
    for keyword, key, write, empty in steps:
        value = values.get(keyword)
        if value is None or value == "":
            if empty is not None:
                found.append(empty)
        else:
            found.append(f"{key}{write(value)}]}}")
    return found


def _text(value: str | int) -> str:
    text = str(value)
    if "\\" not in text:
        return encode_basestring(text)
    return ",".join(encode_basestring(part) if part else "null" for part in text.split("\\"))


def _name(value: str | int) -> str:
    text = str(value)
    names = text.split("\\") if "\\" in text else [text]
    return ",".join([_groups(name) for name in names])


def _groups(name: str) -> str:
    if "=" not in name:
        name = name.rstrip(" ")
        return f'{{"Alphabetic":{encode_basestring(name)}}}' if name else "null"
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("=", 2), strict=False)
    shown = [f'"{key}":{encode_basestring(text)}' for key, group in groups if (text := group.rstrip(" "))]
    return f"{{{','.join(shown)}}}" if shown else "null"


def _number(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    return ",".join([_integer(part) for part in value.split("\\")])


def _integer(text: str) -> str:
    if _INTEGER.fullmatch(text):
        return str(int(text))
    return encode_basestring(text) if text else "null"


def _requests(value: str | int) -> str:
    items = []
    for ids in json.loads(str(value)):
        parts = [
            f'"{tag}":{{"vr":"SH","Value":[{encode_basestring(id)}]}}'
            for tag, id in zip((_STEP_ID, _PROCEDURE_ID), ids, strict=True)
            if id
        ]
        items.append(f"{{{','.join(parts)}}}")
    return ",".join(items)


_WRITERS: dict[str, _ValueWriter] = {"PN": _name, "IS": _number, "US": _number, "SQ": _requests}
