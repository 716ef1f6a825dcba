"""The Native DICOM Model in XML, from the DICOM JSON Model.

Source: PS3.19 Annex A.1. A private element has the tag of block 00 and names its private creator, whose own
element is then omitted. XML 1.0 has no control characters but tab and line ends: others become U+FFFD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from lightwell.imaging.dataset.dictionary import attribute_of

_OPENING = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">'
)
_CLOSING = "</NativeDicomModel>"
_NO_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NAME_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
# XML parsers turn a bare carriage return into a line feed.
_ENTITIES = {"\r": "&#13;"}

_Element = Mapping[str, Any]


def native_model(text: bytes) -> bytes:
    """The XML document of one data set in the DICOM JSON Model."""
    return "".join([_OPENING, *_attributes(json.loads(text)), _CLOSING]).encode()


def _attributes(dataset: Mapping[str, _Element]) -> Iterator[str]:
    creators = _creators(dataset)
    for key, element in dataset.items():
        tag = int(key, 16)
        if not tag >> 16 & 1:
            keyword = attribute_of(tag).keyword
            identification = f" keyword={quoteattr(keyword)}" if keyword != key else ""
            yield from _attribute(key, element, identification)
        elif tag & 0xFFFF0000 | tag >> 8 & 0xFF in creators:
            creator = _without_control_characters(creators[tag & 0xFFFF0000 | tag >> 8 & 0xFF])
            yield from _attribute(f"{key[:4]}00{key[6:]}", element, f" privateCreator={quoteattr(creator)}")
        elif tag not in creators:
            yield from _attribute(key, element, "")


def _creators(dataset: Mapping[str, _Element]) -> dict[int, str]:
    creators = {}
    for key, element in dataset.items():
        tag = int(key, 16)
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            values = element.get("Value", [None])
            if isinstance(values[0], str):
                creators[tag] = values[0]
    return creators


def _attribute(tag: str, element: _Element, identification: str) -> Iterator[str]:
    yield f'<DicomAttribute tag="{tag}" vr="{element["vr"]}"{identification}>'
    if "InlineBinary" in element:
        yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
    elif "BulkDataURI" in element:
        yield f"<BulkData uri={quoteattr(_without_control_characters(element['BulkDataURI']))}/>"
    for number, value in enumerate(element.get("Value", ()), 1):
        if element["vr"] == "SQ":
            yield f'<Item number="{number}">'
            yield from _attributes(value)
            yield "</Item>"
        elif element["vr"] == "PN" and value is not None:
            yield f'<PersonName number="{number}">{_person_name(value)}</PersonName>'
        elif value is not None:
            yield f'<Value number="{number}">{_text(value)}</Value>'
    yield "</DicomAttribute>"


def _person_name(groups: Mapping[str, str]) -> str:
    texts = []
    for group, name in groups.items():
        components = zip(_NAME_COMPONENTS, name.split("^", 4), strict=False)
        content = "".join(
            [f"<{component}>{_text(text)}</{component}>" for component, text in components if text]
        )
        texts.append(f"<{group}>{content}</{group}>")
    return "".join(texts)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return escape(_without_control_characters(text), _ENTITIES)


def _without_control_characters(text: str) -> str:
    return _NO_CHARACTERS.sub("\ufffd", text)
