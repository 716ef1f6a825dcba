"""Objects on local disk: whole or not there, whatever happens to the process that writes them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from isal import isal_zlib

from lightwell.errors import ConfigurationError, StorageError
from lightwell.stores.objects import local
from lightwell.stores.objects.interface import MissingObjectError, valid_key
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.open import open_objects
from lightwell.stores.objects.pack_objects import PackWriter, pack_name
from tests.support.unprivileged import public_folder

FAR_FUTURE = 1 << 50
ROOT = Path(__file__).parents[3]


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path / "deep" / "objects")


def temporaries(objects: LocalObjects) -> list[Path]:
    return list((objects.root / ".tmp").iterdir())


def test_keeps_an_object(objects: LocalObjects) -> None:
    objects.put("packs/ab/1.pack", b"0123456789")
    assert (objects.root / "packs/ab/1.pack").read_bytes() == b"0123456789"
    assert objects.read("packs/ab/1.pack", 3, 4) == b"3456"
    assert objects.read("packs/ab/1.pack", 10, 0) == b""
    assert objects.get("packs/ab/1.pack") == b"0123456789"
    assert objects.size("packs/ab/1.pack") == 10
    assert list(objects.list()) == list(objects.list("packs")) == [("packs/ab/1.pack", 10)]
    assert list(objects.list("packs/a")) == []
    objects.check()
    objects.delete("packs/ab/1.pack")
    objects.delete("packs/ab/1.pack")
    assert not objects.exists("packs/ab/1.pack")
    assert objects.get("packs/ab/1.pack") is None
    assert not list(objects.list("packs")) and not temporaries(objects)


def test_is_empty_before_the_first_write(objects: LocalObjects) -> None:
    assert list(objects.list()) == []
    assert objects.get("a") is None
    assert objects.sweep(FAR_FUTURE) == 0
    assert not objects.root.exists()


def test_says_when_an_object_is_missing_or_too_short(objects: LocalObjects) -> None:
    objects.put("a", b"0123456789")
    with pytest.raises(StorageError, match="ends at byte 10, but 5 bytes from 7"):
        objects.read("a", 7, 5)
    with pytest.raises(MissingObjectError, match="is not there"):
        objects.read("b", 0, 5)


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "../a", "a/../b", "a/./b", "a//b", "a\0b", "a\nb", ".tmp/x", "é", "a b", "a" * 200],
)
def test_refuses_keys_that_it_did_not_make(objects: LocalObjects, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        valid_key(key)
    for attempt in (
        lambda: objects.put(key, b""),
        lambda: objects.get(key),
        lambda: objects.read(key, 0, 1),
        lambda: objects.delete(key),
        lambda: objects.size(key),
    ):
        with pytest.raises(ValueError, match="not a key"):
            attempt()


def test_shows_nothing_before_commit_and_nothing_after_abort(objects: LocalObjects) -> None:
    writer = objects.writer("a")
    writer.write(b"x" * 1_000_000)
    assert objects.get("a") is None
    assert list(objects.list()) == []
    writer.abort()
    writer.abort()
    assert temporaries(objects) == []
    writer = objects.writer("a")
    writer.write(memoryview(b"y"))
    writer.commit()
    writer.abort()
    assert objects.get("a") == b"y"


def test_removes_what_a_forgotten_writer_wrote(objects: LocalObjects) -> None:
    objects.writer("a").write(b"x")
    assert temporaries(objects) == []


def test_reads_from_many_threads_while_files_are_closed(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_OPEN_FILES", 3)
    for number in range(20):
        objects.put(f"packs/{number}", bytes([number]) * 1000)

    def read(seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(300):
            number = chosen.randrange(20)
            assert objects.read(f"packs/{number}", 10, 500) == bytes([number]) * 500

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, range(16)))
    assert len(objects._handles) <= 3


def test_lets_go_of_files_that_another_process_deleted(objects: LocalObjects) -> None:
    objects.put("a", b"x")
    objects.put("b", b"y")
    assert objects.read("a", 0, 1) == b"x"
    (objects.root / "a").unlink()
    assert objects.read("b", 0, 1) == b"y"  # opening another lets go of the deleted one
    assert f"{objects.root}/a (deleted)" not in open_files()
    with pytest.raises(MissingObjectError):
        objects.read("a", 0, 1)


def open_files() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return found


def test_closes_every_file(objects: LocalObjects) -> None:
    for number in range(10):
        objects.put(f"a/{number}", b"x")
        objects.read(f"a/{number}", 0, 1)
    assert any(str(objects.root) in name for name in open_files())
    objects.close()
    assert not any(str(objects.root) in name for name in open_files())
    assert objects.read("a/1", 0, 1) == b"x"


def test_lists_only_what_it_may_have_made(objects: LocalObjects) -> None:
    objects.put("packs/1", b"x")
    for name in ("packs/.hidden", "packs/a b", "packs/ünï", "lost+found"):
        (objects.root / name).write_bytes(b"")
    (objects.root / "packs" / "link").symlink_to("1")
    assert list(objects.list()) == [("packs/1", 1)]


def test_sweeps_only_old_leftovers(objects: LocalObjects) -> None:
    objects.put("a", b"x")
    old, new = objects.root / ".tmp" / "old", objects.root / ".tmp" / "new"
    for path, age in ((old, 1000.0), (new, 2000.0)):
        path.write_bytes(b"x")
        os.utime(path, (age, age))
    assert objects.sweep(1_500_000) == 1
    assert temporaries(objects) == [new]
    assert objects.get("a") == b"x"


def test_fsyncs_the_file_before_its_rename_and_the_folders_after(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("packs/other", b"")
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(fd: int) -> None:
        path = str(Path(f"/proc/self/fd/{fd}").readlink())
        steps.append(f"fsync {path.removeprefix(str(objects.root))}")
        real_fsync(fd)

    def rename(source: str, target: str) -> None:
        steps.append("rename")
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    objects.put("packs/new/1", b"x")
    assert steps[0].startswith("fsync /.tmp/packs.new.1")
    assert steps[1:] == ["fsync /packs", "rename", "fsync /packs/new", "fsync /.tmp"]


def test_says_that_the_disk_is_full(tmp_path: Path) -> None:
    # A process whose files may not grow past 1 MB stands for a full disk.
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from lightwell.stores.objects.local import LocalObjects\n"
        "from lightwell.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "objects = LocalObjects(Path(sys.argv[1]))\n"
        "try: objects.put('a', bytes(2 << 20))\n"
        "except StorageError as error: print(error)\n"
        "print(list(objects.list()), list((objects.root / '.tmp').iterdir()))\n"
    )
    output = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert output.stdout == f"{tmp_path}/a cannot be written: File too large.\n[] []\n"
    assert output.stderr == ""


def test_says_that_it_may_not_write() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from lightwell.stores.objects.local import LocalObjects\n"
        "from tests.support.unprivileged import become_nobody\n"
        "become_nobody()\n"
        "LocalObjects(Path(sys.argv[1])).put('a', b'x')\n"
    )
    with public_folder() as outer:
        folder = outer / "objects"
        folder.mkdir(mode=0o555)
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, cwd=ROOT)
    assert "this user has no permission: check its owner and mode." in done.stderr


def test_reports_a_file_that_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "objects").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written to"):
        LocalObjects(tmp_path / "objects").put("a", b"x")


@pytest.mark.parametrize("name", ["plain", "with space", "100%", "%41", "ünï"])
def test_opens_the_folder_of_a_file_url(tmp_path: Path, name: str) -> None:
    objects = open_objects(f"file://{tmp_path}/{name}")
    (tmp_path / name).mkdir()
    again = open_objects(f"file://{tmp_path}/{name}")
    assert isinstance(objects, LocalObjects)
    again.put("a", b"x")
    assert (tmp_path / name / "a").exists()
    if name != "%41":
        assert objects.get("a") == b"x"


def test_refuses_a_storage_of_another_kind() -> None:
    for url in ("ftp://x/y", "s3:///x", "file://host/x", "x"):
        with pytest.raises(ConfigurationError, match="takes file:"):
            open_objects(url)


WRITE_PACKS = """
import secrets, sys
from pathlib import Path
from isal import isal_zlib
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import PackWriter
objects = LocalObjects(Path(sys.argv[1]))
while True:
    key = secrets.randbits(63)
    writer = PackWriter(objects, Path(sys.argv[1]), key)
    for _ in range(10):
        writer.append(secrets.token_bytes(30_000))
    size, checksum = writer.finish()
    print(key, size, checksum, flush=True)
