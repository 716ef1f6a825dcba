"""What waits, as gauges: measured by every engine, and by servers that have none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from lightwell.domain.states import JobPhase, UnitState
from lightwell.errors import StorageError
from lightwell.observe.seldom import Seldom
from lightwell.stores import Stores
from lightwell.stores.jobs import queue_view
from lightwell.stores.jobs.queue_view import Depth

Measure = Callable[[str, str, float], None]
"""Sets one of `observe.metrics.GAUGES`: its name, the value of its label, the number."""

_SECONDS = 5.0

log = logging.getLogger(__name__)
seldom = Seldom(log)


def measure_queue(depths: Sequence[Depth], measure: Measure) -> None:
    """Set the gauges of the queue; those of what is not there to 0."""
    found = {(depth.phase, depth.state): depth for depth in depths}
    for phase in (JobPhase.LIST, JobPhase.READ, JobPhase.COMMIT, JobPhase.REPORT):
        for state in (UnitState.READY, UnitState.CLAIMED, UnitState.DEAD):
            depth = found.get((phase, state))
            measure(f"lightwell_queue_{state}_units", phase, depth.units if depth else 0)
            if state == UnitState.READY:
                measure("lightwell_queue_oldest_seconds", phase, depth.oldest_ms / 1000 if depth else 0.0)


def keep_measuring(stores: Stores, measure: Measure, stopping: threading.Event) -> None:
    """Measure every 5 seconds until told to stop: so it is seen, too, that nobody works at all."""
    while True:
        try:
            with stores.db.read() as conn:
                depths = queue_view.depths(conn)
            measure_queue(depths, measure)
        except StorageError as error:
            seldom(logging.INFO, "the queue cannot be measured: %s", error)
        except Exception:
            log.exception("measuring the queue failed")
        if stopping.wait(_SECONDS):
            return
