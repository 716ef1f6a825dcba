"""Threads that share a bounded number of bytes."""

from __future__ import annotations

import threading
import time

from lightwell.codec_pool.far_storage.threads import Room


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
