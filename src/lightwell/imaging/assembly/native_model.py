"""The Native DICOM Model in XML, read into the DICOM JSON Model.

Source: PS3.19 Annex A.1. Expat reads it, without document types: so there are no entities but the five of
XML, and nothing outside the document is ever asked for.
"""

from __future__ import annotations

import re
from typing import Any
from xml.parsers import expat

from lightwell.domain.limits import NESTING
from lightwell.errors import InputError
from lightwell.imaging.assembly.model_text import Dataset
from lightwell.imaging.dataset import values
from lightwell.imaging.dataset.dictionary import attribute_of

_ROOT, _ATTRIBUTE, _ITEM, _VALUE, _NAME = "NativeDicomModel", "DicomAttribute", "Item", "Value", "PersonName"
_INLINE, _BULK = "InlineBinary", "BulkData"
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_PARENTS = {
    _ATTRIBUTE: (_ROOT, _ITEM),
    _ITEM: (_ATTRIBUTE,),
    _VALUE: (_ATTRIBUTE,),
    _NAME: (_ATTRIBUTE,),
    _INLINE: (_ATTRIBUTE,),
    _BULK: (_ATTRIBUTE,),
    **dict.fromkeys(_GROUPS, (_NAME,)),
    **dict.fromkeys(_COMPONENTS, _GROUPS),
}
# Values between numbers that are given are empty; so many at most in one document.
_MOST_EMPTY = 1_000_000


def data_set(text: bytes) -> Dataset:
    """The data set of one document. Raises `InputError`."""
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise InputError(f"The XML metadata are malformed: {error}") from None
    return reader.root


class _Element:
    """An open element: its values by their numbers, or the data set that it is."""

    __slots__ = ("attributes", "dataset", "name", "texts", "values")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.dataset: Dataset = {}
        self.values: dict[int, Any] = {}
        self.texts: list[str] = []


class _Reader:
    """Builds the data set from the events of the parser."""

    def __init__(self) -> None:
        self.root: Dataset = {}
        self._open: list[_Element] = []
        self._empty = 0

    def doctype(self, *_: object) -> None:
        raise InputError("The XML metadata have a document type, which is not accepted")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        parent = self._open[-1].name if self._open else None
        if (name != _ROOT or parent) and parent not in _PARENTS.get(name, ()):
            raise InputError(f"The XML metadata have {name[:80]!r} where the Native DICOM Model has none")
        if len(self._open) > 2 * NESTING + 4:
            raise InputError(f"Sequences are nested more than {NESTING} levels deep")
        self._open.append(_Element(name, {key.lower(): value for key, value in attributes.items()}))

    def text(self, text: str) -> None:
        if self._open:
            self._open[-1].texts.append(text)

    def end(self, name: str) -> None:
        element = self._open.pop()
        if not self._open:
            self.root = _with_private_blocks(element.dataset)
            return
        parent, text = self._open[-1], "".join(element.texts)
        if element.name == _ATTRIBUTE:
            self._add_attribute(parent.dataset, element)
        elif element.name in (_ITEM, _VALUE, _NAME):
            number = self._number(element, parent)
            if element.name == _ITEM:
                parent.values[number] = _with_private_blocks(element.dataset)
            else:
                parent.values[number] = text if element.name == _VALUE else element.dataset
        elif element.name == _INLINE:
            parent.dataset["InlineBinary"] = text
        elif element.name == _BULK:
            uri = element.attributes.get("uri") or element.attributes.get("uuid")
            parent.dataset["BulkDataURI"] = uri or ""
        elif element.name in _GROUPS:
            components = [element.dataset.get(each, "") for each in _COMPONENTS]
            parent.dataset[element.name] = "^".join(components).rstrip("^")
        else:
            if "^" in text or "=" in text:
                raise InputError("A component of a name in the XML metadata has a delimiter of names")
            parent.dataset[element.name] = text

    def _number(self, element: _Element, parent: _Element) -> int:
        text = element.attributes.get("number", "")
        if not text.isascii() or not text.isdecimal() or len(text) > 7 or not int(text):
            raise InputError(f"{element.name} in the XML metadata needs a number from 1 on")
        if int(text) in parent.values:
            raise InputError(f"{element.name} number {text} is given twice in the XML metadata")
        return int(text)

    def _add_attribute(self, dataset: Dataset, element: _Element) -> None:
        tag = element.attributes.get("tag", "")
        if not _TAG.fullmatch(tag):
            raise InputError("A DicomAttribute of the XML metadata has no tag of eight hexadecimal digits")
        creator = element.attributes.get("privatecreator")
        key = tag.upper() if creator is None else f"{tag.upper()} {creator}"
        if key in dataset:
            raise InputError(f"{tag} is given twice in one data set of the metadata")
        given: Dataset = dict(element.dataset)
        if "vr" in element.attributes:
            given["vr"] = element.attributes["vr"]
        if element.values:
            most = max(element.values)
            self._empty += most - len(element.values)
            if self._empty > _MOST_EMPTY:
                raise InputError("The XML metadata leave out too many values between those that they number")
            vr = given.get("vr") or (attribute_of(int(tag, 16)).vr if creator is None else "")
            listed = (element.values.get(number) for number in range(1, most + 1))
            given["Value"] = [_typed(vr, value) for value in listed]
        dataset[key] = given


def _typed(vr: str, value: Any) -> Any:
    """A value, without the white space around it where that says nothing."""
    if not isinstance(value, str):
        return value
    if vr in values.CHARSET_TEXT:
        return value
    return value.strip() or None


def _with_private_blocks(dataset: Dataset) -> Dataset:
    """The data set with its private elements in blocks, which their creators reserve (PS3.5 §7.8.1)."""
    found: Dataset = {}
    creators: dict[tuple[str, str], str] = {}
    named: list[tuple[str, str, Any]] = []
    for key, element in dataset.items():
        tag, _, creator = key.partition(" ")
        if " " not in key:
            found[tag] = element
            if tag[4:6] == "00" and isinstance(element.get("Value"), list) and len(element["Value"]) == 1:
                creators[tag[:4], str(element["Value"][0]).strip()] = tag[6:]
            continue
        if int(tag[3], 16) % 2 == 0 or not creator.strip():
            raise InputError(f"{tag} in the XML metadata is not private, or its privateCreator is empty")
        named.append((tag, creator.strip(), element))
    for tag, creator, element in named:
        group = tag[:4]
        block = creators.get((group, creator))
        if block is None:
            block = next((f"{n:02X}" for n in range(0x10, 0x100) if f"{group}00{n:02X}" not in found), None)
            if block is None:
                raise InputError(f"Group {group} of the XML metadata has more than 240 private creators")
            creators[group, creator] = block
            found[f"{group}00{block}"] = {"vr": "LO", "Value": [creator]}
        if (key := f"{group}{block}{tag[6:]}") in found:
            raise InputError(f"{key} is given twice in one data set of the metadata")
        found[key] = element
    return found
