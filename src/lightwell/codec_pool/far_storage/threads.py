"""Threads that wait for S3, shared by all codec workers of a process.

They are daemons: a request may wait a minute for a server that is away, and whoever stops has no such time.
What they were at counts for nothing until it is committed.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class DaemonPool:
    """Runs work in up to ``most`` threads, which are started on demand and stay."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads = self._idle = self._waiting = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` soon. It should not raise: there is nobody to tell."""
        self._work.put(work)
        with self._lock:
            # Counted here, not asked of the queue: who has just taken something counts as idle for a moment.
            self._waiting += 1
            if self._waiting <= self._idle or self._threads >= self._most:
                return
            self._threads += 1
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            work = self._work.get()
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            try:
                work()
            except Exception:
                log.exception("work on S3 failed")
            del work


class Room:
    """Bytes that may be in use at once by all threads of a process; whoever finds no room waits."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._changed = threading.Condition()
        self.used = 0

    @contextmanager
    def taken(self, count: int, most: int) -> Iterator[None]:
        """Use ``count`` of ``most`` bytes, or more than that alone."""
        with self._changed:
            while self.used and self.used + count > most:
                self._changed.wait()
            self.used += count
        try:
            yield
        finally:
            with self._changed:
                self.used -= count
                self._changed.notify_all()


FETCHES = DaemonPool(32, "fetch")
READS = DaemonPool(16, "read")
UPLOADS = DaemonPool(16, "upload")
UPLOAD_MEMORY = Room()
