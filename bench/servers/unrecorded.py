"""``lightwell`` without an audit trail, to measure what the trail costs: ``python unrecorded.py serve …``.

For benchmarks only. The server that people start keeps its trail whatever its settings say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lightwell.cli.main import main
from lightwell.cli.trails import process_trail
from lightwell.observe.metrics import Recorder
from lightwell.settings import Settings


@contextmanager
def no_trail(settings: Settings, writer: str, recorder: Recorder | None) -> Iterator[None]:
    """In the place of `process_trail.process_trail`."""
    yield None


if __name__ == "__main__":
    process_trail.process_trail = no_trail  # type: ignore[assignment]
    sys.exit(main())
