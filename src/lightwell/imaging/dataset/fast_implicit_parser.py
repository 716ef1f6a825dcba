"""The fast lane for Implicit VR Little Endian: the same walk, with VRs from the dictionary.

What an element is then also depends on others: private ones on their creator, which is part of the cache's
key, "US or SS" on PixelRepresentation, for which reason neither these nor sequences with such elements are
kept. LUTData, and sequences in private elements, are left to the careful lane.
"""

from __future__ import annotations

import struct

from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import NESTING
from lightwell.imaging.dataset.dicom_json import BULK
from lightwell.imaging.dataset.dictionary import PIXEL_REPRESENTATION, Attribute, attribute_of, private_vr
from lightwell.imaging.dataset.element_cache import LONGEST, Key, Table
from lightwell.imaging.dataset.element_scanner import UNDEFINED
from lightwell.imaging.dataset.fast_explicit_parser import (
    FallbackToFullParser,
    FastExplicitParser,
    NeedMoreBytes,
)
from lightwell.imaging.dataset.parsed_element import SKIPPED, ParsedElement

_head = struct.Struct("<II").unpack_from
_ITEM_END = 0xE00DFFFE
_PIXEL_GROUP = 0x7FE0
# SpecificCharacterSet and PixelRepresentation, which change what others inside of an item are.
_OWN = frozenset((0x00050008, 0x01030028))
_CREATOR_LENGTH = 256

Creators = dict[int, bytes]


