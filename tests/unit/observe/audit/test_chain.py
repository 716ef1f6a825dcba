"""Writing chains, and what crashes and faults leave of them."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightwell.observe.audit import chain as module
from lightwell.observe.audit.chain import Chain, ChainPlace
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.segments import Segment, compress, segments
from lightwell.observe.audit.sidecar import build
from tests.unit.observe.audit.chains import KEYS, numbers, place, records, report, texts, write


def last_file(of: ChainPlace) -> Path:
    return segments(of.folder)[-1].path


@settings(max_examples=30)
@given(
    runs=st.lists(st.lists(st.integers(1, 5), max_size=5), min_size=1, max_size=4),
    rotate=st.integers(1, 2_000),
)
def test_goes_on_where_it_ended(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[int]], rotate: int
) -> None:
    at = place(tmp_path_factory.mktemp("audit"), rotate_bytes=rotate)
    for blocks in runs:
        write(at, blocks)
    total = sum(map(sum, runs))
    assert numbers(at) == list(range(1, total + 1))
    found = report(at)
    assert (found.findings, found.remarks) == ([], [])
    assert (found.records, found.number) == (total, total)


def test_begins_a_segment_once_the_last_is_long_enough(tmp_path: Path) -> None:
    at = place(tmp_path, rotate_bytes=500)
    write(at, [2] * 20)
    sizes = [len(segment.read()) for segment in segments(at.folder)]
    assert len(sizes) > 3
    assert all(500 <= size < 1_100 for size in sizes[:-1])


def test_begins_a_segment_after_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = place(tmp_path)
    chain = Chain(at)
    chain.append(records(1))
    chain.append(records(1))
    monkeypatch.setattr(module, "ROTATE_SECONDS", 0.0)
    chain.append(records(1))
    chain.close()
    assert [segment.number for segment in segments(at.folder)] == [1, 2]
    assert texts(at) == []


def test_files_and_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    at = place(tmp_path / "audit")
    old = os.umask(0)
    try:
        write(at, [1])
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (at.root, *at.root.rglob("*"))}
    assert modes == {"audit": 0o700, "http-0": 0o700, "lock": 0o600, "000000000001.jsonl": 0o600}


def test_gives_away_nothing_that_a_link_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's user owns the folder in which root appends, and may put links there."""
    given: list[int] = []
    monkeypatch.setattr("lightwell.observe.audit.segments.give_away", lambda made, folder: given.append(made))
    at = place(tmp_path / "audit")
    victim = tmp_path / "victim"
    victim.write_text("root's")
    at.folder.mkdir(parents=True)
    (at.folder / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        Chain(at)
    (at.folder / "lock").unlink()
    (at.folder / "lock").hardlink_to(victim)
    Chain(at).close()
    assert given == []
    (at.folder / "lock").unlink()
    write(at, [1])
    assert len(given) == 2, "the lock and the segment that were made"
    (at.folder / ".000000000001.jsonl.zst.tmp").symlink_to(victim)
    compress(segments(at.folder)[0])
    (at.folder / ".000000000001.idx.tmp").symlink_to(victim)
    build(segments(at.folder)[0], KEYS)
    assert victim.read_text() == "root's" and texts(at) == []


def test_follows_no_link_that_takes_the_place_of_a_folder_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, mkdir = tmp_path / "victim", os.mkdir
    victim.mkdir()

    def swapped(path: str, mode: int, *, dir_fd: int) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        if path == "http-0":
            os.rmdir(path, dir_fd=dir_fd)
            os.symlink(victim, path, dir_fd=dir_fd)

    at = place(tmp_path / "audit")
    monkeypatch.setattr(os, "mkdir", swapped)
    with pytest.raises(NotADirectoryError):
        Chain(at)
    assert list(victim.iterdir()) == []


def test_every_part_of_a_block_that_a_crash_leaves_is_left_behind(tmp_path: Path) -> None:
    at = place(tmp_path / "whole")
    write(at, [2])
    before = len(last_file(at).read_bytes())
    write(at, [1])
    whole = last_file(at).read_bytes()
    for cut in range(before, len(whole), 2):
        torn = place(tmp_path / str(cut))
        torn.folder.mkdir(parents=True)
        (torn.folder / "000000000001.jsonl").write_bytes(whole[:cut])
        assert texts(torn) == []
        assert len(report(torn).remarks) == (cut > before)
        write(torn, [1, 1])
        found = report(torn)
        assert found.findings == []
        assert len(found.remarks) == (cut > before)
        assert (found.records, found.number) == (4, 4)


def test_every_part_of_a_first_block_that_a_crash_leaves_is_left_behind(tmp_path: Path) -> None:
    at = place(tmp_path / "whole")
    write(at, [1])
    whole = last_file(at).read_bytes()
    for cut in range(0, len(whole), 3):
        torn = place(tmp_path / str(cut))
        torn.folder.mkdir(parents=True)
        (torn.folder / "000000000001.jsonl").write_bytes(whole[:cut])
        assert texts(torn) == []
        write(torn, [1])
        write(torn, [1])
        found = report(torn)
        assert found.findings == []
        assert len(found.remarks) == (cut > 0)
        assert found.number == 2


@pytest.mark.parametrize("left", [b"\0" * 700, b'{"n":3,"at":1}\n' + b"\0" * 9])
def test_zeros_that_a_file_system_leaves_are_left_behind(tmp_path: Path, left: bytes) -> None:
    at = place(tmp_path)
    write(at, [2])
    with last_file(at).open("ab") as file:
        file.write(left)
    assert texts(at) == []
    write(at, [1])
    assert texts(at) == []
    assert [remark.text for remark in report(at).remarks] == [
        f"{len(left)} bytes behind record 2 were left by a crash"
    ]


def test_what_a_crash_left_cannot_be_changed_later(tmp_path: Path) -> None:
    at = place(tmp_path)
    write(at, [2])
    file = last_file(at)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"n":3,"at":17')
    write(at, [1])
    file.write_bytes(whole + b'{"n":3,"at":18')
    assert len(texts(at)) == 1
    file.write_bytes(whole)
    assert len(texts(at)) == 1
    file.write_bytes(whole + b'{"n":3,"at":17')
    assert texts(at) == []


def test_nobody_else_opens_it_meanwhile(tmp_path: Path) -> None:
    at = place(tmp_path)
    chain = Chain(at)
    with pytest.raises(BlockingIOError, match="lock"):
        Chain(at, patience=0)
    Chain(place(tmp_path, "http-1"), patience=0).close()
    chain.close()
    Chain(at, patience=0).close()


def _append_often(root: Path, times: int) -> None:
    for _ in range(times):
        chain = Chain(place(root, "cli", rotate_bytes=2_000), patience=60)
        chain.append(records(2))
        chain.sync()
        chain.close()


def test_two_processes_take_turns_on_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_often, args=(tmp_path, 10)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    at = place(tmp_path, "cli")
    assert numbers(at) == list(range(1, 41))
    assert texts(at) == []


class Fault:
    """Lets a system call fail at the n-th time and as often as told after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, code: int, after: int, times: int) -> None:
        self._real: Callable[..., object] = getattr(os, name)
        self._code, self._after, self._times = code, after, times
        self.name = name
        monkeypatch.setattr(os, name, self)

    def __call__(self, *arguments: object) -> object:
        self._after -= 1
        if self._after < 0 and self._times > 0:
            self._times -= 1
            if self.name == "write" and self._code == errno.ENOSPC:
                # A part had room.
                file, data = arguments
                self._real(file, bytes(data)[: len(bytes(data)) // 2])  # type: ignore[call-overload]
            raise OSError(self._code, os.strerror(self._code))
        return self._real(*arguments)


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("is_undone", [True, False])
def test_a_full_disk_costs_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, times: int, is_undone: bool
) -> None:
    at = place(tmp_path)
    chain = Chain(at)
    Fault(monkeypatch, "write", errno.ENOSPC, after, times)
    if not is_undone:
        Fault(monkeypatch, "ftruncate", errno.EIO, 0, 1)
    failed = 0
    for _ in range(4):
        while True:
            try:
                chain.append(records(2))
                break
            except OSError as error:
                assert error.errno == errno.ENOSPC
                failed += 1
    chain.sync()
    chain.close()
    assert failed == times
    found = report(at)
    assert found.findings == []
    assert found.number == 8
    write(at, [1])
    assert texts(at) == []


@pytest.mark.parametrize("after", range(3))
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("has_kept", ["all", "nothing", "half"])
def test_after_a_failed_sync_all_that_was_not_durable_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, times: int, has_kept: str
) -> None:
    """Whatever the disk has kept of it."""
    at = place(tmp_path)
    chain = Chain(at)
    Fault(monkeypatch, "fdatasync", errno.EIO, after, times)
    kept: dict[Path, int] = {}
    for _ in range(4):
        chain.append(records(2))
        chain.append(records(1))
        while True:
            file = last_file(at)
            try:
                chain.sync()
            except OSError as error:
                assert error.errno == errno.EIO
                durable, size = kept.get(file, 0), file.stat().st_size
                os.truncate(file, {"all": size, "nothing": durable, "half": (durable + size) // 2}[has_kept])
            else:
                kept[file] = file.stat().st_size
                break
    chain.close()
    found = report(at)
    assert found.findings == []
    assert found.number == 12
    assert set(numbers(at)) == set(range(1, 13))
    assert len(segments(at.folder)) == 1 + times
    write(at, [1])
    assert texts(at) == []


def test_a_folder_that_cannot_be_synced_costs_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = place(tmp_path)
    chain = Chain(at)
    Fault(monkeypatch, "fsync", errno.EIO, 0, 1)
    with pytest.raises(OSError):
        chain.append(records(2))
    chain.append(records(2))
    chain.sync()
    chain.close()
    assert numbers(at) == [1, 2]
    assert texts(at) == []


def test_a_new_key_begins_a_segment_and_the_old_one_verifies_the_rest(tmp_path: Path) -> None:
    write(place(tmp_path), [1, 1])
    both = AuditKeys((b"n" * 32, *KEYS.keys))
    write(place(tmp_path, keys=both), [1])
    write(place(tmp_path, keys=both), [1])
    at = place(tmp_path, keys=both)
    assert [segment.number for segment in segments(at.folder)] == [1, 2]
    assert texts(at) == []
    assert report(at).number == 4
    assert texts(place(tmp_path, keys=AuditKeys((b"n" * 32,)))) == [
        f"nothing of it is proved: the key {KEYS.newest}, which sealed it, is not here"
    ]


def test_a_lost_key_begins_the_chain_anew_and_that_is_found(tmp_path: Path) -> None:
    write(place(tmp_path), [1, 1])
    at = place(tmp_path, keys=AuditKeys((b"n" * 32,)))
    write(at, [1])
    assert report(at).number == 1
    assert len(texts(at)) == 1
    assert texts(place(tmp_path, keys=AuditKeys((b"n" * 32, *KEYS.keys)))) == [
        "it does not continue record 2: what was behind that is missing, or this segment was put in the "
        "place of another"
    ]


def test_continues_a_compressed_segment_in_a_new_one(tmp_path: Path) -> None:
    at = place(tmp_path)
    write(at, [2, 2])
    compressed = compress(segments(at.folder)[-1])
    assert [path.name for path in at.folder.glob("*.jsonl*")] == ["000000000001.jsonl.zst"]
    assert compressed.path.stat().st_mode & 0o777 == 0o600
    assert texts(at) == []
    write(at, [1])
    assert numbers(at) == [1, 2, 3, 4, 5]
    assert texts(at) == []


def test_says_how_far_it_is_durable(tmp_path: Path) -> None:
    chain = Chain(place(tmp_path))
    chain.append(records(3))
    assert chain.durable.number == 0
    chain.sync()
    first = chain.durable
    assert (first.segment, first.number) == (1, 3)
    chain.close()
    again = Chain(place(tmp_path))
    assert again.durable == first
    again.close()


def test_a_full_disk_has_nothing_read_again_with_each_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment has up to 64 MiB, which would be read and proved twice a second."""
    at = place(tmp_path, rotate_bytes=1)
    chain = Chain(at)
    chain.append(records(3))
    chain.sync()
    reads: list[Segment] = []

    def read(segment: Segment) -> bytes:
        reads.append(segment)
        return segment.path.read_bytes()

    monkeypatch.setattr(Segment, "read", read)
    for name in ("open", "write"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, _no_space)
            for _ in range(3):
                with pytest.raises(OSError, match="No space"):
                    chain.append(records(1))
        assert reads == [] and len(segments(at.folder)) == 1
    chain.append(records(2))
    chain.sync()
    chain.close()
    assert reads == []
    assert numbers(at) == [1, 2, 3, 4, 5] and texts(at) == []


def _no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")
