"""Folders as buckets: every name works, nothing outside is reached, nothing waits."""

from __future__ import annotations

import errno
import os
import random
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell.errors import InputError, StorageError, StorageUnavailableError
from lightwell.stores.buckets import local
from lightwell.stores.buckets.registry import Buckets
from tests.support.unprivileged import public_folder

ROOT = Path(__file__).parents[3]


@pytest.fixture
def buckets(tmp_path: Path) -> Iterator[Buckets]:
    found = Buckets(tmp_path / "buckets")
    (found.root / "inn").mkdir(parents=True)
    yield found
    found.close()


@pytest.fixture
def inn(buckets: Buckets) -> Path:
    """The folder of the bucket ``inn``."""
    return buckets.root / "inn"


def make(folder: Path, *keys: str) -> None:
    for key in keys:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key.encode())


def keys(buckets: Buckets, prefix: str = "", bucket: str = "inn") -> list[str]:
    return [key for key, _ in buckets.list(bucket, prefix)]


def fetch(buckets: Buckets, key: str) -> Path:
    path = buckets.fetch("inn", key, memory_limit=0, spool_dir=buckets.root)
    assert isinstance(path, Path)
    return path


ODD = [
    "plain.dcm", "with space.dcm", " lead", "trail ", "100%", "%41", "%2F", "new\nline", "tab\t", "bell\a",
    "ünï", "e\u0301", "é", "日本", "😀", "quote'\"", "back\\slash", "*", "?", "#", "~", "-", "..x", "...",
    ".hidden", "a" * 255, "lightwell-x.part",
]  # fmt: skip


@pytest.mark.parametrize("key", ODD)
def test_takes_any_name(buckets: Buckets, inn: Path, key: str) -> None:
    make(inn, key, f"folder/{key}")
    assert keys(buckets) == sorted([key, f"folder/{key}"])
    assert keys(buckets, key) == [key]
    assert fetch(buckets, key) == inn / key
    assert fetch(buckets, f"folder/{key}").read_bytes() == f"folder/{key}".encode()


def test_lists_keys_as_s3_sorts_them(buckets: Buckets, inn: Path) -> None:
    names = ["a/x", "a/b/c", "a-b", "a0", "a.dcm", "a b/c", "B", "é", "Z/1", "😀", "\uffee", "a\x01"]
    make(inn, *names)
    (inn / "empty" / "folders").mkdir(parents=True)
    assert keys(buckets) == sorted(names, key=str.encode)
    assert list(buckets.list("inn", "a/")) == [("a/b/c", 5), ("a/x", 3)]


def test_lists_by_plain_prefix(buckets: Buckets, inn: Path) -> None:
    make(inn, "st/1", "study1/a", "study10/a", "study1.dcm", "study1/b/c", "study2/a")
    assert keys(buckets, "study1") == ["study1.dcm", "study1/a", "study1/b/c", "study10/a"]
    assert keys(buckets, "study1/") == ["study1/a", "study1/b/c"]
    assert keys(buckets, "study1/b") == ["study1/b/c"]
    assert keys(buckets, "study1/a") == ["study1/a"]
    assert keys(buckets, "study1/a/") == []
    assert keys(buckets, "none") == keys(buckets, "none/") == []
    assert keys(buckets, "study1.dcm/x") == []


@pytest.mark.parametrize(
    "prefix", ["../", "../x", "a/../b", "./a", "a/./", "/", "/etc/", "a//b", "a\0b", "a\0/b"]
)
def test_refuses_invalid_prefixes(buckets: Buckets, inn: Path, prefix: str) -> None:
    make(inn, "a/b")
    with pytest.raises(InputError, match="is not a prefix"):
        keys(buckets, prefix)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "..",
        ".",
        "../other/secret",
        "a/../../other/secret",
        "a/..",
        "/etc/passwd",
        "//x",
        "a//b",
        "a\0b",
        "a/",
    ],
)
def test_refuses_keys_that_leave_the_bucket(buckets: Buckets, inn: Path, key: str) -> None:
    make(inn, "a/b")
    make(buckets.root, "other/secret")
    with pytest.raises(InputError, match="does not exist"):
        fetch(buckets, key)
    with pytest.raises(StorageError, match="not a key that can be written"):
        buckets.put("inn", key, b"x")
    assert (buckets.root / "other" / "secret").read_bytes() == b"other/secret"


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../inn", "inn/a", "Inn", "in", "inn\n", "a" * 64, "-inn", "inn\0"]
)
def test_refuses_invalid_bucket_names(buckets: Buckets, name: str) -> None:
    with pytest.raises(InputError, match="not a valid bucket name"):
        keys(buckets, bucket=name)


