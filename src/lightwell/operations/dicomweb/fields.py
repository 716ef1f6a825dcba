"""Attributes that a search returns beside its columns: read from the records of the page only.

Source: PS3.18 §8.3.4.3 and §10.6.3.3, AWS's dicomweb-search pages (``includefield``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection

from lightwell.documents import dicom_json_documents
from lightwell.documents.retrieve_syntax import available_syntaxes
from lightwell.domain.image_sets import levels
from lightwell.domain.image_sets.dicom_json_lines import LINE_BREAK, find_line
from lightwell.domain.image_sets.levels import TAG_DIGITS
from lightwell.domain.qido.attributes import LEVELS, MATCH_KEYS_BY_PATH, SERIES_FIELDS, STUDY_FIELDS
from lightwell.domain.qido.criteria import INSTANCE, STUDY
from lightwell.domain.qido.query import Path, Query, creator_of, is_creator, is_private
from lightwell.domain.qido.results import (
    AVAILABLE_SYNTAXES,
    COLUMNS,
    INSTANCE_AVAILABILITY,
    REQUEST_ATTRIBUTES,
    RETRIEVE_URL,
)
from lightwell.errors import TooLargeError
from lightwell.stores.qido import hit_instances

if TYPE_CHECKING:
    from lightwell.stores import Stores
    from lightwell.stores.qido.search import Hit

LARGEST_ANSWER = 128 << 20
"""Most characters of an answer with attributes from records."""
_BATCH = 100
_FEW_ELEMENTS = 10  # so few elements are searched for one by one; for more, all lines are split
_IMAGE_ATTRIBUTES = (("Rows", "rows"), ("Columns", "columns"), ("BitsAllocated", "bits_allocated"))
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_ALWAYS_ANSWERED = frozenset((INSTANCE_AVAILABILITY, RETRIEVE_URL))
_REQUESTS = f"{REQUEST_ATTRIBUTES:08X}"
# ModalitiesInStudy, NumberOfStudyRelatedSeries and …Instances, NumberOfSeriesRelatedInstances, which the
# index knows better than a file, as well as InstanceAvailability, RetrieveURL and AvailableTransferSyntaxUID.
_FROM_INDEX = frozenset(
    f"{tag:08X}"
    for tag in (
        0x00080061,
        0x00201206,
        0x00201208,
        0x00201209,
        INSTANCE_AVAILABILITY,
        RETRIEVE_URL,
        AVAILABLE_SYNTAXES,
    )
)
# Level → the levels down to it, and the tags of the index that are read there whatever is matched.
_KNOWN = {level: LEVELS[: place + 1] for place, level in enumerate(LEVELS)}
_ALWAYS_HERE = {
    level: frozenset(tag for tag, each in COLUMNS.items() if each.level in known and not each.if_matched)
    for level, known in _KNOWN.items()
}
_DataSet = Mapping[bytes, bytes]
"""Key → line."""

# What may be requested of a study and of a series: attributes with one value in all of it.
_STUDY_TAGS = STUDY_FIELDS | {
    int(digits, 16) for keyword, digits in TAG_DIGITS.items() if levels.level_of(keyword) <= levels.STUDY
}
_SERIES_TAGS = SERIES_FIELDS | {int(digits, 16) for digits in TAG_DIGITS.values()}


def tag_of(keyword: str) -> int | None:
    """The tag of a keyword of PS3.6."""
    # Imported here because the dictionary takes memory, and most searches name columns.
    from lightwell.imaging.dataset.dictionary import attribute_named

    attribute = attribute_named(keyword)
    return None if attribute is None else attribute.tag


def tag_by_letters(keyword: str) -> int | None:
    """The tag of a keyword of PS3.6, with letters in either case."""
    from lightwell.imaging.dataset.dictionary import tag_by_letters

    return tag_by_letters(keyword)


class RequestedFields:
    """The attributes that one search requests beside those that it always returns.

    ``named`` and ``columns`` are tags of the index: those of match parameters, and others; ``matched`` are
    the keywords of those that are read from the index only for the first. Attributes of a lower level than
    the search, and those that cannot be returned, are ignored.
    """

    def __init__(self, level: str, query: Query) -> None:
        self._known = _KNOWN[level]
        self._here = _ALWAYS_HERE[level] | {
            tag
            for tag, *_ in query.named
            if (column := COLUMNS.get(tag)) is not None and column.level in self._known
        }
        self._whole: frozenset[int] | None = frozenset()
        columns: set[int] = set()
        if query.everything:
            fields = STUDY_FIELDS if level == STUDY else SERIES_FIELDS
            self._whole = None if level == INSTANCE else fields - self._here - _ALWAYS_ANSWERED
            columns = {AVAILABLE_SYNTAXES} if level == INSTANCE else set(fields)
        self._parts: dict[int, list[Path]] = {}
        self._creators = query.creators
        for path in (*query.named, *query.fields):
            if not self._has(path) and self._may(level, path[0]):
                self._parts.setdefault(path[0], []).append(path[1:])
        columns.update(path[0] for path in query.fields if self._has(path))
        self.columns = frozenset(columns)
        self.named = frozenset(path[0] for path in query.named if self._has(path))
        self.matched = tuple(sorted(COLUMNS[tag].keyword for tag in self.named if COLUMNS[tag].if_matched))

    def _has(self, path: Path) -> bool:
        """Whether the index has it; of sequences, it has the attributes that can be matched."""
        return (
            path in MATCH_KEYS_BY_PATH
            if path[0] == REQUEST_ATTRIBUTES
            else path[0] in self._here and len(path) == 1
        )

    def is_beyond(self, within: frozenset[int]) -> bool:
        """Whether anything is requested that is not among the columns with these tags."""
        return self.reads_records or not (self.columns | self.named) <= within

    def limited(self, query: Query, within: frozenset[int]) -> Query:
        """The query, requesting only the columns with these tags."""
        fields: list[Path] = [(tag,) for tag in sorted(within)] if query.everything else []
        fields += [path for path in query.fields if self._has(path) and path[0] in within]
        named = tuple(path for path in query.named if self._has(path) and path[0] in within)
        return replace(query, named=named, fields=tuple(fields), everything=False)

    @property
    def reads_records(self) -> bool:
        return self._whole is None or bool(self._whole) or bool(self._parts)

    def add(self, elements: list[str], lines: bytes) -> None:
        """Add the requested attributes to the elements of a result, from the lines of a data set."""
        if self._whole == frozenset() and len(self._parts) < _FEW_ELEMENTS:
            tags = {*self._parts, *self._creators}
            data_set = {b"%08X" % tag: line for tag in tags if (line := find_line(lines, tag)) is not None}
        else:
            data_set = {line[1:9]: line for line in lines.split(LINE_BREAK)}
        chosen = dict(self._chosen(data_set))
        for element in elements:
            # A value that the index lacks, because it cannot be searched by, may be in the data set. A whole
            # data set shows the instance's own values, even where they contradict the rest of its study.
            key = element[1:9]
            if key in chosen and self._whole is None and key not in _FROM_INDEX:
                continue
            if key not in chosen or ('"Value"' in element and key != _REQUESTS):
                chosen[key] = element
        elements[:] = [chosen[key] for key in sorted(chosen)]

    def _chosen(self, data_set: _DataSet) -> Iterator[tuple[str, str]]:
        """Key → element."""
        for key, line in data_set.items():
            tag = int(key, 16)
            if tag >> 16 == 2 or tag in _PIXELS:
                continue
            text: str | None = None
            if self._whole is None or tag in self._whole:
                text = line.decode()
            elif tag in self._parts and self._is_of_its_creator(tag, data_set):
                paths = self._parts[tag]
                text = line.decode() if () in paths else _prune_sequence(line, paths)
            if text is not None:
                yield key.decode(), text

    def _may(self, level: str, tag: int) -> bool:
        column = COLUMNS.get(tag)
        if tag in _ALWAYS_ANSWERED or tag in _PIXELS:
            return False
        if column is None or tag in self._here:
            is_here = True
        else:
            is_here = column.if_matched and column.level in self._known
        if not is_here:
            return False
        if level == INSTANCE or is_private(tag):
            return True
        return tag in (_STUDY_TAGS if level == STUDY else _SERIES_TAGS)

    def _is_of_its_creator(self, tag: int, data_set: _DataSet) -> bool:
        """Whether a private attribute has the creator that the query names; True for standard attributes."""
        if not is_private(tag):
            return True
        creator = tag if is_creator(tag) else creator_of(tag)
        if creator not in self._creators:
            return tag == creator
        line = data_set.get(b"%08X" % creator)
        return line is not None and _element_of_line(line).get("Value") == [self._creators[creator]]


def _prune_sequence(line: bytes, paths: Sequence[Path]) -> str | None:
    """A sequence with only the elements at the paths in its items; None where there are none."""
    kept = _prune_element(_element_of_line(line), paths)
    return None if kept is None else line[:11].decode() + msgspec.json.encode(kept).decode()


def _element_of_line(line: bytes) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(line[11:])
    return value


def _prune_element(element: Mapping[str, Any], paths: Sequence[Path]) -> Mapping[str, Any] | None:
    if () in paths:
        return element
    if element.get("vr") != "SQ":
        return None
    wanted: dict[str, list[Path]] = {}
    for path in paths:
        wanted.setdefault(f"{path[0]:08X}", []).append(path[1:])
    items = []
    for item in element.get("Value", ()):
        parts = {key: _prune_element(item[key], rest) for key, rest in sorted(wanted.items()) if key in item}
        items.append({key: part for key, part in parts.items() if part is not None})
    return {"vr": "SQ", "Value": items} if any(items) else None


def add_image_attributes(conn: Connection, hits: Sequence[Hit], *, with_syntaxes: bool) -> None:
    """Add the attributes that are stored with the pixels to the values of instances that have pixels.

    ``with_syntaxes``: and to all of them, which transfer syntaxes they can be retrieved in.
    """
    for hit, pixels in zip(hits, hit_instances.pixels(conn, hits), strict=True):
        described = {} if pixels.image is None else msgspec.json.decode(pixels.image)
        hit.values.update((keyword, described.get(name)) for keyword, name in _IMAGE_ATTRIBUTES)
        if described.get("frames_declared"):
            hit.values["NumberOfFrames"] = described["frames"]
        if with_syntaxes:
            hit.values["AvailableTransferSyntaxUID"] = "\\".join(_syntaxes_of(pixels))


def _syntaxes_of(pixels: hit_instances.HitPixels) -> tuple[str, ...]:
    if pixels.image is None or pixels.stored_syntax is None:
        return available_syntaxes(None)
    if not pixels.frame_count:
        return available_syntaxes(pixels.stored_syntax)
    return available_syntaxes(pixels.stored_syntax, bytes(pixels.image))


def add_requested_fields(
    results: Sequence[list[str]],
    asked: RequestedFields,
    stores: Stores,
    conn: Connection,
    hits: Sequence[Hit],
    base: str,
) -> None:
    """Add the requested attributes to the elements of results, from the instances that represent their hits.

    ``base`` is the URL of the data store. Raises `TooLargeError` above `LARGEST_ANSWER` characters.
    """
    size = 0
    for start in range(0, len(hits), _BATCH):
        rows = hit_instances.rows(conn, hits[start : start + _BATCH])
        objects = dicom_json_documents.instance_objects(conn, stores, rows, base)
        for elements, data_set in zip(results[start : start + _BATCH], objects, strict=True):
            asked.add(elements, data_set[1:-1])
            size += sum(map(len, elements))
        if size > LARGEST_ANSWER:
            raise TooLargeError(
                f"The results are larger than {LARGEST_ANSWER >> 20} MiB; request fewer with "
                "limit and offset."
            )
