"""The metadata override of an import job: DICOM JSON that replaces attributes of a study's or series' files.

Source: the service model's DicomJsonMetadataImportConfiguration names study, series and a JSON file, whose
format is not published. We accept the DICOM JSON Model (PS3.18 Annex F), an object or an array of objects:

- The objects of the study's mapping apply first, then those of the series' mapping.
- An object with a SOPInstanceUID applies to that instance only; the UID itself is never overridden.
- In an array of several objects, StudyInstanceUID and SeriesInstanceUID select in the same way.
- Group 0002 and pixel data are left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lightwell.errors import InputError

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_PIXELS = frozenset(("7FE00008", "7FE00009", "7FE00010"))
# The metadata of an image set is 50 MB at most.
LIMIT = 50_000_000

Override = dict[str, object]


@dataclass(frozen=True, slots=True)
class Covered:
    """One mapping: which study, which of its series (all if None), and the key of the JSON file."""

    study: str
    series: str | None
    key: str


class _Element(msgspec.Struct):
    """What every element must have; the rest is skipped."""

    vr: str


_raw = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[dict[str, msgspec.Raw]])
_element = msgspec.json.Decoder(_Element)
_value = msgspec.json.Decoder()


def keys(configuration: bytes | None, prefix: str) -> list[str]:
    """The keys of the JSON files of a job's configuration, each once; paths are relative to ``prefix``."""
    return list(dict.fromkeys(key for _, _, key in mappings(configuration, prefix)))


def mappings(configuration: bytes | None, prefix: str) -> list[tuple[str, str | None, str]]:
    """(StudyInstanceUID, SeriesInstanceUID or None, key) of each mapping of a job's configuration."""
    if configuration is None:
        return []
    value = json.loads(configuration).get("dicomJsonMetadataImportConfiguration") or {}
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    return [
        (m["studyInstanceUID"], m.get("seriesInstanceUID"), folder + m["metadataFilePath"].lstrip("/"))
        for m in value.get("dicomMetadataMappings", ())
    ]


def load(got: bytes | Path, name: str, spool: Path) -> bytes:
    """The bytes of a JSON file that `Buckets.fetch` returned. Raises `InputError` if there are too many."""
    if not isinstance(got, bytes):
        try:
            with got.open("rb") as stream:
                data = stream.read(LIMIT + 1)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from None
        finally:
            if got.parent == spool:
                got.unlink(missing_ok=True)
    else:
        data = got
    if len(data) > LIMIT:
        raise InputError(f"{name} has more than {LIMIT} bytes, the limit for a metadata override")
    return data


def check(data: bytes, name: str) -> None:
    """Raise `InputError` if `parse` would, in little more memory than the file's bytes."""
    _objects(data, name)


def parse(data: bytes, name: str) -> list[Override]:
    """The objects of a JSON file. Raises `InputError` that names the file."""
    return [_override(raw, name) for raw in _objects(data, name)]


def _objects(data: bytes, name: str) -> list[dict[str, msgspec.Raw]]:
    try:
        value = _raw.decode(data.removeprefix(b"\xef\xbb\xbf"))
        objects = value if isinstance(value, list) else [value]
        for one in objects:
            for tag, element in one.items():
                if not _TAG.fullmatch(tag):
                    raise InputError(f"{name} is not DICOM JSON: {tag[:64]!r} is not a tag of 8 hex digits")
                _element.decode(element)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{name} is not DICOM JSON, an object or an array of objects: {error}") from None
    if not objects:
        raise InputError(f"{name} is an empty array; it must be DICOM JSON, an object or an array of objects")
    return objects


def _override(raw: dict[str, msgspec.Raw], name: str) -> Override:
    try:
        return {
            tag.upper(): _value.decode(element)
            for tag, element in raw.items()
            if not tag.startswith("0002") and tag.upper() not in _PIXELS
        }
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"{name} is not DICOM JSON: {error}") from None


def _uid(override: Override, tag: str) -> str | None:
    element = override.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else None


class Overrides:
    """The overrides of one job. ``load`` returns the bytes of a JSON file by its key; it is called once each.

    If ``load`` raises `InputError`, `find` does, for every instance that the file covers.
    """

    def __init__(self, mappings: Sequence[tuple[str, str | None, str]], load: Callable[[str], bytes]) -> None:
        self._mappings = [Covered(*m) for m in mappings]
        self._load = load
        self._objects: dict[str, list[Override] | str] = {}

    def find(self, study: str, series: str, instance: str) -> Mapping[str, object] | None:
        """The attributes that override those of an instance, None if there are none."""
        merged: Override = {}
        covering = [m for m in self._mappings if m.study == study and m.series in (None, series)]
        for mapping in sorted(covering, key=lambda m: m.series is not None):
            objects = self._read(mapping.key)
            several = len(objects) > 1
            for override in objects:
                if _uid(override, _INSTANCE) not in (None, instance):
                    continue
                if several and (
                    _uid(override, _STUDY) not in (None, study)
                    or _uid(override, _SERIES) not in (None, series)
                ):
                    continue
                merged |= override
        merged.pop(_INSTANCE, None)
        return merged or None

    def _read(self, key: str) -> list[Override]:
        found = self._objects.get(key)
        if found is None:
            try:
                found = parse(self._load(key), key)
            except InputError as error:
                found = str(error)
            self._objects[key] = found
        if isinstance(found, str):
            raise InputError(f"The metadata override of this file cannot be used: {found}")
        return found
