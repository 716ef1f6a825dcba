"""What was done to a chain is found."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lightwell.errors import ConfigurationError
from lightwell.observe.audit.block import START, decode_head
from lightwell.observe.audit.chain import ChainPlace
from lightwell.observe.audit.keys import AuditKeys, read_keys
from lightwell.observe.audit.segments import compress, segment_path, segments
from lightwell.observe.audit.verification import Expected, Known, verify
from tests.unit.observe.audit.chains import KEYS, place, report, texts, write


def three_segments(at: ChainPlace) -> ChainPlace:
    write(at, [2, 3])
    write(replace(at, rotate_bytes=1), [2])
    write(at, [1, 3])
    write(replace(at, rotate_bytes=1), [1])
    return at


@pytest.fixture
def at(tmp_path: Path) -> ChainPlace:
    """A chain of three segments, of which the middle one has three blocks."""
    at = three_segments(place(tmp_path))
    assert [len(segment.read().split(b'{"seal"')) - 1 for segment in segments(at.folder)] == [2, 3, 1]
    assert texts(at) == []
    return at


def middle(at: ChainPlace) -> Path:
    return segment_path(at.folder, 2)


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.endurance)])
def test_every_flipped_bit_is_found_in_its_segment(at: ChainPlace, step: int) -> None:
    for segment in segments(at.folder):
        whole = segment.path.read_bytes()
        for bit in range(0, 8 * len(whole), step):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << (bit % 8)
            segment.path.write_bytes(flipped)
            found = report(at).findings
            assert found, f"bit {bit} of segment {segment.number}"
            assert {finding.segment for finding in found} <= {segment.number, segment.number + 1}
        segment.path.write_bytes(whole)
    assert texts(at) == []


def lines(at: ChainPlace) -> Iterator[tuple[Path, list[bytes]]]:
    for segment in segments(at.folder):
        yield segment.path, segment.path.read_bytes().splitlines(keepends=True)


def test_every_line_that_is_removed_repeated_or_swapped_is_found(at: ChainPlace) -> None:
    last = segments(at.folder)[-1].path
    for path, whole in list(lines(at)):
        for index in range(len(whole)):
            removed = whole[:index] + whole[index + 1 :]
            repeated = [*whole[: index + 1], *whole[index:]]
            swapped = whole[:index] + whole[index : index + 2][::-1] + whole[index + 2 :]
            for changed in (removed, repeated, swapped):
                if changed in (whole, whole[:-1]) and path == last:
                    continue  # a cut end, which is found by what was noted elsewhere
                if changed == whole:
                    continue
                path.write_bytes(b"".join(changed))
                assert texts(at), f"line {index} of {path.name}"
        path.write_bytes(b"".join(whole))
    assert texts(at) == []


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_cut_end_of_a_complete_segment_is_found(at: ChainPlace, step: int) -> None:
    for number in (1, 2):
        path = segment_path(at.folder, number)
        whole = path.read_bytes()
        for size in range(0, len(whole), step):
            path.write_bytes(whole[:size])
            assert texts(at), f"segment {number} cut to {size} bytes"
        path.write_bytes(whole)


def test_a_cut_end_is_found_by_what_was_noted_elsewhere(at: ChainPlace) -> None:
    whole = report(at)
    noted = Expected((Known(whole.number, whole.mac),))
    assert texts(at, noted) == []
    last = segments(at.folder)[-1].path
    written = last.read_bytes()
    for size in range(0, len(written), 5):
        last.write_bytes(written[:size])
        assert "its end is missing: record 12 was noted elsewhere, and 11 is the last" in texts(at, noted)
    last.unlink()
    assert texts(at, noted) == ["its end is missing: record 12 was noted elsewhere, and 11 is the last"]
    shutil.rmtree(at.folder)
    assert texts(at, noted) == ["its end is missing: record 12 was noted elsewhere, and 0 is the last"]


def test_a_chain_written_anew_with_its_key_is_found_by_what_was_noted_elsewhere(
    at: ChainPlace,
) -> None:
    whole = report(at)
    noted = Expected((Known(whole.number, whole.mac),))
    shutil.rmtree(at.folder)
    write(at, [12])
    expected = (
        "record 12 is not sealed as was noted elsewhere: the chain was cut off before it and went on, or was "
        "written anew"
    )
    assert texts(at, noted) == [expected]


def test_what_was_noted_elsewhere_was_not_left_by_a_crash(tmp_path: Path) -> None:
    """Whoever opens a chain takes all that no seal proves for what a crash has left, and says so in it."""
    at = place(tmp_path)
    write(at, [1, 2, 2])
    noted = Expected((Known(5, report(at).mac),))
    path = segments(at.folder)[0].path
    written = path.read_bytes()
    changed = written.replace(b'"r0"', b'"r7"', 1)
    path.write_bytes(changed)
    write(at, [3])
    assert "but record 5 among them was noted elsewhere: they were changed before" in " ".join(
        texts(at, noted)
    )
    assert texts(at) == [], "two blocks within a moment may be what a crash has left"


def test_what_was_written_for_minutes_was_not_left_by_a_crash(tmp_path: Path) -> None:
    times = iter(range(1_796_000_000_000, 1_797_000_000_000, 40_000))
    at = replace(place(tmp_path), now=lambda: next(times))
    write(at, [1, 2, 2, 2])
    path = segments(at.folder)[0].path
    path.write_bytes(path.read_bytes().replace(b'"r0"', b'"r7"', 1))
    write(at, [3])
    assert "for more than a minute: they were changed before it started" in " ".join(texts(at))


@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_segment_is_named(at: ChainPlace, number: int) -> None:
    segment_path(at.folder, number).unlink()
    assert texts(at) == ["the segments before it are missing" if number == 1 else "segment 2 is missing"]


def test_segments_that_change_places_are_found(at: ChainPlace) -> None:
    first, second = segment_path(at.folder, 1), segment_path(at.folder, 2)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    assert "it is segment 2 of the writer http-0" in texts(at)


def test_a_segment_of_another_chain_is_found(at: ChainPlace, tmp_path: Path) -> None:
    other = three_segments(place(tmp_path, "http-1"))
    shutil.copy(middle(other), middle(at))
    assert "it is segment 2 of the writer http-1" in texts(at)
    assert texts(other) == []


def test_a_chain_under_another_name_is_found(at: ChainPlace, tmp_path: Path) -> None:
    at.folder.rename(tmp_path / "http-7")
    assert "it is segment 1 of the writer http-0" in texts(place(tmp_path, "http-7"))


def test_a_segment_of_an_earlier_state_is_found(at: ChainPlace) -> None:
    earlier = segment_path(at.folder, 3).read_bytes()
    write(at, [3])
    assert texts(at) == []
    noted = report(at)
    segment_path(at.folder, 3).write_bytes(earlier)
    assert texts(at, Expected((Known(noted.number, noted.mac),)))


def test_says_which_block_is_the_first_that_is_damaged_and_how_many(at: ChainPlace) -> None:
    path, whole = middle(at), middle(at).read_bytes()
    ends = [match.end() for match in re.finditer(rb'^{"seal".*\n', whole, re.MULTILINE)]
    changed = whole.replace(b'"id":"r0"', b'"id":"r9"')
    assert changed.count(b'"r9"') == 3
    path.write_bytes(changed)
    found = report(at).findings
    assert [(finding.segment, finding.text.partition(", is")[0]) for finding in found] == [
        (2, "the block behind record 5, at byte 0"),
        (2, f"the block behind record 7, at byte {ends[0]}"),
        (2, f"the block behind record 8, at byte {ends[1]}"),
    ]
    assert "its seal says that it ends with record 7, of 2026-" in found[0].text


def test_what_retention_has_removed_is_missed_by_nobody(at: ChainPlace) -> None:
    head = decode_head(middle(at).read_bytes())
    assert head is not None
    removed = bytes.fromhex(head.before)
    segment_path(at.folder, 1).unlink()
    assert texts(at, Expected(removed=frozenset([removed]))) == []
    assert texts(at, Expected(removed=frozenset([START]))) == ["the segments before it are missing"]


def test_a_damaged_compressed_segment_is_found(at: ChainPlace) -> None:
    plain = segments(at.folder)[1].read()
    compressed = compress(segments(at.folder)[1])
    assert texts(at) == []
    whole = compressed.path.read_bytes()
    for byte in range(len(whole)):
        flipped = bytearray(whole)
        flipped[byte] ^= 0x10
        compressed.path.write_bytes(flipped)
        # A bit of the frame's header has no meaning.
        assert texts(at) or segments(at.folder)[1].read() == plain, f"byte {byte}"
    compressed.path.write_bytes(whole[:-5])
    assert texts(at)


def test_a_compression_that_was_cut_short_changes_nothing(at: ChainPlace) -> None:
    segment = segments(at.folder)[1]
    plain = segment.path.read_bytes()
    compressed = compress(segment).path
    segment.path.write_bytes(plain)
    compressed.write_bytes(compressed.read_bytes()[:20])
    assert texts(at) == []
    compress(segments(at.folder)[1])
    assert [segment.path.name for segment in segments(at.folder)][1] == "000000000002.jsonl.zst"
    assert texts(at) == []


def test_verifies_every_chain_and_every_one_that_should_be_there(at: ChainPlace, tmp_path: Path) -> None:
    write(place(tmp_path, "cli"), [1])
    (tmp_path / "not a writer").mkdir()
    expected = {"work": Expected((Known(3, b"m" * 32),))}
    found = {one.writer: (one.records, len(one.findings)) for one in verify(tmp_path, KEYS, expected)}
    assert found == {"cli": (1, 0), "http-0": (12, 0), "work": (0, 1)}


def test_reads_keys_and_refuses_what_is_none() -> None:
    first, second = b"a" * 32, b"b" * 32
    text = f"# the newest\n{first.hex()}\n\n {second.hex()} # of 2026\n"
    assert read_keys(text, "f") == AuditKeys((first, second))
    assert repr(AuditKeys((first,))) == "AuditKeys()"
    for bad in ("", "# nothing\n", first.hex()[:-2], f"{first.hex()}\nxyz\n"):
        with pytest.raises(ConfigurationError, match=r"DATA/audit\.key"):
            read_keys(bad, "DATA/audit.key")
