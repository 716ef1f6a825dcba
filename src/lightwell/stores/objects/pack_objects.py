"""The objects of packs: their names, and how one is written. Their rows are in `stores.objects.packs`."""

from __future__ import annotations

from pathlib import Path

from isal import isal_zlib

from lightwell.stores.objects.interface import PackObjects


def pack_name(key: int) -> str:
    """The object of a pack: ``packs/`` and the last two of 16 hex digits, so that folders fill evenly."""
    return f"packs/{key & 0xFF:02x}/{key:016x}.pack"


def key_of(name: str) -> int | None:
    """The key of the pack whose object has this name, None if it is another object."""
    digits = name.rpartition("/")[2].removesuffix(".pack")
    try:
        key = int(digits, 16)
    except ValueError:
        return None
    return key if pack_name(key) == name else None


class PackWriter:
    """A pack that is being written; as a context manager it is aborted unless it was finished."""

    def __init__(self, objects: PackObjects, spool_dir: Path, key: int) -> None:
        self.key = key
        self._object = objects.writer(pack_name(key), spool_dir)
        self._size = 0
        self._crc = 0

    def append(self, data: bytes | memoryview) -> int:
        """Append ``data``; returns its offset."""
        offset = self._size
        self._object.write(data)
        self._crc = isal_zlib.crc32(data, self._crc)
        self._size += len(data)
        return offset

    def tell(self) -> int:
        """The offset of the next append."""
        return self._size

    def finish(self) -> tuple[int, int]:
        """``(size, CRC-32)`` of the whole pack, which is durable when this returns."""
        self._object.commit()
        return self._size, self._crc

    def abort(self) -> None:
        """Discard the pack; does nothing after `finish`."""
        self._object.abort()

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.abort()
