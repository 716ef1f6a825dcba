from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from time import monotonic

import pytest

from lightwell.errors import UnavailableError
from lightwell.observe.audit import trail as module
from lightwell.observe.audit.record import AnyRecord, AuditRecord, Unmade
from lightwell.observe.audit.trail import MOST_MEMBERS, MOST_WAITING, AuditTrail, TrailOptions


class Disk:
    """A chain in memory, which can be held and broken."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.durable = 0
        self.syncs = 0
        self.events: list[str] = []
        self.broken: OSError | None = None
        self.is_sync_broken = False
        self.closed = False
        self.goes = threading.Event()
        self.goes.set()
        self.arrived = threading.Semaphore(0)
        self.changed = threading.Condition()

    def open(self) -> Disk:
        self._meet()
        return self

    def append(self, records: Sequence[AnyRecord]) -> None:
        self._meet()
        self.records += [each for each in records if isinstance(each, AuditRecord)]
        self._tell("append")

    def sync(self) -> None:
        self._meet()
        if self.is_sync_broken:
            self._tell("failed")
            raise OSError(5, "Input/output error")
        self.durable = len(self.records)
        self.syncs += 1
        self._tell("sync")

    def close(self) -> None:
        self.closed = True

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the thread does to this disk, or soon after."""
        deadline = monotonic() + 60
        with self.changed:
            while not condition():
                assert monotonic() < deadline
                self.changed.wait(0.005)

    def _meet(self) -> None:
        self.arrived.release()
        assert self.goes.wait(60)
        if self.broken is not None:
            self._tell("failed")
            raise self.broken

    def _tell(self, event: str) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()


def no_space() -> OSError:
    return OSError(28, "No space left on device")


class Trails:
    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.counts: dict[str, int] = {}
        self.gauge: list[float] = []

    def begin(self, disk: Disk, *, refuses: bool = True) -> AuditTrail:
        def count(counter: str, value: str, by: int) -> None:
            self.counts[value] = self.counts.get(value, 0) + by

        options = TrailOptions(
            refuses=refuses, count=count, measure=lambda gauge, value, number: self.gauge.append(number)
        )
        trail = AuditTrail(disk.open, lambda: 1_000, options)

        def end() -> None:
            disk.goes.set()
            trail.close(60)

        self._stack.callback(end)
        trail.begin()
        return trail


