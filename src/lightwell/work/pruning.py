"""Removes rows that nobody needs any more, some time after they have served their purpose.

Delivered events are in the event log, the outcomes of a finished job in its report; what it has given up can
be tried again for as long as they are there. A client token is needed for as long as a client may repeat its
request. What the API answers stays: jobs and their counts.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from time import monotonic

from sqlalchemy import Connection

from lightwell.clock import Clock
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background import obsolete_rows
from lightwell.stores.background.records import NOT_RECORDED, BackgroundRecords
from lightwell.work import removal_records

_EVERY_SECONDS = 600.0
_BATCH = 1000


class Pruning:
    """`prune` every ten minutes, in bounded transactions."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock,
        stopping: threading.Event,
        records: BackgroundRecords = NOT_RECORDED,
    ) -> None:
        self._records = records
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._stopping = stopping
        self._not_before = 0.0

    def prune(self) -> Counter[str]:
        """Remove what is due, unless that was done a moment ago. Returns how many rows of each kind."""
        removed: Counter[str] = Counter()
        if monotonic() < self._not_before:
            return removed
        self._not_before = monotonic() + _EVERY_SECONDS
        now = self._clock.now()
        for name, keep, remove in (
            ("events", self._settings.keep_events, obsolete_rows.remove_events),
            ("client_tokens", self._settings.keep_client_tokens, obsolete_rows.remove_client_tokens),
            # Before the outcomes, without which a second try would leave files out.
            ("dead_units", self._settings.keep_outcomes, obsolete_rows.remove_dead_units),
            ("outcomes", self._settings.keep_outcomes, obsolete_rows.remove_outcomes),
        ):
            if keep:
                removed[name] = self._remove(remove, now - keep * 1000)
        if any(removed.values()):
            self._records.put([removal_records.of_rows(+removed)])
        return removed

    def _remove(self, remove: Callable[[Connection, int, int], int], before: int) -> int:
        removed = 0
        while not self._stopping.is_set():
            some = self._stores.db.write(lambda conn: remove(conn, before, _BATCH))
            if not some:
                break
            removed += some
        return removed
