"""Structured reports as lines of text: the content tree, read in its order.

Source: PS3.3 C.17.3 (content items), C.17.2 (document header). Every value is text of an untrusted file:
whoever shows it has to escape it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from lightwell.imaging.errors import RenderFailure

MOST_ITEMS = 50_000
DEEPEST = 64
"""Content items of a report, and levels of containers, that are shown."""
MOST_TEXT = 16 << 20
"""Characters of a report."""

_POINTS = 20
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
_TIME = re.compile(r"(\d\d)(\d\d)?(\d\d(?:\.\d{1,6})?)?", re.ASCII)
_ZONED = re.compile(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?([+-]\d{4})?", re.ASCII)
_NO_UNIT = "1"
# Control characters, which neither HTML nor a terminal should get, but tabs and line ends.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One content item: how deep it is, its name and its value; a heading for a container."""

    depth: int
    name: str
    value: str
    is_heading: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A document: its title, what identifies it, by name, and its content."""

    title: str
    header: tuple[tuple[str, str], ...]
    lines: tuple[ReportLine, ...]


def read_report(dataset: Dataset) -> Report:
    """The report in a data set; to be called within `pydicom_errors`. Raises `RenderFailure`."""
    title = _coded(dataset.get("ConceptNameCodeSequence"), with_code=False)
    lines = []
    size = 0
    for line in _lines(dataset):
        lines.append(line)
        size += len(line.name) + len(line.value)
        if len(lines) > MOST_ITEMS or size > MOST_TEXT:
            raise RenderFailure(
                f"The report has more than {MOST_ITEMS} content items or {MOST_TEXT} characters: retrieve "
                "the instance instead."
            )
    return Report(title or "Structured report", tuple(_header(dataset)), tuple(lines))


def _header(dataset: Dataset) -> Iterator[tuple[str, str]]:
    named = [
        ("Patient", _name(dataset.get("PatientName"))),
        ("Patient ID", _text(dataset.get("PatientID"))),
        ("Born", _date(_text(dataset.get("PatientBirthDate")))),
        ("Sex", _text(dataset.get("PatientSex"))),
        ("Study", _text(dataset.get("StudyDescription"))),
        ("Study date", _date_time(dataset, "StudyDate", "StudyTime")),
        ("Accession number", _text(dataset.get("AccessionNumber"))),
        ("Referring physician", _name(dataset.get("ReferringPhysicianName"))),
        ("Report date", _date_time(dataset, "ContentDate", "ContentTime")),
        ("Institution", _text(dataset.get("InstitutionName"))),
        ("Completion", _text(dataset.get("CompletionFlag"))),
        ("Verification", _text(dataset.get("VerificationFlag"))),
    ]
    yield from ((name, value) for name, value in named if value)
    for observer in _items(dataset, "VerifyingObserverSequence"):
        words = [
            _name(observer.get("VerifyingObserverName")),
            _text(observer.get("VerifyingOrganization")),
            _zoned(_text(observer.get("VerificationDateTime"))),
        ]
        yield "Verified by", ", ".join(word for word in words if word)


def _lines(dataset: Dataset) -> Iterator[ReportLine]:
    """The content items below the root, without recursion: files may nest as deep as they like."""
    open_items: list[Iterator[Dataset]] = [iter(_items(dataset, "ContentSequence"))]
    while open_items:
        item = next(open_items[-1], None)
        if item is None:
            open_items.pop()
            continue
        depth = len(open_items) - 1
        yield _line(item, depth)
        children = _items(item, "ContentSequence")
        if children:
            if depth + 1 >= DEEPEST:
                raise RenderFailure(
                    f"The report is nested more than {DEEPEST} levels deep: retrieve the instance instead."
                )
            open_items.append(iter(children))


def _line(item: Dataset, depth: int) -> ReportLine:
    kind = _text(item.get("ValueType")).upper()
    name = _coded(item.get("ConceptNameCodeSequence"), with_code=False)
    if kind == "CONTAINER":
        return ReportLine(depth, name or "Section", "", True)
    if not kind and "ReferencedContentItemIdentifier" in item:
        numbers = item.get("ReferencedContentItemIdentifier")
        listed = numbers if isinstance(numbers, Sequence) else [numbers]
        return ReportLine(depth, name, "see content item " + ".".join(_text(each) for each in listed))
    return ReportLine(depth, name or kind.capitalize(), _VALUES.get(kind, _unknown)(item))


def _unknown(item: Dataset) -> str:
    return f"(a content item of the type {_text(item.get('ValueType')) or 'unknown'})"


def _number(item: Dataset) -> str:
    measured = _items(item, "MeasuredValueSequence")
    if not measured:
        return _coded(item.get("NumericValueQualifierCodeSequence")) or "(no value)"
    values = measured[0].get("NumericValue")
    listed = values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    number = ", ".join(_text(each) for each in listed)
    units = _items(measured[0], "MeasurementUnitsCodeSequence")
    if not units or _text(units[0].get("CodeValue")) == _NO_UNIT:
        return number
    unit = _text(units[0].get("CodeValue")) or _text(units[0].get("CodeMeaning"))
    meaning = _text(units[0].get("CodeMeaning"))
    return f"{number} {unit}" + (f" ({meaning})" if meaning and meaning != unit else "")


def _reference(item: Dataset) -> str:
    found = []
    for each in _items(item, "ReferencedSOPSequence"):
        uid = _text(each.get("ReferencedSOPClassUID"))
        name = UID(uid).name if uid.startswith("1.2.840.10008.") else uid
        words = [f"{name} {_text(each.get('ReferencedSOPInstanceUID'))}"]
        frames = each.get("ReferencedFrameNumber")
        if frames is not None:
            listed = frames if isinstance(frames, Sequence) and not isinstance(frames, str) else [frames]
            words.append("frame " + ", ".join(_text(number) for number in listed))
        found.append(", ".join(words))
    return "; ".join(found) or "(no reference)"


def _coordinates(item: Dataset) -> str:
    data = item.get("GraphicData")
    width = 3 if _text(item.get("ValueType")).upper() == "SCOORD3D" else 2
    numbers = list(data) if isinstance(data, Sequence) and not isinstance(data, str) else []
    points = [numbers[start : start + width] for start in range(0, len(numbers), width)]
    shown = "; ".join(", ".join(f"{value:g}" for value in point) for point in points[:_POINTS])
    more = f"; … ({len(points)} points)" if len(points) > _POINTS else ""
    return f"{_text(item.get('GraphicType'))}: {shown}{more}"


def _temporal(item: Dataset) -> str:
    words = [_text(item.get("TemporalRangeType"))]
    for keyword in ("ReferencedSamplePositions", "ReferencedTimeOffsets", "ReferencedDateTime"):
        value = item.get(keyword)
        if value is not None:
            listed = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            words.append(", ".join(_text(each) for each in listed[:_POINTS]))
    return ": ".join(words)


_VALUES = {
    "TEXT": lambda item: _text(item.get("TextValue")),
    "NUM": _number,
    "CODE": lambda item: _coded(item.get("ConceptCodeSequence")),
    "PNAME": lambda item: _name(item.get("PersonName")),
    "DATE": lambda item: _date(_text(item.get("Date"))),
    "TIME": lambda item: _time(_text(item.get("Time"))),
    "DATETIME": lambda item: _zoned(_text(item.get("DateTime"))),
    "UIDREF": lambda item: _text(item.get("UID")),
    "IMAGE": _reference,
    "COMPOSITE": _reference,
    "WAVEFORM": _reference,
    "SCOORD": _coordinates,
    "SCOORD3D": _coordinates,
    "TCOORD": _temporal,
}


def _items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    value = dataset.get(keyword)
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()


def _coded(sequence: Any, *, with_code: bool = True) -> str:
    """The meaning of a code, with the code itself."""
    if not isinstance(sequence, Sequence) or not sequence:
        return ""
    item = sequence[0]
    values = (item.get(name) for name in ("CodeValue", "LongCodeValue", "URNCodeValue"))
    code = next((_text(value) for value in values if value), "")
    meaning, scheme = _text(item.get("CodeMeaning")), _text(item.get("CodingSchemeDesignator"))
    if not with_code and meaning:
        return meaning
    listed = ", ".join(part for part in (code, scheme) if part)
    return f"{meaning} ({listed})" if meaning and listed else meaning or listed


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("\ufffd", text).rstrip(" \0")


def _name(value: Any) -> str:
    """The component groups of a name, each as "family, given middle"."""
    groups = []
    for group in _text(value).split("="):
        family, _, rest = group.partition("^")
        given = " ".join(part for part in rest.split("^") if part)
        words = ", ".join(part for part in (family, given) if part)
        if words:
            groups.append(words)
    return groups[0] + "".join(f" ({each})" for each in groups[1:]) if groups else ""


def _date(text: str) -> str:
    return "-".join(found.groups()) if (found := _DATE.fullmatch(text)) else text


def _time(text: str) -> str:
    if not (found := _TIME.fullmatch(text)):
        return text
    return ":".join(part for part in found.groups() if part)


def _zoned(text: str) -> str:
    if not (found := _ZONED.fullmatch(text)):
        return text
    date, time, zone = found.groups()
    words = [_date(date), *([_time(time)] if time else []), *([zone] if zone else [])]
    return " ".join(words)


def _date_time(dataset: Dataset, date: str, time: str) -> str:
    words = (_date(_text(dataset.get(date))), _time(_text(dataset.get(time))))
    return " ".join(word for word in words if word)
