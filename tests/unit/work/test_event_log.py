"""The event log: whole lines, through crashes, rotation and several writers."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lightwell.errors import StorageError
from lightwell.work.event_log import EventLog

_WRITER = """
import sys
from pathlib import Path
from lightwell.work.event_log import EventLog
log = EventLog(Path(sys.argv[1]), 4_000)
for number in range(150):
    log.append([f"{sys.argv[2]}-{number}-" + "x" * 60, f"{sys.argv[2]}-{number}+"])
"""


def lines(*files: Path) -> list[str]:
    return [line for file in files for line in file.read_text().splitlines()]


def test_begins_a_new_file_when_the_old_one_is_renamed_or_removed(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    log = EventLog(path)
    log.append(["one"])
    path.rename(tmp_path / "events.ndjson.1")
    log.append(["two", "three"])
    assert lines(tmp_path / "events.ndjson.1") == ["one"] and lines(path) == ["two", "three"]
    path.unlink()
    log.append(["four"])
    assert lines(path) == ["four"] and path.stat().st_mode & 0o777 == 0o600
    log.close()


def test_renames_a_file_that_is_long_enough_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    log = EventLog(path, 10)
    for number in range(5):
        log.append([f"line {number} of some"])
    log.close()
    kept = [each for each in tmp_path.iterdir() if each != path]
    assert len(kept) == 4 and lines(path) == ["line 4 of some"]
    assert all(each.name.startswith("events-2") and each.suffix == ".ndjson" for each in kept)
    assert sorted(lines(*kept)) == [f"line {number} of some" for number in range(4)]


def test_ends_a_line_that_a_crash_has_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"whole\nhal")
    log = EventLog(path)
    log.append(["next"])
    log.close()
    assert lines(path) == ["whole", "hal", "next"]


def test_loses_and_mixes_no_line_of_several_processes_while_it_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in ("a", "b", "c")]
    stopping, moved = threading.Event(), 0
    while any(writer.poll() is None for writer in writers):
        # As logrotate does, beside the rotation by size.
        try:
            path.rename(tmp_path / f"moved-{moved}")
            moved += 1
        except FileNotFoundError:
            pass
        stopping.wait(0.01)
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = lines(*(each for each in tmp_path.iterdir() if each.is_file()))
    expected = {
        line
        for name in "abc"
        for number in range(150)
        for line in (f"{name}-{number}-" + "x" * 60, f"{name}-{number}+")
    }
    assert len(found) == len(expected) and set(found) == expected


def test_says_which_file_cannot_be_written(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "missing" / "events.ndjson")
    with pytest.raises(StorageError, match=r"missing/events\.ndjson cannot be written"):
        log.append(["x"])
    (tmp_path / "missing").mkdir()
    log.append(["x"])
    log.close()
