"""The runs of `data verify` that servers do by themselves, slowly, beside the collector."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from lightwell.clock import Clock
from lightwell.domain.integrity import FaultKind
from lightwell.errors import StorageUnavailableError
from lightwell.observe.logs import event
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.integrity import runs
from lightwell.stores.objects import packs

if TYPE_CHECKING:
    from lightwell.work.verifying.run import Verifier

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
# A run that has not got on for so long has been interrupted.
_INTERRUPTED_MS = 600_000


class RegularVerifying:
    """For one thread, which calls `step` again and again and `close` at its end.

    A run is due when the last one ended ``verify_days`` ago, and what is stored is that old; one that was
    interrupted, here or elsewhere, is gone on with.
    """

    def __init__(self, stores: Stores, settings: Settings, clock: Clock, stopping: threading.Event) -> None:
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._stopping = stopping
        self._not_before = 0.0
        self._run: Verifier | None = None

    def step(self) -> None:
        """Check a few packs or rows if a run is due, unless this has worked for more than its share."""
        share = min(self._settings.verify_share, 100)
        begun = time.monotonic()
        if not share or not self._settings.verify_days or begun < self._not_before:
            return
        until = begun + max(1.0, self._settings.collect_interval * share / 100)
        try:
            if self._run is None and not self._begin():
                return
            while self._run is not None and not self._stopping.is_set() and time.monotonic() < until:
                if self._run.step():
                    self._end(self._run)
        except StorageUnavailableError:
            raise
        except Exception:
            self.close()
            raise
        self._not_before = time.monotonic() + (time.monotonic() - begun) * (100 - share) / share

    def close(self) -> None:
        """End its codec worker; the run is gone on with later."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def _begin(self) -> bool:
        # Imported here because most rounds of most servers verify nothing.
        from lightwell.work.verifying.run import Verifier

        now = self._clock.now()
        with self._stores.db.read() as conn:
            unfinished = runs.unfinished(conn, "regular")
            last = runs.last_finished(conn, ("regular", "sample", "all"), now)
            since = packs.oldest(conn) if last is None else last
        is_due = since is not None and now - since > self._settings.verify_days * _DAY_MS
        if unfinished is not None:
            is_due = not -runs.AHEAD_MS <= now - unfinished.seen_at <= _INTERRUPTED_MS
        if is_due:
            run = Verifier(
                self._stores,
                self._settings,
                lambda done, total: None,
                mode="regular",
                processes=1,
                stopping=self._stopping,
            )
            run.begin()
            self._run = run
        return is_due

    def _end(self, run: Verifier) -> None:
        report = run.report()
        self.close()
        problems = [problem for problem in report.problems if problem.kind is not FaultKind.DROPPED]
        level = logging.ERROR if problems else logging.INFO
        event(
            log,
            level,
            "verified",
            packs=report.packs,
            image_sets=report.image_sets,
            problems=len(problems),
            advice="run `lightwell data verify`, which names them" if problems else "",
        )
