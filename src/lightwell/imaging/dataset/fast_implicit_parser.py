"""A fast parser for Implicit VR Little Endian: as `FastExplicitParser`, with VRs from the dictionary.

The VR of an element may depend on other elements: of private ones on the private creator, which is part of
the cache key, of "US or SS" on PixelRepresentation, so these elements and sequences that contain them are not
cached. LUTData and sequences in private elements are left to the full parser.
"""

from __future__ import annotations

import struct

from lightwell.domain.imports.warnings import Warning
from lightwell.domain.limits import NESTING
from lightwell.imaging.dataset.dicom_json import BULK_THRESHOLD
from lightwell.imaging.dataset.dictionary import PIXEL_REPRESENTATION, Attribute, attribute_of, private_vr
from lightwell.imaging.dataset.element_cache import LONGEST, CachedElements, CacheKey
from lightwell.imaging.dataset.element_scanner import UNDEFINED
from lightwell.imaging.dataset.fast_explicit_parser import (
    FallbackToFullParser,
    FastExplicitParser,
    NeedMoreBytes,
)
from lightwell.imaging.dataset.parsed_element import SKIPPED, ParsedElement

_header = struct.Struct("<II").unpack_from
_ITEM_END = 0xE00DFFFE
_PIXEL_GROUP = 0x7FE0
# SpecificCharacterSet and PixelRepresentation, which change how the other elements of an item are parsed.
_SCOPED_TAGS = frozenset((0x00050008, 0x01030028))
_CREATOR_LENGTH = 256

Creators = dict[int, bytes]


