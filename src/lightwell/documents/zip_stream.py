"""A ZIP archive that is made while it is being sent, whatever its size.

What the archive holds is stored, not compressed: pixels that can be compressed are. Its directory comes last,
so an archive that was cut short cannot be opened as if it were whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from zipfile import ZIP_STORED, ZipFile, ZipInfo

_LARGE = 1 << 31
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file to be put in: its name with ``/`` between folders, its length if known, and its bytes."""

    name: str
    length: int | None
    pieces: Iterator[bytes]


class _Sent:
    """What has been written and not been taken yet. It cannot be sought in, so `ZipFile` does not try to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        found = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return found


def zip_stream(files: Iterable[ArchivedFile], moment: tuple[int, int, int, int, int, int]) -> Iterator[bytes]:
    """The bytes of an archive; ``moment`` is the local time that all its files bear.

    Holds a piece of one file and some hundred bytes for each file before. Raises what the pieces raise; no
    directory follows then.
    """
    sent = _Sent()
    archive = ZipFile(sent, "w", ZIP_STORED)  # type: ignore[call-overload]
    for file in files:
        info = ZipInfo(file.name, moment)
        info.external_attr = 0o644 << 16
        is_large = file.length is None or file.length >= _LARGE
        with archive.open(info, "w", force_zip64=is_large) as out:
            for piece in file.pieces:
                out.write(piece)
                if sent.size >= _PIECE:
                    yield sent.take()
    archive.close()
    yield sent.take()
