"""Threads that are started on demand, and share a bounded number of bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lightwell.codec_pool.far_storage.threads import DaemonPool, Room


def test_lets_wait_what_finds_no_room_and_one_pass_that_is_larger_than_all_of_it() -> None:
    room, most = Room(), 0
    lock = threading.Lock()

    def use(count: int) -> None:
        nonlocal most
        with room.taken(count, 10):
            with lock:
                most = max(most, room.used)
            time.sleep(0.002)

    threads = [threading.Thread(target=use, args=(count,)) for count in (4, 5, 6, 3, 10, 1) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, room.used) == (10, 0)
    with room.taken(30, 10):
        assert room.used == 30


def test_no_work_waits_for_a_thread_that_has_just_begun_other_work() -> None:
    pool, taken, goes_on, done = DaemonPool(2, "test"), threading.Event(), threading.Event(), []
    get = pool._work.get

    class Slow:
        """A queue whose threads are slow to begin what they have taken."""

        put, qsize = pool._work.put, pool._work.qsize

        def get(self) -> Callable[[], None]:
            work = get()
            taken.set()
            goes_on.wait(30)
            return work

    pool._work = Slow()  # type: ignore[assignment]
    for number in (1, 2):
        pool.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        assert taken.wait(30)
    assert pool._threads == 2
    goes_on.set()
    end = time.monotonic() + 30
    while sorted(done) != [1, 2]:
        assert time.monotonic() < end
        time.sleep(0.005)
