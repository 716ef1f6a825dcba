"""What a codec worker may say of the files of one chunk or upload that it was told to read.

A file may have taken it over. So a record may name no bytes but those of packs that were opened for this
task, and what the engine itself has offered as equal; no dictionary but those that come with it; and the
level blocks, which other studies of the data store will share, have to be what their hashes say. What a
record says of its own file has to be taken from it: the pixels of a hostile file are what it makes of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from lightwell.codec_pool.answers.forged import ForgedAnswerError, require
from lightwell.domain.image_sets.frame_checks import row_size
from lightwell.domain.image_sets.frame_table import ENTRY_SIZE, PAGE, entry_lengths, row_end
from lightwell.domain.image_sets.grouping import Grouping
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.jobs import InputFile
from lightwell.domain.imports.records import Dependencies, Failure, NewRecord, StoredPixels
from lightwell.domain.limits import DICTIONARY, METADATA
from lightwell.errors import ServerFault
from lightwell.imaging.dataset.image_description import described_image
from lightwell.sealing.errors import SealError
from lightwell.stores.db.compression import decompress, stated_size
from lightwell.stores.objects.pack_objects import OpenPack

PackSize = Callable[[int], int | None]
"""The size of the stored object of a pack, None where there is none. Raises `StorageError`."""

# A worker asks for 16 packs at most, and of each answer uses one before it asks again.
MOST_PACKS_ASKED = 16
_MESSAGE = 10_000
_KEYS = 1 << 63
_LARGEST = 65_535
_SIDES = 1 << 31


class ChunkAnswers:
    """What may be said of the files of one chunk, and has been. Methods raise `ForgedAnswerError`.

    ``packs`` are open from the beginning.
    """

    def __init__(
        self,
        files: Iterable[InputFile],
        packs: Sequence[OpenPack],
        pack_size: PackSize,
        *,
        has_overrides: bool,
    ) -> None:
        self._pack_size = pack_size
        self._names = {file.number: file.name for file in files}
        self._has_overrides = has_overrides
        self._left = set(self._names)
        self._file: int | None = None
        self._has_asked = self._is_read = False
        self._packs = {opened.key: opened.grant for opened in packs}
        self._most_packs = len(packs) + 2 * len(self._names) + MOST_PACKS_ASKED
        self._offered: set[tuple[int, int, int]] = set()
        self._offered_pixels: set[int] = set()
        self._keys: set[int] = set()
        self._records: list[NewRecord] = []

    @property
    def is_read(self) -> bool:
        """Whether all files have been answered; their bytes may not be durable yet."""
        return self._is_read

    def start(self, file: int | None) -> None:
        """The worker turns to a file, or to none any more."""
        require(not self._is_read and self._file is None, "another file, before it had answered one")
        if file is None:
            require(not self._left, "the end of a chunk, before its files")
            self._is_read = True
            return
        require(file in self._left, "a file that is not in the chunk, or was answered before")
        self._left.remove(file)
        self._file, self._has_asked = file, False

    def ask_packs(self, count: int) -> None:
        """It asks for so many packs."""
        require(self._file is not None, "a question when it was on no file")
        require(0 < count <= MOST_PACKS_ASKED, "a number of packs")
        require(len(self._packs) + count <= self._most_packs, "more packs than files need")

    def ask_existing(self) -> None:
        """It asks, once a file, which instances there are."""
        require(self._file is not None, "a question when it was on no file")
        require(not self._has_asked, "a second question about one file")
        self._has_asked = True

    def open(self, packs: Iterable[OpenPack]) -> None:
        """These packs were opened for it."""
        self._packs.update((opened.key, opened.grant) for opened in packs)

    def offer(self, instances: Iterable[ExistingInstance]) -> None:
        """It was told of these instances."""
        for each in instances:
            self._offered.add((each.pack, each.original_offset, each.original_length))
            if each.pixels is not None:
                self._offered_pixels.add(each.pixels.key)

    def refuse(self, failure: Failure) -> None:
        """A file cannot be imported."""
        self._answer(failure.file, failure.input_file)
        kinds = ("ValidationException", ServerFault.exception_type)
        require(failure.exception_type in kinds, "a kind of failure")
        require(len(failure.message) <= _MESSAGE, "a message that is too long")

    def read(self, record: NewRecord) -> None:
        """A file has been read; `finish` looks at what the record names in packs."""
        self._answer(record.file, record.input_file)
        require(0 < record.key < _KEYS and record.key not in self._keys, "the key of a record")
        self._keys.add(record.key)
        _check_texts(record)
        require(record.override_z is None or self._has_overrides, "an override that was not asked for")
        pixels = record.pixels
        if pixels is not None:
            require(record.shared_pixels is None, "two kinds of pixels")
            require(pixels.key == record.key and pixels.pack in self._packs, "pixels of another")
            _check_pixels(pixels)
        elif record.shared_pixels is not None:
            require(record.shared_pixels in self._offered_pixels, "pixels that it was not offered")
        if record.pack not in self._packs:
            place = (record.pack, record.original_offset, record.original_length)
            require(place in self._offered, "an original that it was not offered")
        self._records.append(record)

    def finish(self, given: Dependencies) -> None:
        """Everything is durable: the records against what comes with them. Raises `StorageError`, too."""
        require(self._is_read, "the end of a chunk, before its files")
        require(given.packs.keys() <= self._packs.keys(), "a pack that was not opened for it")
        require(given.seals.keys() <= given.packs.keys(), "the seal of another pack")
        ends: dict[int, int] = {}
        for key, (size, checksum) in given.packs.items():
            require(0 <= checksum < 1 << 32 and self._pack_size(key) == size, "the size of a pack")
            ends[key] = _plain_size(self._packs[key], given.seals.get(key), size)
        require(all(0 < key < _KEYS for key in given.dictionaries), "the key of a dictionary")
        require(all(len(body) <= DICTIONARY for body in given.dictionaries.values()), "a dictionary")
        levels: set[tuple[int, bytes]] = set()
        for record in self._records:
            levels.update(enumerate((record.patient, record.study, record.series)))
            for dictionary in (record.dictionary, record.dicom_dictionary):
                require(dictionary is None or dictionary in given.dictionaries, "a dictionary of another")
            if record.pack in self._packs:
                end = record.original_offset + record.original_length
                require(min(record.original_offset, record.original_length) >= 0, "a place in a pack")
                require(end <= ends.get(record.pack, -1), "a place beyond the end of a pack")
            if record.pixels is not None:
                end = max(map(row_end, record.pixels.pages))
                require(end <= ends.get(record.pixels.pack, -1), "a frame beyond its pack")
        for level, digest in levels:
            _check_level(level, digest, given.level_values.get(digest))

    def _answer(self, file: int, name: str) -> None:
        require(file == self._file, "a file that it was not on")
        require(name == self._names[file], "the name of a file")
        self._file = None


def _plain_size(grant: bytes, seal: bytes | None, size: int) -> int:
    """The bytes that were appended to a pack whose file has ``size``."""
    require(bool(grant) == (seal is not None), "a pack that is not sealed as it was to be")
    if seal is None:
        return size
    from lightwell.sealing.segments import PackCipher

    try:
        cipher = PackCipher(grant, seal)
    except SealError:
        raise ForgedAnswerError("the seal of a pack") from None
    require(cipher.file_size == size, "the seal of a pack")
    return cipher.size


def _check_texts(record: NewRecord) -> None:
    for text in (record.fragment_z, record.dicom_z, record.override_z):
        require(text is None or 0 <= stated_size(text) <= METADATA, "attributes of an impossible size")
    _check_grouping(record.grouping)


@lru_cache(256)
def _check_grouping(text: str) -> None:
    try:
        values = json.loads(text)
        Grouping(*values)
    except (ValueError, TypeError):
        values = [None]
    require(isinstance(values, list) and all(isinstance(value, str) for value in values), "grouping values")


def _check_pixels(pixels: StoredPixels) -> None:
    """Whether the rows of the frame table are whole, and their checks fit."""
    what = "a frame table"
    require(bool(pixels.pages) and len(pixels.pages) == len(pixels.checks), what)
    entries = [len(page) // ENTRY_SIZE for page in pixels.pages]
    require(
        all(len(page) == count * ENTRY_SIZE for page, count in zip(pixels.pages, entries, strict=True)), what
    )
    require(all(count == PAGE for count in entries[:-1]) and 0 < entries[-1] <= PAGE, what)
    require(sum(entries) == (pixels.frame_count or 1), what)
    for page, checks in zip(pixels.pages, pixels.checks, strict=True):
        # What is stored now has checks; only packs of long ago have none.
        require(bool(checks) and len(checks or b"") == row_size(checks or b"", entry_lengths(page)), what)
    _check_image(pixels.image, is_split=pixels.frame_count > 0)
    require(all(0 <= side < _SIDES for side in (pixels.width, pixels.height)), "the size of an image")


@lru_cache(256)
def _check_image(described: bytes, *, is_split: bool) -> None:
    what = "the description of an image"
    try:
        if not is_split:  # a part of it may be missing then
            require(isinstance(json.loads(described), dict), what)
            return
        image, syntax = described_image(described)
        numbers = (image.rows, image.columns, image.samples, image.bits_allocated, image.bits_stored)
        fits = isinstance(syntax, str) and all(0 < number <= _LARGEST for number in numbers)
    except (ValueError, TypeError, KeyError, AttributeError):
        fits = False
    require(fits, what)


def _check_level(level: int, digest: bytes, body: bytes | None) -> None:
    """Whether a level block is what its hash says (`ingest.pipeline`): others will share it by that."""
    what = "a patient, study or series that is not what its hash says"
    require(body is not None, what)
    assert body is not None
    require(0 <= stated_size(body) <= METADATA, what)
    require(hashlib.sha256(bytes((level,)) + decompress(body)).digest() == digest, what)
