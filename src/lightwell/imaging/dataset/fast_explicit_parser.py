"""A fast parser for Explicit VR Little Endian: one pass over the bytes, with a cache of parsed elements.

It supports regular data sets only: known VRs, ascending tags, lengths that fit, one character set. Anything
else raises `FallbackToFullParser`, and `full_parser` parses the file from the start; tests prove that both
give the same elements.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from lightwell.domain.image_sets.levels import INSTANCE
from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import NESTING
from lightwell.imaging.dataset import dicom_json
from lightwell.imaging.dataset.byte_source import HEAD, Source
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, attribute_of
from lightwell.imaging.dataset.element_cache import LONGEST, CachedElements, CacheKey, SeriesCache
from lightwell.imaging.dataset.element_scanner import UNDEFINED, fragments_end
from lightwell.imaging.dataset.parsed_element import (
    NEEDED,
    SKIPPED,
    ParsedElement,
    element_json,
    has_usual_key,
    listed_vr,
    needed_value,
)
from lightwell.imaging.dataset.transfer_syntaxes import LONG_VRS
from lightwell.imaging.dataset.values import BINARY, InvalidValueError, empty

#: the longest run of elements that is read into memory at once
HEADER_LIMIT = 16 << 20
#: cache misses after which the full parser, which needs less memory, takes over
_MOST_MISSES = 200_000

# VR codes as little endian numbers, so that one unpack reads an element header.
_SHORT_VRS = frozenset(
    int.from_bytes(code, "little")
    for code in b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
_LONG_VRS = frozenset(int.from_bytes(vr.encode(), "little") for vr in LONG_VRS - {"SQ"})
_UNKNOWN = int.from_bytes(b"UN", "little")
_SEQUENCE = int.from_bytes(b"SQ", "little")
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000FFFE, 0xE00DFFFE, 0xE0DDFFFE
_PIXEL_GROUP = 0x7FE0
_CHARSET = 0x00050008
_LAST_WORD = 0xFFFFFFFF

_header = struct.Struct("<IHH").unpack_from
_length = struct.Struct("<I").unpack_from
_item = struct.Struct("<II").unpack_from


class FallbackToFullParser(Exception):
    """The data set has something that only the full parser supports."""


class NeedMoreBytes(Exception):
    """The buffer ends too early; the argument is how many bytes it has to have at least."""


class PixelElementSpan(NamedTuple):
    """The pixel element of a file; ``length`` is as declared, the others but ``vr`` are tag and offsets."""

    tag: int
    vr: str
    start: int
    value: int
    length: int
    end: int


class FastExplicitParser:
    """Parses one file; ``levels`` are its elements by level, in tag order within each."""

    _implicit = False

    def __init__(self, source: Source, start: int, cache: SeriesCache) -> None:
        self._source = source
        self._base = start  # offset of the buffer in the file
        self._data = source.read(start, HEAD - start if start < HEAD // 2 else HEAD)
        self._cache = cache
        self._key: CacheKey = (self._implicit, b"", b"")
        self._last = 0
        self._resume_at = 0
        self._misses = 0
        self._cached: CachedElements = cache.elements_under(self._key)
        self.levels: tuple[list[ParsedElement], ...] = ([], [], [], [], [])
        #: the elements of all levels in tag order
        self.elements: list[ParsedElement] = []
        self.needed: dict[int, ParsedElement] = {}
        self.pixel: PixelElementSpan | None = None
        #: (offset, length) of the values of (7FE0,0001) and (7FE0,0002)
        self.offset_tables: dict[int, tuple[int, int]] = {}

    def parse_file_meta(self) -> None:
        """Parse a file meta group. Raises `FallbackToFullParser`."""
        try:
            self._parse_elements(0)
        except (NeedMoreBytes, struct.error):
            raise FallbackToFullParser from None

    def parse_dataset(self) -> None:
        """Parse a data set to the end of the file. Raises `FallbackToFullParser`."""
        has_charset = self._select_charset()
        self._last = 0x0003FFFF
        pos = 0
        while self._base + pos < self._source.size:
            try:
                pos = self._parse_elements(pos)
            except NeedMoreBytes as more:
                pos = self._resume_at
                self._read_more(*more.args)
            except struct.error:
                pos = self._resume_at
                self._read_more(0)
            else:
                if pos and self._base + pos < self._source.size:
                    self._read_more(0)
        if not has_charset and CHARSET in self.needed:
            raise FallbackToFullParser

    def _read_more(self, needed: int) -> None:
        have = len(self._data)
        if (
            needed > HEADER_LIMIT
            or have >= HEADER_LIMIT
            or self._base + max(needed, have + 1) > self._source.size
        ):
            raise FallbackToFullParser
        self._data = self._source.read(self._base, min(max(8 * have, HEAD, needed), HEADER_LIMIT))
        if len(self._data) <= have:
            raise FallbackToFullParser

    def _select_charset(self) -> bool:
        """Find SpecificCharacterSet, which comes before all text; False if it is absent."""
        data, pos = self._data, 0
        while len(data) >= pos + 8:
            word, length = self._tag_and_length(data, pos)
            pos += 8 + length
            if word == _CHARSET:
                if pos > len(data) or length > 4096:
                    raise FallbackToFullParser
                self._key = (self._implicit, data[pos - length : pos], b"")
                self._cached = self._cache.elements_under(self._key)
                if self._cached.charset.unknown:
                    raise FallbackToFullParser
                return True
            if (word & 0xFFFF) << 16 | word >> 16 > CHARSET:
                return False
        return False

    def _tag_and_length(self, data: bytes, pos: int) -> tuple[int, int]:
        """Tag word and length of one of the first elements, which have short VRs."""
        word, vr, length = _header(data, pos)
        return (word, length) if vr in _SHORT_VRS else (_LAST_WORD, 0)

    def _parse_elements(self, pos: int) -> int:
        """Parse from ``pos`` to the end of the buffer; returns its end, or 0 where a new buffer was read.

        Where the buffer ends inside an element, `_resume_at` is the position of that element.
        """
        data = self._data
        stop = len(data)
        get = self._cached.elements.get
        levels, needed, elements = self.levels, self.needed, self.elements
        last = self._last
        try:
            while pos < stop:
                word, vr, length = _header(data, pos)
                if vr in _SHORT_VRS:
                    end = pos + 8 + length
                    raw = data[pos:end]
                    element = get(raw)
                    if element is None:
                        if end > stop:
                            raise NeedMoreBytes(end)
                        element = self._parse_uncached(raw, 8)
                elif vr == _SEQUENCE:
                    element, end = self._parse_sequence(data, pos, 0)
                elif vr in _LONG_VRS:
                    (length,) = _length(data, pos + 8)
                    if word & 0xFFFF == _PIXEL_GROUP and self._is_pixel_element(word, vr, pos, length, last):
                        return 0
                    if length == UNDEFINED:
                        raise FallbackToFullParser
                    end = pos + 12 + length
                    if end > stop:
                        raise NeedMoreBytes(end)
                    raw = data[pos:end]
                    element = get(raw)
                    if element is None:
                        element = self._parse_uncached(raw, 12)
                else:
                    raise FallbackToFullParser
                tag = element.tag
                if tag <= last:
                    raise FallbackToFullParser
                last = tag
                levels[element.level].append(element)
                elements.append(element)
                if element.needed:
                    needed[tag] = element
                pos = end
        except (NeedMoreBytes, struct.error):
            self._resume_at = pos
            self._last = last
            raise
        self._last = last
        return pos

    def _is_pixel_element(
        self, word: int, vr: int, pos: int, length: int, last: int, header: int = 12
    ) -> bool:
        """Record an element of group 7FE0; True for the pixel element, after which a new buffer begins."""
        tag = (word & 0xFFFF) << 16 | word >> 16
        start = self._base + pos
        if tag not in PIXEL_TAGS:
            if length != UNDEFINED:
                self.offset_tables[tag] = (start + header, length)
            return False
        if self.pixel or tag <= last or vr == _UNKNOWN:
            raise FallbackToFullParser
        value = start + header
        if length == UNDEFINED:
            end = fragments_end(self._source, value)
        else:
            end = min(value + length, self._source.size)
        self.pixel = PixelElementSpan(tag, vr.to_bytes(2, "little").decode(), start, value, length, end)
        self._last = tag
        self._base = end
        self._data = self._source.read(end, 4096) if end < self._source.size else b""
        return True

    def _parse_uncached(self, raw: bytes, header: int) -> ParsedElement:
        """Parse an element that is not in the cache, or only in its older generation."""
        element = self._cache.promote(self._key, raw) if len(raw) <= LONGEST else None
        if element is not None:
            return element
        self._count_miss()
        word, vr_code, _ = _header(raw, 0)
        tag = (word & 0xFFFF) << 16 | word >> 16
        if word >> 16 == 0 and tag != 0x00020000:
            element = ParsedElement(tag, SKIPPED, b"")
        else:
            element = self._parse_element(tag, vr_code.to_bytes(2, "little").decode(), raw, header)
        self._cache.add(self._cached, raw, element)
        return element

    def _count_miss(self) -> None:
        self._misses += 1
        if self._misses > _MOST_MISSES:
            raise FallbackToFullParser

    def _parse_element(self, tag: int, vr: str, raw: bytes, header: int) -> ParsedElement:
        attribute = attribute_of(tag)
        if (vr == "UN" and attribute.vr) or (tag in PIXEL_TAGS and header == 8) or tag >> 16 == 0xFFFE:
            raise FallbackToFullParser
        warnings: list[Warning] = []
        charset = self._cached.charset
        length = len(raw) - header
        json, listed = element_json(attribute, vr, length, lambda: raw[header:], charset, warnings)
        value = None
        needed = tag in NEEDED
        if needed and length <= 65_536:
            try:
                value = needed_value(attribute, vr, raw[header:], charset, big=False)
            except InvalidValueError:
                value = None
        level = attribute.level if has_usual_key(attribute, json) else INSTANCE
        dicom = b""
        if tag in dicom_json.OFFSET_TABLES:
            pass
        elif vr in BINARY and 0 < length <= dicom_json.BULK_THRESHOLD and has_usual_key(attribute, json):
            dicom = dicom_json.from_native(attribute, vr, json[len(attribute.key) :])
        else:
            # Within sequences no value is long enough to be named by its path.
            dicom = dicom_json.from_reader(
                attribute, vr, length, lambda: raw[header:], charset, attribute.hex
            )
        vrs = (listed,) if listed else ()
        return ParsedElement(tag, level, json, vrs, tuple(warnings), value, needed, dicom=dicom)

    def _parse_sequence(self, data: bytes, pos: int, depth: int) -> tuple[ParsedElement, int]:
        """The sequence whose header is at ``pos``, and its end."""
        if depth >= NESTING:
            raise FallbackToFullParser
        (length,) = _length(data, pos + 8)
        value = pos + 12
        if length != UNDEFINED:
            end = value + length
            if end > len(data):
                raise NeedMoreBytes(end)
            raw = b""
            if end - pos <= LONGEST:
                raw = data[pos:end]
                element = self._cached.elements.get(raw) or self._cache.promote(self._key, raw)
                if element is not None:
                    return element, end
            element, _ = self._parse_items(data, pos, value, end, depth)
            if raw:
                self._cache.add(self._cached, raw, element)
            return element, end
        header = data[pos:value]
        for cached_bytes, element in self._cached.sequences.get(header, ()):
            if data.startswith(cached_bytes, pos):
                return element, pos + len(cached_bytes)
        element, end = self._parse_items(data, pos, value, None, depth)
        if end - pos <= LONGEST:
            self._cache.add_sequence(self._cached, header, data[pos:end], element)
        return element, end

    def _parse_items(
        self, data: bytes, pos: int, item_pos: int, end: int | None, depth: int
    ) -> tuple[ParsedElement, int]:
        """The sequence at ``pos``, its items from ``item_pos`` to ``end`` or to the delimiter."""
        (word,) = _length(data, pos)
        if word >> 16 == 0:
            raise FallbackToFullParser  # a sequence in the place of a group length
        attribute = attribute_of((word & 0xFFFF) << 16 | word >> 16)
        vrs: dict[bytes, bytes] = {}
        warnings: dict[Warning, None] = {}
        if not attribute.keyed:
            listed = listed_vr(attribute, "SQ")
            vrs[listed[:10]] = listed
        items: list[bytes] = []
        dicom_items: list[bytes] = []
        while item_pos != end:
            word, length = _item(data, item_pos)
            item_pos += 8
            if word == _ITEM:
                if length == UNDEFINED:
                    item_elements, item_pos = self._parse_item(data, item_pos, None, depth, vrs, warnings)
                else:
                    stop = item_pos + length
                    if end is not None and stop > end:
                        raise FallbackToFullParser
                    if stop > len(data):
                        raise NeedMoreBytes(stop)
                    item_elements, item_pos = self._parse_item(data, item_pos, stop, depth, vrs, warnings)
                items.append(b"{" + b",".join([each.json for each in item_elements]) + b"}")
                dicom_items.append(b",".join([each.dicom for each in item_elements if each.dicom]))
            elif word == _SEQUENCE_END and end is None and not length:
                break
            else:
                raise FallbackToFullParser
        json = b"[" + b",".join(items) + b"]" if items else empty(attribute)
        element = ParsedElement(
            attribute.tag,
            attribute.level,
            attribute.key + json,
            tuple(vrs.values()),
            tuple(warnings),
            nested=True,
            dicom=dicom_json.from_items(attribute, dicom_items),
        )
        return element, item_pos

    def _parse_item(
        self,
        data: bytes,
        pos: int,
        stop: int | None,
        depth: int,
        vrs: dict[bytes, bytes],
        warnings: dict[Warning, None],
    ) -> tuple[list[ParsedElement], int]:
        """The elements of one item, from ``pos`` to ``stop`` or to the delimiter."""
        get = self._cached.elements.get
        bound = len(data) if stop is None else stop
        item_elements: list[ParsedElement] = []
        last = 0
        while pos != stop:
            word, vr, length = _header(data, pos)
            if vr in _SHORT_VRS:
                if word == _CHARSET:
                    raise FallbackToFullParser
                end = pos + 8 + length
                raw = data[pos:end]
                element = get(raw)
                if element is None:
                    if end > bound:
                        raise NeedMoreBytes(end) if stop is None else FallbackToFullParser
                    element = self._parse_uncached(raw, 8)
            elif vr == _SEQUENCE:
                element, end = self._parse_sequence(data, pos, depth + 1)
            elif vr in _LONG_VRS:
                (length,) = _length(data, pos + 8)
                end = pos + 12 + length
                if length == UNDEFINED:
                    raise FallbackToFullParser
                if end > bound:
                    raise NeedMoreBytes(end) if stop is None else FallbackToFullParser
                if length > dicom_json.BULK_THRESHOLD:
                    raise FallbackToFullParser  # a bulk value, named by its path, which is not tracked here
                raw = data[pos:end]
                element = get(raw)
                if element is None:
                    element = self._parse_uncached(raw, 12)
            elif word == _ITEM_END and stop is None and not vr and not length:
                return item_elements, pos + 8
            else:
                raise FallbackToFullParser
            if element.tag <= last:
                raise FallbackToFullParser
            last = element.tag
            if element.json:
                item_elements.append(element)
                if element.vrs:
                    for listed in element.vrs:
                        vrs.setdefault(listed[:10], listed)
                if element.warnings:
                    warnings.update(dict.fromkeys(element.warnings))
            pos = end
            if pos > bound:
                raise FallbackToFullParser
        return item_elements, pos
