"""When image sets were last read (``lastAccessedAt``): collected in memory, written every few seconds.

What counts as an access: devguide/cost-optimization. Recording one costs a dictionary look-up; a crash loses
the last seconds, on which nothing depends: a set counts as archived after 30 days.
"""

from __future__ import annotations

import logging
import threading

from lightwell.domain.keys import ImageSetKey
from lightwell.errors import LightwellError
from lightwell.stores.db.database import Database
from lightwell.stores.image_sets import lookups

_log = logging.getLogger(__name__)


class Accesses:
    """The accesses of one process. ``interval``: seconds from an access until it is written."""

    def __init__(self, db: Database, *, interval: float = 5.0) -> None:
        self._db = db
        self._interval = interval
        self._lock = threading.Lock()
        self._noted: dict[int, int] = {}
        self._timer: threading.Timer | None = None

    def note(self, image_set: ImageSetKey, now: int) -> None:
        """The content of the set with this key was read at ``now``, ms since the epoch."""
        if image_set in self._noted:
            return
        with self._lock:
            self._noted[image_set] = now
            if self._timer is None:
                self._timer = threading.Timer(self._interval, self.flush)
                self._timer.name = "lightwell-accesses"
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write the recorded accesses."""
        with self._lock:
            noted, self._noted = self._noted, {}
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if not noted:
            return
        now = max(noted.values())
        try:
            self._db.write(lambda conn: lookups.set_last_accessed(conn, sorted(noted), now))
        except LightwellError as error:
            _log.warning("the last access times of %d image sets were lost: %s", len(noted), error)