"""


@pytest.mark.parametrize("round", range(6))
def test_shows_no_torn_pack_after_a_kill(objects: LocalObjects, round: int) -> None:
    chosen = random.Random(round)
    told: dict[str, tuple[int, int]] = {}
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", WRITE_PACKS, objects.root], stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(2)]
        time.sleep(chosen.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        lines += child.communicate()[0].splitlines(keepends=True)
        for line in lines:
            if line.endswith(b"\n"):
                key, size, checksum = map(int, line.split())
                told[pack_name(key)] = size, checksum
    found = dict(objects.list("packs"))
    # Every pack that was reported is there; one more a kill may be, whole, that nobody was told of.
    assert set(told) <= set(found)
    assert len(found) <= len(told) + 3
    for name, size in found.items():
        assert size == 300_000
        data = objects.read(name, 0, size)
        if name in told:
            assert (size, isal_zlib.crc32(data)) == told[name]
    objects.sweep(FAR_FUTURE)
    assert temporaries(objects) == []
    assert dict(objects.list("packs")) == found


def test_writes_a_pack(objects: LocalObjects, tmp_path: Path) -> None:
    with PackWriter(objects, tmp_path, 0x7FFF00AB) as writer:
        assert [writer.append(b"abc"), writer.append(b""), writer.append(memoryview(b"de"))] == [0, 3, 3]
        assert writer.tell() == 5
        assert writer.finish() == (5, isal_zlib.crc32(b"abcde"))
    assert pack_name(0x7FFF00AB) == "packs/ab/000000007fff00ab.pack"
    assert objects.get("packs/ab/000000007fff00ab.pack") == b"abcde"


def test_leaves_nothing_of_a_pack_that_failed(objects: LocalObjects, tmp_path: Path) -> None:
    with pytest.raises(KeyError), PackWriter(objects, tmp_path, 1) as writer:
        writer.append(b"abc")
        raise KeyError
    assert not list(objects.list()) and not temporaries(objects)


def test_probes_of_several_machines_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process ids are the same small numbers in each container."""
    ours, theirs = LocalObjects(tmp_path), LocalObjects(tmp_path)
    get = LocalObjects.get

    def slow(self: LocalObjects, key: str) -> bytes | None:
        if self is ours:
            theirs.check()
        return get(self, key)

    monkeypatch.setattr(LocalObjects, "get", slow)
    ours.check()
    assert list(ours.list("checks")) == []
