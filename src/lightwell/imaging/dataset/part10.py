"""Opening a DICOM Part 10 file: preamble, file meta group and the position of the data set.

Source: PS3.10 §7.1 (preamble, prefix, group 0002 always in Explicit VR Little Endian), PS3.5 Annex A
(transfer syntaxes; A.5 for the deflated one).
"""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightwell.errors import InputError
from lightwell.imaging.dataset.byte_source import BytesSource, FileSource, Scratch, Source, fills_disk
from lightwell.imaging.dataset.transfer_syntaxes import DEFLATED, LONG_VRS

__all__ = ["BytesSource", "FileSource", "Part10", "Source", "open_part10"]

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

#: most bytes of a file meta group; real ones have some hundred
_META_LIMIT = 1 << 20

_STEP = 1 << 20
# Deflate reaches 1032:1 at most. Headers and pixels of real images stay far below 200:1.
_RATIO, _RATIO_FROM = 200, 256 << 20

_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_UNREADABLE = "DICOM attributes does not exist"
_LONG = frozenset(vr.encode() for vr in LONG_VRS)


@dataclass(frozen=True, slots=True)
class Part10:
    """An opened Part 10 file.

    ``source`` is what the data set is read from: the file, or for a deflated file the inflated data set in an
    unnamed spool file. ``transfer_syntax`` is the TransferSyntaxUID of the file meta, trimmed. ``file_meta``
    are the bytes of group 0002. ``dataset_offset`` is the offset of the data set in ``source``.
    ``little_endian`` and ``implicit`` follow from the transfer syntax.
    """

    source: Source
    transfer_syntax: str
    file_meta: bytes
    dataset_offset: int
    little_endian: bool
    implicit: bool


def open_part10(
    source: Source,
    *,
    spool_dir: Path,
    inflate_limit: int,
    seal: Callable[[int], Scratch] | None = None,
) -> Part10:
    """Read the preamble and the file meta group of a Part 10 file.

    A deflated data set is inflated into a file in ``spool_dir``, to at most ``inflate_limit`` bytes; ``seal``
    encrypts it there, given its descriptor. Raises
    `InputError`: "DICOM attributes does not exist" if it is not a Part 10 file or ends in its file meta,
    "DICOM attribute TransferSyntaxUID does not exist" if it lacks that element, and others if that is not a
    UID (PS3.5 §9.1) or if a deflated data set is damaged or too large.
    """
    prefix = source.read(128, 4)
    if prefix != b"DICM":
        raise InputError(_UNREADABLE)
    meta, syntax = read_file_meta(source, 132)
    if not syntax:
        raise InputError("DICOM attribute TransferSyntaxUID does not exist")
    if not _UID.fullmatch(syntax):
        raise InputError(
            f"TransferSyntaxUID {syntax[:80]!r} is not a UID: the encoding of the file is unknown"
        )
    offset = 132 + len(meta)
    if syntax == DEFLATED:
        inflated = _inflate(source, offset, spool_dir, inflate_limit, seal)
        return Part10(inflated, syntax, meta, 0, True, False)
    return Part10(source, syntax, meta, offset, syntax != EXPLICIT_BIG, syntax == IMPLICIT_LITTLE)


def stored_part10(source: Source, meta_length: int) -> Part10:
    """A file as `imaging.dataset.original_container` stores it: file meta and data set without preamble,
    never deflated.
    """
    meta, syntax = read_file_meta(source, 0)
    if len(meta) < meta_length or not syntax:
        raise InputError(_UNREADABLE)
    return Part10(
        source, syntax, meta[:meta_length], meta_length, syntax != EXPLICIT_BIG, syntax == IMPLICIT_LITTLE
    )