@pytest.fixture
def trails() -> Iterator[Trails]:
    with ExitStack() as stack:
        yield Trails(stack)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has failed is tried again at once, and nobody waits long."""
    monkeypatch.setattr(module, "RETRY", 0.001)
    monkeypatch.setattr(module, "SYNC", 0.05)
    monkeypatch.setattr(module, "_ROOM_SECONDS", 0.05)


def records(count: int, first: int = 0) -> list[AuditRecord]:
    return [AuditRecord(at=at, id=str(at)) for at in range(first, first + count)]


def names(found: Sequence[AnyRecord]) -> list[str | None]:
    return [record.id for record in found]


def test_writes_and_syncs_what_is_put_in_its_order(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk)
    put = records(2_000)
    for record in put:
        trail.put(record)
    trail.close(60)
    assert names(disk.records) == names(put)
    assert disk.durable == 2_000
    assert disk.closed
    assert trails.counts == {"written": 2_000}


def test_loses_nothing_that_many_threads_put_while_it_writes(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk)

    def put(thread: int) -> None:
        for number in range(500):
            trail.put(AuditRecord(id=f"{thread}-{number}"))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close(60)
    assert sorted(str(name) for name in names(disk.records)) == sorted(
        f"{thread}-{number}" for thread in range(8) for number in range(500)
    )


def test_syncs_without_being_asked_though_nothing_follows(trails: Trails) -> None:
    disk = Disk()
    trails.begin(disk).put(AuditRecord(id="last"))
    disk.until(lambda: disk.durable == 1)


def test_durable_returns_once_what_was_put_before_is_synced(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk)

    async def request(number: int) -> int:
        trail.put(AuditRecord(id=str(number)))
        await trail.durable()
        return names(disk.records[: disk.durable]).index(str(number))

    async def main() -> list[int]:
        return await asyncio.gather(*(request(number) for number in range(50)))

    assert sorted(asyncio.run(main())) == list(range(50))
    # As many as came together were synced together.
    assert disk.syncs < 50


def test_durable_waits_for_the_sync(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        disk.arrived.acquire()
        disk.goes.clear()
        trail.put(AuditRecord(id="1"))
        waiting = asyncio.ensure_future(trail.durable())
        await loop.run_in_executor(None, disk.arrived.acquire)
        assert disk.durable == 0
        assert not waiting.done()
        disk.goes.set()
        await waiting
        assert disk.durable == 1

    asyncio.run(main())


def test_flush_is_durable_for_threads(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk)
    trail.put(AuditRecord(id="1"))
    trail.flush(60)
    assert disk.durable == 1


@pytest.mark.parametrize("breaks", ["append", "sync"])
def test_refuses_while_it_cannot_write_and_keeps_what_it_had(trails: Trails, breaks: str) -> None:
    disk = Disk()
    trail = trails.begin(disk)
    assert trail.has_room()
    if breaks == "append":
        disk.broken = no_space()
    else:
        disk.is_sync_broken = True
    trail.put(AuditRecord(id="1"))
    with pytest.raises(UnavailableError, match="could not write its audit trail"):
        trail.flush(60)
    disk.until(lambda: not trail.has_room())
    assert trail.failure() == ("No space left on device" if breaks == "append" else "Input/output error")
    with pytest.raises(UnavailableError, match="does nothing that it cannot record"):
        asyncio.run(trail.room())
    # What was under way by then is recorded all the same.
    trail.put(AuditRecord(id="2"))
    disk.broken, disk.is_sync_broken = None, False
    disk.until(lambda: len(disk.records) >= 3 and disk.durable == len(disk.records))
    assert trail.failure() is None
    assert trail.has_room()
    assert [name for name in names(disk.records) if name] == ["1", "2"]
    said = next(record for record in disk.records if record.id is None)
    assert (said.operation, said.kind, said.at) == ("AuditInterrupted", "security", 1_000)
    assert trails.gauge == [0, 1, 0]


def test_refuses_where_the_chain_cannot_be_opened_until_it_can(trails: Trails) -> None:
    disk = Disk()
    disk.broken = OSError(30, "Read-only file system")
    trail = trails.begin(disk)
    disk.until(lambda: not trail.has_room())
    assert trail.failure() == "Read-only file system"
    disk.broken = None
    disk.until(lambda: disk.durable == 1)
    assert trail.has_room()


def test_goes_on_after_a_fault_of_its_own(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk)
    disk.broken = RuntimeError("a fault")  # type: ignore[assignment]
    trail.put(AuditRecord(id="1"))
    disk.until(lambda: not trail.has_room())
    assert trail.failure() == "RuntimeError"
    disk.broken = None
    disk.until(lambda: disk.durable == 2)
    assert names(disk.records) == ["1", None]


def test_a_slow_disk_leaves_no_room_and_then_room_again(
    trails: Trails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROOM_SECONDS", 60)
    disk = Disk()
    trail = trails.begin(disk)
    disk.arrived.acquire()
    disk.goes.clear()
    trail.put(AuditRecord(id="held"))
    disk.arrived.acquire()
    for record in records(MOST_WAITING):
        assert trail.has_room()
        trail.put(record)
    assert not trail.has_room()
    assert trail.failure() == "more records wait than may, since the disk is too slow"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiting = asyncio.ensure_future(trail.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        disk.goes.set()
        await loop.run_in_executor(None, disk.until, lambda: len(disk.records) == MOST_WAITING + 1)
        await waiting

    asyncio.run(main())
    assert trail.failure() is None


def test_what_had_room_finds_a_place_and_beyond_that_it_counts(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk)
    disk.arrived.acquire()
    disk.goes.clear()
    trail.put(AuditRecord(id="held"))
    disk.arrived.acquire()
    for record in records(2 * MOST_WAITING + 3, first=1):
        trail.put(record)
    assert trails.counts == {"lost": 3}
    disk.goes.set()
    disk.until(lambda: len(disk.records) == 2 * MOST_WAITING + 2)
    lost = [record for record in disk.records if record.operation == "AuditLost"]
    first = 2 * MOST_WAITING + 1
    assert [(record.lost, record.at, record.until) for record in lost] == [(3, first, first + 2)]


def test_long_lists_count_by_their_members(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk)
    disk.arrived.acquire()
    disk.goes.clear()
    trail.put(AuditRecord(id="held"))
    disk.arrived.acquire()
    patients = tuple(str(number) for number in range(1_024))
    for _ in range(MOST_MEMBERS // 1_024):
        assert trail.has_room()
        trail.put(AuditRecord(patients=patients))
    assert not trail.has_room()
    disk.goes.set()
    disk.until(lambda: len(disk.records) == MOST_MEMBERS // 1_024 + 1)
    assert trail.has_room()


class Counted(Unmade):
    """Cannot be made at first."""

    tries: list[str]
    fails: int = 0

    def record(self) -> AuditRecord:
        self.tries.append(threading.current_thread().name)
        if len(self.tries) <= self.fails:
            raise ValueError("not yet")
        return AuditRecord(id="made", at=self.at)


def test_what_is_put_unmade_is_made_by_the_thread_and_stands_in_its_place(trails: Trails) -> None:
    disk, tries = Disk(), list[str]()
    trail = trails.begin(disk)
    for each in (AuditRecord(id="1", at=1), Counted(2, tries), AuditRecord(id="3", at=3)):
        trail.put(each)
    trail.flush(60)
    assert [(record.id, record.at) for record in disk.records] == [("1", 1), ("made", 2), ("3", 3)]
    assert tries == ["audit-trail"]


def test_a_record_that_cannot_be_made_is_not_left_out_and_nothing_is_done_meanwhile(
    trails: Trails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)
    disk, tries = Disk(), list[str]()
    trail = trails.begin(disk)
    seen: list[str | None] = []

    class Watched(Counted):
        def record(self) -> AuditRecord:
            if tries:
                seen.append(trail.failure())
            return super().record()

    trail.put(AuditRecord(id="1", at=1))
    trail.put(Watched(2, tries, fails=3))
    trail.put(AuditRecord(id="3", at=3))
    disk.until(lambda: len(disk.records) >= 4)
    said = [record.id or record.operation for record in disk.records]
    assert said == ["1", "made", "3", "AuditInterrupted"]
    assert seen == ["ValueError"] * 3


def test_long_lists_are_not_gathered_for_long(trails: Trails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER", 600)
    disk = Disk()
    trail = trails.begin(disk)
    for _ in range(16):
        trail.put(AuditRecord(patients=("P",) * (MOST_MEMBERS // 64)))
    disk.until(lambda: len(disk.records) >= 1)


def test_serves_on_without_records_where_it_is_told_to_and_says_how_many_are_missing(trails: Trails) -> None:
    disk = Disk()
    trail = trails.begin(disk, refuses=False)
    disk.broken = no_space()
    trail.put(AuditRecord(id="1", at=1))
    disk.until(lambda: trail.failure() is not None)
    asyncio.run(trail.room())
    trail.flush(60)
    asyncio.run(trail.durable())
    for record in records(MOST_WAITING + 7, first=2):
        trail.put(record)
    assert trails.counts == {"lost": 7}
    disk.broken = None
    disk.until(lambda: any(record.operation == "AuditInterrupted" for record in disk.records))
    lost = [record for record in disk.records if record.operation == "AuditLost"]
    assert [(record.lost, record.at, record.until) for record in lost] == [
        (7, MOST_WAITING + 2, MOST_WAITING + 8)
    ]
    assert len(disk.records) == 1 + MOST_WAITING + 2


def test_closes_in_time_though_the_disk_is_full(trails: Trails, caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk()
    trail = trails.begin(disk)
    disk.broken = no_space()
    trail.put(AuditRecord(id="1"))
    trail.close(60)
    assert disk.closed
    assert "1 records of the audit trail could not be written and are lost" in caplog.text


def test_closing_tries_once_more(trails: Trails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY", 60)
    disk = Disk()
    trail = trails.begin(disk)
    disk.broken = no_space()
    trail.put(AuditRecord(id="1"))
    disk.until(lambda: trail.failure() is not None)
    disk.broken = None
    trail.close(60)
    assert names(disk.records)[0] == "1"
    assert disk.durable == len(disk.records)


def test_does_not_wait_for_ever_for_a_disk_that_hangs(
    trails: Trails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DURABLE_SECONDS", 0.01)
    disk = Disk()
    trail = trails.begin(disk)
    disk.arrived.acquire()
    disk.goes.clear()
    trail.put(AuditRecord(id="1"))
    with pytest.raises(UnavailableError, match="could not write"):
        asyncio.run(trail.durable())
    with pytest.raises(UnavailableError, match="could not write"):
        trail.flush(0.01)


def test_what_fails_slowly_is_tried_less_often() -> None:
    assert module.pause_after(0.0) == module.RETRY
    assert module.pause_after(0.4) == pytest.approx(3.6)
