"""The audit trail of one process of a server or worker, from after its fork to its end; and of an import that
works without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from lightwell.clock import Clock
from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.trail import AuditTrail, TrailOptions
from lightwell.observe.metrics import Recorder
from lightwell.settings import Settings
from lightwell.stores.data_folder.audit_folder import AuditFolder


@contextmanager
def process_trail(settings: Settings, writer: str, recorder: Recorder | None) -> Iterator[AuditTrail]:
    """Records when the process starts and ends; no other process has the same ``writer``."""
    folder, clock = AuditFolder(settings.data, settings.audit_key_file), Clock()
    options = TrailOptions(
        writer=writer,
        refuses=settings.audit_full == "refuse",
        is_sync=settings.audit_sync,
        process="http" if writer.startswith("http") else "work",
    )
    if recorder is not None:
        options = replace(options, count=recorder.count, measure=recorder.measure)
    trail = AuditTrail(lambda: Chain(folder.chain(writer, clock.now)), clock.now, options)

    def put(operation: str) -> None:
        trail.put(AuditRecord(at=clock.now(), via="start", operation=operation, kind="system"))

    trail.begin()
    put("ProcessStarted")
    try:
        yield trail
    finally:
        put("ProcessEnded")
        trail.close()
