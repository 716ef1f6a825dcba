"""kill -9 of one of two workers every five seconds while they work through 1,500 units of 40 ms.

Each worker has two threads, as with two codec workers. Counted are units that were lost, and results that
were kept twice, where the fence alone stands against it; measured, the time against that without kills, and
how long it took until a unit of a dead worker was taken up again.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from sqlalchemy import Connection, text

from bench.results import Options, Outcome
from bench.scenarios.scale.claims import add_job
from bench.scenarios.scale.contestants import OpenDispatch, engines
from bench.servers import services
from lightwell.domain.imports.units import Token
from lightwell.domain.states import JobPhase
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.db.schema import migrate

WORKERS, THREADS, UNIT_SECONDS, KILL_SECONDS = 2, 2, 0.04, 5.0
_TABLES = (
    "CREATE TABLE bench_result (number int NOT NULL)",
    "CREATE TABLE bench_taken (number int, pid int, at timestamptz DEFAULT clock_timestamp())",
    "CREATE TABLE bench_killed (pid int, at timestamptz DEFAULT clock_timestamp())",
)
_RESULTS = "SELECT count(DISTINCT number), count(*) FROM bench_result"
# Of each unit that a worker had when it died: how long until somebody took it.
_AGAIN = """
    SELECT extract(epoch FROM min(later.at) - killed.at)
    FROM bench_killed killed JOIN bench_taken had ON had.pid = killed.pid AND had.at < killed.at
    JOIN bench_taken later ON later.number = had.number AND later.pid <> had.pid AND later.at > killed.at
    GROUP BY killed.pid, killed.at, had.number
"""


def run(options: Options) -> list[Outcome]:
    units = 300 if options.quick else 1500
    outcomes: list[Outcome] = []
    try:
        with services.postgresql() as server:
            for name in engines():
                calm, _, _, _ = _run(server, name, units, kills=False)
                killed, lost, twice, again = _run(server, name, units, kills=True)
                longest = max(again, default=0.0)
                detail = (
                    f"{calm:.1f} s without kills, {killed:.1f} s with; {lost} units lost, "
                    f"{twice} kept twice; {len(again)} taken up again, the last after {longest:.1f} s"
                )
                suffix = "" if not outcomes else f"-{name}"
                print(f"  {name}: {detail}")
                outcomes.append(Outcome(f"redelivery{suffix}", [longest], detail))
    except services.Unavailable as reason:
        return [Outcome("redelivery", skipped=str(reason))]
    return outcomes


def _run(server: str, engine: str, count: int, *, kills: bool) -> tuple[float, int, int, list[float]]:
    folder = Path(tempfile.mkdtemp(prefix="lightwell-kills-"))
    with services.new_database(server) as url:
        compared = engines()[engine]
        stores = open_stores(Settings(data=folder, database_url=url, engine=compared.setting))
        migrate(stores.db)
        compared.prepare(stores)
        stores.db.write(_make_tables)
        context = multiprocessing.get_context("spawn")

        def start(number: int) -> BaseProcess:
            process = context.Process(target=_worker, args=(folder, url, engine, number), daemon=True)
            process.start()
            return process

        workers = [start(number) for number in range(WORKERS)]
        try:
            time.sleep(3.0)  # till they have started
            add_job(stores, compared.enqueue(stores), count)
            begun = time.monotonic()
            next_kill, started = begun + KILL_SECONDS, WORKERS
            chance = random.Random(1)
            while _results(stores)[0] < count and time.monotonic() < begun + 120:
                time.sleep(0.1)
                if kills and time.monotonic() >= next_kill:
                    next_kill += KILL_SECONDS
                    victim = chance.randrange(WORKERS)
                    _kill(stores, workers[victim])
                    workers[victim] = start(started)
                    started += 1
            seconds = time.monotonic() - begun
        finally:
            for worker in workers:
                worker.kill()
                worker.join()
        with stores.db.read() as conn:
            again = [float(row[0]) for row in conn.execute(text(_AGAIN))]
        distinct, every = _results(stores)
        stores.close()
        shutil.rmtree(folder, ignore_errors=True)
    return seconds, count - distinct, every - distinct, again


def _make_tables(conn: Connection) -> None:
    for statement in _TABLES:
        conn.execute(text(statement))


def _results(stores: Stores) -> tuple[int, int]:
    with stores.db.read() as conn:
        distinct, every = conn.execute(text(_RESULTS)).one()
    return int(distinct), int(every)


def _kill(stores: Stores, worker: BaseProcess) -> None:
    worker.kill()
    worker.join()
    stores.db.write(
        lambda conn: conn.execute(text("INSERT INTO bench_killed (pid) VALUES (:pid)"), {"pid": worker.pid})
    )


def _worker(folder: Path, url: str, engine: str, number: int) -> None:
    compared = engines()[engine]
    stores = open_stores(Settings(data=folder, database_url=url, engine=compared.setting))
    dispatch = compared.make(stores, f"worker-{number}")
    dispatch.open()
    threads = [threading.Thread(target=_work, args=(stores, dispatch)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()


def _work(stores: Stores, dispatch: OpenDispatch) -> None:
    pid = multiprocessing.current_process().pid

    def begin(conn: Connection, tokens: Sequence[Token]) -> Sequence[object]:
        values = [{"number": token.unit.number, "pid": pid} for token in tokens]
        conn.execute(text("INSERT INTO bench_taken (number, pid) VALUES (:number, :pid)"), values)
        return tokens

    while True:
        token = dispatch.take((JobPhase.READ,), (), begin)
        if token is None:
            dispatch.wait(0.5)
            continue
        time.sleep(UNIT_SECONDS)
        stores.db.write(lambda conn, token=token: _keep(conn, dispatch, token))  # type: ignore[misc]


def _keep(conn: Connection, dispatch: OpenDispatch, token: Token) -> None:
    if dispatch.done(conn, token):
        insert = text("INSERT INTO bench_result (number) VALUES (:number)")
        conn.execute(insert, {"number": token.unit.number})
