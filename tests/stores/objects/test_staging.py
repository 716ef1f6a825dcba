"""Packs that a codec worker has staged: what becomes an object, and what a file that took it over may try."""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.objects.interface import MissingObjectError
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.staging import adopt, make_staging, open_to_lend, staged_path

KEY, DATA = "packs/01/0000000000000001.pack", b"frames"


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path / "objects")


@pytest.fixture
def staging(objects: LocalObjects) -> Path:
    return make_staging(objects)


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    """Closes what a worker has kept open."""
    with ExitStack() as stack:
        yield stack


def stage(staging: Path) -> Path:
    path = staged_path(staging, KEY)
    path.write_bytes(DATA)
    return path


def left(objects: LocalObjects) -> list[str]:
    """What is in the folder of temporary files, but for the folders of workers."""
    return [path.name for path in (objects.root / ".tmp").iterdir() if not path.name.startswith("worker-")]


def test_makes_what_was_staged_an_object(objects: LocalObjects, staging: Path) -> None:
    stage(staging)
    assert adopt(objects, KEY, staging) == len(DATA)
    assert objects.get(KEY) == DATA and list(staging.iterdir()) == [] and left(objects) == []
    with os.fdopen(open_to_lend(objects, KEY), "rb") as lent:
        assert lent.read() == DATA
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.write(lent.fileno(), b"x")
    with pytest.raises(MissingObjectError):
        open_to_lend(objects, KEY.replace("1", "2"))
    assert staging.stat().st_mode & 0o777 == 0o700


def open_for_writing(path: Path, victim: Path, kept: ExitStack) -> None:
    kept.enter_context(path.open("r+b"))


def mapped_for_writing(path: Path, victim: Path, kept: ExitStack) -> None:
    with path.open("r+b") as stream:
        kept.enter_context(mmap.mmap(stream.fileno(), 0))


def another_name(path: Path, victim: Path, kept: ExitStack) -> None:
    os.link(path, path.with_name("again"))


def link_to_another(path: Path, victim: Path, kept: ExitStack) -> None:
    path.unlink()
    path.symlink_to(victim)


def name_of_another(path: Path, victim: Path, kept: ExitStack) -> None:
    path.unlink()
    os.link(victim, path)


def pipe(path: Path, victim: Path, kept: ExitStack) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, victim: Path, kept: ExitStack) -> None:
    path.unlink()
    path.mkdir()


def nothing(path: Path, victim: Path, kept: ExitStack) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "forge",
    [
        *(open_for_writing, mapped_for_writing, another_name, link_to_another),
        *(name_of_another, pipe, folder, nothing),
    ],
)
def test_takes_nothing_that_could_still_be_changed_or_is_no_file(
    objects: LocalObjects, staging: Path, kept: ExitStack, forge: Callable[[Path, Path, ExitStack], None]
) -> None:
    if sys.platform != "linux" and forge in (open_for_writing, mapped_for_writing):
        pytest.skip("only Linux tells who has a file open")
    victim = objects.root / "packs" / "02" / "victim.pack"
    objects.put("packs/02/victim.pack", b"another patient's")
    forge(stage(staging), victim, kept)
    with pytest.raises(StorageError):
        adopt(objects, KEY, staging)
    assert objects.get(KEY) is None and left(objects) == []
    assert victim.read_bytes() == b"another patient's"


def test_replaces_no_object(objects: LocalObjects, staging: Path) -> None:
    objects.put(KEY, b"another patient's")
    stage(staging)
    with pytest.raises(StorageError, match="exists already"):
        adopt(objects, KEY, staging)
    assert objects.get(KEY) == b"another patient's" and left(objects) == []


def test_is_durable_before_it_is_seen(
    objects: LocalObjects, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.rename

    def syncing(fd: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{fd}").is_dir() else "file")
        sync(fd)

    def renaming(path: Path, target: Path) -> Path:
        done.append(f"rename to {target.suffix or 'private'}")
        return rename(path, target)

    stage(staging)
    objects.put("packs/01/other", b"x")  # so that the folder is there
    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "rename", renaming)
    adopt(objects, KEY, staging)
    assert done == ["rename to private", "file", "rename to .pack", "folder", "folder"]

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    other = KEY.replace("1.pack", "2.pack")
    staged_path(staging, other).write_bytes(DATA)
    with pytest.raises(StorageUnavailableError, match="make room"):
        adopt(objects, other, staging)
    assert objects.get(other) is None and left(objects) == []


def test_says_why_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "objects").write_bytes(b"")
    with pytest.raises(StorageError, match="a file where a folder should be"):
        make_staging(LocalObjects(tmp_path / "objects"))


def test_sweeps_what_workers_left_that_are_gone(objects: LocalObjects, staging: Path) -> None:
    path, empty = stage(staging), make_staging(objects)
    for each in (path, staging, empty):
        os.utime(each, (100, 100))
    young = make_staging(objects)
    stage(young)
    assert objects.sweep(101_000) == 1
    assert not empty.exists() and not path.exists() and staged_path(young, KEY).exists()
    os.utime(staging, (100, 100))  # its file was removed this moment
    assert objects.sweep(101_000) == 0
    assert not staging.exists() and young.exists()
