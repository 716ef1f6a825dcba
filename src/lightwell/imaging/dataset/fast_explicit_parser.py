"""The fast lane: Explicit VR Little Endian in one pass over its bytes, with what the cache knows.

It takes only what is plainly regular: known VRs, ascending tags, lengths that fit, one character set.
Anything else raises `FallbackToFullParser`, and the careful lane (`walk`, `convert`) reads the file from the
start; tests prove that both find the same.
"""

from __future__ import annotations

import struct

from lightwell.domain.image_sets.levels import INSTANCE
from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import NESTING
from lightwell.imaging.dataset import dicom_json
from lightwell.imaging.dataset.byte_source import HEAD, Source
from lightwell.imaging.dataset.dictionary import CHARSET, PIXEL_TAGS, attribute_of
from lightwell.imaging.dataset.element_cache import LONGEST, Key, SeriesCache, Table
from lightwell.imaging.dataset.element_scanner import UNDEFINED, fragments_end
from lightwell.imaging.dataset.parsed_element import (
    NEEDED,
    SKIPPED,
    ParsedElement,
    listed_vr,
    needed_value,
    own_key,
    plain_element,
)
from lightwell.imaging.dataset.values import BINARY, InvalidValueError, empty

#: the longest header that is taken whole into memory
LIMIT = 16 << 20
#: elements that the cache did not know, after which the careful lane, which needs less memory, takes over
_MISSES = 200_000

# VR codes as little endian numbers, so that a head is one unpacking.
_SHORT = frozenset(
    int.from_bytes(code, "little")
    for code in b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)
_LONG = frozenset(int.from_bytes(code, "little") for code in b"OB OD OF OL OV OW SV UC UN UR UT UV".split())
_UNKNOWN = int.from_bytes(b"UN", "little")
_SEQUENCE = int.from_bytes(b"SQ", "little")
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000FFFE, 0xE00DFFFE, 0xE0DDFFFE
_PIXEL_GROUP = 0x7FE0
_CHARSET = 0x00050008
_LATER = 0xFFFFFFFF

_head = struct.Struct("<IHH").unpack_from
_length = struct.Struct("<I").unpack_from
_item = struct.Struct("<II").unpack_from


class FallbackToFullParser(Exception):
    """Something that is left to the careful lane."""


class NeedMoreBytes(Exception):
    """The bytes at hand end too early; its argument is how many are needed at least."""


