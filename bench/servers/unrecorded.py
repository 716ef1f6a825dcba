"""``lightwell`` whose HTTP processes keep no audit trail, to measure what the trail costs a request:
``python unrecorded.py serve …``.

For benchmarks only. The server that people start keeps its trail whatever its settings say. The process that
works in the background keeps its own here, too: it does not start without one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightwell.cli.main import main
from lightwell.cli.trails import process_trail
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.metrics import Recorder
from lightwell.settings import Settings

_usual = process_trail.process_trail


@contextmanager
def no_trail_of_requests(
    settings: Settings, writer: str, recorder: Recorder | None
) -> Iterator[AuditTrail | None]:
    """In the place of `process_trail.process_trail`: None for an HTTP process."""
    if writer.startswith("http-"):
        yield None
    else:
        with _usual(settings, writer, recorder) as trail:
            yield trail


if __name__ == "__main__":
    process_trail.process_trail = no_trail_of_requests  # type: ignore[assignment]
    sys.exit(main())
