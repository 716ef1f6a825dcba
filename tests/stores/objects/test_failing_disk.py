"""An fsync that fails: what it did not take is neither kept nor believed by whoever comes next.

Linux forgets what it could not write, and a second fsync of the same file claims success.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.backup.targets import target
from lightwell.stores.backup.unsynced import UnsyncedObjects
from lightwell.stores.objects.local import LocalObjects, make_folders

Breaks = Callable[[str], None]


class _Halves(io.FileIO):
    """Writes no more than half of what it is given."""

    def write(self, data: Any, /) -> int:
        return super().write(memoryview(data)[: len(data) // 2 + 1])


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaks]:
    """Have the next fsync of a file or folder with that end of its path fail, once."""
    ends: list[str] = []
    good = os.fsync

    def fsync(fd: int) -> None:
        path = str(Path(f"/proc/self/fd/{fd}").readlink())
        if ends and path.endswith(ends[0]):
            ends.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        good(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    yield ends.append
    assert not ends, f"nothing was to be made durable at {ends}"


def test_takes_back_a_new_object_whose_name_is_not_durable(tmp_path: Path, breaks: Breaks) -> None:
    objects = LocalObjects(tmp_path)
    objects.put("packs/ab/1", b"x")
    breaks("packs/ab")
    with pytest.raises(StorageUnavailableError, match="the disk failed"):
        objects.put("packs/ab/2", b"x")
    assert [key for key, _ in objects.list()] == ["packs/ab/1"]
    breaks("packs/ab")
    with pytest.raises(StorageError):
        objects.put("packs/ab/1", b"y")
    assert objects.get("packs/ab/1") == b"y", "what was there before is gone, so this one stays"
    objects.put("packs/ab/2", b"x")


def test_takes_back_a_folder_whose_name_is_not_durable(tmp_path: Path, breaks: Breaks) -> None:
    objects = LocalObjects(tmp_path)
    objects.put("packs/ab/1", b"x")
    breaks("/packs")
    with pytest.raises(StorageUnavailableError):
        objects.put("packs/cd/1", b"x")
    assert not (tmp_path / "packs/cd").exists()
    breaks(str(tmp_path))  # it is made again, and its name waited for
    with pytest.raises(OSError, match="Input/output"):
        make_folders(tmp_path / "new")
    make_folders(tmp_path / "new")


@pytest.mark.parametrize(
    ("end", "left"), [("packs/ab/2", ["packs/ab/1", "packs/cd/3"]), ("packs/ab", ["packs/cd/3"])]
)
def test_removes_what_it_waited_for_in_vain(
    tmp_path: Path, breaks: Breaks, end: str, left: list[str]
) -> None:
    objects = UnsyncedObjects(tmp_path)
    keys = ["packs/ab/1", "packs/ab/2", "packs/cd/3"]
    for key in keys:
        objects.put_blocks(key, iter([b"x" * 100]))
    breaks(end)
    with pytest.raises(StorageUnavailableError, match=rf"{end} cannot be written: the disk failed"):
        objects.sync(keys)
    assert sorted(key for key, _ in objects.list()) == left


def test_restores_a_database_of_which_the_system_writes_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk does that is nearly full: the rest is refused, or finds room again."""
    good = os.fdopen

    def fdopen(fd: int, mode: str, buffering: int = -1) -> object:
        raw = _Halves(fd, mode)
        return raw if buffering == 0 else io.BufferedWriter(raw)

    monkeypatch.setattr(os, "fdopen", fdopen)
    data = os.urandom(100_001)
    target(f"sqlite:///{tmp_path / 'a.db'}", None, tmp_path).load(iter([data[:60_000], data[60_000:]]))
    monkeypatch.setattr(os, "fdopen", good)
    assert (tmp_path / "a.db.restoring").read_bytes() == data
