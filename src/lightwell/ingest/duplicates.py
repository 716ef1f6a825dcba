"""A file whose instance exists already: finds what is stored of it, so that it is not stored again.

Everything is compared, and before anything is encoded: the original byte for byte, the attributes as they
were derived, transcoded frames sample for sample, others byte for byte. What is damaged or missing equals
nothing, so that importing the file again repairs it; if the storage is unavailable, `StorageUnavailableError`
is raised. For a file that is imported for the first time nothing is hashed or compared.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import zstandard

from lightwell.domain.image_sets.frame_table import Frame, unpack_entries
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.records import StoredPixels
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.imaging.dataset.original_container import Original, has_same_original
from lightwell.imaging.errors import PixelFailure, cannot_transcode
from lightwell.imaging.pixels.frame_stream import blob_ranges, has_same_bytes, open_frame_stream
from lightwell.stores.db.compression import decompress
from lightwell.stores.objects.interface import PackObjects
from lightwell.stores.objects.pack_objects import pack_name

if TYPE_CHECKING:
    from lightwell.domain.imports.warnings import Warning
    from lightwell.imaging.dataset.part10 import Part10
    from lightwell.imaging.instances.parse import ParsedInstance

ExistingFinder = Callable[[str, str, str], Sequence[ExistingInstance]]
"""Finds existing instances by StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID
(`stores.image_sets.existing_instances.find`)."""

_PIECE = 1 << 20
_AHEAD = 4 << 20
_DAMAGED = (StorageError, PixelFailure, zstandard.ZstdError, struct.error, ValueError)


class _ReadAhead:
    """Reads from a pack up to ``end``, some megabytes at a time: from S3 each read costs a round trip."""

    def __init__(self, objects: PackObjects, pack: int, end: int) -> None:
        self._objects = objects
        self._name = pack_name(pack)
        self._end = end
        self._start, self._data = 0, b""

    def __call__(self, offset: int, length: int) -> bytes:
        at = offset - self._start
        if at < 0 or at + length > len(self._data):
            size = max(length, min(_AHEAD, self._end - offset))
            self._start, self._data, at = offset, self._objects.read(self._name, offset, size), 0
        return self._data[at : at + length]


def same_original(
    objects: PackObjects,
    part10: Part10,
    instance: ParsedInstance,
    levels: list[bytes],
    override: bytes | None,
    existing: Sequence[ExistingInstance],
) -> ExistingInstance | None:
    """The existing instance with the same data set and the same attributes; pixels are not compared.

    ``levels`` are the hashes of the level blocks, ``override`` the JSON that overrides the file's attributes.
    """
    fragment = hashlib.sha256(instance.fragment).digest()
    dicom = hashlib.sha256(instance.dicom).digest()
    for each in existing:
        if each.levels != levels or each.fragment != fragment or each.dicom not in (None, dicom):
            continue
        try:
            if (decompress(each.override_z) if each.override_z else None) != override:
                continue
            read = _ReadAhead(objects, each.pack, each.original_offset + each.original_length)
            kept = Original(read, each.original_offset, each.original_length)
            if has_same_original(kept, part10.file_meta, part10.source, instance.original):
                return each
        except StorageUnavailableError:
            raise
        except _DAMAGED:
            continue
    return None


def same_pixels(
    objects: PackObjects,
    part10: Part10,
    instance: ParsedInstance,
    image: bytes,
    storage_format: str,
    existing: Sequence[ExistingInstance],
) -> tuple[int, list[Warning]] | None:
    """The key of existing pixels that this file would yield again, and the warnings that it gives.

    ``image`` is the JSON that would be stored with them.
    """
    compared = set()
    for each in existing:
        pixels = each.pixels
        if pixels is None or pixels.image != image or pixels.key in compared:
            continue
        compared.add(pixels.key)
        try:
            frames = [frame for page in pixels.pages for frame in unpack_entries(page)]
            read = _ReadAhead(objects, pixels.pack, max(f.offset + f.length for f in frames))
            if pixels.frame_count:
                warnings = _same_frames(part10, instance, storage_format, pixels, frames, read)
            else:
                warnings = _same_blob(part10, instance, storage_format, frames, read)
        except StorageUnavailableError:
            raise
        except _DAMAGED:
            continue
        if warnings is not None:
            return pixels.key, warnings
    return None


def _same_frames(
    part10: Part10,
    instance: ParsedInstance,
    storage_format: str,
    kept: StoredPixels,
    frames: list[Frame],
    read: _ReadAhead,
) -> list[Warning] | None:
    if instance.image is None or instance.pixel is None:
        return None
    stream = open_frame_stream(part10, instance.image, instance.pixel, storage_format)
    stored = stream.stored
    if (stored.stored_syntax, stored.checksum_type, stored.width, stored.height, len(stream)) != (
        kept.stored_syntax,
        kept.checksum_type,
        kept.width,
        kept.height,
        kept.frame_count,
    ):
        return None
    if len(frames) != len(stream):
        return None
    if all(stream.is_stored_as(number, frame, read) for number, frame in enumerate(frames)):
        return list(stream.warnings)
    return None


def _same_blob(
    part10: Part10,
    instance: ParsedInstance,
    storage_format: str,
    frames: list[Frame],
    read: _ReadAhead,
) -> list[Warning] | None:
    """For pixels that could not be split into frames: the same only if they cannot be split today either."""
    pixel = instance.pixel
    if pixel is None or len(frames) != 1:
        return None
    ranges = blob_ranges(part10, pixel)
    length = sum(count for _, count in ranges)
    if not has_same_bytes(_pieces(part10, ranges), length, frames[0], read):
        return None
    try:
        if instance.image is None:
            raise cannot_transcode("The attributes that describe the pixels are missing or not valid")
        for _ in open_frame_stream(part10, instance.image, pixel, storage_format):
            pass
    except PixelFailure as failure:
        return [failure.warning]
    return None


def _pieces(part10: Part10, ranges: list[tuple[int, int]]) -> Iterator[bytes]:
    for start, length in ranges:
        for done in range(0, length, _PIECE):
            yield part10.source.read(start + done, min(_PIECE, length - done))
