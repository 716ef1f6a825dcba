"""Gives frames that were stored before there were checksums of stored bytes theirs, slowly, beside all else.

A codec worker decodes each and compares the samples with the checksum made at its import, so that damage that
has happened since is reported, never taken for what was stored. What is left to do is what has no checks
(`domain.image_sets.frame_checks`), so it goes on wherever it was interrupted.
"""

from __future__ import annotations

import logging
import threading
import time

from lightwell.domain.image_sets.frame_table import frame_id
from lightwell.domain.integrity import FaultKind
from lightwell.errors import StorageUnavailableError
from lightwell.observe import metrics
from lightwell.observe.logs import event
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.collector import integrity
from lightwell.stores.db.online_indexes import UNCHECKED_FRAMES
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.work.index_building import IndexBuilding
from lightwell.work.verifying.packs import VerifyWorker

log = logging.getLogger(__name__)

# Rows of the frame table that are sent to the worker at once, of up to 256 frames each.
_ROWS = 16
# What is damaged is looked at again, and reported again, after this.
_REST_SECONDS = 24 * 3600.0
# What the storage cannot give now is asked for again after this, and passed over after so many times.
_PAUSE_SECONDS, _PAUSES = 60.0, 10
_START = (-1, -1)


class ChecksumFiller:
    """For one thread, which calls `step` again and again and `close` at its end."""

    def __init__(self, stores: Stores, settings: Settings, stopping: threading.Event) -> None:
        self._stores = stores
        self._settings = settings
        self._stopping = stopping
        self._after = _START
        self._not_before = 0.0
        self._pauses = 0
        self._worker: VerifyWorker | None = None
        self._index = IndexBuilding(stores.db, UNCHECKED_FRAMES, stopping)

    def step(self, seconds: float) -> None:
        """Work for about so long, unless it has worked for more than its share of the time.

        Rests where database or storage are away. Raises `StorageError` where no worker can be started.
        """
        share = min(self._settings.checksum_share, 100)
        begun = time.monotonic()
        if not share or begun < self._not_before or not self._index.is_over():
            return
        while not self._stopping.is_set() and time.monotonic() < begun + seconds:
            try:
                is_over = not self._some()
            except StorageUnavailableError as error:
                log.warning("checksums of old frames wait for the storage: %s", error)
                self._not_before = time.monotonic() + _PAUSE_SECONDS
                return
            if is_over:
                self.close()
                self._after = _START
                self._not_before = time.monotonic() + _REST_SECONDS
                return
        self._not_before = time.monotonic() + (time.monotonic() - begun) * (100 - share) / share

    def close(self) -> None:
        """End its codec worker, which is started again when it is needed, and the building of its index."""
        self._index.close()
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _some(self) -> bool:
        """A few rows; False if there are no more."""
        with self._stores.db.read() as conn:
            rows = integrity.unchecked(conn, self._after, _ROWS)
        if not rows:
            return False
        if self._worker is None:
            self._worker = VerifyWorker(self._stores, self._settings, self._stopping)
        faults = self._worker.check_frames(rows)
        if any(fault.kind == FaultKind.UNREADABLE for _, fault in faults) and self._pauses < _PAUSES:
            # They are looked at again: that the storage is away is no damage.
            self._pauses += 1
            raise StorageUnavailableError(next(f.reason for _, f in faults if f.kind == FaultKind.UNREADABLE))
        self._pauses = 0
        for pixels, fault in faults:
            if fault.kind == FaultKind.UNREADABLE:
                log.warning("%s, frame %s: %s", pack_name(pixels.pack), frame_id(pixels.key, 0), fault.reason)
                continue
            metrics.count("lightwell_damaged_reads_total", "frame")
            event(
                log,
                logging.ERROR,
                "damaged_frame",
                frame=frame_id(pixels.key, pixels.first),
                object=pack_name(pixels.pack),
                reason=f"{fault.reason}; run `lightwell data verify`",
            )
        self._after = (rows[-1].key, rows[-1].first)
        return True
