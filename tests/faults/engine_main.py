"""An engine in a process of its own, to be killed: ``python -m tests.faults.engine_main DATA DATABASE_URL``.

Prints ``done`` and ends when no job is unfinished.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lightwell.settings import Settings
from lightwell.stores import jobs, open_stores
from lightwell.work.engine import Engine
from lightwell.work.lock import EngineLock


def main(data: str, url: str, workers: str) -> int:
    settings = Settings(data=Path(data), database_url=url, codec_workers=int(workers))
    stores = open_stores(settings)
    alone = stores.db.dialect == "sqlite"
    lock = EngineLock(settings.data)
    if alone and not lock.take():
        print("another engine works here", flush=True)
        return 1

    def over() -> bool:
        with stores.db.read() as conn:
            return not jobs.waiting(conn, 0)

    print("started", flush=True)
    Engine(stores, settings, alone=alone).run(over)
    stores.close()
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