class FastImplicitParser(FastExplicitParser):
    """One walk over one file."""

    _implicit = True
    _root = 0  # tag of the element of the data set itself that is being read
    _depends = False  # whether what was read last depends on PixelRepresentation
    _creators: Creators

    def dataset(self) -> None:
        """Walk a data set to the end of the file. Raises `FallbackToFullParser`."""
        if all(0x41 <= byte <= 0x5A for byte in self._data[4:6]):
            raise FallbackToFullParser  # explicit VR, whatever the transfer syntax says
        self._creators = {}
        super().dataset()

    def _first(self, data: bytes, pos: int) -> tuple[int, int]:
        return _head(data, pos)

    def _walk(self, pos: int) -> int:
        data = self._data
        stop = len(data)
        get = self._table.elements.get
        levels, needed, found = self.levels, self.needed, self.found
        last = self._last
        try:
            while pos < stop:
                word, length = _head(data, pos)
                if word & 0xFFFF == _PIXEL_GROUP and self._pixels(word, 0, pos, length, last, 8):
                    return 0
                end = pos + 8 + length
                raw = data[pos:end] if length != UNDEFINED else b""
                entry = None if word & 1 else get(raw)
                if entry is None:
                    self._root = (word & 0xFFFF) << 16 | word >> 16
                    entry, end = self._unknown(data, pos, word, length, stop, 0, self._creators)
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

    def _unknown(
        self, data: bytes, pos: int, word: int, length: int, bound: int, depth: int, creators: Creators
    ) -> tuple[ParsedElement, int]:
        """The entry and the end of an element that the cache does not know, or that is private."""
        tag = (word & 0xFFFF) << 16 | word >> 16
        attribute = attribute_of(tag)
        if attribute.vr == "SQ":
            return self._sequence(data, pos, depth)
        if length == UNDEFINED:
            if attribute.vr or not attribute.private:
                raise FallbackToFullParser
            return self._sequence(data, pos, depth)
        end = pos + 8 + length
        if end > bound:
            raise NeedMoreBytes(end)
        if depth and length > BULK:
            raise FallbackToFullParser  # it is named by its path, which is not followed here
        raw = data[pos:end]
        if not attribute.private:
            return self._public(attribute, raw), end
        if attribute.vr:
            if length > _CREATOR_LENGTH:
                raise FallbackToFullParser
            creators[tag] = raw[8:]
            return self._table.elements.get(raw) or self._kept(self._table, self._key, tag, "LO", raw), end
        creator = creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF, b"")
        key: Key = (True, self._key[1], creator)
        table = self._cache.table(key) if creator else self._table
        found = table.elements.get(raw)
        if found is None:
            text = table.charset.decode(creator)[0].strip(" \0")
            vr = private_vr(tag, text) if text else "UN"
            if vr == "SQ":
                raise FallbackToFullParser
            found = self._kept(table, key, tag, vr, raw)
        return found, end

    def _public(self, attribute: Attribute, raw: bytes) -> ParsedElement:
        vr = attribute.vr
        if vr == "US or SS":
            self._depends = True
            self._count()
            return self._entry(attribute.tag, "SS" if self._signed() else "US", raw, 8)
        if vr == "US or OW":
            raise FallbackToFullParser
        return self._kept(self._table, self._key, attribute.tag, (vr or "UN") if len(vr) <= 2 else "OW", raw)

    def _kept(self, table: Table, key: Key, tag: int, vr: str, raw: bytes) -> ParsedElement:
        """The entry from the older generation of the cache, or a new one."""
        entry = self._cache.older(key, raw) if len(raw) <= LONGEST else None
        if entry is None:
            self._count()
            entry = self._entry(tag, vr, raw, 8) if tag & 0xFFFF else ParsedElement(tag, SKIPPED, b"")
            self._cache.keep(table, raw, entry)
        return entry

    def _signed(self) -> bool:
        """What PixelRepresentation says; it must have been passed already, if it is there."""
        if self._root < PIXEL_REPRESENTATION:
            raise FallbackToFullParser
        entry = self.needed.get(PIXEL_REPRESENTATION)
        if entry is None or entry.value is None:
            return False
        if entry.json.endswith(b"]"):
            raise FallbackToFullParser
        return bool(entry.value)

    def _sequence(self, data: bytes, pos: int, depth: int) -> tuple[ParsedElement, int]:
        if depth >= NESTING:
            raise FallbackToFullParser
        _, length = _head(data, pos)
        value = pos + 8
        before, self._depends = self._depends, False
        table = self._table
        if length != UNDEFINED:
            end = value + length
            if end > len(data):
                raise NeedMoreBytes(end)
            raw = data[pos:end] if end - pos <= LONGEST else b""
            known = self._cache.older(self._key, raw) if raw else None
            if known is not None:
                self._depends = before
                return known, end
            entry, _ = self._items(data, pos, value, end, depth)
            if raw and not self._depends:
                self._cache.keep(table, raw, entry)
        else:
            head = data[pos:value]
            for seen, entry in table.sequences.get(head, ()):
                if data.startswith(seen, pos):
                    self._depends = before
                    return entry, pos + len(seen)
            entry, end = self._items(data, pos, value, None, depth)
            if end - pos <= LONGEST and not self._depends:
                self._cache.keep_sequence(table, head, data[pos:end], entry)
        self._depends = self._depends or before
        return entry, end

    def _elements(
        self,
        data: bytes,
        pos: int,
        stop: int | None,
        depth: int,
        vrs: dict[bytes, bytes],
        notes: dict[Warning, None],
    ) -> tuple[list[ParsedElement], int]:
        get = self._table.elements.get
        bound = len(data) if stop is None else stop
        creators: Creators = {}
        inner: list[ParsedElement] = []
        last = 0
        while pos != stop:
            word, length = _head(data, pos)
            if word in _OWN:
                raise FallbackToFullParser
            if word == _ITEM_END:
                if stop is not None or length:
                    raise FallbackToFullParser
                return inner, pos + 8
            end = pos + 8 + length
            raw = data[pos:end] if length != UNDEFINED else b""
            entry = None if word & 1 else get(raw)
            if entry is None:
                if end > bound and length != UNDEFINED:
                    raise NeedMoreBytes(end) if stop is None else FallbackToFullParser
                entry, end = self._unknown(data, pos, word, length, bound, depth + 1, creators)
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
