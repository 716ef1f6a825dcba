"""Whose request is next: callers take turns, and none of them has all workers or all places."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from lightwell.codec_pool.queue import MOST_OF_A_CALLER, MOST_WAITING, PendingRequest, RequestQueue
from lightwell.codec_pool.requests import Ping, PoolReply, RequestError
from tests.support.server import until

FOREVER = 1e18


def put(queue: RequestQueue, caller: str, replies: list[PoolReply] | None = None) -> PendingRequest:
    pending = PendingRequest(Ping(), FOREVER, (replies if replies is not None else []).append, caller)
    queue.put(pending)
    return pending


class Worker:
    """A thread that takes from a queue when it is told to."""

    def __init__(self, queue: RequestQueue) -> None:
        self._queue = queue
        self._thread = ThreadPoolExecutor(1)

    def take(self, seconds: float = 0.0) -> str | None:
        """The caller of what it has got."""
        pending = self._thread.submit(self._queue.take, seconds).result()
        return None if pending is None else pending.caller


def test_takes_turns_among_callers() -> None:
    queue = RequestQueue(9)
    for caller in "aaabbc":
        put(queue, caller)
    worker = Worker(queue)
    assert [worker.take() for _ in range(7)] == ["a", "b", "c", "a", "b", "a", None]


def test_keeps_the_order_of_one_caller() -> None:
    queue = RequestQueue(1)
    first, second = put(queue, "a"), put(queue, "a")
    assert [queue.take(0), queue.take(0)] == [first, second]


def test_leaves_a_worker_to_the_others_whatever_one_caller_asks_for() -> None:
    queue = RequestQueue(2)
    one, two, three = (Worker(queue) for _ in range(3))
    for caller in "aaaa":
        put(queue, caller)
    assert (one.take(), two.take(), three.take()) == ("a", "a", None)
    put(queue, "b")
    assert three.take() == "b"
    put(queue, "b")
    assert three.take() == "b"  # it is done with the first; those of a still wait
    assert one.take() == "a" and three.take() is None


def test_wakes_a_worker_that_waits_when_its_caller_may_have_another_again() -> None:
    """The thread that was at the first has lost its worker, and leaves the second to one that has one."""
    queue, got = RequestQueue(1), list[PendingRequest | None]()
    put(queue, "a")
    assert queue.take(0) is not None
    second = put(queue, "a")
    thread = threading.Thread(target=lambda: got.append(queue.take(60.0)))
    thread.start()
    until(lambda: queue._with_worker == 1)
    assert queue.take(0, has_worker=False) is None
    thread.join()
    assert got == [second]


def test_refuses_what_one_caller_has_too_much_of_and_takes_others() -> None:
    queue, refused = RequestQueue(1), list[PoolReply]()
    for _ in range(MOST_OF_A_CALLER):
        put(queue, "a", refused)
    assert refused == []
    put(queue, "a", refused)
    (said,) = refused
    assert isinstance(said, RequestError) and said.kind == "busy" and "of this caller" in said.message
    for number in range(MOST_WAITING - MOST_OF_A_CALLER):
        put(queue, f"b{number}", refused)
    assert len(refused) == 1
    put(queue, "c", refused)
    assert isinstance(refused[1], RequestError) and "of this caller" not in refused[1].message


def test_refuses_all_that_wait_when_it_is_closed() -> None:
    queue, refused = RequestQueue(1), list[PoolReply]()
    for caller in "abca":
        put(queue, caller, refused)
    queue.close(0.0)
    assert len(refused) == 4 and queue.is_closed and queue.take(0) is None
