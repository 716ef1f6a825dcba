"""Structured reports: every kind of content item is said, nothing of the file becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from lightwell.imaging.errors import RenderFailure
from lightwell.imaging.reports import content_tree
from lightwell.imaging.reports.report_text import render_report


def _code(meaning: str, value: str = "C", scheme: str = "99X") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def _item(kind: str, name: str, *children: Dataset, **attributes: Any) -> Dataset:
    item = Dataset()
    item.ValueType = kind
    item.ConceptNameCodeSequence = _code(name)
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    if children:
        item.ContentSequence = list(children)
    return item


def _number(value: str, unit: str, meaning: str) -> list[Dataset]:
    measured = Dataset()
    measured.NumericValue = value
    measured.MeasurementUnitsCodeSequence = _code(meaning, unit, "UCUM")
    return [measured]


def _plain(*items: Dataset) -> list[str]:
    text = render_report(_item("CONTAINER", "Report", *items), "text/plain").decode()
    return text.splitlines()[4:]


def test_says_each_kind_of_content_item() -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    reference.ReferencedFrameNumber = [1, 3]
    by_reference = Dataset()
    by_reference.RelationshipType, by_reference.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 2]
    assert _plain(
        _item("TEXT", "Finding", TextValue="a\r\nb"),
        _item("NUM", "Diameter", MeasuredValueSequence=_number("3.10", "mm", "millimeter")),
        _item("NUM", "Count", MeasuredValueSequence=_number("3", "1", "no units")),
        _item("NUM", "Missing", NumericValueQualifierCodeSequence=_code("Not a number", "114000", "DCM")),
        _item("CODE", "Site", ConceptCodeSequence=_code("Liver", "T-62000", "SRT")),
        _item("PNAME", "Observer", PersonName="Yamada^Tarou^M=山田^太郎"),
        _item("DATE", "Day", Date="20240229"),
        _item("TIME", "Hour", Time="101112.50"),
        _item("DATETIME", "Moment", DateTime="20240229101112+0100"),
        _item("UIDREF", "Series", UID="1.2.3"),
        _item("IMAGE", "Key image", ReferencedSOPSequence=[reference]),
        _item("SCOORD", "Outline", GraphicType="POINT", GraphicData=[1.0, 2.5]),
        _item("TCOORD", "Span", TemporalRangeType="POINT", ReferencedTimeOffsets=["1.5"]),
        _item("NEW", "Future"),
        by_reference,
        _item("CONTAINER", "Section", _item("TEXT", "Inner", TextValue="c")),
    ) == [
        "Finding: a",
        "  b",
        "Diameter: 3.10 mm (millimeter)",
        "Count: 3",
        "Missing: Not a number (114000, DCM)",
        "Site: Liver (T-62000, SRT)",
        "Observer: Yamada, Tarou M (山田, 太郎)",
        "Day: 2024-02-29",
        "Hour: 10:11:12.50",
        "Moment: 2024-02-29 10:11:12 +0100",
        "Series: 1.2.3",
        "Key image: CT Image Storage 1.2.3, frame 1, 3",
        "Outline: POINT: 1, 2.5",
        "Span: POINT: 1.5",
        "Future: (a content item of the type NEW)",
        "see content item 1.2",
        "",
        "Section",
        "  Inner: c",
    ]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_lets_no_text_become_markup() -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=a()>&lt;\x1b[31m"
    report = _item(
        "CONTAINER",
        evil,
        _item("TEXT", evil, TextValue=evil),
        _item("CONTAINER", evil, _item("PNAME", evil, PersonName=evil)),
        _item("IMAGE", evil),
    )
    report.PatientName = report.PatientID = report.StudyDescription = evil
    parser = _Tags()
    parser.feed(render_report(report, "text/html").decode())
    assert not parser.found & {"script", "img", "src", "onerror", "href", "a", "iframe", "link"}
    assert parser.text.count("<script>alert(1)</script>") >= 6
    assert "\x1b" not in parser.text and "\x1b" not in render_report(report, "text/plain").decode()


def test_reads_the_reports_of_others() -> None:
    for name in ("reportsi.dcm", "test-SR.dcm"):
        dataset = pydicom.dcmread(str(get_testdata_file(name)))
        assert b"<h2" in render_report(dataset, "text/html")
        xml = ElementTree.fromstring(render_report(dataset, "text/xml"))
        assert xml.tag.endswith("NativeDicomModel")
    assert "Verified by: Riesmeier, Jörg" in render_report(dataset, "text/plain").decode()


def test_refuses_what_is_too_deep_or_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = _item("TEXT", "x", TextValue="x")
    for _ in range(content_tree.DEEPEST + 1):
        deep = _item("CONTAINER", "x", deep)
    with pytest.raises(RenderFailure, match="levels deep"):
        render_report(deep, "text/html")
    wide = _item("CONTAINER", "x", *(_item("TEXT", "x", TextValue="x") for _ in range(4)))
    monkeypatch.setattr(content_tree, "MOST_ITEMS", 3)
    with pytest.raises(RenderFailure, match="retrieve the instance"):
        render_report(wide, "text/plain")
