"""A backup of the database and the packs, while servers go on: `lightwell data backup`.

Packs that are live now are copied first. Then the collector is held, a snapshot of the database is taken, and
the packs that it names and that came meanwhile are copied, too; then the database itself. The manifest is
written last, after the keys of the run. So a run is complete or not there, and whatever was interrupted is of
use to the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from lightwell.clock import Ids
from lightwell.domain.integrity import PackToVerify
from lightwell.errors import LightwellError, StorageError
from lightwell.stores import Stores
from lightwell.stores.background import installation
from lightwell.stores.backup import pieces
from lightwell.stores.backup.runs import Backups, DamagedPack, Pruned, Run, later_than
from lightwell.stores.backup.snapshots import Snapshot, revision, snapshot
from lightwell.stores.collector import integrity
from lightwell.stores.db.now import read_now
from lightwell.stores.moving import rows
from lightwell.work.backup.claim_keeping import ClaimKeeping, ClaimLostError
from lightwell.work.backup.pack_copies import PackCopies

STEPS = ("bytes of packs", "bytes of the database")
"""What ``show`` is told of."""

_PAGE = 500
log = logging.getLogger(__name__)
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class BackupReport:
    """A run, and how much of it is new at the destination; ``held_seconds``: how long no pack could go.

    ``from_future`` are other runs there, or were, which say that they are of a later time than this one.
    """

    run: Run
    packs_copied: int
    bytes_copied: int
    held_seconds: float
    lacks_encryption_key: bool = False
    pruned: Pruned = field(default_factory=Pruned)
    from_future: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HeldKeys:
    """Key files, ``sealed`` under a recovery key, and their names; with neither, nothing is held.

    ``lacks_encryption_key``: data is encrypted under a key file that is not among them.
    """

    files: list[str] = field(default_factory=list)
    sealed: bytes | None = None
    lacks_encryption_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOptions:
    """``version`` is that of lightwell. ``keys`` gives the key files as they are now for a database, which it
    reads. It raises `LightwellError` if nobody could read the backup.
    ``keep``: how many runs stay, None for all. ``takes_over``: see `Backups.claim`.
    """

    version: str
    keys: Callable[[Connection], HeldKeys] = lambda conn: HeldKeys()
    keep: int | None = None
    takes_over: bool = False


class Backup:
    """One run. ``show`` is called with a step, and bytes done and in all."""

    def __init__(
        self,
        stores: Stores,
        backups: Backups,
        options: BackupOptions,
        ids: Ids,
        show: Callable[[str, int, int | None], None],
    ) -> None:
        self._stores = stores
        self._backups = backups
        self._options = options
        self._ids = ids
        self._show = show
        self._damaged: dict[int, DamagedPack] = {}

    def run(self) -> BackupReport:
        """Make it. Raises `LightwellError`, `StorageError`; then it is made when it is run again."""
        db = self._stores.db
        with db.read() as conn:
            source = installation.known_id(conn)
            begun_at = read_now(conn)
            self._options.keys(conn)  # what is refused is refused before hours are spent on copies
        if source is None:
            raise LightwellError(
                "The database does not know its storage yet: start `lightwell serve` on it once"
            )
        for left in reversed(range(_ATTEMPTS)):
            try:
                with ClaimKeeping(db, self._ids.id()) as keeping:
                    self._backups.claim(source, takes_over=self._options.takes_over)
                    id = self._backups.new_id(begun_at, self._ids.id()[:8])
                    return self._run(id, begun_at, keeping)
            except ClaimLostError:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _run(self, id: str, begun_at: int, keeping: ClaimKeeping) -> BackupReport:
        stored = self._backups.stored_packs()
        copies = PackCopies(self._stores.objects, self._backups.objects, self._shown_packs())
        self._copy(copies, self._live(), stored, is_live_still=True)
        since = time.monotonic()
        keeping.hold(True)
        with snapshot(self._stores.db, self._stores.spool) as taken:
            # Not before the snapshot: what it holds may be under a key that is newer than the backup.
            keys = self._options.keys(taken.conn)
            named = list(_live_packs(taken.conn))
            self._copy(copies, iter(named), stored, is_live_still=False)
            keeping.hold(False)
            held = time.monotonic() - since
            run = self._database(id, begun_at, taken, named, keys)
        if keys.sealed is not None:
            self._backups.put_keys(id, keys.sealed)
        keeping.hold(False)
        self._backups.commit(run)
        pruned, future = Pruned(), later_than(self._backups.runs(), begun_at)
        try:
            keeping.hold(False)  # nobody else makes a backup now
        except ClaimLostError:
            # One that has begun meanwhile may have removed what no run named yet.
            self._backups.withdraw(id)
            raise
        except StorageError:
            log.warning("older runs are not removed: the database cannot be reached any more")
        else:
            if self._options.keep is not None:
                pruned = self._backups.prune(self._options.keep, id)
        return BackupReport(run, copies.packs, copies.bytes, held, keys.lacks_encryption_key, pruned, future)

    def _copy(
        self,
        copies: PackCopies,
        packs: Iterator[PackToVerify],
        stored: dict[int, int],
        *,
        is_live_still: bool,
    ) -> None:
        """Copy what is not ``stored``, and add it there; what is wrong is among the damaged.

        ``is_live_still``: a pack may have been collected since it was listed.
        """

        def is_done(pack: PackToVerify) -> bool:
            return stored.get(pack.key) == pack.size or pack.key in self._damaged

        for pack, problem in copies.copy(packs, is_done):
            if problem is None:
                if pack.key not in self._damaged:
                    stored[pack.key] = pack.size
                continue
            if is_live_still:
                with self._stores.db.read() as conn:
                    if not integrity.are_live(conn, [pack.key]):
                        continue
            self._damaged[pack.key] = problem

    def _database(
        self, id: str, begun_at: int, taken: Snapshot, named: list[PackToVerify], keys: HeldKeys
    ) -> Run:
        counts = {table.name: rows.count(taken.conn, table) for table in rows.tables()}
        schema = revision(taken.conn)
        digests, size = pieces.put(
            self._backups.objects, taken.blocks(), lambda done: self._show(STEPS[1], done, None)
        )
        return Run(
            id=id,
            version=self._options.version,
            schema=schema,
            database=self._stores.db.dialect,
            begun_at=begun_at,
            snapshot_at=taken.taken_at,
            packs=len(named),
            pack_bytes=sum(pack.size for pack in named),
            packs_sha256=self._backups.put_packs(id, named),
            pieces=digests,
            database_bytes=size,
            rows=counts,
            has_keys=keys.sealed is not None,
            key_files=keys.files,
            damaged=[self._damaged[pack.key] for pack in named if pack.key in self._damaged],
        )

    def _live(self) -> Iterator[PackToVerify]:
        """The live packs, each page read in a transaction of its own."""
        after = -1
        while True:
            with self._stores.db.read() as conn:
                page = integrity.packs(conn, after, _PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].key

    def _shown_packs(self) -> Callable[[int], None]:
        total = 0
        # Among very many packs the sum may take longer than a statement may; it is for the bar only.
        with suppress(StorageError), self._stores.db.read() as conn:
            total = integrity.pack_bytes(conn)
        return lambda done: self._show(STEPS[0], min(done, total), total)


def _live_packs(conn: Connection) -> Iterator[PackToVerify]:
    after = -1
    while page := integrity.packs(conn, after, _PAGE):
        yield from page
        after = page[-1].key
