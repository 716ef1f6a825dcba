"""What ten workers with nothing to do cost the database: CPU of all processes of PostgreSQL, transactions."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
from tests.many.deployment import deployed

from bench.results import Options, Outcome
from bench.servers import postgresql, services
from bench.servers.postgresql import Postgresql

ROW = "idle-workers"
WORKERS = 10
_SETTLE_SECONDS, _SECONDS = 15.0, 20.0
_TRANSACTIONS = "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database"
# As they are by themselves, not as tests want them.
_SETTINGS = {"LIGHTWELL_COLLECT_INTERVAL": "60"}


def run(options: Options) -> list[Outcome]:
    if reason := postgresql.missing():
        return [Outcome(ROW, skipped=reason)]
    rounds = 1 if options.quick else min(options.rounds, 3)
    with ExitStack() as stack:
        try:
            s3 = stack.enter_context(services.s3())
        except services.Unavailable as missing:
            return [Outcome(ROW, skipped=str(missing))]
        server = Postgresql("idle")
        stack.callback(server.stop)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lightwell-idle-")))
        own = stack.enter_context(deployed(folder, server.url(), s3, **_SETTINGS))
        watcher = stack.enter_context(psycopg.connect(server.url(), autocommit=True))
        time.sleep(_SETTLE_SECONDS)
        empty, _ = _measured(server, watcher)
        own.worker("w0")  # makes the tables
        for number in range(1, WORKERS):
            own.launch_worker(f"w{number}")
        own.wait_until_ready()
        time.sleep(_SETTLE_SECONDS)
        found = [_measured(server, watcher) for _ in range(rounds)]
    percents = sorted(percent for percent, _ in found)
    rates = sorted(rate for _, rate in found)
    detail = (
        f"{rates[len(rates) // 2]:.1f} transactions a second of {WORKERS} workers; without any, "
        f"PostgreSQL itself uses {empty:.2f} %"
    )
    return [Outcome(ROW, percents, detail)]


def _measured(server: Postgresql, watcher: psycopg.Connection) -> tuple[float, float]:
    """CPU of PostgreSQL in percent of a core, transactions a second."""
    cpu, transactions, begun = server.tree.precise_cpu(), _transactions(watcher), time.monotonic()
    time.sleep(_SECONDS)
    seconds = time.monotonic() - begun
    used = server.tree.precise_cpu() - cpu
    return 100 * used / seconds, (_transactions(watcher) - transactions) / seconds


def _transactions(watcher: psycopg.Connection) -> float:
    row = watcher.execute(_TRANSACTIONS).fetchone()
    assert row is not None
    return float(row[0])
