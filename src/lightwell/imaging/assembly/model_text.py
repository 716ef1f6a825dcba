"""Reading metadata documents: data sets in the DICOM JSON Model, their numbers still as they were written.

Source: PS3.18 Annex F. A number stays text, since a double has other digits than a DS, and a value may
only be refused where its VR is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lightwell.errors import InputError

Dataset = dict[str, Any]
"""A data set or item of the DICOM JSON Model; its numbers are of type `NumberText`."""

_SPACES = " \t\n\r"


class NumberText(str):
    """The text of a JSON number."""

    __slots__ = ()


def data_set(text: bytes) -> Dataset:
    """One data set. Raises `InputError`."""
    found, end = _decode(_DECODER, _text(text), 0)
    if not isinstance(found, dict) or end != len(text.decode().rstrip(_SPACES)):
        raise InputError("The metadata of an instance must be one JSON object")
    return found


def each_data_set(text: bytes) -> Iterator[tuple[int, int, Dataset]]:
    """(offset, length, data set) of each instance of a document: an array, or a single object.

    Offset and length are in bytes. Raises `InputError` for a document that is not of this form.
    """
    document = _text(text)
    place = _skip(document, 0)
    if document[place : place + 1] == "{":
        found, end = _decode(_DECODER, document, place)
        if _skip(document, end) != len(document):
            raise InputError("The JSON metadata have more text after their last character")
        yield len(document[:place].encode()), len(document[place:end].encode()), found
        return
    if document[place : place + 1] != "[":
        raise InputError("JSON metadata must be an array of data sets")
    offset = len(document[:place].encode())
    separator = "["
    while True:
        # The separator before this data set.
        start = _skip(document, place + 1)
        if document[start : start + 1] == "]" and separator == "[":
            raise InputError("The JSON metadata are an empty array")
        offset += len(document[place:start].encode())
        found, end = _decode(_DECODER, document, start)
        if not isinstance(found, dict):
            raise InputError("JSON metadata must be an array of objects, one for each instance")
        length = len(document[start:end].encode())
        yield offset, length, found
        offset += length
        place = _skip(document, end)
        offset += place - end
        separator = document[place : place + 1]
        if separator == "]":
            break
        if separator != ",":
            raise InputError(f"The JSON metadata are malformed at character {place}")
    if _skip(document, place + 1) != len(document):
        raise InputError("The JSON metadata have more text after their array")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"The JSON metadata are not UTF-8 (byte {error.start})") from None


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACES:
        place += 1
    return place


def _decode(decoder: json.JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise InputError(f"The JSON metadata are malformed: {error.msg}, character {error.pos}") from None
    except RecursionError:
        raise InputError("The JSON metadata are nested too deeply") from None


def _members(pairs: list[tuple[str, Any]]) -> Dataset:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice[:80]!r} is given twice in one object of the metadata")
    return found


def _no_constant(text: str) -> Any:
    raise InputError(f"{text} is not JSON: write it as the string {text!r}")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=NumberText, parse_int=NumberText, parse_constant=_no_constant
)
