"""Renews a server's row in the table ``server`` for as long as it runs."""

from __future__ import annotations

import logging
import threading

from lightwell.errors import StorageError
from lightwell.stores import Stores
from lightwell.stores.background import servers
from lightwell.stores.background.servers import Server

log = logging.getLogger(__name__)


class ServerHeartbeat:
    """A thread that renews the row of ``server`` until `end`."""

    def __init__(self, stores: Stores, server: Server, seconds: float = servers.RENEW_SECONDS) -> None:
        self._stores = stores
        self._server = server
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat")

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Stop, and delete the row."""
        self._over.set()
        self._thread.join()
        try:
            self._stores.db.write(lambda conn: servers.deregister(conn, self._server))
        except StorageError as error:
            log.warning("the end of this server could not be recorded: %s", error)

    def _run(self) -> None:
        was_ours = True
        while not self._over.wait(self._seconds):
            try:
                ours = self._stores.db.write(lambda conn: servers.renew(conn, self._server))
            except StorageError:
                continue  # the engine logs that the database is unavailable
            if was_ours and not ours:
                log.error(
                    "another server has the id %s of this data folder, %s: is one a copy of the other? Stop "
                    "one, remove node.id from its data folder, and start it again",
                    self._server.node,
                    self._server.place,
                )
            was_ours = ours
