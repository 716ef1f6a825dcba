"""The cache of documents: never a wrong one, never more than its limit, old versions first."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightwell.stores.data_folder.document_cache import DocumentCache


@pytest.fixture
def documents(tmp_path: Path) -> DocumentCache:
    return DocumentCache(tmp_path / "documents", limit=100_000)


def files(documents: DocumentCache) -> list[Path]:
    return sorted(path for path in documents.root.rglob("*") if path.is_file() and path.name != ".lock")


def test_keeps_documents_by_set_version_and_format(documents: DocumentCache) -> None:
    assert documents.get(1, 1, 0, "native") is None
    for version in (1, 2):
        for format in ("native", "json.gz"):
            documents.put(1, version, 0, format, f"{version} {format}".encode())
    documents.put(0x7FFFFFFFFFFFFFFF, 1, 0, "native", b"")
    for version in (1, 2):
        for format in ("native", "json.gz"):
            assert documents.get(1, version, 0, format) == f"{version} {format}".encode()
    assert documents.get(0x7FFFFFFFFFFFFFFF, 1, 0, "native") == b""
    assert documents.get(1, 3, 0, "native") is None
    assert documents.get(2, 1, 0, "native") is None


def test_treats_a_damaged_file_as_missing(documents: DocumentCache) -> None:
    documents.put(1, 1, 0, "native", b"0123456789" * 100)
    (path,) = files(documents)
    whole = path.read_bytes()
    for damaged in (b"", whole[:5], whole[:-1], whole + b"x", whole[:-1] + b"\0", b"\0" * len(whole)):
        path.write_bytes(damaged)
        assert documents.get(1, 1, 0, "native") is None
    documents.put(1, 1, 0, "native", b"again")
    assert documents.get(1, 1, 0, "native") == b"again"


def test_forgets_a_set(documents: DocumentCache) -> None:
    documents.put(1, 1, 0, "native", b"a")
    documents.put(1, 2, 0, "native", b"b")
    documents.put(257, 1, 0, "native", b"c")  # in the same outer folder
    documents.drop(1)
    documents.drop(2)
    assert documents.get(1, 1, 0, "native") is documents.get(1, 2, 0, "native") is None
    assert documents.get(257, 1, 0, "native") == b"c"
    assert len(files(documents)) == 1


def test_sweeps_sets_that_no_longer_exist(documents: DocumentCache) -> None:
    for key in (1, 2, 3):
        documents.put(key, 1, 0, "native", b"x")
    assert documents.sweep(lambda key: key == 2) == 2
    assert [documents.get(key, 1, 0, "native") for key in (1, 2, 3)] == [None, b"x", None]
    assert documents.sweep(lambda key: True) == 0


def test_keeps_to_its_limit(documents: DocumentCache) -> None:
    for key in range(200):
        documents.put(key, 1, 0, "native", bytes(5_000))
        # A process looks again after each sixteenth of the limit that it has added.
        assert documents.size() <= documents.limit + documents.limit // 16 + 5_016
    assert documents.get(199, 1, 0, "native") is not None
    assert documents.size() > documents.limit // 2


def test_drops_what_is_not_the_latest_version_first(documents: DocumentCache) -> None:
    documents.put(1, 1, 0, "native", bytes(10_000))  # an older version, as the cache itself sees
    documents.put(1, 2, 0, "native", bytes(10_000))
    documents.put(2, 5, 0, "native", bytes(10_000), is_latest=False)
    documents.put(3, 1, 0, "native", bytes(10_000))
    for _ in range(3):
        assert documents.get(1, 1, 0, "native") and documents.get(2, 5, 0, "native")  # read most recently
    documents.limit = 30_000
    documents.evict()
    assert documents.get(1, 1, 0, "native") is documents.get(2, 5, 0, "native") is None
    assert documents.get(1, 2, 0, "native") is not None and documents.get(3, 1, 0, "native") is not None


def test_drops_what_was_read_least_recently_next(documents: DocumentCache) -> None:
    for key in (1, 2, 3, 4):
        documents.put(key, 1, 0, "native", bytes(10_000))
    for age, path in enumerate(files(documents)):
        os.utime(path, (1000 + age, 1000 + age))
    assert documents.get(1, 1, 0, "native") is not None
    documents.limit = 30_000
    documents.evict()
    assert [documents.get(key, 1, 0, "native") is not None for key in (1, 2, 3, 4)] == [
        True,
        False,
        False,
        True,
    ]


def test_drops_what_a_crash_left(documents: DocumentCache) -> None:
    documents.put(1, 1, 0, "native", b"x")
    (documents.root / "01" / f"{1:016x}" / ".half").write_bytes(bytes(50_000))
    documents.limit = 40_000
    documents.evict()
    assert documents.get(1, 1, 0, "native") == b"x"
    assert documents.size() < 1000


def test_does_not_keep_a_document_that_fills_it(documents: DocumentCache) -> None:
    documents.put(1, 1, 0, "native", bytes(50_000))
    assert documents.get(1, 1, 0, "native") is None
    nothing = DocumentCache(documents.root, limit=0)
    nothing.put(1, 1, 0, "native", b"x")
    assert nothing.get(1, 1, 0, "native") is None


def test_never_fails_a_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    documents = DocumentCache(tmp_path / "file" / "documents")
    documents.put(1, 1, 0, "native", b"x")
    assert documents.get(1, 1, 0, "native") is None
    documents.drop(1)
    documents.evict()
    assert documents.sweep(lambda key: False) == documents.size() == 0


@pytest.mark.parametrize("format", ["", "..", "../x", "a/b", ".x", "a b", "a\0"])
def test_refuses_unknown_formats(documents: DocumentCache, format: str) -> None:
    with pytest.raises(ValueError, match="not a format"):
        documents.get(1, 1, 0, format)


USE = """
import random, sys
from pathlib import Path
from lightwell.stores.data_folder.document_cache import DocumentCache
documents = DocumentCache(Path(sys.argv[1]), limit=200_000)
chosen = random.Random(int(sys.argv[2]))
for _ in range(600):
    key, version = chosen.randrange(20), chosen.randrange(1, 4)
    expected = f"{key} {version} ".encode() * 1000
    found = documents.get(key, version, 0, "native")
    assert found in (None, expected), found[:20]
    if found is None:
        documents.put(key, version, 0, "native", expected, is_latest=version == 3)
    if chosen.random() < 0.05:
        documents.drop(key)
assert documents.size() < 300_000
"""


def test_serves_several_processes_and_threads(documents: DocumentCache) -> None:
    command = [sys.executable, "-W", "error", "-c", USE, str(documents.root)]
    with ThreadPoolExecutor(3) as pool:
        done = pool.map(lambda seed: subprocess.run([*command, str(seed)], timeout=120), range(3))
        assert [process.returncode for process in done] == [0, 0, 0]


def test_gives_a_disk_back_that_is_nearly_full(
    documents: DocumentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored needs it more."""
    for version in (1, 2):
        documents.put(1, version, 0, "native", b"x" * 1000)
    disk = SimpleNamespace(f_frsize=1, f_blocks=1_000_000, f_bavail=51_500)
    monkeypatch.setattr(os, "statvfs", lambda place: disk)
    documents.put(1, 3, 0, "native", b"x" * 1000)  # a twentieth would still be free
    assert len(files(documents)) == 3
    documents.put(1, 4, 0, "native", b"x" * 2000)
    assert files(documents) == []
    disk.f_bavail = 900_000
    documents.put(1, 4, 0, "native", b"x" * 2000)
    assert documents.get(1, 4, 0, "native") == b"x" * 2000
