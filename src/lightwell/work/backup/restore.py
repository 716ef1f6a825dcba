"""Brings a backup back into an empty database and an empty storage: `lightwell data restore`.

Both are marked first, so that no server starts on half of it and the same command goes on. Packs come first,
each compared with its checksum; then the database. Only when counts, sizes and some frames agree is the mark
taken away. The place gets a new id, so whoever still uses the old storage with this database is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lightwell.clock import Ids
from lightwell.domain.integrity import PackToVerify
from lightwell.errors import ConfigurationError, StorageError
from lightwell.stores.background.installation import MARKER, read_id
from lightwell.stores.backup import pieces, targets
from lightwell.stores.backup.runs import Backups, DamagedPack, Run, newest
from lightwell.stores.backup.targets import Target, UnderWay
from lightwell.stores.backup.unsynced import UnsyncedObjects
from lightwell.stores.collector import integrity
from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import RESTORING, REVISIONS, migrate
from lightwell.stores.moving import destination, rows
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.stores.objects.sealed import bare
from lightwell.work.backup.pack_copies import PackCopies
from lightwell.work.moving.frame_samples import look_at_frames
from lightwell.work.moving.pack_copy import pack_fault

STEPS = ("bytes of packs", "bytes of the database")
"""What ``show`` is told of."""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored. The place can be used unless ``problems`` tell what is wrong.

    ``lost`` are packs that the backup does not have as they were; the place can be used without them if that
    was accepted. ``frames`` were read as clients read them.
    """

    run: Run
    is_usable: bool
    frames: int = 0
    lost: list[DamagedPack] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    open_jobs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """``run_id``: None for the newest run, or the one under way. ``accepts_damage``: make the place usable
    although packs are lost. ``when_begun`` is called with the run once the place is marked, before
    anything is copied. ``opened``: the objects as those see them who have the keys of this database.
    """

    run_id: str | None = None
    accepts_damage: bool = False
    when_begun: Callable[[Run], None] = lambda run: None
    opened: Callable[[Database, Objects], Objects] = lambda db, objects: objects


