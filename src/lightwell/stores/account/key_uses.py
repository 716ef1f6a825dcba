"""When access keys were last used and from where: collected in memory, written once a minute.

Noting a use costs a dictionary look-up; a crash loses those of the last minute.
"""

from __future__ import annotations

import logging
import threading

from lightwell.errors import LightwellError
from lightwell.stores.account import principals
from lightwell.stores.db.database import Database

_log = logging.getLogger(__name__)

_MOST = 10_000  # of keys and sessions in one minute; others are noted when they are used the next minute


class KeyUses:
    """The uses of keys in one process. ``interval``: seconds from the first use until all are written."""

    def __init__(self, db: Database, *, interval: float = 60.0) -> None:
        self._db = db
        self._interval = interval
        self._lock = threading.Lock()
        self._noted: dict[str, tuple[int, str | None]] = {}
        self._timer: threading.Timer | None = None

    def note(self, access_key_id: str, client: str | None, now: int) -> None:
        """Somebody has proved at ``now``, ms since the epoch, from this address, to have the key's secret."""
        noted = self._noted.get(access_key_id)
        if noted is not None and noted[1] == client:
            return
        with self._lock:
            if noted is None and len(self._noted) >= _MOST:
                return
            self._noted[access_key_id] = now, client
            if self._timer is None:
                self._timer = threading.Timer(self._interval, self.flush)
                self._timer.name = "lightwell-key-uses"
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write the uses that were noted."""
        with self._lock:
            noted, self._noted = self._noted, {}
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if not noted:
            return
        try:
            self._db.write(lambda conn: principals.set_used(conn, noted))
        except LightwellError as error:
            _log.warning("when %d access keys were last used was lost: %s", len(noted), error)