def read_file_meta(source: Source, start: int) -> tuple[bytes, str]:
    """The bytes of group 0002 at ``start``, and its TransferSyntaxUID ("" if it has none)."""
    data = source.read(start, 4096)
    syntax = b""
    pos = 0
    while True:
        if pos + 12 > len(data) and start + len(data) < source.size:
            data = _read_longer(source, start, pos + 12)
        tag = data[pos : pos + 4]
        if tag[:2] != b"\x02\x00":
            if 0 < len(tag) < 4:
                raise InputError(_UNREADABLE)
            break
        vr = data[pos + 4 : pos + 6]
        if vr in _LONG:
            head = 12
            length = int.from_bytes(data[pos + 8 : pos + 12], "little")
        elif vr.isalpha() and vr.isupper():
            head = 8
            length = int.from_bytes(data[pos + 6 : pos + 8], "little")
        else:
            raise InputError(_UNREADABLE)
        end = pos + head + length
        if end > len(data):
            if start + end > source.size or end > _META_LIMIT:
                raise InputError(_UNREADABLE)
            data = _read_longer(source, start, end)
        if tag == b"\x02\x00\x10\x00":
            syntax = data[pos + head : end]
        pos = end
    return data[:pos], syntax.strip(b"\0 ").decode("ascii", "replace")


def meta_uids(head: bytes) -> tuple[str | None, str | None]:
    """MediaStorageSOPClassUID and MediaStorageSOPInstanceUID of a file that begins with ``head``, None if
    absent.

    They identify a file that could not be read: nothing is checked, and nothing raised.
    """
    uids: dict[bytes, str] = {}
    pos = 132 if head[128:132] == b"DICM" else len(head)
    while head[pos : pos + 2] == b"\x02\x00" and len(head) >= pos + 12:
        tag, is_long = head[pos + 2 : pos + 4], head[pos + 4 : pos + 6] in _LONG
        start = pos + (12 if is_long else 8)
        size = head[pos + 8 : pos + 12] if is_long else head[pos + 6 : pos + 8]
        pos = start + int.from_bytes(size, "little")
        value = head[start:pos].strip(b"\0 ")
        if re.fullmatch(rb"[0-9.]{1,64}", value):
            uids[tag] = value.decode()
    return uids.get(b"\x02\x00"), uids.get(b"\x03\x00")


def _read_longer(source: Source, start: int, length: int) -> bytes:
    return source.read(start, max(length + 4096, 2 * length))


def _inflate(
    source: Source, offset: int, spool_dir: Path, limit: int, seal: Callable[[int], Scratch] | None
) -> FileSource:
    """Inflate the data set into an unnamed file; uses a megabyte or two of memory."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    fd, name = tempfile.mkstemp(prefix="inflate-", dir=spool_dir)
    try:
        Path(name).unlink()
        scratch = None if seal is None else seal(fd)
        write = partial(_write, fd) if scratch is None else scratch.write
        for inflated in _inflated(fd, inflater, source, offset, limit):
            write(inflated)
    except BaseException:
        os.close(fd)
        raise
    return FileSource.adopt(fd) if scratch is None else scratch.source(fd)


def _inflated(
    fd: int, inflater: zlib._Decompress, source: Source, offset: int, limit: int
) -> Iterator[bytes]:
    """The data set, piece by piece, on its way to ``fd``."""
    total, consumed = 0, 0
    pending = b""
    try:
        while not inflater.eof:
            if not pending:
                pending = source.read(offset + consumed, _STEP)
                consumed += len(pending)
            inflated = inflater.decompress(pending, _STEP)
            if not pending and not inflated and not inflater.eof:
                raise InputError("The deflated data set ends too early; send the file again")
            pending = inflater.unconsumed_tail
            total += len(inflated)
            if total > limit:
                raise InputError(f"The deflated data set is larger than {limit} bytes; send it uncompressed")
            if total > _RATIO_FROM and total > _RATIO * consumed:
                raise InputError(
                    f"The deflated data set inflates to more than {_RATIO} times its size, as no image does;"
                    " send it uncompressed"
                )
            if fills_disk(fd, total):
                raise InputError(
                    f"The deflated data set inflates to {total} bytes or more, and the disk has no space for"
                    " it; free some space, or send it uncompressed"
                )
            yield inflated
    except zlib.error as error:
        raise InputError(f"The deflated data set is damaged ({error}); send the file again") from None


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