class FastExplicitParser:
    """One walk over one file; ``levels`` are the entries found, by level and in tag order within each."""

    _implicit = False

    def __init__(self, source: Source, start: int, cache: SeriesCache) -> None:
        self._source = source
        self._base = start  # where in the file the bytes at hand begin
        self._data = source.read(start, HEAD - start if start < HEAD // 2 else HEAD)
        self._cache = cache
        self._key: Key = (self._implicit, b"", b"")
        self._last = 0
        self._resume = 0
        self._misses = 0
        self._table: Table = cache.table(self._key)
        self.levels: tuple[list[ParsedElement], ...] = ([], [], [], [], [])
        #: all of them in tag order
        self.found: list[ParsedElement] = []
        self.needed: dict[int, ParsedElement] = {}
        #: (tag, VR, start, value offset, declared length, end) of the pixel element
        self.pixel: tuple[int, str, int, int, int, int] | None = None
        #: place of (7FE0,0001) and (7FE0,0002)
        self.tables: dict[int, tuple[int, int]] = {}

    def meta(self) -> None:
        """Walk a file meta group. Raises `FallbackToFullParser`."""
        try:
            self._walk(0)
        except (NeedMoreBytes, struct.error):
            raise FallbackToFullParser from None

    def dataset(self) -> None:
        """Walk a data set to the end of the file. Raises `FallbackToFullParser`."""
        chosen = self._choose_table()
        self._last = 0x0003FFFF
        pos = 0
        while self._base + pos < self._source.size:
            try:
                pos = self._walk(pos)
            except NeedMoreBytes as more:
                pos = self._resume
                self._enlarge(*more.args)
            except struct.error:
                pos = self._resume
                self._enlarge(0)
            else:
                if pos and self._base + pos < self._source.size:
                    self._enlarge(0)
        if not chosen and CHARSET in self.needed:
            raise FallbackToFullParser

    def _enlarge(self, needed: int) -> None:
        have = len(self._data)
        if needed > LIMIT or have >= LIMIT or self._base + max(needed, have + 1) > self._source.size:
            raise FallbackToFullParser
        self._data = self._source.read(self._base, min(max(8 * have, HEAD, needed), LIMIT))
        if len(self._data) <= have:
            raise FallbackToFullParser

    def _choose_table(self) -> bool:
        """Find SpecificCharacterSet, which stands before all text; False if it is not there."""
        data, pos = self._data, 0
        while len(data) >= pos + 8:
            word, length = self._first(data, pos)
            pos += 8 + length
            if word == _CHARSET:
                if pos > len(data) or length > 4096:
                    raise FallbackToFullParser
                self._key = (self._implicit, data[pos - length : pos], b"")
                self._table = self._cache.table(self._key)
                if self._table.charset.unknown:
                    raise FallbackToFullParser
                return True
            if (word & 0xFFFF) << 16 | word >> 16 > CHARSET:
                return False
        return False

    def _first(self, data: bytes, pos: int) -> tuple[int, int]:
        """Tag and length of one of the first elements, which have short VRs."""
        word, vr, length = _head(data, pos)
        return (word, length) if vr in _SHORT else (_LATER, 0)

    def _walk(self, pos: int) -> int:
        """Walk on from ``pos``; returns where the bytes at hand end, or where other bytes begin.

        Where they end inside of an element, `_resume` is its place.
        """
        data = self._data
        stop = len(data)
        get = self._table.elements.get
        levels, needed, found = self.levels, self.needed, self.found
        last = self._last
        try:
            while pos < stop:
                word, vr, length = _head(data, pos)
                if vr in _SHORT:
                    end = pos + 8 + length
                    raw = data[pos:end]
                    entry = get(raw)
                    if entry is None:
                        if end > stop:
                            raise NeedMoreBytes(end)
                        entry = self._miss(raw, 8)
                elif vr == _SEQUENCE:
                    entry, end = self._sequence(data, pos, 0)
                elif vr in _LONG:
                    (length,) = _length(data, pos + 8)
                    if word & 0xFFFF == _PIXEL_GROUP and self._pixels(word, vr, pos, length, last):
                        return 0
                    if length == UNDEFINED:
                        raise FallbackToFullParser
                    end = pos + 12 + length
                    if end > stop:
                        raise NeedMoreBytes(end)
                    raw = data[pos:end]
                    entry = get(raw)
                    if entry is None:
                        entry = self._miss(raw, 12)
                else:
                    raise FallbackToFullParser
                tag = entry.tag
                if tag <= last:
                    raise FallbackToFullParser
                last = tag
                levels[entry.level].append(entry)
                found.append(entry)
                if entry.needed:
                    needed[tag] = entry
                pos = end
        except (NeedMoreBytes, struct.error):
            self._resume = pos
            self._last = last
            raise
        self._last = last
        return pos

    def _pixels(self, word: int, vr: int, pos: int, length: int, last: int, head: int = 12) -> bool:
        """Note an element of group 7FE0; True if it is the pixel element, behind which the walk goes on."""
        tag = (word & 0xFFFF) << 16 | word >> 16
        start = self._base + pos
        if tag not in PIXEL_TAGS:
            if length != UNDEFINED:
                self.tables[tag] = (start + head, length)
            return False
        if self.pixel or tag <= last or vr == _UNKNOWN:
            raise FallbackToFullParser
        value = start + head
        if length == UNDEFINED:
            end = fragments_end(self._source, value)
        else:
            end = min(value + length, self._source.size)
        self.pixel = (tag, vr.to_bytes(2, "little").decode(), start, value, length, end)
        self._last = tag
        self._base = end
        self._data = self._source.read(end, 4096) if end < self._source.size else b""
        return True

    def _miss(self, raw: bytes, head: int) -> ParsedElement:
        """The entry of an element that the cache does not know, or only in its older generation."""
        entry = self._cache.older(self._key, raw) if len(raw) <= LONGEST else None
        if entry is not None:
            return entry
        self._count()
        word, vr_code, _ = _head(raw, 0)
        tag = (word & 0xFFFF) << 16 | word >> 16
        if word >> 16 == 0 and tag != 0x00020000:
            entry = ParsedElement(tag, SKIPPED, b"")
        else:
            entry = self._entry(tag, vr_code.to_bytes(2, "little").decode(), raw, head)
        self._cache.keep(self._table, raw, entry)
        return entry

    def _count(self) -> None:
        self._misses += 1
        if self._misses > _MISSES:
            raise FallbackToFullParser

    def _entry(self, tag: int, vr: str, raw: bytes, head: int) -> ParsedElement:
        attribute = attribute_of(tag)
        if (vr == "UN" and attribute.vr) or (tag in PIXEL_TAGS and head == 8) or tag >> 16 == 0xFFFE:
            raise FallbackToFullParser
        notes: list[Warning] = []
        charset = self._table.charset
        length = len(raw) - head
        json, listed = plain_element(attribute, vr, length, lambda: raw[head:], charset, notes)
        value = None
        needed = tag in NEEDED
        if needed and length <= 65_536:
            try:
                value = needed_value(attribute, vr, raw[head:], charset, big=False)
            except InvalidValueError:
                value = None
        level = attribute.level if own_key(attribute, json) else INSTANCE
        dicom = b""
        if tag in dicom_json.HIDDEN:
            pass
        elif vr in BINARY and 0 < length <= dicom_json.BULK and own_key(attribute, json):
            dicom = dicom_json.from_native(attribute, vr, json[len(attribute.key) :])
        else:
            # Inside of sequences nothing is so long that its path would count.
            dicom = dicom_json.plain(attribute, vr, length, lambda: raw[head:], charset, attribute.hex)
        vrs = (listed,) if listed else ()
        return ParsedElement(tag, level, json, vrs, tuple(notes), value, needed, dicom=dicom)

    def _sequence(self, data: bytes, pos: int, depth: int) -> tuple[ParsedElement, int]:
        """The entry of the sequence whose head is at ``pos``, and where it ends."""
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
                entry = self._table.elements.get(raw) or self._cache.older(self._key, raw)
                if entry is not None:
                    return entry, end
            entry, _ = self._items(data, pos, value, end, depth)
            if raw:
                self._cache.keep(self._table, raw, entry)
            return entry, end
        head = data[pos:value]
        for seen, entry in self._table.sequences.get(head, ()):
            if data.startswith(seen, pos):
                return entry, pos + len(seen)
        entry, end = self._items(data, pos, value, None, depth)
        if end - pos <= LONGEST:
            self._cache.keep_sequence(self._table, head, data[pos:end], entry)
        return entry, end

    def _items(
        self, data: bytes, pos: int, at: int, end: int | None, depth: int
    ) -> tuple[ParsedElement, int]:
        """The entry of the sequence at ``pos``, its items from ``at`` to ``end`` or its delimiter."""
        (word,) = _length(data, pos)
        attribute = attribute_of((word & 0xFFFF) << 16 | word >> 16)
        vrs: dict[bytes, bytes] = {}
        notes: dict[Warning, None] = {}
        if not attribute.keyed:
            listed = listed_vr(attribute, "SQ")
            vrs[listed[:10]] = listed
        items: list[bytes] = []
        dicom_items: list[bytes] = []
        while at != end:
            word, length = _item(data, at)
            at += 8
            if word == _ITEM:
                if length == UNDEFINED:
                    inner, at = self._elements(data, at, None, depth, vrs, notes)
                else:
                    stop = at + length
                    if end is not None and stop > end:
                        raise FallbackToFullParser
                    if stop > len(data):
                        raise NeedMoreBytes(stop)
                    inner, at = self._elements(data, at, stop, depth, vrs, notes)
                items.append(b"{" + b",".join([each.json for each in inner]) + b"}")
                dicom_items.append(b",".join([each.dicom for each in inner if each.dicom]))
            elif word == _SEQUENCE_END and end is None and not length:
                break
            else:
                raise FallbackToFullParser
        json = b"[" + b",".join(items) + b"]" if items else empty(attribute)
        entry = ParsedElement(
            attribute.tag,
            attribute.level,
            attribute.key + json,
            tuple(vrs.values()),
            tuple(notes),
            nested=True,
            dicom=dicom_json.from_items(attribute, dicom_items),
        )
        return entry, at

    def _elements(
        self,
        data: bytes,
        pos: int,
        stop: int | None,
        depth: int,
        vrs: dict[bytes, bytes],
        notes: dict[Warning, None],
    ) -> tuple[list[ParsedElement], int]:
        """The elements of one item, from ``pos`` to ``stop`` or its delimiter."""
        get = self._table.elements.get
        bound = len(data) if stop is None else stop
        inner: list[ParsedElement] = []
        last = 0
        while pos != stop:
            word, vr, length = _head(data, pos)
            if vr in _SHORT:
                if word == _CHARSET:
                    raise FallbackToFullParser
                end = pos + 8 + length
                raw = data[pos:end]
                entry = get(raw)
                if entry is None:
                    if end > bound:
                        raise NeedMoreBytes(end) if stop is None else FallbackToFullParser
                    entry = self._miss(raw, 8)
            elif vr == _SEQUENCE:
                entry, end = self._sequence(data, pos, depth + 1)
            elif vr in _LONG:
                (length,) = _length(data, pos + 8)
                end = pos + 12 + length
                if length == UNDEFINED:
                    raise FallbackToFullParser
                if end > bound:
                    raise NeedMoreBytes(end) if stop is None else FallbackToFullParser
                if length > dicom_json.BULK:
                    raise FallbackToFullParser  # it is named by its path, which is not followed here
                raw = data[pos:end]
                entry = get(raw)
                if entry is None:
                    entry = self._miss(raw, 12)
            elif word == _ITEM_END and stop is None and not vr and not length:
                return inner, pos + 8
            else:
                raise FallbackToFullParser
            if entry.tag <= last:
                raise FallbackToFullParser
            last = entry.tag
            if entry.json:
                inner.append(entry)
                if entry.vrs:
                    for listed in entry.vrs:
                        vrs.setdefault(listed[:10], listed)
                if entry.notes:
                    notes.update(dict.fromkeys(entry.notes))
            pos = end
            if pos > bound:
                raise FallbackToFullParser
        return inner, pos
