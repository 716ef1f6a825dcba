"""Reading a chain from a cursor on, while it grows, is compressed, loses its beginning or is another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lightwell.observe.audit import following
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.following import Cursor, Follower
from lightwell.observe.audit.segments import compress, segments
from tests.unit.observe.audit.chains import place, records, write


def drain(follower: Follower) -> list[int]:
    numbers = []
    while found := follower.read().records:
        numbers += [record.number for record in found]
    return numbers


def test_reads_what_was_written_once_and_then_what_is_written_next(tmp_path: Path) -> None:
    where = place(tmp_path)
    write(where, [3, 1])
    follower = Follower(where.folder)
    assert drain(follower) == [1, 2, 3, 4]
    write(where, [2])
    assert drain(follower) == [5, 6]
    assert drain(Follower(where.folder, follower.cursor)) == []
    assert drain(Follower(where.folder)) == [1, 2, 3, 4, 5, 6]


def test_goes_on_through_segments_that_were_compressed_meanwhile(tmp_path: Path) -> None:
    where = place(tmp_path, rotate_bytes=500)
    write(where, [10] * 4)
    follower = Follower(where.folder)
    first = [record.number for record in follower.read().records]
    assert 0 < len(first) < 40
    write(where, [10] * 4)
    for segment in segments(where.folder)[:-1]:
        compress(segment)
    assert first + drain(follower) == list(range(1, 81))


def test_reads_on_in_the_middle_of_a_compressed_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PART", 1_000)
    where = place(tmp_path)
    write(where, [7] * 20)
    follower = Follower(where.folder)
    first = [record.number for record in follower.read().records]
    assert 0 < len(first) < 140
    compress(segments(where.folder)[0])
    assert first + drain(Follower(where.folder, follower.cursor)) == list(range(1, 141))


def test_reads_a_block_that_is_longer_than_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PART", 500)
    where = place(tmp_path)
    write(where, [200, 3])
    assert drain(Follower(where.folder)) == list(range(1, 204))


def test_waits_for_the_seal(tmp_path: Path) -> None:
    where = place(tmp_path)
    write(where, [2])
    path = segments(where.folder)[0].path
    whole = path.read_bytes()
    write(where, [3])
    grown = path.read_bytes()
    follower = Follower(where.folder)
    path.write_bytes(grown[:-1])
    assert drain(follower) == [1, 2]
    path.write_bytes(whole + grown[len(whole) :])
    assert drain(follower) == [3, 4, 5]


def test_leaves_out_what_a_failed_fsync_made_the_chain_write_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = place(tmp_path)
    chain = Chain(where)
    chain.append(records(2))
    chain.sync()
    chain.append(records(3))
    follower = Follower(where.folder)
    assert drain(follower) == [1, 2, 3, 4, 5]

    def fail(file: int) -> None:
        raise OSError(5, "no luck")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no luck"):
        patch.setattr("os.fdatasync", fail)
        chain.sync()
    chain.append(records(2))
    chain.sync()
    chain.close()
    assert drain(follower) == [6, 7]
    assert drain(Follower(where.folder)) == list(range(1, 8))


def test_says_how_many_were_removed_before_it_came_to_them(tmp_path: Path) -> None:
    where = place(tmp_path, rotate_bytes=1)
    write(where, [4] * 5)
    follower = Follower(where.folder)
    assert [record.number for record in follower.read().records] == [1, 2, 3, 4]
    for segment in segments(where.folder)[:3]:
        segment.path.unlink()
    found = follower.read()
    assert (found.missed, [record.number for record in found.records]) == (8, [13, 14, 15, 16])
    assert drain(follower) == [17, 18, 19, 20]


def test_misses_nothing_where_only_what_it_has_read_was_removed(tmp_path: Path) -> None:
    where = place(tmp_path, rotate_bytes=1)
    write(where, [4] * 3)
    follower = Follower(where.folder)
    follower.read()
    segments(where.folder)[0].path.unlink()
    found = follower.read()
    assert (found.missed, found.records[0].number) == (0, 5)
    # Nor does one that has never read anything.
    assert Follower(where.folder).read().missed == 0


def test_begins_with_what_is_there(tmp_path: Path) -> None:
    where = place(tmp_path, rotate_bytes=1)
    write(where, [4] * 3)
    segments(where.folder)[0].path.unlink()
    assert drain(Follower(where.folder)) == list(range(5, 13))
    assert drain(Follower(tmp_path / "nothing")) == []


@pytest.mark.parametrize("is_shorter", [True, False])
def test_reads_a_segment_again_that_is_not_what_it_was(tmp_path: Path, is_shorter: bool) -> None:
    old, new = place(tmp_path / "old"), place(tmp_path / "new")
    write(old, [3, 3])
    follower = Follower(old.folder)
    assert drain(follower) == [1, 2, 3, 4, 5, 6]
    write(new, [2] if is_shorter else [5, 5])
    shutil.rmtree(old.folder)
    shutil.copytree(new.folder, old.folder)
    found = follower.read()
    assert found.repeats
    assert [record.number for record in found.records] == list(range(1, 3 if is_shorter else 11))


def test_begins_anew_where_the_whole_trail_is_an_older_one(tmp_path: Path) -> None:
    where = place(tmp_path)
    write(where, [2])
    follower = Follower(where.folder, Cursor(9, 5_000, 900, "ab" * 32))
    found = follower.read()
    assert found.repeats
    assert [record.number for record in found.records] == [1, 2]


def test_passes_over_a_segment_that_cannot_be_read_and_counts_it(tmp_path: Path) -> None:
    where = place(tmp_path, rotate_bytes=1)
    write(where, [4] * 3)
    follower = Follower(where.folder)
    follower.read()
    compressed = compress(segments(where.folder)[1])
    compressed.path.write_bytes(b"no frame of zstd")
    found = follower.read()
    assert (found.missed, [record.number for record in found.records]) == (4, [9, 10, 11, 12])


def test_counts_a_line_that_cannot_be_read(tmp_path: Path) -> None:
    where = place(tmp_path)
    write(where, [3])
    path = segments(where.folder)[0].path
    path.write_bytes(path.read_bytes().replace(b'{"n":2,"at":', b'{"n":2,"at":x', 1))
    found = Follower(where.folder).read()
    assert (found.missed, [record.number for record in found.records]) == (1, [1, 3])
