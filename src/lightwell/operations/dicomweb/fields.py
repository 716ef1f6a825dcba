"""Attributes that a search answers beside its columns: read from the records of the page, and only of it.

Source: PS3.18 §8.3.4.3 and §10.6.3.3, AWS's dicomweb-search pages (``includefield``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection

from lightwell.domain.image_sets import levels
from lightwell.domain.image_sets.dicom_json_lines import BREAK, line_of
from lightwell.domain.image_sets.level_tags import DIGITS
from lightwell.domain.qido.attributes import BY_PATH, LEVELS, SERIES_FIELDS, STUDY_FIELDS
from lightwell.domain.qido.criteria import INSTANCE, STUDY
from lightwell.domain.qido.query import Path, Query, creator_of, is_creator, is_private
from lightwell.domain.qido.results import AVAILABILITY, COLUMNS, REQUESTS, RETRIEVE_URL
from lightwell.errors import TooLargeError
from lightwell.operations.dicomweb import metadata
from lightwell.stores.qido import hit_instances

if TYPE_CHECKING:
    from lightwell.stores import Stores
    from lightwell.stores.qido.search import Hit

LARGEST = 128 << 20
"""So many characters has an answer with attributes from records at most."""
_BATCH = 100
_FEW = 10  # elements that are rather searched for than all told apart
_OF_IMAGES = (("Rows", "rows"), ("Columns", "columns"), ("BitsAllocated", "bits_allocated"))
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_ALWAYS = frozenset((AVAILABILITY, RETRIEVE_URL))
_REQUESTS = f"{REQUESTS:08X}"
# ModalitiesInStudy, NumberOfStudyRelatedSeries and …Instances, NumberOfSeriesRelatedInstances: what the store
# knows better than a file. InstanceAvailability and RetrieveURL, too.
_COUNTED = frozenset(
    ("00080061", "00201206", "00201208", "00201209", f"{AVAILABILITY:08X}", f"{RETRIEVE_URL:08X}")
)
_DataSet = Mapping[bytes, bytes]
"""Key → line."""

# What may be asked for of a study and of a series: what is the same in all of it.
_STUDY_TAGS = STUDY_FIELDS | {
    int(digits, 16) for keyword, digits in DIGITS.items() if levels.level_of(keyword) <= levels.STUDY
}
_SERIES_TAGS = SERIES_FIELDS | {int(digits, 16) for digits in DIGITS.values()}


def tag_of(keyword: str) -> int | None:
    """The tag of a keyword of PS3.6."""
    # Imported here since the dictionary takes memory, and most searches name columns.
    from lightwell.imaging.dataset.dictionary import attribute_named

    attribute = attribute_named(keyword)
    return None if attribute is None else attribute.tag


class RequestedFields:
    """What one search asks for beside what it always answers.

    ``named`` and ``columns`` are tags that the index has, those of match parameters and others. What is of a
    lower level than that of the search, and what has no meaning, is passed over.
    """

    def __init__(self, level: str, query: Query) -> None:
        known = LEVELS[: LEVELS.index(level) + 1]
        self._here = frozenset(tag for tag, column in COLUMNS.items() if column.level in known)
        self._whole: frozenset[int] | None = frozenset()
        columns: set[int] = set()
        if query.everything:
            fields = STUDY_FIELDS if level == STUDY else SERIES_FIELDS
            self._whole = None if level == INSTANCE else fields - self._here - _ALWAYS
            columns = set() if level == INSTANCE else set(fields)
        self._parts: dict[int, list[Path]] = {}
        self._creators = query.creators
        for path in (*query.named, *query.fields):
            if not self._has(path) and self._may(level, path[0]):
                self._parts.setdefault(path[0], []).append(path[1:])
        columns.update(path[0] for path in query.fields if self._has(path))
        self.columns = frozenset(columns)
        self.named = frozenset(path[0] for path in query.named if self._has(path))

    def _has(self, path: Path) -> bool:
        """Whether the index has it; of sequences it has what can be matched."""
        return path in BY_PATH if path[0] == REQUESTS else path[0] in self._here and len(path) == 1

    def is_beyond(self, within: frozenset[int]) -> bool:
        """Whether anything is asked for that is not among the columns with these tags."""
        return self.reads_records or not (self.columns | self.named) <= within

    def limited(self, query: Query, within: frozenset[int]) -> Query:
        """The query, asking for nothing else than the columns with these tags."""
        fields: list[Path] = [(tag,) for tag in sorted(within)] if query.everything else []
        fields += [path for path in query.fields if self._has(path) and path[0] in within]
        named = tuple(path for path in query.named if self._has(path) and path[0] in within)
        return replace(query, named=named, fields=tuple(fields), everything=False)

    @property
    def reads_records(self) -> bool:
        return self._whole is None or bool(self._whole) or bool(self._parts)

    def add(self, elements: list[str], lines: bytes) -> None:
        """Put what is asked for among the elements of a result, from the lines of a data set."""
        if self._whole == frozenset() and len(self._parts) < _FEW:
            tags = {*self._parts, *self._creators}
            data_set = {b"%08X" % tag: line for tag in tags if (line := line_of(lines, tag)) is not None}
        else:
            data_set = {line[1:9]: line for line in lines.split(BREAK)}
        chosen = dict(self._chosen(data_set))
        for element in elements:
            # What the index has not, since it is no value to search by, may stand in the data set. A whole
            # data set shows what the instance itself says, also where that contradicts the rest of its study.
            key = element[1:9]
            if key in chosen and self._whole is None and key not in _COUNTED:
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
                text = line.decode() if () in paths else _pruned(line, paths)
            if text is not None:
                yield key.decode(), text

    def _may(self, level: str, tag: int) -> bool:
        if tag in _ALWAYS or tag in _PIXELS or (tag in COLUMNS and tag not in self._here):
            return False
        if level == INSTANCE or is_private(tag):
            return True
        return tag in (_STUDY_TAGS if level == STUDY else _SERIES_TAGS)

    def _is_of_its_creator(self, tag: int, data_set: _DataSet) -> bool:
        """Whether a private attribute has the creator that the query names; True for all others."""
        if not is_private(tag):
            return True
        creator = tag if is_creator(tag) else creator_of(tag)
        if creator not in self._creators:
            return tag == creator
        line = data_set.get(b"%08X" % creator)
        return line is not None and _value(line).get("Value") == [self._creators[creator]]


def _pruned(line: bytes, paths: Sequence[Path]) -> str | None:
    """A sequence with nothing but what stands at the paths in its items; None where nothing does."""
    kept = _kept(_value(line), paths)
    return None if kept is None else line[:11].decode() + msgspec.json.encode(kept).decode()


def _value(line: bytes) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(line[11:])
    return value


def _kept(element: Mapping[str, Any], paths: Sequence[Path]) -> Mapping[str, Any] | None:
    if () in paths:
        return element
    if element.get("vr") != "SQ":
        return None
    wanted: dict[str, list[Path]] = {}
    for path in paths:
        wanted.setdefault(f"{path[0]:08X}", []).append(path[1:])
    items = []
    for item in element.get("Value", ()):
        parts = {key: _kept(item[key], rest) for key, rest in sorted(wanted.items()) if key in item}
        items.append({key: part for key, part in parts.items() if part is not None})
    return {"vr": "SQ", "Value": items} if any(items) else None


def add_images(conn: Connection, hits: Sequence[Hit]) -> None:
    """Put what the pixels say of themselves among the values of instances; of those without, nothing."""
    for hit, image in zip(hits, hit_instances.images(conn, hits), strict=True):
        described = {} if image is None else msgspec.json.decode(image)
        hit.values.update((keyword, described.get(name)) for keyword, name in _OF_IMAGES)
        if described.get("frames_declared"):
            hit.values["NumberOfFrames"] = described["frames"]


def add_to(
    results: Sequence[list[str]],
    asked: RequestedFields,
    stores: Stores,
    conn: Connection,
    hits: Sequence[Hit],
    base: str,
) -> None:
    """Put what is asked for among the elements of results, from the instances that stand for their hits.

    ``base`` is the URL of the data store. Raises `TooLargeError` above `LARGEST` characters.
    """
    size = 0
    for start in range(0, len(hits), _BATCH):
        rows = hit_instances.rows(conn, hits[start : start + _BATCH])
        objects = metadata.instance_objects(conn, stores, rows, base)
        for elements, data_set in zip(results[start : start + _BATCH], objects, strict=True):
            asked.add(elements, data_set[1:-1])
            size += sum(map(len, elements))
        if size > LARGEST:
            raise TooLargeError(
                f"The results are larger than {LARGEST >> 20} MiB; ask for fewer by limit and offset."
            )
