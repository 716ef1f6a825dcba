"""Builds an index in a thread of its own, beside everything else, until it is there."""

from __future__ import annotations

import logging
import threading
import time

from lightwell.errors import StorageError
from lightwell.stores.db import online_indexes
from lightwell.stores.db.database import Database
from lightwell.stores.db.online_indexes import OnlineIndex

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 60.0


class IndexBuilding:
    """For one thread, which asks `is_over` now and then and calls `close` at its end."""

    def __init__(self, db: Database, index: OnlineIndex, stopping: threading.Event) -> None:
        self._db = db
        self._index = index
        self._stopping = stopping
        self._is_over = False
        self._not_before = 0.0
        self._thread: threading.Thread | None = None

    def is_over(self) -> bool:
        """Whether the index is there, or cannot be built here; begins to build it if need be.

        Raises `StorageError`.
        """
        if self._is_over or (self._thread is not None and self._thread.is_alive()):
            return self._is_over
        if time.monotonic() < self._not_before:
            return False
        if online_indexes.is_there(self._db, self._index):
            self._is_over = True
            return True
        self._not_before = time.monotonic() + _AGAIN_SECONDS
        self._thread = threading.Thread(target=self._build, name="index")
        self._thread.start()
        return False

    def close(self) -> None:
        """Wait for the thread, which ends soon once the process is to stop."""
        if self._thread is not None and self._stopping.is_set():
            self._thread.join()

    def _build(self) -> None:
        name = self._index.name
        try:
            if online_indexes.is_there(self._db, self._index):
                return
            log.info("the index %s is built while everything goes on", name)
            is_built = online_indexes.build(self._db, self._index, self._stopping)
        except StorageError as error:
            if not self._stopping.is_set():
                log.warning("the index %s could not be built yet: %s", name, error)
            return
        if is_built:
            log.info("the index %s is built", name)
        elif is_built is None:
            self._is_over = True
            log.warning(
                "the index %s cannot be built through a pooler: set database_direct_url, or run CREATE INDEX "
                "CONCURRENTLY %s %s",
                name,
                name,
                self._index.definition,
            )
