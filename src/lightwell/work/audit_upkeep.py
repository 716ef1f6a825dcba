"""What keeps the audit trail of a data folder provable and small.

The heads of its chains are noted in the database every ten seconds, and in the chain of this process every
minute, if any has moved. Segments that are complete are compressed, one a round.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from lightwell.errors import StorageError
from lightwell.observe.audit.heads import Head, anchor, durable_heads
from lightwell.observe.audit.segments import compress, segments, writers
from lightwell.observe.audit.trail import AuditTrail
from lightwell.stores.background import audit_heads
from lightwell.stores.db.database import Database

log = logging.getLogger(__name__)

_SECONDS = 10.0
_ANCHOR_ROUNDS = 6


class AuditUpkeep:
    """For one process of a data folder; ``writer`` is the chain of its own ``trail``."""

    def __init__(
        self, root: Path, db: Database, trail: AuditTrail, writer: str, now: Callable[[], int]
    ) -> None:
        self._root = root
        self._db = db
        self._trail = trail
        self._writer = writer
        self._now = now
        self._stopping = Event()
        self._noted: dict[str, Head] = {}
        self._anchored: dict[str, Head] = {}
        self._thread = Thread(target=self._run, name="audit-upkeep", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Stop; what has moved since the last round is noted by the next start."""
        self._stopping.set()
        self._thread.join()

    def note(self, *, anchors: bool) -> None:
        """Note the heads that have moved; with ``anchors`` also in the own chain.

        Raises `OSError`, and `StorageError` if the database is away.
        """
        heads = {head.writer: head for head in durable_heads(self._root)}
        if anchors:
            # The own chain proves itself, and would move by each of its anchors.
            others = {writer: head for writer, head in heads.items() if writer != self._writer}
            if others and others != self._anchored:
                self._trail.put(anchor(others.values(), self._now()))
                self._anchored = others
        moved = [head for writer, head in heads.items() if self._noted.get(writer) != head]
        if moved:
            now = self._now()
            self._db.write(lambda conn: audit_heads.note(conn, moved, now))
            self._noted = heads

    def compress_one(self) -> bool:
        """Compress a segment that is complete; whether there was one. Raises `OSError`.

        Those that others own, such as root's, are left to them.
        """
        for folder in writers(self._root):
            for segment in segments(folder)[:-1]:
                if not segment.is_compressed and segment.path.stat().st_uid == os.geteuid():
                    compress(segment)
                    return True
        return False

    def _run(self) -> None:
        rounds = 0
        while True:
            try:
                self.note(anchors=rounds % _ANCHOR_ROUNDS == 0)
                self.compress_one()
            except (OSError, StorageError) as error:
                log.info("the upkeep of the audit trail cannot be done now: %s", error)
            except Exception:
                log.exception("the upkeep of the audit trail failed")
            rounds += 1
            if self._stopping.wait(_SECONDS):
                return
