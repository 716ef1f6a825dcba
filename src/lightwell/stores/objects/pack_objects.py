"""The objects of packs: their names, and how one is written. Their rows are in `stores.objects.packs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isal import isal_zlib

from lightwell.stores.objects.interface import PackObjects

if TYPE_CHECKING:
    from lightwell.sealing.segments import Sealer


@dataclass(frozen=True, slots=True)
class OpenPack:
    """A pack whose row is open. ``grant`` is what its writer needs to seal it; empty for a plain pack."""

    key: int
    grant: bytes


@dataclass(frozen=True, slots=True)
class PackGrant:
    """What reads one sealed pack, and nothing else."""

    pack: int
    grant: bytes
    seal: bytes


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


def _sealer(grant: bytes, out: Callable[[bytes], None]) -> Sealer:
    # Loaded by the first sealed pack: a codec worker that never meets one starts sooner.
    from lightwell.sealing.segments import Sealer

    return Sealer(grant, out)


class PackWriter:
    """A pack that is being written; as a context manager it is aborted unless it was finished.

    With a ``grant`` (`OpenPack`) it is sealed. ``seal``, once it is finished, is what its row keeps of that.
    """

    def __init__(self, objects: PackObjects, spool_dir: Path, key: int, grant: bytes = b"") -> None:
        self.key = key
        self.seal: bytes | None = None
        self._object = objects.writer(pack_name(key), spool_dir)
        self._plain = 0
        self._size = 0
        self._crc = 0
        self._sealer = _sealer(grant, self._write) if grant else None

    def begin_item(self) -> None:
        """What is appended from here on, a frame or an original, is read without what stands before it."""
        if self._sealer is not None:
            self._sealer.begin()

    def append(self, data: bytes | memoryview) -> int:
        """Append ``data``; returns its offset."""
        offset = self._plain
        if self._sealer is None:
            self._write(data)
        else:
            self._sealer.write(data)
        self._plain += len(data)
        return offset

    def _write(self, data: bytes | memoryview) -> None:
        self._object.write(data)
        self._crc = isal_zlib.crc32(data, self._crc)
        self._size += len(data)

    def tell(self) -> int:
        """The offset of the next append."""
        return self._plain

    def finish(self) -> tuple[int, int]:
        """``(size, CRC-32)`` of the whole object, which is durable when this returns."""
        if self._sealer is not None:
            self.seal = self._sealer.finish()
        self._object.commit()
        return self._size, self._crc

    def abort(self) -> None:
        """Discard the pack; does nothing after `finish`."""
        self._object.abort()

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.abort()
