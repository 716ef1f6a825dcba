"""Moves all that is stored to another database, another storage, or both: `lightwell data move`.

Nothing in the old ones changes, except that a database or a storage which stays gets another id, so that who
still uses the old place is refused. The order is: the new ones are claimed; packs are copied, then rows; then
everything is read again and compared; and only if nothing differs do the new ones become usable. A move that
was interrupted, however, is run again, and copies only what is not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

from lightwell.errors import LightwellError, StorageError
from lightwell.stores.background import installation, servers
from lightwell.stores.background.servers import Server
from lightwell.stores.db.database import Database
from lightwell.stores.jobs.units import Enqueue
from lightwell.stores.moving import destination, rows
from lightwell.stores.moving.changes import Changes
from lightwell.stores.moving.destination import Begun
from lightwell.stores.moving.table_move import TableDigest, TableMove
from lightwell.stores.objects.interface import Objects
from lightwell.work.moving.frame_samples import look_at_frames
from lightwell.work.moving.pack_move import PackMove

STEPS = ("bytes copied", "rows", "bytes read back", "packs looked at", "rows compared")
"""What ``show`` is told of."""


@dataclass(frozen=True, slots=True)
class Place:
    """A database and a storage."""

    db: Database
    objects: Objects


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What was moved, and everything that is wrong: then the new place is not usable yet.

    ``bytes`` are those of the packs, ``frames`` how many were read as clients read them.
    """

    packs: int = 0
    bytes: int = 0
    frames: int = 0
    queued_units: int = 0
    open_jobs: list[str] = field(default_factory=list)
    tables: list[TableDigest] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_quiet(db: Database) -> None:
    """Raises `LightwellError` if servers or workers use the database now, as far as it knows."""
    if db.dialect == "sqlite":
        return
    with db.read() as conn:
        running = servers.others(conn, Server("", "", ""))
    if running:
        raise LightwellError(
            f"The database {db.address} is in use by {', '.join(running[:5])}: stop these servers and "
            f"workers first. One that was killed counts as stopped after {servers.ALIVE_MS // 1000} seconds"
        )


class Move:
    """One run. ``old`` and ``new`` share the database or the storage if only the other one is moved.

    ``identity`` says where the old ones are, so that a move which was interrupted knows itself again;
    ``new_id`` becomes the id of the storage that the new database has.
    """

    def __init__(
        self,
        old: Place,
        new: Place,
        *,
        identity: str,
        new_id: str,
        changes: Changes,
        enqueue: Enqueue,
        show: Callable[[str, int, int], None],
    ) -> None:
        self._old = old
        self._new = new
        self._new_id = new_id
        self._source = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._enqueue = enqueue
        self._packs = PackMove(old.db, old.objects, new.objects, show)
        self._tables = TableMove(old.db, new.db, changes, show)
        self._moves_rows = new.db is not old.db
        self._moves_packs = new.objects is not old.objects

    def run(self) -> MoveReport:
        """Move everything, or what is missing of it.

        Raises `LightwellError` if the new place is not empty or the old one is in use, `StorageError` if one
        of them fails meanwhile; the move then goes on when it is run again.
        """
        check_quiet(self._old.db)
        begun = self._begin()
        problems: list[str] = []
        if self._moves_packs:
            problems += self._packs.copy().problems
        if self._moves_rows:
            self._tables.copy()
        back = self._packs.read_back() if self._moves_packs else self._packs.look()
        problems += [problem for problem in back.problems if not _is_known(problem, problems)]
        tables, differences = self._tables.compare() if self._moves_rows else ([], [])
        problems += differences
        seen, damaged = look_at_frames(self._new.db, self._new.objects) if not problems else (0, [])
        problems += damaged
        check_quiet(self._old.db)
        with self._old.db.read() as conn:
            open_jobs = destination.open_jobs(conn)
        queued = 0 if problems else self._finish(begun)
        return MoveReport(back.packs, back.bytes, seen, queued, open_jobs, tables, problems)

    def _begin(self) -> Begun:
        begun = Begun(self._source, self._new_id)
        with self._old.db.read() as conn:
            known = installation.known_id(conn)
        if known is None or installation.read_id(self._old.objects) is None:
            # No process that knows of ids has run here: without one in each nobody could tell old from new.
            installation.agree_on_storage(self._old.db, self._old.objects, uuid4().hex)
            with self._old.db.read() as conn:
                known = installation.known_id(conn)
        if not self._moves_rows:
            # Always the same for the same move, since there is no new database that could remember it.
            parts = f"{self._source} {known} {self._new.objects.address}"
            begun = Begun(self._source, hashlib.sha256(parts.encode()).hexdigest()[:32])
        if known is not None and installation.read_id(self._old.objects) not in (
            None,
            known,
            self._given(begun),
        ):
            raise LightwellError(
                f"{self._old.objects.address} is not the storage of the database {self._old.db.address}: was "
                "one of them moved before? Name the storage that the servers of this database use"
            )
        if self._moves_rows:
            begun = destination.begin(self._new.db, begun)
        if self._moves_packs:
            destination.claim_storage(self._new.objects, begun)
        return begun

    def _given(self, begun: Begun) -> str:
        """The id that this move has given to the storage if it was interrupted at its very end."""
        before = destination.under_way(self._new.db) if self._moves_rows else None
        return begun.storage if before is None or before.source != begun.source else before.storage

    def _finish(self, begun: Begun) -> int:
        """Let the new place be used, and nobody use what it has together with the old one."""
        if not self._moves_rows:
            destination.release_storage(self._new.objects, begun)
            self._old.db.write(partial(installation.set_id, id=begun.storage))
            return 0
        for table in rows.tables():
            # PostgreSQL does it by itself, if this takes too long.
            with suppress(StorageError):
                self._new.db.write(lambda conn, table=table: rows.analyze(conn, table))  # type: ignore[misc]
        destination.release_storage(self._new.objects, begun)
        return self._new.db.write(lambda conn: destination.finish(conn, begun, self._enqueue))


def _is_known(problem: str, before: list[str]) -> bool:
    name = problem.partition(":")[0]
    return any(each.startswith(f"{name}:") for each in before)
