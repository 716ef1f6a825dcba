"""Tells of damage that reads have met: a row and an event for each place, written by a thread of its own.

Whoever reads is answered first, and the same whatever becomes of the report: a viewer that asks for a damaged
frame a thousand times makes one event, and a database that is away none; the next read then tells again.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial

from cachetools import LRUCache

from lightwell.domain.events import EventHeader
from lightwell.stores.db.database import Database
from lightwell.stores.integrity import faults
from lightwell.stores.integrity.faults import Fault, place_in_pack
from lightwell.stores.objects.pack_objects import key_of

log = logging.getLogger(__name__)

_MOST, _MOST_KNOWN = 1000, 10_000
_CLOSE_SECONDS = 5.0


class DamageReports:
    """For one process. ``now`` is the clock in ms; ``header`` makes the envelope of a data store's event."""

    def __init__(self, db: Database, now: Callable[[], int], header: Callable[[str], EventHeader]) -> None:
        self._db = db
        self._now = now
        self._header = header
        self._waiting: queue.Queue[Fault | None] = queue.Queue(_MOST)
        self._known: LRUCache[str, bool] = LRUCache(_MOST_KNOWN)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, name: str, offset: int, length: int) -> None:
        """Of ``length`` bytes of an object. Neither waits nor raises."""
        reason = f"{length} bytes of {name} at {offset} are not the ones that were stored"
        self._note(Fault(place=place_in_pack(name, offset), reason=reason, pack=key_of(name)))

    def note_misplaced(self, image_set: int, what: str) -> None:
        """Of an image set, by its key, that names ``what``, which is another's. Neither waits nor raises."""
        place = f"image set {image_set:016x} names {what}"
        self._note(Fault(place=place, reason=f"it names {what}", image_set=image_set))

    def _note(self, fault: Fault) -> None:
        place = fault.place
        with self._lock:
            if place in self._known:
                return
            self._known[place] = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="damage-reports", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(fault)
        except queue.Full:
            self._forget(place)

    def close(self) -> None:
        """Write what waits, for some seconds at most."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(_CLOSE_SECONDS)

    def _write(self) -> None:
        while (fault := self._waiting.get()) is not None:
            try:
                sets = faults.concerned_sets(self._db, fault)
                note = partial(faults.note, fault=fault, now=self._now(), header=self._header, concerned=sets)
                self._db.write(note)
            except Exception as error:  # whatever it is, reads go on
                log.warning("damage of %s could not be noted: %s", fault.place, error)
                self._forget(fault.place)

    def _forget(self, place: str) -> None:
        with self._lock:
            self._known.pop(place, None)
