"""`data verify --repair`: packs are put back from another place, and what is not proved stays."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest
from sqlalchemy import select

from lightwell.errors import StorageUnavailableError
from lightwell.stores.db import tables
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.open import open_objects
from lightwell.work.verifying.repair import repair
from lightwell.work.verifying.run import Verifier
from tests.support.ct_files import ct, write
from tests.support.imports import Importing


def verified(server: Importing) -> list[str]:
    run = Verifier(server.stores, server.settings, lambda done, total: None, mode="quick")
    return sorted(problem.pack or "" for problem in run.run(from_start=True).problems)


def turn(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 16
    path.write_bytes(data)


@pytest.fixture
def packs(server: Importing, tmp_path: Path) -> list[str]:
    """The names of six packs, of which there are two copies of the storage."""
    for number in range(6):
        write(server.input / f"p{number}" / "x.dcm", ct(number, study=f"5{number}", PatientID=f"P{number}"))
        server.run(f"p{number}/")
    for copy in ("one", "two"):
        shutil.copytree(server.settings.data / "objects", tmp_path / copy)
    return sorted(name for name, _ in server.stores.objects.list("packs"))


def test_puts_back_what_another_place_has_whole(server: Importing, packs: list[str], tmp_path: Path) -> None:
    root = server.settings.data / "objects"
    whole, damaged, missing, elsewhere_too, nowhere, short = packs
    good = {name: (root / name).read_bytes() for name in packs}
    for name in (damaged, elsewhere_too, nowhere):
        turn(root / name, 50)
    (root / missing).unlink()
    (root / short).write_bytes(good[short][:-1])
    turn(tmp_path / "one" / elsewhere_too, 60)
    (tmp_path / "one" / short).write_bytes(good[short] + b"x")
    for copy in ("one", "two"):
        turn(tmp_path / copy / nowhere, 60)
        turn(tmp_path / copy / whole, 60)  # which must not be taken, nor looked at
    untouched = {name: (root / name).stat() for name in (whole, nowhere)}
    damage = (root / nowhere).read_bytes()
    run = Verifier(server.stores, server.settings, lambda done, total: None, mode="quick")
    problems = run.run(from_start=True).problems
    assert sorted(problem.pack or "" for problem in problems) == sorted(packs[1:])
    places = [
        open_objects((tmp_path / copy).as_uri(), endpoint_url=None, region="x") for copy in ("one", "two")
    ]
    with closing(places[0]), closing(places[1]):
        done = repair(server.stores, problems, places)
    assert done.repaired == sorted([damaged, missing, elsewhere_too, short])
    assert list(done.failed) == [nowhere] and done.failed[nowhere].count("checksum differs") == 2
    assert {name: (root / name).read_bytes() for name in done.repaired} == {n: good[n] for n in done.repaired}
    assert (root / nowhere).read_bytes() == damage
    for name, before in untouched.items():
        now = (root / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with server.stores.db.read() as conn:
        fault = tables.integrity_fault.c
        left = list(conn.execute(select(fault.place).where(fault.run.is_(None))).scalars())
    assert left == [nowhere] == verified(server)


def test_reads_back_what_it_wrote(
    server: Importing, packs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = server.settings.data / "objects"
    turn(root / packs[0], 50)
    run = Verifier(server.stores, server.settings, lambda done, total: None, mode="quick")
    problems = run.run(from_start=True).problems
    real = LocalObjects.put_stream

    def put_stream(self: LocalObjects, key: str, stream: IO[bytes], size: int) -> None:
        real(self, key, stream, size)
        turn(root / key, 51)  # a disk that does not keep what it is given

    monkeypatch.setattr(LocalObjects, "put_stream", put_stream)
    with closing(open_objects((tmp_path / "one").as_uri(), endpoint_url=None, region="x")) as place:
        done = repair(server.stores, problems, [place])
    assert (done.repaired, list(done.failed)) == ([], [packs[0]])
    assert verified(server) == [packs[0]]


def test_passes_over_a_place_that_is_away(
    server: Importing, packs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn(server.settings.data / "objects" / packs[0], 50)
    run = Verifier(server.stores, server.settings, lambda done, total: None, mode="quick")
    problems = run.run(from_start=True).problems
    away = open_objects((tmp_path / "two").as_uri(), endpoint_url=None, region="x")

    def size(key: str) -> int:
        raise StorageUnavailableError("the place is away")

    monkeypatch.setattr(away, "past_cache", lambda: away)
    monkeypatch.setattr(away, "size", size)
    with (
        closing(away),
        closing(open_objects((tmp_path / "one").as_uri(), endpoint_url=None, region="x")) as place,
    ):
        assert list(repair(server.stores, problems, [away]).failed.values()) == ["the place is away"]
        assert repair(server.stores, problems, [away, place]).repaired == [packs[0]]
    assert verified(server) == []
