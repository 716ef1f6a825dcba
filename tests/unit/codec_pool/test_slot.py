"""The place of one codec worker: who is blamed when it ends, how long it may take, what it may reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lightwell.codec_pool import dispatcher, slot
from lightwell.codec_pool import queue as queue_module
from lightwell.codec_pool.dispatcher import Dispatcher
from lightwell.codec_pool.failures import Cause
from lightwell.codec_pool.messages import FileRefused, FileStarted, Performed, ReadChunk
from lightwell.codec_pool.process import WorkerDied, WorkerNotStarted
from lightwell.codec_pool.queue import PendingRequest, RequestQueue
from lightwell.codec_pool.requests import Ping, Pong, PoolReply, RequestError, Spooled, Store
from lightwell.codec_pool.slot import WorkerEnded, WorkerSlot
from lightwell.codec_pool.store_committer import StoreCommitter, StoreTarget
from lightwell.domain.imports.jobs import InputFile, pack_files
from lightwell.domain.imports.records import Failure
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import OpenPack

_STORES = cast(
    Stores,
    SimpleNamespace(objects=LocalObjects(Path("/objects")), buckets=None, spool=Path("/spool"), keys=None),
)
_REFUSED = Failure(3, "f", "ValidationException", "no")


class _Process:
    """A worker that says what the test has it say, then nothing, until it is killed."""

    started: list[_Process]
    says: list[object]
    fails = False
    awaits_storage = False
    awaits_its_file = False

    def __init__(self, settings: Settings, storage: object, **more: object) -> None:
        if type(self).fails:
            raise WorkerNotStarted("no room")
        self.pid = 1
        self.reason: str | None = None
        self.is_closed = False
        self.sent: list[object] = []
        self.started.append(self)

    def send(self, message: object) -> None:
        if self.reason is not None:
            raise WorkerDied(self.reason)
        self.sent.append(message)

    def receive(self, timeout: float) -> object:
        if self.reason is not None:
            raise WorkerDied(self.reason)
        return self.says.pop(0) if self.says else None

    def waits_for_storage(self, *, between_files: bool, may_ask: bool = True) -> bool:
        return self.awaits_storage and (may_ask or self.awaits_its_file)

    def kill(self, why: str | None = None) -> None:
        self.reason = self.reason or why or "killed"

    def pack_size(self, key: int) -> int | None:
        return 100

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in one place, for slots, dispatchers and queues; workers are `_Process`."""
    _Process.started, _Process.says, _Process.fails = [], [], False
    _Process.awaits_storage = False
    time = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: time[0])
    monkeypatch.setattr(slot, "time", clock)
    monkeypatch.setattr(dispatcher, "time", clock)
    monkeypatch.setattr(queue_module, "time", clock)
    monkeypatch.setattr(slot, "WorkerProcess", _Process)
    return time


def _slot() -> WorkerSlot:
    return WorkerSlot(Settings(), _STORES, lambda task, file: 600.0 if file is None else 10.0)


def _reading() -> WorkerSlot:
    """A slot whose worker has been sent file 3, as task 5."""
    place = _slot()
    place.start()
    place.watch(5, None)
    files, packs = pack_files([InputFile(3, "f", None, 1)]), [OpenPack(9, b"")]
    place.send(ReadChunk(5, "", "HTJ2K", files, 3, [], [], packs, [], False))
    return place


def _ended(act: Callable[[], object]) -> WorkerEnded:
    with pytest.raises(WorkerEnded) as ended:
        act()
    return ended.value


def test_blames_the_file_that_was_announced(now: list[float]) -> None:
    place = _reading()
    _Process.says = [FileStarted(5, 3)]
    place.receive()
    _Process.started[0].reason = "SIGSEGV"
    end = _ended(place.receive)
    assert (end.cause, end.task, end.file, str(end)) == (Cause.DIED, 5, 3, "SIGSEGV")
    assert place.pid is None and _Process.started[0].is_closed


def test_is_not_late_while_it_waits_for_storage(now: list[float]) -> None:
    place = _reading()
    _Process.says = [FileStarted(5, 3)]
    place.receive()
    _Process.awaits_storage = True
    now[0] += 11
    place.receive()
    assert _Process.started[0].reason is None
    _Process.awaits_storage = False
    now[0] += 9
    place.receive()
    assert _Process.started[0].reason is None
    now[0] += 2
    place.receive()
    assert _ended(place.receive).cause is Cause.TIMED_OUT


