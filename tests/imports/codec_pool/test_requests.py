"""Requests that a codec worker serves while a client waits, and what is said when it cannot."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileDataset
from sqlalchemy import delete

from lightwell.codec_pool import process, queue
from lightwell.codec_pool.client import SOCKET, CodecPoolClient
from lightwell.codec_pool.requests import (
    InstanceRefused,
    InstanceStored,
    Ping,
    Pong,
    PoolReply,
    Spooled,
    Store,
    Stored,
)
from lightwell.codec_pool.store_committer import PendingCommit, StoreCommitter
from lightwell.domain.states import PackState
from lightwell.errors import InternalError, NotFoundError, UnavailableError
from lightwell.observe.audit.trail import AuditTrail
from lightwell.stores.db.tables import pack
from lightwell.stores.image_sets import existing_instances
from lightwell.work.engine import Engine, EngineOptions
from tests.dicomweb.support.uploads import part10
from tests.imports.codec_pool.sabotage import hang_at, hurry_at
from tests.imports.codec_pool.test_hostile import _Killer
from tests.support import invariants
from tests.support.ct_files import ct, write
from tests.support.imports import Importing

ARN = "arn:aws:iam::000000000000:user/somebody"
_CONNECT = "lightwell.codec_pool.client._CONNECT_SECONDS"


@pytest.fixture(autouse=True)
def _patient_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine on a busy machine may start for long."""
    monkeypatch.setattr(_CONNECT, 60.0)


@contextmanager
def opened(
    server: Importing, trail: AuditTrail | None = None, **settings: Any
) -> Iterator[tuple[CodecPoolClient, Engine]]:
    """An engine that serves requests, and a client of it."""
    made = replace(server.settings, **{"codec_workers": 2, **settings})
    options = EngineOptions(alone=server.stores.db.dialect == "sqlite", pool_linger=0.0, trail=trail)
    engine = Engine(server.stores, made, options=options)
    thread = threading.Thread(target=engine.run)
    thread.start()
    pool = CodecPoolClient(made.data)
    try:
        yield pool, engine
    finally:
        pool.close()
        engine.stop()
        thread.join()


def store_request(server: Importing, *files: FileDataset | bytes, study: str | None = None) -> Store:
    """All in one spooled file, as an upload leaves them."""
    path = server.stores.spool / "upload-test"
    data = [file if isinstance(file, bytes) else part10(file) for file in files]
    path.write_bytes(b"".join(data))
    places, offset = [], 0
    for each in data:
        places.append(Spooled(str(path), offset, len(each), "a part"))
        offset += len(each)
    return Store(server.datastore, study, ARN, places)


def stored(answer: PoolReply) -> list[InstanceStored | InstanceRefused]:
    assert isinstance(answer, Stored)
    return answer.files


def test_stores_on_either_database(server: Importing) -> None:
    with opened(server) as (pool, _):
        files = stored(pool.ask(store_request(server, ct(1), b"junk", ct(2), ct(1, series="2")), 30))
        assert [type(file).__name__ for file in files] == [
            "InstanceStored", "InstanceRefused", "InstanceStored", "InstanceStored",
        ]  # fmt: skip
        for data, version in ((ct(1), 1), (ct(1, ImageComments="again"), 2)):
            (again,) = stored(pool.ask(store_request(server, data), 30))
            assert isinstance(again, InstanceStored) and again.version == version
    with server.stores.db.read() as conn:
        callers = conn.exec_driver_sql("SELECT DISTINCT caller FROM version").scalars().all()
    assert callers == [ARN]
    invariants.check(server.stores, decode=True)