def test_refuses_links_out_of_the_bucket(buckets: Buckets, inn: Path) -> None:
    make(buckets.root, "other/secret", "innocent/secret")
    (inn / "file").symlink_to(buckets.root / "other" / "secret")
    (inn / "folder").symlink_to("../other")
    (inn / "neighbour").symlink_to("../innocent")  # whose name begins like the bucket's
    (inn / "nothing").symlink_to("no/such/file")
    (inn / "circle").symlink_to("circle")
    assert keys(buckets) == ["circle", "file", "folder", "neighbour", "nothing"]
    for key in ("file", "folder", "folder/secret", "neighbour/secret"):
        with pytest.raises(InputError, match="leads out of the bucket"):
            fetch(buckets, key)
    for prefix in ("folder/", "neighbour/"):
        with pytest.raises(InputError, match="leads out of the bucket"):
            keys(buckets, prefix)
    with pytest.raises(InputError, match="a link to nothing"):
        fetch(buckets, "nothing")
    with pytest.raises(InputError, match="circle"):
        fetch(buckets, "circle")
    for key in ("folder/new", "neighbour/new"):
        with pytest.raises(StorageError, match="through a link that leads out of the bucket"):
            buckets.put("inn", key, b"x")
    assert not (buckets.root / "other" / "new").exists()


def test_replaces_a_link_instead_of_writing_through_it(buckets: Buckets, inn: Path) -> None:
    make(buckets.root, "other/secret")
    (inn / "file").symlink_to(buckets.root / "other" / "secret")
    buckets.put("inn", "file", b"mine")
    assert (buckets.root / "other" / "secret").read_bytes() == b"other/secret"
    assert fetch(buckets, "file").read_bytes() == b"mine"


def test_follows_links_inside_the_bucket_but_no_circles(buckets: Buckets, inn: Path) -> None:
    make(inn, "real/1", "real/deep/2")
    (inn / "alias").symlink_to("real")
    (inn / "file").symlink_to("real/1")
    (inn / "real" / "up").symlink_to("..")
    (inn / "real" / "deep" / "self").symlink_to(".")
    (inn / "x").mkdir()
    (inn / "y").mkdir()
    (inn / "x" / "y").symlink_to("../y")
    (inn / "y" / "x").symlink_to("../x")
    assert keys(buckets) == [
        "alias/1", "alias/deep/2", "alias/deep/self", "alias/up", "file",
        "real/1", "real/deep/2", "real/deep/self", "real/up", "x/y/x", "y/x/y",
    ]  # fmt: skip
    assert fetch(buckets, "alias/1").read_bytes() == b"real/1"
    assert fetch(buckets, "file").read_bytes() == b"real/1"
    with pytest.raises(InputError, match="not followed"):
        fetch(buckets, "real/up")


def test_may_be_a_link_itself(buckets: Buckets, tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "a/1")
    (buckets.root / "linked").symlink_to(tmp_path / "elsewhere")
    assert keys(buckets, bucket="linked") == ["a/1"]
    buckets.put("linked", "b/2", b"x")
    assert (tmp_path / "elsewhere/b/2").read_bytes() == b"x"


def test_opens_no_pipe_socket_or_device(buckets: Buckets, inn: Path) -> None:
    os.mkfifo(inn / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(inn, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        (inn / "folder").mkdir()
        assert list(buckets.list("inn", "")) == [("pipe", 0), ("socket", 0)]
        for key, kind in (("pipe", "a pipe"), ("socket", "a socket"), ("folder", "a folder")):
            with pytest.raises(InputError, match=f"{key} is {kind}"):
                fetch(buckets, key)


def test_tells_a_missing_file(buckets: Buckets, inn: Path) -> None:
    make(inn, "a/1", "a/2")
    listed = buckets.list("inn", "")
    assert next(listed) == ("a/1", 3)
    (inn / "a" / "2").unlink()  # between list and fetch
    with pytest.raises(InputError, match="s3://inn/a/2 does not exist"):
        fetch(buckets, "a/2")
    with pytest.raises(InputError, match="does not exist"):
        fetch(buckets, "a/1/x")
    with pytest.raises(InputError, match="File name too long"):
        fetch(buckets, "x" * 1000)
    assert list(listed) == []


def test_says_which_name_is_not_utf8(buckets: Buckets, inn: Path) -> None:
    (Path(os.fsdecode(os.fsencode(inn) + b"/caf\xe9.dcm"))).write_bytes(b"x")
    assert list(buckets.list("inn", "")) == [("caf\ufffd.dcm", 1)]
    with pytest.raises(InputError, match="not UTF-8: rename it"):
        fetch(buckets, "caf\ufffd.dcm")


def test_says_what_it_has_no_right_to_read() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from lightwell.stores.buckets.registry import Buckets\n"
        "from lightwell.errors import InputError\n"
        "from tests.support.unprivileged import become_nobody\n"
        "become_nobody()\n"
        "buckets = Buckets(Path(sys.argv[1]))\n"
        "for key, size in buckets.list('inn', ''):\n"
        "    try: print(buckets.fetch('inn', key, memory_limit=0, spool_dir=Path('/tmp')).name, size)\n"
        "    except InputError as error: print(error)\n"
        "try: list(buckets.list('inn', 'closed/'))\n"
        "except InputError as error: print(error)\n"
    )
    with public_folder() as root:
        inn = root / "inn"
        make(inn, "closed/x", "file", "open")
        (inn / "file").chmod(0)
        (inn / "closed").chmod(0)
        done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, cwd=ROOT)
        (inn / "closed").chmod(0o700)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "s3://inn/closed cannot be read: this server has no permission; check its owner and mode",
        "s3://inn/file cannot be read: this server has no permission; check its owner and mode",
        "open 4",
        "s3://inn/closed/ cannot be listed: this server has no permission; check its owner and mode",
    ]


