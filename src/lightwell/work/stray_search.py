"""The search for packs that the database does not know; see `StraySearch`."""

from __future__ import annotations

import logging
import threading
from functools import partial
from itertools import islice

from lightwell.clock import Clock
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background import gc_candidates
from lightwell.stores.background.installation import check_before_removal
from lightwell.stores.objects import pack_objects, packs
from lightwell.stores.objects.pack_objects import pack_name

log = logging.getLogger(__name__)

_PARTS = 256  # of the names of packs, see `pack_name`
_BATCH = 500
# So many packs have to have been seen before any of them is judged, unless there are fewer.
_ENOUGH = 1000
_MOST_UNKNOWN = 10_000


class StraySearch:
    """Removes packs that the database does not know, if they were written before the grace period.

    One is left, for instance, by a writer that slept until the collector had removed its row: a pack's row
    exists before its first byte does. Where most packs are unknown, this is probably not their database, and
    nothing is removed.

    Listing a bucket of a hundred million packs takes a hundred thousand requests, so it is listed by parts,
    each the packs whose key ends alike, spread over ``stray_interval``; all servers share one search.
    """

    def __init__(self, stores: Stores, settings: Settings, clock: Clock, stopping: threading.Event) -> None:
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._stopping = stopping
        self._seen = 0
        self._unknown: list[int] = []
        self._unknown_seen = 0

    def search_on(self) -> int:
        """Search the next parts if it is time. Returns how many packs have been removed."""
        pace = self._settings.stray_interval * 1000 // _PARTS
        if not self._settings.stray_interval:
            return 0
        removed = 0
        # As many as come due between two rounds of the collector.
        for number in range(min(_PARTS, max(1, self._settings.collect_interval * 1000 // max(1, pace)))):
            now, wait = self._clock.now(), 0 if number else pace
            part = self._stores.db.write(partial(gc_candidates.claim_strays, now=now, pace=wait))
            if part is None or self._stopping.is_set():
                break
            if part == 0:
                self._begin()
            self._look_at(f"packs/{part:02x}")
            if part == _PARTS - 1 or self._seen >= _ENOUGH:
                removed += self._judge()
            if part == _PARTS - 1:
                break
        return removed

    def search_all(self) -> int:
        """Search everything at once. Returns how many packs have been removed."""
        self._begin()
        self._look_at("packs")
        return 0 if self._stopping.is_set() else self._judge()

    def _begin(self) -> None:
        self._seen = self._unknown_seen = 0
        self._unknown = []

    def _look_at(self, prefix: str) -> None:
        stale = self._stores.objects.stale(prefix, self._clock.now() - self._settings.collect_grace * 1000)
        while not self._stopping.is_set() and (names := list(islice(stale, _BATCH))):
            keys = [key for name in names if (key := pack_objects.key_of(name)) is not None]
            with self._stores.db.read() as conn:
                known = packs.existing_keys(conn, keys)
            unknown = [key for key in keys if key not in known]
            self._seen += len(keys)
            self._unknown_seen += len(unknown)
            self._unknown += unknown[: _MOST_UNKNOWN - len(self._unknown)]

    def _judge(self) -> int:
        if self._unknown_seen > self._seen // 2:
            log.warning(
                "%d of %d packs in %s are unknown to the database, so none is removed: is it the right one?",
                self._unknown_seen,
                self._seen,
                self._stores.objects.address,
            )
            self._begin()
            return 0
        if self._unknown:
            check_before_removal(self._stores.db, self._stores.objects)
        removed = 0
        for start in range(0, len(self._unknown), _BATCH):
            some = self._unknown[start : start + _BATCH]
            # Some were seen days ago, and the database may have been another state of itself then.
            with self._stores.db.read() as conn:
                known = packs.existing_keys(conn, some)
            for key in some:
                if key not in known:
                    self._stores.objects.delete(pack_name(key))
                    removed += 1
        self._unknown = []
        return removed
