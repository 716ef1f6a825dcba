"""What keeps the audit trail of a data folder provable and small.

The heads of its chains are noted in the database every ten seconds, and in the chain of this process every
minute, if any has moved. Segments that are complete are compressed and get their index, one a round, and
those that are older than ``audit_keep`` are removed, once that is on record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from lightwell.errors import StorageError, UnavailableError
from lightwell.observe.audit.heads import Head, anchor, durable_heads, removals
from lightwell.observe.audit.retention import begins, expired
from lightwell.observe.audit.segments import compress, index_path, segments, writers
from lightwell.observe.audit.sidecar import build
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.logs import event
from lightwell.stores.background import audit_heads
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.database import Database

log = logging.getLogger(__name__)

_SECONDS = 10.0
_ANCHOR_ROUNDS = 6
# How often to look for what is too old, and how many segments go at once, each named in one record.
_REMOVE_ROUNDS, _MOST_REMOVED = 360, 200
_DAY = 86_400_000


class AuditUpkeep:
    """For one process of a data folder; ``writer`` is the chain of its own ``trail``."""

    def __init__(
        self,
        folder: AuditFolder,
        db: Database,
        trail: AuditTrail,
        writer: str,
        now: Callable[[], int],
        keep_days: int = 0,
    ) -> None:
        self._keep_ms = keep_days * _DAY
        self._folder = folder
        self._root = folder.root
        self._unreadable: set[Path] = set()
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

    def index_one(self) -> bool:
        """Give a compressed segment its index, if one lacks it; whether there was one. Raises `OSError`."""
        keys = self._folder.keys()
        for folder in writers(self._root):
            for segment in segments(folder):
                path = index_path(segment.path)
                if segment.is_compressed and path not in self._unreadable and not path.exists():
                    try:
                        build(segment, keys)
                    except (ValueError, PermissionError):
                        self._unreadable.add(path)  # it keeps no other from having one
                    else:
                        return True
        return False

    def remove_old(self) -> int:
        """Remove segments that are older than is kept; how many. Raises `OSError` and `UnavailableError`."""
        if not self._keep_ms:
            return 0
        old = expired(self._root, self._now() - self._keep_ms, _MOST_REMOVED)
        old = [each for each in old if each.segment.path.stat().st_uid == os.geteuid()]
        if not old:
            return 0
        self._trail.put(removals([*begins(self._root), *(each.begins for each in old)], self._now()))
        # Otherwise nothing would prove that they were meant to go.
        self._trail.flush()
        for each in old:
            index_path(each.segment.path).unlink(missing_ok=True)
            each.segment.path.unlink()
        event(log, logging.INFO, "old parts of the audit trail were removed", segments=len(old))
        # The newest anchor may have been in one of them.
        self._anchored = {}
        return len(old)

    def _run(self) -> None:
        rounds = 0
        while True:
            try:
                self.note(anchors=rounds % _ANCHOR_ROUNDS == 0)
                self.compress_one()
                self.index_one()
                if rounds % _REMOVE_ROUNDS == 0:
                    self.remove_old()
            except (OSError, StorageError, UnavailableError) as error:
                log.info("the upkeep of the audit trail cannot be done now: %s", error)
            except Exception:
                log.exception("the upkeep of the audit trail failed")
            rounds += 1
            if self._stopping.wait(_SECONDS):
                return
