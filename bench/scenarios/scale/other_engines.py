"""Engines that were not chosen, each just far enough to be compared: Procrastinate, and NATS JetStream.

They get the same seam, the same rows and the same fence as the engines of the product, so that what differs
is who says which unit is next. Their libraries are no dependencies: `pip install procrastinate nats-py`, and
Debian's `nats-server -js`, whose address is $BENCH_NATS.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, text

from lightwell.domain.imports.fairness import OpenJob
from lightwell.domain.imports.units import QueuedJob, Token, Unit
from lightwell.domain.states import JobPhase
from lightwell.stores import Stores
from lightwell.stores.jobs import unit_claims, units
from lightwell.work.dispatch import Begin
from lightwell.work.engines.ahead import Place
from lightwell.work.engines.table_dispatch import TableDispatch, begun

SILENT_SECONDS = 4.0
_QUEUE = "units"
_SUBJECT = "lightwell.units"


@dataclass(frozen=True, slots=True)
class _Delivered:
    unit: Unit
    handle: Any


def _library(name: str) -> Any:
    return importlib.import_module(name)


class _Apart(TableDispatch):
    """Units come from a queue that is no part of the rows; `_next` says which is next."""

    def __init__(self, stores: Stores, owner: str) -> None:
        super().__init__(stores, owner)
        self._kept: dict[str, _Delivered] = {}

    def _next(self, conn: Connection, phase: JobPhase) -> _Delivered | None:
        raise NotImplementedError

    def _over(self, conn: Connection, delivered: _Delivered) -> None:
        raise NotImplementedError

    def _deliver(self, place: Place, name: str, count: int, begin: Begin | None) -> list[Token] | None:
        """One: these queues give out no more at once."""

        def work(conn: Connection) -> list[Token]:
            unit_claims.need_no_flush(conn)
            while (found := self._next(conn, place[1])) is not None:
                unit = found.unit
                for token in units.stamp(conn, unit.job, unit.phase, [unit.number], name).values():
                    return begun(conn, [replace(token, receipt=found)], begin)
                self._over(conn, found)
            return []

        tokens = self._stores.db.write(work)
        with self._lock:
            for token in tokens:
                if isinstance(token.receipt, _Delivered):
                    self._kept[name] = token.receipt
        return tokens or None

    def _read(self) -> list[OpenJob]:
        """Asks the queue while any job is open: only it knows whose holder is silent."""
        with self._stores.db.read() as conn:
            jobs = unit_claims.open_jobs(conn)
        return [replace(job, ready=frozenset({JobPhase.READ})) for job in jobs]

    def retry(
        self, token: Token, delay_ms: int = 0, also: Callable[[Connection], None] | None = None
    ) -> bool:
        raise NotImplementedError


class ProcrastinateDispatch(_Apart):
    """The library's manager of jobs on the caller's connection; whoever works takes over from the silent."""

    def __init__(self, stores: Stores, owner: str) -> None:
        super().__init__(stores, owner)
        self._worker: int | None = None

    def _next(self, conn: Connection, phase: JobPhase) -> _Delivered | None:
        if self._worker is None:
            self._worker = _at_once(_manager(conn).register_worker())
        job = _at_once(_manager(conn).fetch_job([_QUEUE], self._worker))
        if job is None:
            return None
        return _Delivered(Unit(job.task_kwargs["job"], phase, job.task_kwargs["number"]), job)

    def _over(self, conn: Connection, delivered: _Delivered) -> None:
        succeeded = _library("procrastinate.jobs").Status.SUCCEEDED
        _at_once(_manager(conn).finish_job(delivered.handle, succeeded, delete_job=True))

    def done(self, conn: Connection, token: Token, *, dead: str | None = None) -> bool:
        is_ours = super().done(conn, token, dead=dead)
        if is_ours and isinstance(token.receipt, _Delivered):
            self._over(conn, token.receipt)
        return is_ours

    def _renew(self) -> None:
        while not self._closing.wait(SILENT_SECONDS / 4):
            if self._worker is not None:
                self._stores.db.write(self._live)

    def _live(self, conn: Connection) -> None:
        import datetime

        manager = _manager(conn)
        _at_once(manager.update_heartbeat(self._worker))
        for job in _at_once(manager.get_stalled_jobs(seconds_since_heartbeat=SILENT_SECONDS)):
            _at_once(manager.retry_job(job, datetime.datetime.now(datetime.UTC)))


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waited")


def _manager(conn: Connection) -> Any:
    from psycopg.rows import dict_row
    from psycopg.types.json import Jsonb

    raw: Any = conn.connection.driver_connection

    def run(query: str, values: dict[str, Any]) -> Any:
        given = {key: Jsonb(value) if isinstance(value, dict) else value for key, value in values.items()}
        return raw.cursor(row_factory=dict_row).execute(query, given)

    class OnConnection:
        async def execute_query_async(self, query: Any, **values: Any) -> None:
            run(query, values)

        async def execute_query_one_async(self, query: Any, **values: Any) -> Any:
            return run(query, values).fetchone()

        async def execute_query_all_async(self, query: Any, **values: Any) -> Any:
            return run(query, values).fetchall()

    return _library("procrastinate.manager").JobManager(OnConnection())


def prepare_procrastinate(stores: Stores) -> None:
    schema = _library("procrastinate.schema").SchemaManager.get_schema()

    def make(conn: Connection) -> None:
        raw: Any = conn.connection.driver_connection
        raw.execute(schema)

    stores.db.write(make)


def enqueue_procrastinate(conn: Connection, job: QueuedJob, numbers: Sequence[int]) -> None:
    statement = text(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES (:queue, 'unit', :args)"
    )
    rows = [{"queue": _QUEUE, "args": json.dumps({"job": job.key, "number": n})} for n in numbers]
    conn.execute(statement, rows)
    units.announce(conn, job, numbers)


class NatsDispatch(_Apart):
    """A durable pull consumer of a work queue; an event loop in a thread of its own."""

    def __init__(self, stores: Stores, owner: str) -> None:
        super().__init__(stores, owner)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._wait_for(self._connect())

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _connect(self) -> None:
        self._nats: Any = await _library("nats").connect(os.environ["BENCH_NATS"])
        self._messages: Any = await self._nats.jetstream().pull_subscribe_bind("workers", _QUEUE)

    def _next(self, conn: Connection, phase: JobPhase) -> _Delivered | None:
        try:
            (message,) = self._wait_for(self._messages.fetch(1, timeout=0.2))
        except TimeoutError:
            return None
        job, number = map(int, message.data.split(b","))
        return _Delivered(Unit(job, phase, number), message)

    def _over(self, conn: Connection, delivered: _Delivered) -> None:
        self._wait_for(delivered.handle.ack())

    def _renew(self) -> None:
        """Acknowledges what the rows say is over, and says of the rest that it is worked at."""
        beat_at = time.monotonic()
        while not self._closing.wait(0.05):
            with self._lock:
                kept = dict(self._kept)
            is_due = time.monotonic() > beat_at
            beat_at += SILENT_SECONDS / 4 if is_due else 0
            if kept:
                self._settle(kept, is_due)

    def _settle(self, kept: dict[str, _Delivered], beat: bool) -> None:
        with self._stores.db.read() as conn:
            ended = units.ended(conn, [each.unit for each in kept.values()])

        async def tell() -> None:
            for claim, each in kept.items():
                if each.unit in ended:
                    await each.handle.ack()
                    self._kept.pop(claim, None)
                elif beat:
                    await each.handle.in_progress()

        self._wait_for(tell())

    def close(self) -> None:
        super().close()
        self._settle(dict(self._kept), beat=False)
        self._wait_for(self._nats.drain())


def prepare_nats(stores: Stores) -> None:
    nats, api = _library("nats"), _library("nats.js.api")

    async def make() -> None:
        client = await nats.connect(os.environ["BENCH_NATS"])
        stream = client.jetstream()
        for info in await stream.streams_info():
            await stream.delete_stream(info.config.name)
        await stream.add_stream(
            api.StreamConfig(name=_QUEUE, subjects=[_SUBJECT], retention=api.RetentionPolicy.WORK_QUEUE)
        )
        await stream.add_consumer(
            _QUEUE,
            api.ConsumerConfig(
                durable_name="workers",
                ack_wait=SILENT_SECONDS,
                ack_policy=api.AckPolicy.EXPLICIT,
                max_ack_pending=10_000,
            ),
        )
        await client.close()

    asyncio.run(make())


def enqueue_nats(conn: Connection, job: QueuedJob, numbers: Sequence[int]) -> None:
    """Not part of the transaction, which is this engine's weakness: it needs an outbox beside it."""

    async def publish() -> None:
        client = await _library("nats").connect(os.environ["BENCH_NATS"])
        for number in numbers:
            await client.publish(_SUBJECT, f"{job.key},{number}".encode())
        await client.drain()

    asyncio.run(publish())
    units.announce(conn, job, numbers)
