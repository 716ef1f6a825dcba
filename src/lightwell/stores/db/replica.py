"""A read replica of PostgreSQL, used only while it is known to be no further behind than allowed.

How far it is behind cannot be read from the replica alone: one that has lost its primary believes that it is
up to date. So the primary's position in its log is noted each second, with the time; the replica is as old
as the last of these moments whose position it has replayed. Each question costs both a statement a second in
each process that searches, never one per request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_EVERY_SECONDS = 1.0
# Without any search for so long, nobody asks any more.
_IDLE_SECONDS = 60.0
_PRIMARY = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
_REPLICA = "SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn"


class ReplicaLag:
    """Watches how far a replica is behind, in a thread that runs while anybody asks.

    ``primary`` and ``replica`` open driver connections in autocommit.
    """

    def __init__(self, primary: Callable[[], Any], replica: Callable[[], Any], allowed: float) -> None:
        self._connect = {_PRIMARY: primary, _REPLICA: replica}
        self._open: dict[str, Any] = {}
        self._allowed = allowed
        self._fresh_until = 0.0
        self._asked_at = 0.0
        self._noted: deque[tuple[float, int]] = deque(maxlen=600)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._told = False

    def is_fresh(self) -> bool:
        """Whether the replica is at most the allowed number of seconds behind now."""
        now = time.monotonic()
        self._asked_at = now
        if self._thread is None:
            self._begin()
        return now < self._fresh_until

    def distrust(self) -> None:
        """A statement has failed on the replica: use it again only once it has answered the watch."""
        self._fresh_until = 0.0

    def close(self) -> None:
        """Stop watching, and close the connections for it."""
        self._stopping.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(10)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="replica-lag", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            while time.monotonic() - self._asked_at < _IDLE_SECONDS:
                self._look()
                if self._stopping.wait(_EVERY_SECONDS):
                    return
        finally:
            self._drop()
            with self._lock:
                self._thread = None

    def _look(self) -> None:
        """Note where the primary is, then see how much of what was noted the replica has replayed."""
        try:
            began = time.monotonic()
            self._noted.append((began, self._ask(_PRIMARY)))
            replayed = self._ask(_REPLICA)
        except Exception as error:
            self._drop()
            self._tell(f"the replica or its primary cannot be asked ({type(error).__name__})")
            return
        as_of = max((moment for moment, position in self._noted if position <= replayed), default=None)
        if as_of is None:
            self._fresh_until = 0.0
            self._tell("it has not caught up yet")
            return
        self._fresh_until = as_of + self._allowed
        if time.monotonic() < self._fresh_until:
            self._told = False
        else:
            self._tell(f"it is {time.monotonic() - as_of:.0f} s behind")

    def _ask(self, statement: str) -> int:
        connection = self._open.get(statement)
        if connection is None or connection.closed:
            connection = self._open[statement] = self._connect[statement]()
        (position,) = connection.execute(statement).fetchone()
        if position is None:
            raise ValueError("not a replica")
        return int(position)

    def _drop(self) -> None:
        for connection in self._open.values():
            connection.close()
        self._open.clear()
        self._fresh_until = 0.0

    def _tell(self, why: str) -> None:
        if not self._told:
            log.warning("searches go to the primary, not to its replica: %s", why)
        self._told = True
