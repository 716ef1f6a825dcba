"""Uploads in the spool."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.stores.data_folder.uploads import Upload


def test_closes_no_file_that_a_thread_is_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = Upload(tmp_path)
    remover = threading.Thread(target=upload.remove)
    write = os.writev

    def writev(fd: int, buffers: Any) -> int:
        if not remover.ident:
            remover.start()
            remover.join(0.05)
            os.fstat(fd)
        return write(fd, buffers)

    monkeypatch.setattr(os, "writev", writev)
    upload.write([b"some"])
    remover.join()
    assert not list(tmp_path.iterdir())
    with pytest.raises(StorageError):
        upload.write([b"more"])
    assert upload.head(0, 4) == b""


def test_takes_nothing_that_would_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs and the database are on it, too."""
    disk = SimpleNamespace(f_frsize=1, f_blocks=1_000_000, f_bavail=51_000)
    monkeypatch.setattr(os, "fstatvfs", lambda place: disk)
    upload = Upload(tmp_path)
    upload.write([b"x" * 1000])
    with pytest.raises(StorageUnavailableError, match="make room"):
        upload.write([b"x" * 600, b"x" * 600])
    assert upload.size == 1000
    upload.remove()
    assert list(tmp_path.iterdir()) == []