def test_is_late_in_the_end_though_it_always_waits_for_storage(now: list[float]) -> None:
    """A file that has taken the worker over may let it ask for something without end."""
    place = _reading()
    _Process.says = [FileStarted(5, 3)]
    place.receive()
    _Process.awaits_storage = True
    for _ in range(300):
        now[0] += 11
        place.receive()
    assert _Process.started[0].reason is None
    now[0] += 400
    _Process.awaits_its_file = True  # which others fetch for it, however long that takes
    place.receive()
    assert _Process.started[0].reason is None
    _Process.awaits_its_file = False
    now[0] += 11
    place.receive()
    assert _ended(place.receive).cause is Cause.TIMED_OUT


def test_blames_no_file_between_files(now: list[float]) -> None:
    place = _reading()
    _Process.says = [FileStarted(5, 3), FileRefused(5, _REFUSED), FileStarted(5, None)]
    for _ in range(3):
        place.receive()
    now[0] += 599
    place.receive()
    assert _Process.started[0].reason is None
    now[0] += 2
    place.receive()
    end = _ended(place.receive)
    assert (end.cause, end.file) == (Cause.DIED_BETWEEN_FILES, None) and "600 seconds" in str(end)


def test_ends_a_worker_that_takes_too_long_over_a_file_but_not_the_next_one(now: list[float]) -> None:
    place = _slot()
    place.start()
    place.watch(1, 0)
    now[0] += 11
    place.receive()
    assert _ended(place.receive).cause is Cause.TIMED_OUT
    place.start()
    place.watch(1, 0)
    _Process.started[1].reason = "SIGSEGV"
    assert _ended(place.receive).cause is Cause.DIED


def test_tells_a_worker_that_cannot_be_started_from_one_that_died(now: list[float]) -> None:
    place = _slot()
    _Process.fails = True
    assert _ended(place.start).cause is Cause.NOT_STARTED
    assert place.pid is None


def test_ends_a_worker_that_has_nothing_to_do(now: list[float]) -> None:
    place = _slot()
    place.start()
    now[0] += 60
    place.close_if_idle()
    assert [worker.is_closed for worker in _Process.started] == [False]
    now[0] += 1
    place.close_if_idle()
    assert place.pid is None
    assert [worker.is_closed for worker in _Process.started] == [True]


def _dispatcher(now: list[float], *waiting: tuple[Store | Ping, float]) -> tuple[Dispatcher, list[PoolReply]]:
    """A dispatcher, what waits for it as (request, seconds left), and the replies."""
    replies: list[PoolReply] = []
    queue = RequestQueue(1)
    committer = SimpleNamespace(
        target=lambda datastore: StoreTarget(1, datastore, "HTJ2K"),
        open_packs=lambda target, count: [OpenPack(9, b"")],
    )
    stores = _STORES
    serving = Dispatcher(stores, Settings(file_timeout=10), queue, cast(StoreCommitter, committer))
    for request, seconds in waiting:
        queue.put(PendingRequest(request, now[0] + seconds, replies.append))
    return serving, replies


def test_gives_bytes_their_time_to_become_durable_whatever_was_served_meanwhile(
    now: list[float],
) -> None:
    store = Store("a", None, "arn", [Spooled("/f", 0, 1, "f")])
    serving, replies = _dispatcher(now, (store, 60.0), (Ping(), 5.0))
    step: Any = serving
    step._send_next(0.0)
    failure = Failure(0, "f", "ValidationException", "no")
    _Process.says = [FileStarted(1, 0), FileRefused(1, failure), FileStarted(1, None)]
    for _ in range(3):
        step._receive()
    step._send_next(0.0)
    _Process.says = [FileStarted(2, 0), Performed(2, Pong(1))]
    step._receive()
    step._receive()
    assert replies == [Pong(1)]
    now[0] += 590
    step._receive()
    assert _Process.started[0].reason is None
    now[0] += 11
    step._receive()
    assert "600 seconds" in str(_Process.started[0].reason)


def test_tells_a_client_that_no_worker_can_be_started(
    now: list[float],
) -> None:
    serving, replies = _dispatcher(now, (Ping(), 5.0))
    _Process.fails = True
    step: Any = serving
    step._worker_ended(_ended(lambda: step._send_next(0.0)))
    assert [reply.kind for reply in replies if isinstance(reply, RequestError)] == ["busy"]
