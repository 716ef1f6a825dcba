"""The collector beside everything else, in any order, with anybody dying anywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from lightwell.documents import metadata_documents
from lightwell.errors import StorageError
from lightwell.stores.background import gc_candidates
from lightwell.stores.background.gc_candidates import GcCandidate
from lightwell.stores.db import tables
from lightwell.stores.objects import packs
from lightwell.work.imports import leases
from tests.support import invariants, services
from tests.support.imports import Importing, importing
from tests.support.interleaving import Actor, Free, Interleaving

# Other ones with every run; more in `make test-endurance`, and by hand.
EXAMPLES = int(os.environ.get("LIGHTWELL_TEST_INTERLEAVINGS", "10"))
STEPS = 60


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Callable[[Path], Iterator[str]]:
    """Makes a migrated database for each example."""
    if request.param == "sqlite":
        template = request.getfixturevalue("_sqlite_template")

        def sqlite(folder: Path) -> Iterator[str]:
            shutil.copy(template, folder / "lightwell.db")
            yield f"sqlite:///{folder / 'lightwell.db'}"

        return sqlite
    server = request.getfixturevalue("postgres_server")
    name = request.getfixturevalue("_postgres_template")

    def postgresql(folder: Path) -> Iterator[str]:
        with services.new_database(server, name) as url:
            yield url

    return postgresql


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(100, marks=pytest.mark.endurance)])
def test_removes_everything_unreferenced_and_nothing_referenced(
    databases: Callable[[Path], Iterator[str]], examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_COMMIT_ATTEMPTS", 1)
    # Servers share no lock of one process, and one that is stopped must not hold it.
    monkeypatch.setattr(metadata_documents, "_assembly_locks", (nullcontext(),))
    is_sqlite = databases.__name__ == "sqlite"

    @settings(
        max_examples=examples if is_sqlite else max(1, examples // 3),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # an example takes a second, and shrinking hundreds of them
        database=None,
    )
    @given(st.integers(0, 2**63))
    def run(seed: int) -> None:
        # Drawn one by one, choices would have to be the same when it is run again, and leases may lapse.
        chance = Random(seed)

        def choose(below: int) -> int:
            return chance.randrange(below) if below > 1 else 0

        # Transactions are the steps here, not what a disk makes of them: memory is enough.
        folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with (
            tempfile.TemporaryDirectory(dir=folder) as name,
            contextmanager(databases)(Path(name)) as url,
        ):
            server = importing(Path(name) / "data", url)
            # Keys come again in the next example, as in no other life of a process.
            monkeypatch.setattr(
                metadata_documents, "recent_documents", metadata_documents.RecentDocuments(1 << 20)
            )
            try:
                scenario = Interleaving(server, choose)
                for _ in range(STEPS):
                    scenario.step()
                scenario.check()
                scenario.finish()
                scenario.check()
                invariants.check(server.stores, decode=True)
                invariants.check_collected(server.stores)
            finally:
                server.close()

    run()


def _sees_no_base(patch: pytest.MonkeyPatch) -> None:
    """A level block goes though a version carries it."""
    r = tables.record.c
    patch.setitem(
        gc_candidates._REFERENCES, gc_candidates.LEVEL, (r.patient_value, r.study_value, r.series_value)
    )


def _sees_no_study_block(patch: pytest.MonkeyPatch) -> None:
    """One name too few is counted."""
    r = tables.record.c
    names = (r.patient_value, r.series_value, tables.level.c.base)
    patch.setitem(gc_candidates._REFERENCES, gc_candidates.LEVEL, names)


def _sees_open_members_alone(patch: pytest.MonkeyPatch) -> None:
    """Older versions count for nothing."""
    real = gc_candidates.find_referenced

    def named(
        conn: Connection, pages: Mapping[int, Sequence[GcCandidate]], part: gc_candidates.ScanPart
    ) -> dict[int, set[int]]:
        found, member = real(conn, pages, part), tables.member.c
        if gc_candidates.RECORD in found:
            held = select(member.record).where(member.valid_to.is_(None))
            held = held.union(select(tables.staged.c.record))  # type: ignore[assignment]
            found[gc_candidates.RECORD] &= set(conn.execute(held).scalars())
        return found

    patch.setattr(gc_candidates, "find_referenced", named)


def _has_no_grace(patch: pytest.MonkeyPatch) -> None:
    real = packs.doom
    patch.setattr(packs, "doom", lambda conn, keys, before, **options: real(conn, keys, 2**62, **options))


# The seed is one that finds it early; it is looked for on from there.
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("broken", "seed"),
    [(_sees_no_base, 2), (_sees_no_study_block, 20), (_sees_open_members_alone, 14), (_has_no_grace, 1)],
)
def test_detects_a_broken_collector(
    broken: Callable[[pytest.MonkeyPatch], None],
    seed: int,
    tmp_path: Path,
    _sqlite_template: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "_COMMIT_ATTEMPTS", 1)
    monkeypatch.setattr(metadata_documents, "_assembly_locks", (nullcontext(),))
    broken(monkeypatch)

    def life(folder: Path, seed: int) -> None:
        folder.mkdir()
        shutil.copy(_sqlite_template, folder / "lightwell.db")
        server = importing(folder / "data", f"sqlite:///{folder / 'lightwell.db'}")
        monkeypatch.setattr(
            metadata_documents, "recent_documents", metadata_documents.RecentDocuments(1 << 20)
        )
        chance = Random(seed)
        try:
            scenario = Interleaving(server, lambda below: chance.randrange(below) if below > 1 else 0)
            for _ in range(STEPS):
                scenario.step()
            scenario.check()
            scenario.finish()
            scenario.check()
        finally:
            server.close()

    for number in range(seed, seed + 40):
        try:
            life(tmp_path / str(number), number)
        except (AssertionError, KeyError, StorageError):
            return
    raise AssertionError("nobody has noticed")


def test_removes_nothing_referenced_while_everything_runs_at_once(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait for no one but the database's locks."""
    monkeypatch.setattr(leases, "_COMMIT_ATTEMPTS", 1)
    scenario = Interleaving(server, Random(1).randrange)
    ended = threading.Event()

    def repeat(body: Callable[[Actor], None], seed: int, times: int | None) -> None:
        actor = Free(seed)
        for _ in range(times) if times else iter(int, 1):
            body(actor)
            if times is None and ended.wait(0.005):
                return

    with ThreadPoolExecutor(9) as pool:
        doing = [pool.submit(repeat, scenario.importer, seed, 8) for seed in (1, 2)]
        doing += [pool.submit(repeat, scenario.changer, 3, 20), pool.submit(repeat, scenario.copier, 4, 10)]
        doing.append(pool.submit(repeat, scenario.inherited_level, 9, 10))
        others = [
            pool.submit(repeat, scenario.deleter, 5, None),
            pool.submit(repeat, scenario.reader, 6, None),
        ]
        others += [pool.submit(repeat, scenario.collector, seed, None) for seed in (7, 8)]
        wait(doing)
        ended.set()
        for future in (*doing, *others):
            future.result()
    scenario.finish()
    scenario.check()
    invariants.check(server.stores, decode=True)
    invariants.check_collected(server.stores)
