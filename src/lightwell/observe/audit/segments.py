"""The files of the audit trail: ``DATA/audit/WRITER/000000000001.jsonl`` and so on, one folder a writer.

The last one is being written. Those before it are complete, and may have been compressed to ``.jsonl.zst``.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import DEFAULT_BUFFER_SIZE, BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

import zstandard

FOLDER = "audit"
LOCK = "lock"
PLAIN, COMPRESSED, INDEX = ".jsonl", ".jsonl.zst", ".idx"
_NAME = re.compile(r"(\d{12})(\.jsonl|\.jsonl\.zst)")
_WRITER = re.compile(r"[a-z]{1,16}(-\d{1,4})?")
# Several times what a segment may hold before the next is begun: more is not one of ours.
MOST_BYTES = 1 << 29
_LEVEL = 3
# Of a segment that is read by lines; no record is as long as the second.
_PART, _LONGEST = 1 << 20, 64 << 20


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A file that is there, by its number in its chain."""

    number: int
    path: Path

    @property
    def is_compressed(self) -> bool:
        return self.path.name.endswith(COMPRESSED)

    def read(self) -> bytes:
        """All lines. Raises `OSError`, and `ValueError` if the file cannot be decompressed."""
        with self.opened() as file:
            return file.read(MOST_BYTES)

    def lines(self) -> Iterator[bytes]:
        """Each complete line without its end, in the memory of one of them.

        Raises `OSError`, and `ValueError` if the file cannot be decompressed.
        """
        with self.opened() as file:
            while line := file.readline(_LONGEST):
                if line.endswith(b"\n"):
                    yield line[:-1]

    @contextmanager
    def opened(self, start: int = 0, part: int = _PART) -> Iterator[BinaryIO]:
        """The segment as it was written, from so many bytes on; ``part`` bytes of it are read at once.

        Raises `OSError`, and `ValueError` if the file cannot be decompressed, also while it is read.
        """
        if not self.is_compressed and not self.path.exists():
            # It has been compressed since it was found.
            with Segment(self.number, _compressed(self.path)).opened(start, part) as file:
                yield file
            return
        with open_regular(self.path, part) as file:
            if not self.is_compressed:
                file.seek(start)
                yield file
                return
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=False)
            with BufferedReader(reader, part) as plain:
                try:
                    while start and (skipped := len(plain.read(min(start, _PART)))):
                        start -= skipped
                    yield plain
                except zstandard.ZstdError as error:
                    raise ValueError(f"it cannot be decompressed: {error}") from None

    def start(self, size: int) -> bytes:
        """The first bytes of it, none if they cannot be decompressed. Raises `OSError`."""
        try:
            with self.opened(part=size) as file:
                return file.read(size)
        except ValueError:
            return b""


def segment_path(folder: Path, number: int) -> Path:
    """Where the segment with this number is written."""
    return folder / f"{number:012d}{PLAIN}"


def index_path(segment: Path) -> Path:
    """Where the index of a segment is."""
    return segment.with_name(segment.name.partition(".")[0] + INDEX)


def writers(root: Path) -> list[Path]:
    """The folders of all writers below ``DATA/audit``. Raises `OSError` if it cannot be read."""
    try:
        entries = list(root.iterdir())
    except FileNotFoundError:
        return []
    return sorted(path for path in entries if path.is_dir() and _WRITER.fullmatch(path.name))


def segments(folder: Path) -> list[Segment]:
    """The segments of a writer in their order, regular files only. Raises `OSError`.

    Where a segment is there twice, its compression was cut short, and the plain file is the one to read.
    """
    found: dict[int, Segment] = {}
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    for path in sorted(paths, reverse=True):
        if (match := _NAME.fullmatch(path.name)) and path.is_file():
            number = int(match[1])
            found[number] = Segment(number, path)
    return sorted(found.values())


def open_regular(path: Path, buffer: int = DEFAULT_BUFFER_SIZE) -> BufferedReader:
    """Open a file for reading. Raises `OSError`, also for what would block, such as a FIFO in its place."""

    def opened(name: str, flags: int) -> int:
        file = os.open(name, flags | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "it is no regular file", name)
        return file

    return BufferedReader(FileIO(str(path), "rb", opener=opened), buffer)


def make_folder(folder: Path) -> None:
    """Make a writer's folder and that of the trail, for their owner only, durably. Raises `OSError`.

    The trail belongs to whoever begins it, as all data beside it.
    """
    for path in (folder.parent, folder):
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.mkdir(path.name, 0o700, dir_fd=parent)
            if path == folder:
                # Whoever owns the parent may have put something else there meanwhile.
                made = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
                try:
                    give_away(made, path.parent)
                finally:
                    os.close(made)
            os.fsync(parent)
        except FileExistsError:
            pass
        finally:
            os.close(parent)


def give_away(made: int, folder: Path) -> None:
    """Give what root has made in a folder to the folder's owner, who has to go on. Raises `OSError`.

    ``made`` is a descriptor of what this call has created, or of a folder that was no link: the owner may
    put a link in its place to what is root's.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        if owner.st_uid:
            os.fchown(made, owner.st_uid, owner.st_gid)


def make_anew(path: Path) -> int:
    """Open an empty file for writing, in place of a link or of what a crash has left. Raises `OSError`."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def compress(segment: Segment) -> Segment:
    """Replace a complete segment by a compressed file; the same if it is one. Raises `OSError`.

    At every moment at least one of both is there, complete and durable.
    """
    if segment.is_compressed:
        return segment
    target = _compressed(segment.path)
    temporary = target.with_name(f".{target.name}.tmp")
    descriptor = make_anew(temporary)
    with os.fdopen(descriptor, "wb") as file, open_regular(segment.path) as plain:
        # With its checksum in the frame, and its size.
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        compressor.copy_stream(plain, file, size=segment.path.stat().st_size)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    sync_folder(target.parent)
    segment.path.unlink()
    return Segment(segment.number, target)


def _compressed(plain: Path) -> Path:
    return plain.with_name(plain.name.removesuffix(PLAIN) + COMPRESSED)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def all_segments(root: Path) -> Iterator[tuple[str, Segment]]:
    """Each segment below ``DATA/audit``, with the name of its writer. Raises `OSError`."""
    for folder in writers(root):
        for segment in segments(folder):
            yield folder.name, segment
