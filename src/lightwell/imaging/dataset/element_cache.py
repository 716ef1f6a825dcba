"""A cache of parsed elements: most elements of a series repeat from file to file.

The key is the bytes of the whole element in a little endian file (tag, VR, length, value), under the
SpecificCharacterSet in effect; equal bytes parse to equal elements in any file or item.
"""

from __future__ import annotations

from lightwell.imaging.dataset.character_sets import Charset, charset_of
from lightwell.imaging.dataset.parsed_element import ParsedElement

#: longer elements are not cached
LONGEST = 8192
# Bytes that an element takes besides its JSON, approximately.
_OVERHEAD = 300
_SEQUENCES_PER_HEADER = 4
_BLOCKS = 256


#: implicit VR, value of SpecificCharacterSet, private creator
CacheKey = tuple[bool, bytes, bytes]


class CachedElements:
    """The cached elements under one key."""

    __slots__ = ("charset", "elements", "sequences")

    def __init__(self, charset: Charset) -> None:
        self.charset = charset
        #: bytes of an element → parsed element
        self.elements: dict[bytes, ParsedElement] = {}
        #: header of a sequence of undefined length → the bytes of the latest such sequences, parsed
        self.sequences: dict[bytes, list[tuple[bytes, ParsedElement]]] = {}


class SeriesCache:
    """Bounded: two generations of ``limit`` / 2 bytes each; an element that is used moves to the younger one.

    May be used across files and series, by one thread at a time.
    """

    def __init__(self, limit: int = 24 << 20) -> None:
        self._half = limit // 2
        self._used = 0
        self._young: dict[CacheKey, CachedElements] = {}
        self._old: dict[CacheKey, CachedElements] = {}
        #: elements of a level → its block
        self.blocks: dict[tuple[ParsedElement, ...], bytes] = {}

    def elements_under(self, key: CacheKey) -> CachedElements:
        """The cached elements under ``key``."""
        cached = self._young.get(key)
        if cached is None:
            cached = self._young[key] = CachedElements(charset_of(key[1]))
            self._used += _OVERHEAD + len(key[1]) + len(key[2])
        return cached

    def rotate(self) -> None:
        """Called between files: begins a new generation if the younger one is full."""
        if self._used >= self._half:
            self._old, self._young, self._used = self._young, {}, 0
        if len(self.blocks) > _BLOCKS:
            self.blocks.clear()

    def promote(self, key: CacheKey, raw: bytes) -> ParsedElement | None:
        """An element of the older generation, which moves to the younger one."""
        cached = self._old.get(key)
        element = cached.elements.get(raw) if cached else None
        if element is not None:
            self.add(self.elements_under(key), raw, element)
        return element

    def add(self, cached: CachedElements, raw: bytes, element: ParsedElement) -> None:
        """Cache an element if there is space and it is not too long."""
        if self._reserve(raw, element):
            cached.elements[raw] = element

    def add_sequence(self, cached: CachedElements, header: bytes, raw: bytes, element: ParsedElement) -> None:
        """Cache a sequence of undefined length; of each header only the latest few."""
        if self._reserve(raw, element):
            cached.sequences[header] = [(raw, element), *cached.sequences.get(header, ())][
                :_SEQUENCES_PER_HEADER
            ]

    def _reserve(self, raw: bytes, element: ParsedElement) -> bool:
        if len(raw) > LONGEST or self._used >= self._half:
            return False
        self._used += 2 * len(raw) + len(element.json) + len(element.dicom) + _OVERHEAD
        return True
