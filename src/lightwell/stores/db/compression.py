"""How the database keeps JSON: fragments of records, level blocks and overrides, as frames of zstd.

Each frame has a checksum of its content, which is compared when it is read; earlier releases left it out. The
database's own checksums of pages do not cover values longer than a page where SQLite reads these past its
VFS (3.45 to 3.47), nor PostgreSQL without ``data_checksums``.
Codec workers compress and decompress, too, and know no database.
"""

from __future__ import annotations

import threading

import zstandard

from lightwell.domain.limits import METADATA

_LEVEL = 3
# The longest frame of nothing: magic number, two bytes of header, a block, a checksum.
_EMPTY = 13
_local = threading.local()


def compress(data: bytes, dictionary_bytes: bytes | None = None, *, has_checksum: bool = True) -> bytes:
    """A zstd frame of a fragment, a level block or an override."""
    if dictionary_bytes is not None:
        return FragmentCompressor(dictionary_bytes).compress(data)
    name = "checking_compressor" if has_checksum else "compressor"
    compressor = getattr(_local, name, None)
    if compressor is None:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=has_checksum)
        setattr(_local, name, compressor)
    return bytes(compressor.compress(data))


def decompress(data: bytes, dictionary_bytes: bytes | None = None) -> bytes:
    """The inverse of `compress`. For many fragments of one dictionary use `FragmentReader`."""
    if dictionary_bytes is not None:
        return FragmentReader(dictionary_bytes).decompress(data)
    decompressor = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    return _not_cut(bytes(decompressor.decompress(_bounded(data))), data)


def _bounded(data: bytes) -> bytes:
    """The frame itself, unless its header states more bytes than anything has that is kept: they would all be
    in memory at once. A frame yields no more than its header states."""
    if stated_size(data) > METADATA:
        raise zstandard.ZstdError("its header states more bytes than are ever kept")
    return data


def _not_cut(text: bytes, data: bytes) -> bytes:
    """zstandard takes a frame for empty whose header says so, and does not look whether anything follows."""
    if not text and len(data) > _EMPTY:
        raise zstandard.ZstdError("its header denies its content")
    return text


def stated_size(data: bytes) -> int:
    """How many bytes `decompress` would return, as the head of the frame states it: no more come out of it.

    -1 where the head states nothing or is none; `compress` always states it.
    """
    try:
        return zstandard.frame_content_size(data)
    except zstandard.ZstdError:
        return -1


def _raw(dictionary_bytes: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(dictionary_bytes, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


class FragmentCompressor:
    """Compresses the fragments of one series, most of which repeat its first."""

    def __init__(self, dictionary_bytes: bytes) -> None:
        content = _raw(dictionary_bytes)
        content.precompute_compress(level=_LEVEL)
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, dict_data=content, write_checksum=True)

    def compress(self, fragment: bytes) -> bytes:
        return bytes(self._compressor.compress(fragment))


class FragmentReader:
    """Decompresses fragments that `FragmentCompressor` made with the same bytes."""

    def __init__(self, dictionary_bytes: bytes) -> None:
        self._decompressor = zstandard.ZstdDecompressor(dict_data=_raw(dictionary_bytes))

    def decompress(self, data: bytes) -> bytes:
        return _not_cut(bytes(self._decompressor.decompress(_bounded(data))), data)
