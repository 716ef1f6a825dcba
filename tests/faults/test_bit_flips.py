"""Single bits of packs, documents and the database are turned: each is found, and nothing wrong is answered.

Of PostgreSQL's indexes and of tables' unused pages pg_checksums finds them; everything else, `data verify`.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from lightwell.codec_pool.checking import Checker
from lightwell.errors import LightwellError
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.stores.collector import integrity
from lightwell.stores.db.database import Database
from lightwell.stores.db.drivers import sqlite_path
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.page_checksums import vfs
from lightwell.stores.page_checksums.pages import damaged_pages
from lightwell.work.verifying.report import Report
from lightwell.work.verifying.run import Mode, Verifier
from tests.faults.bit_flips import Asked, fill, flipped, places
from tests.support import services
from tests.support.imports import Importing, importing

PAGE = 4096

HOW_MANY = [
    pytest.param(100, marks=pytest.mark.long),
    pytest.param(1000, marks=pytest.mark.endurance),
]


def verified(server: Importing, mode: Mode = "quick") -> Report:
    return Verifier(server.stores, server.settings, lambda done, total: None, mode=mode).run(from_start=True)


@pytest.fixture
def seed() -> int:
    return random.randrange(2**32)


@pytest.fixture
def server(tmp_path: Path, migrated_sqlite_url: str, seed: int) -> Iterator[Importing]:
    """Encrypted, if its seed is odd."""
    made = importing(tmp_path / "data", migrated_sqlite_url, encryption="always" if seed % 2 else "off")
    fill(made)
    made.close_engine()
    yield made
    made.close()


@pytest.mark.parametrize("flips", HOW_MANY)
@pytest.mark.skipif(vfs._extension() is None, reason="apsw, a dependency, is not installed")
def test_serves_no_flipped_bit_on_one_machine(
    server: Importing, tmp_path: Path, flips: int, seed: int
) -> None:
    """Two fifths of the flips in packs, a tenth in documents, three tenths in the SQLite file."""
    print(f"seed {seed}")
    random_ = random.Random(seed)
    asked = Asked(server, tmp_path / "documents")
    asked.prepare()
    assert asked.check("untouched") == 0
    assert verified(server, "all").problems == []
    _flip_packs(server, asked, random_, flips * 2 // 5)
    _flip_documents(asked, random_, flips // 10)
    _flip_sqlite(server, asked, random_, flips * 3 // 10)
    assert asked.check("all put back") == 0


def _flip_packs(server: Importing, asked: Asked, random_: random.Random, count: int) -> None:
    root = server.settings.data / "objects"
    packs = [root / name for name, _ in server.stores.objects.list("packs")]
    with server.stores.db.read() as conn:
        held = integrity.packs(conn, -1, 1000)
    checker = Checker(server.stores.objects, SeriesCache())
    refused = 0
    for number, (path, place, bit) in enumerate(places(random_, packs, count)):
        with flipped(path, place, bit):
            refused += asked.check(f"{path.name}, byte {place}, bit {bit}") > 0
            name = str(path.relative_to(root))
            # What a codec worker does for verify, and now and then all of it.
            assert [pack_name(each.key) for each in held if list(checker.pack(each))] == [name]
            if number % 50 == 0:
                (problem,) = verified(server).problems
                assert problem.pack == name and problem.concerns
    assert refused > count // 2, "what was flipped was hardly read"
    print(f"packs: {count} flips, all found by verify; {refused} were met by a read, and refused")


def _flip_documents(asked: Asked, random_: random.Random, count: int) -> None:
    for _ in range(count):
        files = [path for path in asked.documents.rglob("*") if path.is_file() and path.name[0] != "."]
        ((path, place, bit),) = places(random_, files, 1)
        with path.open("r+b") as file:
            file.seek(place)
            old = file.read(1)[0]
            file.seek(place)
            file.write(bytes((old ^ 1 << bit,)))
        # It is made again from the rows.
        assert asked.check(f"{path.name}, byte {place}, bit {bit}") == 0
    print(f"documents: {count} flips, each made again")


def _flip_sqlite(server: Importing, asked: Asked, random_: random.Random, count: int) -> None:
    server.stores.db.shorten_log()
    server.stores.close()
    path = sqlite_path(server.settings.database)
    refused = 0
    for _ in range(count):
        ((_, place, bit),) = places(random_, [path], 1)
        what = f"{path.name}, page {place // PAGE + 1}, byte {place % PAGE}, bit {bit}"
        for cached in list(asked.documents.rglob("*")):
            if cached.is_file():
                cached.unlink()
        with flipped(path, place, bit):
            refused += asked.check(what) > 0
            found = [number for part in damaged_pages(path) for number in part.damaged]
            if place != 20:  # which is that of the header: every connection is refused
                assert found == [place // PAGE + 1], what
    print(f"SQLite: {count} flips, all found by verify; {refused} were met by a read, and refused")
    assert refused > count // 20


# PostgreSQL -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flips", HOW_MANY)
def test_serves_no_flipped_bit_of_postgresql(tmp_path: Path, flips: int, seed: int) -> None:
    """A fifth of the flips, in tables, what lies apart of them, and indexes, while the server is stopped."""
    print(f"seed {seed}")
    random_ = random.Random(seed)
    count = flips // 5
    with services.wanted(_cluster()) as cluster:
        assert isinstance(cluster, _Cluster)
        url = cluster.start()
        server = importing(tmp_path / "data", _migrated(url))
        fill(server)
        server.close_engine()
        asked = Asked(server, tmp_path / "documents")
        asked.prepare()
        assert asked.check("untouched") == 0
        with server.stores.db.read() as conn:
            files = {
                row.path: (row.relname, row.relkind)
                for row in conn.execute(
                    text(
                        "SELECT relname, relkind::text AS relkind, pg_relation_filepath(oid) AS path"
                        " FROM pg_class WHERE relkind IN ('r', 't', 'i') AND relnamespace IN"
                        " ('public'::regnamespace, 'pg_toast'::regnamespace) AND oid >= 16384"
                        " AND pg_relation_size(oid) > 0"
                    )
                )
            }
        done = in_tables = refused = 0
        while done < count:
            server.stores.close()
            cluster.stop()
            pages = _pages(cluster.data, files)
            held = [page for page in pages if files[page[0]][1] != "i"]
            indexes = [page for page in pages if files[page[0]][1] == "i"]
            most = min(20, count - done)
            some = random_.sample(held, min(len(held), most * 3 // 4))
            some += random_.sample(indexes, most - len(some))
            turned = [(path, block, random_.randrange(8192), random_.randrange(8)) for path, block in some]
            for path, block, place, bit in turned:
                _turn(cluster.data / path, block * 8192 + place, bit)
            assert cluster.damaged() == set(some)
            cluster.start()
            for cached in list(asked.documents.rglob("*")):
                if cached.is_file():
                    cached.unlink()
            refused += asked.check(f"{len(some)} pages") > 0
            expected = {(files[path][0], block) for path, block in some if files[path][1] == "r"}
            in_tables += len(expected)
            assert expected <= _found(server, cluster), f"seed {seed}"
            server.stores.close()
            cluster.stop()
            for path, block, place, bit in turned:
                _turn(cluster.data / path, block * 8192 + place, bit)
            done += len(some)
            cluster.start()
        assert asked.check("all put back") == 0
        server.close()
        print(f"PostgreSQL: {done} flips, all found by pg_checksums, {in_tables} in tables by verify, too")
        assert refused and (in_tables or count < 20)


def _found(server: Importing, cluster: _Cluster) -> set[tuple[str, int]]:
    """The damaged pages of tables that `data verify` names."""
    try:
        problems = verified(server).problems
    except LightwellError:
        # A page that verify itself needs is damaged, which is also said; its pages are looked at alone.
        from lightwell.work.verifying import database_pages

        reasons, after = [], database_pages.START
        while (part := database_pages.check(server.stores.db, after)) is not None:
            reasons += [fault.reason for fault in part.found]
            after = part.end
    else:
        reasons = [problem.reason for problem in problems]
    named = (re.match(r"page (\d+) of table (\w+) of the database is damaged", reason) for reason in reasons)
    return {(match[2], int(match[1])) for match in named if match}


def _migrated(url: str) -> str:
    from lightwell.stores.db.schema import migrate

    with closing(Database(url)) as db:
        migrate(db)
    return url


def _turn(path: Path, place: int, bit: int) -> None:
    with flipped(path, place, bit):
        data = path.read_bytes()
    path.write_bytes(data)


def _pages(data: Path, paths: dict[str, tuple[str, str]]) -> list[tuple[str, int]]:
    """Pages that are in use: an empty one has no checksum."""
    found = []
    for path in sorted(paths):
        content = (data / path).read_bytes()
        for block in range(len(content) // 8192):
            if any(content[block * 8192 : block * 8192 + 24]):
                found.append((path, block))
    return found


class _Cluster:
    def __init__(self, folder: Path, run: Callable[[], object]) -> None:
        self.folder, self.data = folder, folder / "data"
        self._run = run
        self._open: object = None

    def start(self) -> str:
        self._open = self._run()
        return str(self._open.__enter__())  # type: ignore[attr-defined]

    def stop(self) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)  # type: ignore[attr-defined]
            self._open = None

    def damaged(self) -> set[tuple[str, int]]:
        """What PostgreSQL's own tool finds, while its server is stopped."""
        command = [str(services.postgres_binaries() / "pg_checksums"), "--check", "-D", str(self.data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = re.findall(r'failed in file "([^"]+)", block (\d+)', done.stderr)
        return {(str(Path(path).relative_to(self.data)), int(block)) for path, block in found}


@contextmanager
def _cluster() -> Iterator[_Cluster]:
    port = services.free_ports(1)[0]
    with services.temporary_folder("lightwell-flips-") as folder:
        cluster = _Cluster(folder, lambda: services.postgres_in(folder, port))
        try:
            yield cluster
        finally:
            cluster.stop()