class FastImplicitParser(FastExplicitParser):
    """Parses one file."""

    _implicit = True
    _root_tag = 0  # tag of the top-level element that is being parsed
    _depends_on_sign = False  # whether the element parsed last depends on PixelRepresentation
    _creators: Creators

    def parse_dataset(self) -> None:
        """Parse a data set to the end of the file. Raises `FallbackToFullParser`."""
        if all(0x41 <= byte <= 0x5A for byte in self._data[4:6]):
            raise FallbackToFullParser  # explicit VR, whatever the transfer syntax says
        self._creators = {}
        super().parse_dataset()

    def _tag_and_length(self, data: bytes, pos: int) -> tuple[int, int]:
        return _header(data, pos)

    def _parse_elements(self, pos: int) -> int:
        data = self._data
        stop = len(data)
        get = self._cached.elements.get
        levels, needed, elements = self.levels, self.needed, self.elements
        last = self._last
        try:
            while pos < stop:
                word, length = _header(data, pos)
                if word & 0xFFFF == _PIXEL_GROUP and self._is_pixel_element(word, 0, pos, length, last, 8):
                    return 0
                end = pos + 8 + length
                raw = data[pos:end] if length != UNDEFINED else b""
                element = None if word & 1 else get(raw)
                if element is None:
                    self._root_tag = (word & 0xFFFF) << 16 | word >> 16
                    element, end = self._parse_element_at(data, pos, word, length, stop, 0, self._creators)
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

    def _parse_element_at(
        self, data: bytes, pos: int, word: int, length: int, bound: int, depth: int, creators: Creators
    ) -> tuple[ParsedElement, int]:
        """An element that is not in the cache or is private, and its end."""
        tag = (word & 0xFFFF) << 16 | word >> 16
        attribute = attribute_of(tag)
        if attribute.vr == "SQ":
            return self._parse_sequence(data, pos, depth)
        if length == UNDEFINED:
            if attribute.vr or not attribute.private:
                raise FallbackToFullParser
            return self._parse_sequence(data, pos, depth)
        end = pos + 8 + length
        if end > bound:
            raise NeedMoreBytes(end)
        if depth and length > BULK_THRESHOLD:
            raise FallbackToFullParser  # a bulk value, named by its path, which is not tracked here
        raw = data[pos:end]
        if not attribute.private:
            return self._parse_standard_element(attribute, raw), end
        if attribute.vr:
            if length > _CREATOR_LENGTH:
                raise FallbackToFullParser
            creators[tag] = raw[8:]
            return self._cached.elements.get(raw) or self._cached_or_parsed(
                self._cached, self._key, tag, "LO", raw
            ), end
        creator = creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF, b"")
        key: CacheKey = (True, self._key[1], creator)
        cached = self._cache.elements_under(key) if creator else self._cached
        elements = cached.elements.get(raw)
        if elements is None:
            text = cached.charset.decode(creator)[0].strip(" \0")
            vr = private_vr(tag, text) if text else "UN"
            if vr == "SQ":
                raise FallbackToFullParser
            elements = self._cached_or_parsed(cached, key, tag, vr, raw)
        return elements, end

    def _parse_standard_element(self, attribute: Attribute, raw: bytes) -> ParsedElement:
        vr = attribute.vr
        if vr == "US or SS":
            self._depends_on_sign = True
            self._count_miss()
            return self._parse_element(attribute.tag, "SS" if self._is_signed() else "US", raw, 8)
        if vr == "US or OW":
            raise FallbackToFullParser
        return self._cached_or_parsed(
            self._cached, self._key, attribute.tag, (vr or "UN") if len(vr) <= 2 else "OW", raw
        )

    def _cached_or_parsed(
        self, cached: CachedElements, key: CacheKey, tag: int, vr: str, raw: bytes
    ) -> ParsedElement:
        """The element from the older generation of the cache, or parsed."""
        element = self._cache.promote(key, raw) if len(raw) <= LONGEST else None
        if element is None:
            self._count_miss()
            element = (
                self._parse_element(tag, vr, raw, 8) if tag & 0xFFFF else ParsedElement(tag, SKIPPED, b"")
            )
            self._cache.add(cached, raw, element)
        return element

    def _is_signed(self) -> bool:
        """Whether PixelRepresentation is signed; the parser must be past it already."""
        if self._root_tag < PIXEL_REPRESENTATION:
            raise FallbackToFullParser
        element = self.needed.get(PIXEL_REPRESENTATION)
        if element is None or element.value is None:
            return False
        if element.json.endswith(b"]"):
            raise FallbackToFullParser
        return bool(element.value)

    def _parse_sequence(self, data: bytes, pos: int, depth: int) -> tuple[ParsedElement, int]:
        if depth >= NESTING:
            raise FallbackToFullParser
        _, length = _header(data, pos)
        value = pos + 8
        depended, self._depends_on_sign = self._depends_on_sign, False
        cached = self._cached
        if length != UNDEFINED:
            end = value + length
            if end > len(data):
                raise NeedMoreBytes(end)
            raw = data[pos:end] if end - pos <= LONGEST else b""
            promoted = self._cache.promote(self._key, raw) if raw else None
            if promoted is not None:
                self._depends_on_sign = depended
                return promoted, end
            element, _ = self._parse_items(data, pos, value, end, depth)
            if raw and not self._depends_on_sign:
                self._cache.add(cached, raw, element)
        else:
            header = data[pos:value]
            for cached_bytes, element in cached.sequences.get(header, ()):
                if data.startswith(cached_bytes, pos):
                    self._depends_on_sign = depended
                    return element, pos + len(cached_bytes)
            element, end = self._parse_items(data, pos, value, None, depth)
            if end - pos <= LONGEST and not self._depends_on_sign:
                self._cache.add_sequence(cached, header, data[pos:end], element)
        self._depends_on_sign = self._depends_on_sign or depended
        return element, end

    def _parse_item(
        self,
        data: bytes,
        pos: int,
        stop: int | None,
        depth: int,
        vrs: dict[bytes, bytes],
        warnings: dict[Warning, None],
    ) -> tuple[list[ParsedElement], int]:
        get = self._cached.elements.get
        bound = len(data) if stop is None else stop
        creators: Creators = {}
        item_elements: list[ParsedElement] = []
        last = 0
        while pos != stop:
            word, length = _header(data, pos)
            if word in _SCOPED_TAGS:
                raise FallbackToFullParser
            if word == _ITEM_END:
                if stop is not None or length:
                    raise FallbackToFullParser
                return item_elements, pos + 8
            end = pos + 8 + length
            raw = data[pos:end] if length != UNDEFINED else b""
            element = None if word & 1 else get(raw)
            if element is None:
                if end > bound and length != UNDEFINED:
                    raise NeedMoreBytes(end) if stop is None else FallbackToFullParser
                element, end = self._parse_element_at(data, pos, word, length, bound, depth + 1, creators)
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