def test_says_that_there_is_no_such_bucket(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without credentials, and with nobody to ask for some.
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"no AWS credentials.*there is no folder .*/buckets/elsewhere"):
        keys(buckets, bucket="elsewhere")


def test_puts_whole_files_or_nothing(buckets: Buckets, inn: Path, tmp_path: Path) -> None:
    buckets.put("inn", "out/a b/%41\n.json", b"{}")
    assert (inn / "out/a b/%41\n.json").read_bytes() == b"{}"
    buckets.put("inn", "out/a b/%41\n.json", b"[]")
    assert (inn / "out/a b/%41\n.json").read_bytes() == b"[]"
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    buckets.put_file("inn", "big", source)
    assert (inn / "big").read_bytes() == source.read_bytes()
    with pytest.raises(StorageError, match="cannot be written"):
        buckets.put("inn", "big/below", b"x")
    with pytest.raises(StorageError, match="cannot be written"):
        buckets.put("inn", "out", b"x")
    with pytest.raises(FileNotFoundError):
        buckets.put_file("inn", "never", tmp_path / "missing")
    assert sorted(keys(buckets)) == ["big", "out/a b/%41\n.json"]
    assert [path.name for path in inn.rglob(".lightwell-*")] == []


def test_lists_no_file_that_is_being_written(buckets: Buckets, inn: Path) -> None:
    make(inn, ".lightwell-0123456789abcdef.part", ".lightwell-other")
    assert keys(buckets) == [".lightwell-other"]


def test_removes_what_a_process_that_died_was_writing(buckets: Buckets, inn: Path) -> None:
    part = ".lightwell-0123456789abcdef.part"
    make(inn, f"a/b/c/{part}", f"a/d/{part}", "a/d/kept", "a/d/.lightwell-other", f"e/{part}", part)
    buckets.remove_unfinished("inn", "a/")
    left = sorted(str(path.relative_to(inn)) for path in inn.rglob("*"))
    assert left == [part, "a", "a/d", "a/d/.lightwell-other", "a/d/kept", "e", f"e/{part}"]
    buckets.remove_unfinished("inn", "never/")
    with pytest.raises(StorageError):
        buckets.remove_unfinished("inn", "../")


def test_sorts_folders_that_are_larger_than_memory_allows(
    buckets: Buckets, inn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = random.Random(1)
    names = {f"{chosen.randrange(10**12)}{chosen.choice(['', '/x', '/y/z'])}" for _ in range(500)}
    make(inn, *names)
    for batch in (1, 7, 100, 250, 499, 500, 501):
        monkeypatch.setattr(local, "_BATCH", batch)
        assert keys(buckets) == sorted(names), batch


@pytest.mark.slow
def test_lists_a_large_folder_in_bounded_memory(
    buckets: Buckets, inn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A fiftieth of the size of a folder of a million names, and a fiftieth of the batch.
    monkeypatch.setattr(local, "_BATCH", local._BATCH // 50)
    for number in range(20_000):
        os.close(os.open(f"{inn}/{number:07d}.dcm", os.O_CREAT | os.O_WRONLY))
    tracemalloc.start()
    try:
        assert sum(1 for _ in buckets.list("inn", "")) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 800_000


def test_tells_a_file_system_that_is_away_from_a_file_that_is_not_there(
    buckets: Buckets, inn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inn / "a.dcm").write_bytes(b"x")

    def stale(*args: object, **more: object) -> int:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "open", stale)
    with pytest.raises(StorageUnavailableError, match=r"s3://inn/a.dcm cannot be read"):
        buckets.fetch("inn", "a.dcm", memory_limit=1, spool_dir=tmp_path)


def test_tells_a_disk_that_is_full_from_a_folder_that_may_not_be_written(
    buckets: Buckets, inn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, kind in (
        (errno.ENOSPC, StorageUnavailableError),
        (errno.EROFS, InputError),
        (errno.EACCES, InputError),
        (errno.EIO, StorageUnavailableError),
    ):

        def failing(*given: object, number: int = number, **more: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(kind, match="cannot be written") as raised:
            buckets.put("inn", "out", b"x")
        assert type(raised.value) is kind
        assert not list(inn.iterdir())
        with monkeypatch.context() as more, pytest.raises(kind, match="cannot be written"):
            more.setattr(Path, "unlink", failing)  # as on a disk that has become read-only
            buckets.put("inn", "out", b"x")
        for left in inn.iterdir():
            left.unlink()
