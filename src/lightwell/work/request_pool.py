"""The codec workers that serve HTTP processes: uploads, pictures, decoded frames. Needs no engine."""

from __future__ import annotations

import threading

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.dispatcher import Dispatcher
from lightwell.codec_pool.queue import RequestQueue
from lightwell.codec_pool.server import PoolServer
from lightwell.codec_pool.store_committer import StoreCommitter
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background.records import NOT_RECORDED, BackgroundRecords

# Requests that are under way when the pool is told to close may take so long.
_REQUEST_SECONDS = 4.0


class RequestPool:
    """A thread for each codec worker that serves requests, one that commits, and one at the socket.

    `open` and `close` once each, from a thread that outlives the pool.
    """

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        records: BackgroundRecords = NOT_RECORDED,
    ) -> None:
        # One more than a caller may have, so that its slowest files leave one to the others.
        self._queue = RequestQueue(settings.codec_processes)
        self._server = PoolServer(settings.data, self._queue)
        self._committer = StoreCommitter(stores, settings, clock, ids, records)
        self._dispatchers = [
            Dispatcher(stores, settings, self._queue, self._committer)
            for _ in range(settings.codec_processes + 1)
        ]
        self._dispatchers_stop, self._committer_stop = threading.Event(), threading.Event()
        self._dispatching = [
            threading.Thread(target=each.run, args=(self._dispatchers_stop,), name=f"dispatcher-{i}")
            for i, each in enumerate(self._dispatchers)
        ]
        self._committing = threading.Thread(
            target=self._committer.run, args=(self._committer_stop,), name="committer"
        )

    def open(self) -> None:
        """Begin to serve."""
        for thread in [*self._dispatching, self._committing]:
            thread.start()
        self._server.open()

    def close(self, linger: float) -> None:
        """Let clients that are connected finish, for ``linger`` seconds at most, then end."""
        self._server.wait(linger)
        self._queue.close(_REQUEST_SECONDS)
        self._dispatchers_stop.set()
        for thread in self._dispatching:
            thread.join()
        self._committer_stop.set()
        self._committing.join()
        self._server.close()

    def worker_pids(self) -> list[int]:
        """The process ids of the codec workers that run now."""
        return [pid for each in self._dispatchers if (pid := each.worker_pid) is not None]
