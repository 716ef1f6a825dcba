from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from lightwell.cli.contents.export_folder import RECORD, ExportFolder, NewFile
from lightwell.documents.file_names import file_name
from lightwell.errors import InputError


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "set").iterdir())


def opened(tmp_path: Path) -> ExportFolder:
    return ExportFolder(tmp_path / "set", "store", "set")


def test_skips_a_file_that_was_written_from_the_same(tmp_path: Path) -> None:
    written = opened(tmp_path).write("1.dcm", "source", NewFile("1.2", [b"abc", b"def"], note="a note"))
    assert (tmp_path / "set" / "1.dcm").read_bytes() == b"abcdef"
    again = opened(tmp_path)
    assert again.complete("1.dcm", "source") == written
    assert again.complete("1.dcm", "another version") is None
    assert again.complete("2.dcm", "source") is None


@pytest.mark.parametrize("content", [b"", b"abcde", b"abcdeF", b"abcdefg"])
def test_writes_a_file_again_that_was_changed(content: bytes, tmp_path: Path) -> None:
    opened(tmp_path).write("1.dcm", "source", NewFile("1.2", [b"abcdef"]))
    (tmp_path / "set" / "1.dcm").write_bytes(content)
    assert opened(tmp_path).complete("1.dcm", "source") is None


def test_does_not_trust_a_file_that_it_has_no_record_of(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    (tmp_path / "set" / "1.dcm").write_bytes(b"abcdef")
    assert folder.complete("1.dcm", "source") is None


@pytest.mark.parametrize("damage", [b'{"file":"1.dcm","sou', b"[]\n", b"\xff\n", b'{"file":1}\n', b"\n"])
def test_survives_a_record_that_is_damaged(damage: bytes, tmp_path: Path) -> None:
    opened(tmp_path).write("1.dcm", "source", NewFile("1.2", [b"abcdef"]))
    with (tmp_path / "set" / RECORD).open("ab") as record:
        record.write(damage)
    assert opened(tmp_path).complete("1.dcm", "source") is not None
    (tmp_path / "set" / RECORD).write_bytes(damage)
    assert opened(tmp_path).complete("1.dcm", "source") is None


def test_leaves_nothing_of_a_file_that_fails(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"abc"
        raise InputError("damaged")

    folder = opened(tmp_path)
    folder.write("1.dcm", "old", NewFile("1.2", [b"whole"]))
    with pytest.raises(InputError):
        folder.write("1.dcm", "new", NewFile("1.2", pieces()))
    assert names(tmp_path) == [RECORD, "1.dcm"]
    assert (tmp_path / "set" / "1.dcm").read_bytes() == b"whole"


def test_removes_what_killed_processes_have_left_but_nothing_else(tmp_path: Path) -> None:
    opened(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (
        f".1.dcm.{ended.pid}",
        f"{RECORD}.{ended.pid}",
        f".1.dcm.{os.getpid()}",
        ".notes.1",
        "2.dcm",
    ):
        (tmp_path / "set" / name).touch()
    opened(tmp_path)
    assert names(tmp_path) == sorted([RECORD, f".1.dcm.{os.getpid()}", ".notes.1", "2.dcm"])


def test_removes_files_of_instances_that_are_gone_unless_they_were_changed(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    for name in ("1.dcm", "2.dcm", "3.dcm", "4.dcm"):
        folder.write(name, "source", NewFile("1.2", [name.encode()]))
    (tmp_path / "set" / "2.dcm").write_bytes(b"somebody's own")
    (tmp_path / "set" / "4.dcm").unlink()
    (tmp_path / "set" / "mine.txt").touch()
    assert opened(tmp_path).finish({"3.dcm"}) == (1, ["2.dcm"])
    assert names(tmp_path) == [RECORD, "2.dcm", "3.dcm", "mine.txt"]
    assert opened(tmp_path).finish({"3.dcm"}) == (0, ["2.dcm"])
    assert opened(tmp_path).complete("3.dcm", "source") is not None


def test_forgets_what_was_written_for_another_data_store(tmp_path: Path) -> None:
    opened(tmp_path).write("1.dcm", "source", NewFile("1.2", [b"abcdef"]))
    assert ExportFolder(tmp_path / "set", "other", "set").complete("1.dcm", "source") is None


def test_derives_a_name_from_a_uid_that_is_none() -> None:
    assert file_name("1.2.3") == "1.2.3"
    for uid in ("", "../../up", "1/2", ".", "a" * 300, "1.2."):
        name = file_name(uid)
        assert "/" not in name
        assert 17 <= len(name) <= 120
        assert not name.startswith(".")


def test_a_record_cannot_have_files_elsewhere_removed(tmp_path: Path) -> None:
    place = tmp_path / "out" / "set"
    place.mkdir(parents=True)
    (tmp_path / "kept.dcm").write_bytes(b"precious")
    (place / "old.dcm").write_bytes(b"precious")
    rest = {"source": "s", "size": 8, "sha256": sha256(b"precious").hexdigest()}
    rest |= {"syntax": "", "frames": "", "note": ""}
    names = ["../../kept.dcm", str(tmp_path / "kept.dcm"), 5, None, "\0.dcm", "old.dcm"]
    lines = [{"datastore": "d", "imageSet": "s"}, *({"file": name, **rest} for name in names)]
    (place / RECORD).write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = ExportFolder(place, "d", "s")
    assert folder.complete("../../kept.dcm", "s") is None
    assert folder.finish([]) == (1, [])
    assert (tmp_path / "kept.dcm").read_bytes() == b"precious" and not (place / "old.dcm").exists()
