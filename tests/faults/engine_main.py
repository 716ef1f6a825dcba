"""An engine in a process of its own, to be killed: ``… engine_main DATA URL WORKERS [N WHEN [pool|trail]]``.

TEST_ENGINE is the setting ``engine``.

Prints ``done`` and ends when no job is unfinished; with ``pool`` it serves requests until it is killed,
with ``trail`` it keeps an audit trail. With
N it kills itself right before or after (WHEN) its n-th transaction, or (``unrecorded``) before what its n-th
one has done goes into the trail.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

from lightwell.cli.trails.process_trail import process_trail
from lightwell.settings import Settings
from lightwell.stores import open_stores
from lightwell.stores.background.records import BackgroundRecords, Owed
from lightwell.stores.db.database import Database
from lightwell.stores.jobs import import_jobs
from lightwell.work.engine import Engine, EngineOptions
from lightwell.work.engine_lock import EngineLock
from tests.encryption import everywhere


def _die_at(number: int, when: str) -> None:
    count = itertools.count(1)
    if when == "unrecorded":

        def dying(records: BackgroundRecords, owed: Owed) -> None:
            if owed.id and next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            put_owed(records, owed)

        put_owed = BackgroundRecords.put_owed
        BackgroundRecords.put_owed = dying  # type: ignore[method-assign,assignment]
        return
    write = Database.write

    def counting(db: Database, work: Callable[[Any], Any]) -> Any:
        mine = next(count) == number
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = write(db, work)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Database.write = counting  # type: ignore[method-assign,assignment]


def main(data: str, url: str, workers: str, number: str = "0", when: str = "", how: str = "") -> int:
    if number != "0":
        _die_at(int(number), when)
    engine = os.environ.get("TEST_ENGINE", "auto")
    settings = Settings(data=Path(data), database_url=url, codec_workers=int(workers), engine=engine)
    everywhere.apply()
    stores = open_stores(settings)
    alone = stores.db.dialect == "sqlite"
    lock = EngineLock(settings.data)
    if alone and not lock.take():
        print("another engine works here", flush=True)
        return 1

    def over() -> bool:
        if how == "pool":
            return False
        with stores.db.read() as conn:
            return not import_jobs.unfinished(conn)

    print("started", flush=True)
    with process_trail(settings, "work", None) if how == "trail" else nullcontext() as trail:
        options = EngineOptions(alone=alone, pool_linger=0.0 if how == "pool" else None, trail=trail)
        Engine(stores, settings, options=options).run(over)
    stores.close()
    print("done", flush=True)
    return 0


def run(engine: str, output: int, arguments: list[str]) -> NoReturn:
    """As a command, in a process that was forked; ``output`` is the descriptor for what it prints."""
    os.setsid()
    os.environ["TEST_ENGINE"] = engine
    os.dup2(output, 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.exit(main(*arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
