"""The folder of one exported image set: its files, and a record of what each was written from.

The record, ``.lightwell-export.ndjson``, tells a later run which files it may skip: those that were written
from the same original, edits and pixels, in the same way, and that still have the SHA-256 which they had
then. So no file of an older version stays, nor one that was changed or cut short since.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

RECORD = ".lightwell-export.ndjson"

_UNFINISHED = re.compile(r"\..*\.(\d{1,10})", re.DOTALL)
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A line of the record. ``source`` stands for all that decides what the file holds.

    ``syntax`` is its TransferSyntaxUID, ``frames`` what its frames are (`documents.export_syntax.Frames`);
    ``note`` says what about it is not as it was asked for.
    """

    file: str
    source: str
    size: int
    sha256: str
    syntax: str
    frames: str
    note: str


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written; see `WrittenFile`."""

    syntax: str
    pieces: Iterable[bytes]
    frames: str = ""
    note: str = ""


class ExportFolder:
    """The folder of one image set, created if it is missing. Every method raises `OSError`."""

    def __init__(self, place: Path, datastore_id: str, image_set_id: str) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(place)
        self._record = place / RECORD
        found = read_record(self._record)
        self._written = {line.file: line for line in found[1]}
        self._obsolete = len(found[1]) > len(self._written)
        self._head = {"datastore": datastore_id, "imageSet": image_set_id}
        if found[0] != self._head:
            self._written.clear()
            self._rewrite()

    def complete(self, name: str, source: str) -> WrittenFile | None:
        """The file, if it was written from this source and has not changed since; it is read for that."""
        line = self._written.get(name)
        if line is None or line.source != source:
            return None
        return line if _is_unchanged(self.place / name, line) else None

    def write(self, name: str, source: str, file: NewFile) -> WrittenFile:
        """Write a file under a temporary name until it is complete; raises what reading its pieces raises."""
        target = self.place / name
        unfinished = self.place / f".{name}.{os.getpid()}"
        digest, size = sha256(), 0
        try:
            with unfinished.open("wb") as out:
                for piece in file.pieces:
                    out.write(piece)
                    digest.update(piece)
                    size += len(piece)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        line = WrittenFile(name, source, size, digest.hexdigest(), file.syntax, file.frames, file.note)
        self._obsolete = self._obsolete or name in self._written
        self._written[name] = line
        with self._record.open("ab") as record:
            record.write(_encode(asdict(line)))
        return line

    def finish(self, names: Collection[str]) -> tuple[int, list[str]]:
        """Remove what earlier runs wrote of instances that the image set no longer has.

        Returns how many files were removed, and the names of those that were changed since and stay.
        """
        removed, changed = 0, []
        for name in [name for name in self._written if name not in names]:
            path = self.place / name
            if path.is_file():
                if not _is_unchanged(path, self._written[name]):
                    changed.append(name)
                    continue
                path.unlink()
                removed += 1
            del self._written[name]
            self._obsolete = True
        if self._obsolete:
            self._rewrite()
        return removed, changed

    def _rewrite(self) -> None:
        """Replace the record by one that has each file once."""
        unfinished = self._record.with_name(f"{RECORD}.{os.getpid()}")
        lines = [_encode(self._head), *(_encode(asdict(line)) for line in self._written.values())]
        try:
            unfinished.write_bytes(b"".join(lines))
            unfinished.replace(self._record)
        finally:
            unfinished.unlink(missing_ok=True)
        self._obsolete = False


def read_record(path: Path) -> tuple[dict[str, object], list[WrittenFile]]:
    """The first line of a record, ``datastore`` and ``imageSet``, and all others.

    A line that cannot be read is left out: its file is written again. So is one that names a file elsewhere,
    since `ExportFolder.finish` removes files that the record names.
    """
    head: dict[str, object] = {}
    lines: list[WrittenFile] = []
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return head, lines
    for number, text in enumerate(data.splitlines()):
        with suppress(ValueError, TypeError):
            values = json.loads(text)
            if number == 0:
                head = dict(values)
            else:
                line = WrittenFile(**values)
                if _is_file_name(line.file):
                    lines.append(line)
    return head, lines


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".dcm") and not {"/", "\0"} & set(name)


def _encode(values: object) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _is_unchanged(path: Path, line: WrittenFile) -> bool:
    digest = sha256()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != line.size:
                return False
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError:
        return False  # written again, which says what is wrong
    return digest.hexdigest() == line.sha256


def _remove_unfinished(place: Path) -> None:
    """What processes have left that were killed."""
    for entry in os.scandir(place):
        found = _UNFINISHED.fullmatch(entry.name)
        if (
            found
            and (entry.name.startswith(RECORD) or ".dcm." in entry.name)
            and not _is_alive(int(found[1]))
        ):
            Path(entry).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