class Restore:
    """One restore into the database ``target`` and the storage ``objects``.

    ``show`` is called with a step, and bytes done and in all.
    """

    def __init__(
        self,
        backups: Backups,
        target: Target,
        objects: Objects,
        options: RestoreOptions,
        ids: Ids,
        show: Callable[[str, int, int | None], None],
    ) -> None:
        self._backups = backups
        self._target = target
        plain = bare(objects)
        # Nobody uses them before they were waited for.
        self._objects = UnsyncedObjects(plain.root) if isinstance(plain, LocalObjects) else plain
        self._options = options
        self._ids = ids
        self._show = show

    def run(self) -> RestoreReport:
        """Restore everything, or what is missing of it.

        Raises `ConfigurationError` if the place is not empty or the run does not fit, `DamagedError` if the
        database of the run is damaged, `StorageError` if a storage or a database fails, or a key is not to be
        had; the restore then goes on when it is run again.
        """
        begun, run = self._begin()
        if read_id(self._objects) == begun.storage:
            self._target.finish()  # of a restore that was interrupted at its very end
            return RestoreReport(run, is_usable=True)
        self._options.when_begun(run)
        packs = list(self._backups.packs_of(run))
        lost = self._copy(run, packs)
        if lost and not self._options.accepts_damage:
            return RestoreReport(run, is_usable=False, lost=lost)
        names = {each.name for each in lost}
        if isinstance(self._objects, UnsyncedObjects):
            self._objects.sync(name for pack in packs if (name := pack_name(pack.key)) not in names)
        self._target.load(self._blocks(run))
        with self._target.opened() as db:
            problems = self._settle(db, begun, run)
            migrate(db)
            db.write(targets.forget_old_place)
            _analyze(db)
            seen, damaged = look_at_frames(db, self._options.opened(db, self._objects), names)
            problems += damaged
            with db.read() as conn:
                open_jobs = destination.open_jobs(conn)
        if problems:
            return RestoreReport(run, False, seen, lost, problems, open_jobs)
        self._objects.put(MARKER, begun.storage.encode())
        self._target.finish()
        return RestoreReport(run, True, seen, lost, [], open_jobs)

    def _begin(self) -> tuple[UnderWay, Run]:
        """Mark the place, or find that it was marked for the same restore."""
        begun = self._target.under_way()
        if begun is not None:
            if self._options.run_id not in (None, begun.run):
                raise ConfigurationError(
                    f"A restore of the run {begun.run} into this place has begun: go on with that one, "
                    "without --run, or give an empty place"
                )
            run = self._backups.run(begun.run)
        else:
            id = self._options.run_id or newest(self._backups.runs())
            if id is None:
                raise ConfigurationError(f"{self._backups.objects.address} has no run yet")
            run = self._backups.run(id)
            self._check(run)
            self._target.check_empty()
            begun = UnderWay(id, self._ids.id())
            self._check_storage(begun)
            self._target.begin(begun)
        self._check_storage(begun)
        if read_id(self._objects) is None:
            self._objects.put(MARKER, _mark(begun).encode())
        return begun, run

    def _check(self, run: Run) -> None:
        if run.schema not in REVISIONS:
            raise ConfigurationError(
                f"The run {run.id} was made by a newer lightwell, {run.version}, whose database has the "
                f"schema {run.schema}, and this one knows {REVISIONS[-1]}: install that version or a later "
                "one"
            )
        if run.database != self._target.dialect:
            how = (
                "leave LIGHTWELL_DATABASE_URL out, and move it afterwards (`lightwell data move`)"
                if run.database == "sqlite"
                else "give an empty PostgreSQL database with --database-url"
            )
            raise ConfigurationError(
                f"The run {run.id} is of a database of the kind {run.database}, and {self._target.address} "
                f"is of the kind {self._target.dialect}: {how}"
            )

    def _check_storage(self, begun: UnderWay) -> None:
        found = read_id(self._objects)
        if found in (_mark(begun), begun.storage):
            return
        if found is not None or next(self._objects.list("packs"), None) is not None:
            raise ConfigurationError(
                f"{self._objects.address} is not empty: a restore needs an empty storage. Give another one; "
                "what is in this one would be lost"
            )

    def _copy(self, run: Run, packs: list[PackToVerify]) -> list[DamagedPack]:
        """Copy what is not there; what the backup lacks."""
        is_local = isinstance(self._objects, UnsyncedObjects)
        known = {each.name: each for each in run.damaged}
        copies = PackCopies(
            self._backups.objects,
            self._objects,
            lambda done: self._show(STEPS[0], done, run.pack_bytes),
        )

        def is_there(pack: PackToVerify) -> bool:
            if self._objects.size(pack_name(pack.key)) != pack.size:
                return False
            # A crash of the machine may have left another content there: it was not waited for the disk.
            return not is_local or pack_fault(self._objects, pack) is None

        lost = []
        for _, problem in copies.copy(packs, is_there):
            if problem is not None:
                lost.append(known.get(problem.name, problem))
        return lost

    def _blocks(self, run: Run) -> Iterator[bytes]:
        done = 0
        for block in pieces.get(self._backups.objects, run.pieces):
            yield block
            done += len(block)
            self._show(STEPS[1], done, run.database_bytes)

    def _settle(self, db: Database, begun: UnderWay, run: Run) -> list[str]:
        """Compare what the database holds with what the run says, and give it its storage."""
        with db.read() as conn:
            if targets.is_settled(conn) and self._target.dialect == "postgresql":
                return []  # by a restore that was interrupted
            problems = _differences(run, {name: rows.count_of(conn, name) for name in run.rows})
            packs = size = 0
            after = -1
            while page := integrity.packs(conn, after, _PAGE):
                packs, size, after = packs + len(page), size + sum(pack.size for pack in page), page[-1].key
        if (packs, size) != (run.packs, run.pack_bytes):
            problems.append(
                f"the database names {packs} packs of {size} bytes, and the run {run.packs} of "
                f"{run.pack_bytes}"
            )
        if not problems:
            db.write(lambda conn: targets.settle(conn, begun, run.schema))
        return problems


def _differences(run: Run, counts: dict[str, int]) -> list[str]:
    return [
        f"the table {name} has {counts[name]} rows, and had {count} when the backup was made"
        for name, count in run.rows.items()
        if counts[name] != count
    ]


def _analyze(db: Database) -> None:
    if db.dialect == "postgresql":
        for table in rows.tables():
            # PostgreSQL does it by itself, if this takes too long.
            with suppress(StorageError):
                db.write(lambda conn, table=table: rows.analyze(conn, table))  # type: ignore[misc]


def _mark(begun: UnderWay) -> str:
    return f"{RESTORING} {begun.storage}"