def test_makes_one_version_of_an_instance_that_two_clients_upload_at_once(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(existing_instances, "find", lambda *_: None)  # neither is there while both are read
    commit = StoreCommitter._commit
    together: list[PendingCommit] = []

    def wait_for_both(committer: StoreCommitter, batch: Sequence[PendingCommit]) -> None:
        together.extend(batch)
        if len(together) == 2:
            commit(committer, together)

    with opened(server) as (pool, _):
        with monkeypatch.context() as patched, ThreadPoolExecutor(2) as clients:
            patched.setattr(StoreCommitter, "_commit", wait_for_both)
            asked = [clients.submit(pool.ask, _upload(server, name, ct(1)), 60) for name in "ab"]
            answers = [stored(each.result()) for each in asked]
        answers += [
            stored(pool.ask(_upload(server, "c", data), 60)) for data in (ct(1), ct(1, InstanceNumber=9))
        ]
    assert [file.version for (file,) in answers if isinstance(file, InstanceStored)] == [1, 1, 1, 2]
    invariants.check(server.stores, decode=True)


def _upload(server: Importing, name: str, data: FileDataset) -> Store:
    path = server.stores.spool / f"upload-{name}"
    path.write_bytes(part10(data))
    return Store(server.datastore, None, ARN, [Spooled(str(path), 0, path.stat().st_size, "a part")])


def test_asks_once_for_an_upload_of_which_nothing_is_stored(
    sqlite: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, find = [], existing_instances.find

    def finding(*arguments: Any) -> Any:
        asked.append(arguments[-1])
        return find(*arguments)

    monkeypatch.setattr(existing_instances, "find", finding)
    with opened(sqlite) as (pool, _):
        stored(pool.ask(store_request(sqlite, ct(1)), 60))
        asked.clear()
        stored(pool.ask(store_request(sqlite, *[ct(number) for number in range(2, 12)]), 60))
        assert asked == [ct(2).SOPInstanceUID]
        asked.clear()
        stored(pool.ask(store_request(sqlite, ct(12), ct(3), ct(13)), 60))
        assert asked == [ct(12).SOPInstanceUID, ct(3).SOPInstanceUID]


def test_fails_the_file_of_which_a_worker_dies_and_no_other(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [ct(n) for n in range(1, 9)]
    hang_at({4}, tmp_path / "modules", monkeypatch)  # so that the kill meets it
    killer = _Killer({4}, monkeypatch, lambda pid: os.kill(pid, 9))
    with opened(sqlite) as (pool, _):
        found = stored(pool.ask(store_request(sqlite, *files), 60))
    assert killer.kills == 1
    (failed,) = [file for file in found if isinstance(file, InstanceRefused)]
    assert found.index(failed) == 4 and "SIGKILL" in failed.message
    invariants.check(sqlite.stores)


def test_fails_the_file_that_takes_too_long(
    sqlite: Importing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang_at({1}, tmp_path / "modules", monkeypatch)
    hurry_at({1}, monkeypatch)
    with opened(sqlite, file_timeout=1) as (pool, _):
        found = stored(pool.ask(store_request(sqlite, ct(1), ct(2), ct(3)), 60))
    assert isinstance(found[1], InstanceRefused) and "longer than 1 seconds" in found[1].message
    assert isinstance(found[0], InstanceStored) and isinstance(found[2], InstanceStored)


def test_gives_up_a_request_whose_workers_die_between_files(
    sqlite: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = process.WorkerProcess.__init__

    def dying(worker: process.WorkerProcess, *args: object, **more: int) -> None:
        start(worker, *args, **more)  # type: ignore[arg-type]
        worker.process.kill()

    monkeypatch.setattr(process.WorkerProcess, "__init__", dying)
    with opened(sqlite) as (pool, _), pytest.raises(InternalError, match="again and again"):
        pool.ask(store_request(sqlite, ct(1)), 60)


def test_says_that_trying_again_helps_where_no_worker_can_be_started(
    sqlite: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(sqlite) as (pool, _):
        with monkeypatch.context() as full:
            full.setattr(sys, "executable", "/no/such/program")
            with pytest.raises(UnavailableError) as refused:
                pool.ask(store_request(sqlite, ct(1)), 60)
            assert "/no/such" not in refused.value.message
        (kept,) = stored(pool.ask(store_request(sqlite, ct(1)), 60))
        assert isinstance(kept, InstanceStored)


def test_stores_again_after_the_packs_that_were_announced_have_been_collected(sqlite: Importing) -> None:
    with opened(sqlite) as (pool, _):
        stored(pool.ask(store_request(sqlite, ct(1)), 30))
        sqlite.stores.db.write(lambda conn: conn.execute(delete(pack).where(pack.c.state == PackState.OPEN)))
        with pytest.raises(UnavailableError, match="collected before it was used"):
            pool.ask(store_request(sqlite, ct(2)), 30)
        (file,) = stored(pool.ask(store_request(sqlite, ct(2)), 30))
    assert isinstance(file, InstanceStored)


def test_answers_a_store_into_a_missing_data_store(sqlite: Importing) -> None:
    with opened(sqlite) as (pool, _):
        gone = store_request(sqlite, ct(1))
        with pytest.raises(NotFoundError):
            pool.ask(Store("0" * 32, None, ARN, gone.files), 60)
        Path(gone.files[0].path).unlink()
        (file,) = stored(pool.ask(gone, 60))
        assert isinstance(file, InstanceRefused)


def test_does_as_many_at_once_as_there_are_workers_and_refuses_too_many(
    sqlite: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MOST_WAITING", 3)

    def ask(pool: CodecPoolClient, seconds: float) -> PoolReply | Exception:
        try:
            return pool.ask(Ping(seconds), 600)
        except Exception as error:
            return error

    with opened(sqlite) as (pool, _), ThreadPoolExecutor(12) as threads:
        for seconds in (0.2, 1, 5, 25):  # the second worker may take its time to start
            found = list(threads.map(ask, [pool] * 12, [seconds] * 12))
            pids = {each.pid for each in found if isinstance(each, Pong)}
            refused = [each for each in found if not isinstance(each, Pong)]
            if len(pids) > 1 and refused:
                break
    assert len(pids) == 2 and refused
    assert all(isinstance(each, UnavailableError) and "wait" in str(each) for each in refused)


def test_ends_requests_that_nobody_waits_for(sqlite: Importing) -> None:
    with opened(sqlite, codec_workers=1) as (pool, _):
        pool.ask(Ping(), 60)
        with pytest.raises(InternalError, match="longer than"):
            pool.ask(Ping(600), 0.5)
        for _ in range(4):
            pool.ask(Ping(), 60)  # by the only worker, which would still be busy


def test_reports_a_missing_work_process_and_finds_it_again(
    sqlite: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = CodecPoolClient(sqlite.settings.data)

    def ask_in_vain() -> None:
        with monkeypatch.context() as hasty, pytest.raises(UnavailableError, match="not running"):
            hasty.setattr(_CONNECT, 0.2)
            pool.ask(Ping(), 10)

    ask_in_vain()
    for _ in range(2):
        with opened(sqlite):
            assert isinstance(pool.ask(Ping(), 60), Pong)
    ask_in_vain()


def test_replaces_a_dead_socket_and_admits_nobody_else(sqlite: Importing) -> None:
    path = sqlite.settings.data / SOCKET
    dead = socket.socket(socket.AF_UNIX)
    folder = os.open(sqlite.settings.data, os.O_RDONLY)
    dead.bind(f"/proc/self/fd/{folder}/{SOCKET}")
    dead.close()
    os.close(folder)
    with opened(sqlite) as (pool, _):
        assert isinstance(pool.ask(Ping(), 30), Pong)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_answers_while_an_import_has_all_its_workers(server: Importing) -> None:
    for number in range(4):
        write(server.input / f"{number}.dcm", ct(number, size=1200))
    with opened(server) as (pool, engine):
        server.start()
        end = time.monotonic() + 60
        while not engine.worker_pids() and time.monotonic() < end:
            time.sleep(0.01)
        assert isinstance(stored(pool.ask(store_request(server, ct(1, series="9")), 30))[0], InstanceStored)
        while server.unfinished():
            time.sleep(0.01)
    invariants.check(server.stores)


def test_commits_waiting_requests_in_one_transaction(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request makes a version of its own all the same."""
    sizes: list[int] = []
    commit = StoreCommitter._commit

    def when_more_wait(committer: StoreCommitter, batch: list[object]) -> None:
        sizes.append(len(batch))
        if sizes == [1]:
            with committer._changed:
                committer._changed.wait_for(lambda: len(committer._waiting) >= 2, 60)
        commit(committer, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(StoreCommitter, "_commit", when_more_wait)
    asks: Callable[[Store], PoolReply] = lambda ask: pool.ask(ask, 60)  # noqa: E731
    path = server.stores.spool / "upload-many"
    data = [part10(ct(n)) for n in range(1, 13)]
    path.write_bytes(b"".join(data))
    starts = [sum(map(len, data[:n])) for n in range(12)]
    requests = [
        Store(server.datastore, None, ARN, [Spooled(str(path), starts[n], len(data[n]), "")])
        for n in range(12)
    ]
    with opened(server) as (pool, _), ThreadPoolExecutor(12) as threads:
        files = [stored(answer)[0] for answer in threads.map(asks, requests)]
    assert max(sizes) > 1 and sum(sizes) == 12
    assert sorted(file.version for file in files if isinstance(file, InstanceStored)) == list(range(1, 13))
    invariants.check(server.stores)
