"""What is known already of elements that come again: most elements of a series repeat from file to file.

The key is the whole element as it stands in an Explicit VR Little Endian file (tag, VR, length, value), under
the SpecificCharacterSet that holds; equal bytes give an equal entry, whatever file or item they stand in.
"""

from __future__ import annotations

from lightwell.imaging.dataset.character_sets import Charset, charset_of
from lightwell.imaging.dataset.parsed_element import ParsedElement

#: longer elements are not kept
LONGEST = 8192
# What an entry costs besides its texts, about.
_OVERHEAD = 300
_CANDIDATES = 4
_BLOCKS = 256


#: implicit VR, value of SpecificCharacterSet, private creator
Key = tuple[bool, bytes, bytes]


class Table:
    """Entries under one key."""

    __slots__ = ("charset", "elements", "sequences")

    def __init__(self, charset: Charset) -> None:
        self.charset = charset
        #: element → entry
        self.elements: dict[bytes, ParsedElement] = {}
        #: head of a sequence of undefined length → whole sequences seen last, with their entries
        self.sequences: dict[bytes, list[tuple[bytes, ParsedElement]]] = {}


class SeriesCache:
    """Bounded: two generations of ``limit`` / 2 bytes each; what is used moves to the younger one.

    May be kept across files and series, by one thread at a time.
    """

    def __init__(self, limit: int = 24 << 20) -> None:
        self._half = limit // 2
        self._used = 0
        self._young: dict[Key, Table] = {}
        self._old: dict[Key, Table] = {}
        #: entries of a level → its block
        self.blocks: dict[tuple[ParsedElement, ...], bytes] = {}

    def table(self, key: Key) -> Table:
        """The entries under ``key``."""
        table = self._young.get(key)
        if table is None:
            table = self._young[key] = Table(charset_of(key[1]))
            self._used += _OVERHEAD + len(key[1]) + len(key[2])
        return table

    def settle(self) -> None:
        """Called between files: begins a new generation where the younger one is full."""
        if self._used >= self._half:
            self._old, self._young, self._used = self._young, {}, 0
        if len(self.blocks) > _BLOCKS:
            self.blocks.clear()

    def older(self, key: Key, raw: bytes) -> ParsedElement | None:
        """An element of the older generation, moved to the younger one."""
        table = self._old.get(key)
        entry = table.elements.get(raw) if table else None
        if entry is not None:
            self.keep(self.table(key), raw, entry)
        return entry

    def keep(self, table: Table, raw: bytes, entry: ParsedElement) -> None:
        """Remember an element, if there is room and it is not too long."""
        if self._room(raw, entry):
            table.elements[raw] = entry

    def keep_sequence(self, table: Table, head: bytes, raw: bytes, entry: ParsedElement) -> None:
        """Remember a sequence of undefined length; of one tag only the last few."""
        if self._room(raw, entry):
            table.sequences[head] = [(raw, entry), *table.sequences.get(head, ())][:_CANDIDATES]

    def _room(self, raw: bytes, entry: ParsedElement) -> bool:
        if len(raw) > LONGEST or self._used >= self._half:
            return False
        self._used += 2 * len(raw) + len(entry.json) + len(entry.dicom) + _OVERHEAD
        return True
