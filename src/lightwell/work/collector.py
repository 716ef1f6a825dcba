"""The collector: removes what nothing refers to any more. Runs beside everything else, in every engine.

Rows of deleted image sets go at once, bytes after the grace period. Each step is a bounded transaction, finds
its own work in the tables and may be killed at any point; the next round does what is left. Why it never
removes what is still referred to: `stores.background.gc_candidates`, and for packs `stores.objects.packs`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from lightwell.clock import Clock, Ids
from lightwell.domain.keys import ImageSetKey
from lightwell.errors import ConfigurationError, StorageError
from lightwell.observe.logs import event
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background import gc_candidates
from lightwell.stores.background.gc_candidates import (
    DICTIONARY,
    INSTANCE,
    LEVEL,
    PACK,
    PIXELS,
    RECORD,
    SET,
    STUDY,
    GcCandidate,
)
from lightwell.stores.background.installation import check_before_removal, is_of_another
from lightwell.stores.background.records import NOT_RECORDED, BackgroundRecords
from lightwell.stores.backup import claim
from lightwell.stores.collector import erasure, removal
from lightwell.stores.db.online_indexes import STUDY_ORDERS
from lightwell.stores.objects import packs
from lightwell.stores.objects.pack_objects import pack_name
from lightwell.work import removal_records
from lightwell.work.checksum_filling import ChecksumFiller
from lightwell.work.index_building import IndexBuilding
from lightwell.work.pruning import Pruning
from lightwell.work.stray_search import StraySearch
from lightwell.work.timing.database_clock import DatabaseClock
from lightwell.work.upload_removal import UploadRemoval
from lightwell.work.verifying.regular import RegularVerifying

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_BATCH = 500  # rows in one transaction
_SCAN = 50_000  # rows of a kind that one scan looks for
_TRIES, _TRY_SECONDS = 40, 0.05
_TURN_MS = 120_000
_ROUNDS_NOW = 100
# A scan reads whole tables: it may take this share of the time at most.
_SCANNING = 0.05
_FILL_SECONDS = 0.5  # of each round at least, see `work.checksum_filling`
_HOUSEKEEPING_SECONDS = 3600.0
# The database does not know half-written files, so nothing else tells whether one is still being written.
_LONGEST_WRITE_MS = 3_600_000


class Collector:
    """Collects for one database, its storage and this process's data folder.

    `collect` is one round. Each step of it may be called alone, in any order.
    """

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        stopping: threading.Event | None = None,
        *,
        batch: int = _BATCH,
        records: BackgroundRecords = NOT_RECORDED,
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._machine_clock = clock
        self._clock: Clock = DatabaseClock(clock, stores.db)
        self._ids = ids
        self._stopping = stopping or threading.Event()
        self._records = records
        self._batch = batch
        self._turn = 0
        self._no_scan_before = self._housekeeping_at = 0.0
        self._strays = StraySearch(stores, settings, self._clock, self._stopping)
        self._pruning = Pruning(stores, settings, self._clock, self._stopping, records)
        self._uploads = UploadRemoval(stores, settings, self._clock, self._stopping, records)
        self._filler = ChecksumFiller(stores, settings, self._stopping)
        self._verifying = RegularVerifying(stores, settings, self._clock, self._stopping)
        self._orders = [IndexBuilding(stores.db, index, self._stopping) for index in STUDY_ORDERS]
        self._was_another_s = False
        self.is_refused = False
        """Whether it has stopped everything, because its storage belongs to another database."""
        self.removed: Counter[str] = Counter()

    def run(self) -> None:
        """Collect, round after round, until the engine stops: the body of a thread."""
        try:
            self._repeat(self.do_round, "collecting")
        finally:
            self._filler.close()
            self._verifying.close()
            for each in self._orders:
                each.close()

    def _build_orders(self) -> None:
        for each in self._orders:
            if not each.is_over():
                return  # one after the other

    def run_beside_others(self) -> None:
        """Keep house, round after round, until the process stops: where others collect."""
        self._repeat(self.keep_house, "tidying up")

    def _repeat(self, work: Callable[[], None], what: str) -> None:
        while not self._stopping.wait(self._settings.collect_interval):
            try:
                if self._must_stop():
                    return
                work()
            except StorageError as error:
                log.warning("%s waits for the storage: %s", what, error)
            except ConfigurationError as error:
                log.error("%s waits: %s", what, error)
            except Exception:
                log.exception("%s failed", what)

    def _must_stop(self) -> bool:
        """Stop everything if the storage belongs to another database by now.

        What this process wrote there, nobody else could read. It is looked at twice, since a move changes
        database and storage one after the other.
        """
        before = self._was_another_s
        self._was_another_s = is_of_another(self._stores.db, self._stores.objects)
        self.is_refused = before and self._was_another_s
        if self.is_refused:
            log.error(
                "this process stops: %s belongs to another database by now; start it again to be told more",
                self._stores.objects.address,
            )
            self._stopping.set()
        return self.is_refused

    def do_round(self) -> None:
        """`collect` if no other collector does; what is local is swept in any case, folders once an hour, and
        uploads that have served their purpose are removed.

        Whoever collects gives old frames their checksums, too, and big tables the indexes that they lack.
        """
        self._stores.sweep_cache()
        self._stores.db.shorten_log()
        try:
            if is_turn := self._take_turn():
                self.collect()
                self.removed.update({"strays": self._strays.search_on()})
                self._records.check()
                self.removed.update(self._pruning.prune())
                self._tell()
                self._build_orders()
                self._filler.step(max(_FILL_SECONDS, self._settings.collect_interval * _SCANNING))
            self.keep_house()
            if is_turn:
                self._verifying.step()  # last, so that nothing waits for what it cannot go on with
        finally:
            # Neither keeps the other from its work: the bucket of uploads need not be where the storage is.
            self._uploads.remove()

    def keep_house(self) -> None:
        """`sweep` once an hour, for a process that leaves collecting to others; call it now and then."""
        if self._housekeeping_due():
            self.sweep()

    def collect(self, *, housekeeping: bool = False) -> Counter[str]:
        """Do one round. Returns how much it has removed, by kind."""
        self.removed.clear()
        self.empty_sets()
        if time.monotonic() >= self._no_scan_before:
            begun = time.monotonic()
            self.remove_records()
            self.remove_values()
            self._no_scan_before = time.monotonic() + (time.monotonic() - begun) / _SCANNING
        self.remove_studies()
        self.doom_packs()
        self.remove_packs()
        if housekeeping:
            self.removed.update({"strays": self._strays.search_all()})
            self.sweep()
        self._tell()
        return self.removed

    def _tell(self) -> None:
        self.removed += Counter()  # without zeros
        if self.removed:
            event(log, logging.INFO, "collected", **dict(self.removed))

    def remove_now(self, keys: Sequence[int] | None = None) -> list[int]:
        """Collect, and remove the bytes of these packs, or of all that were deleted, without a grace period.

        Safe beside imports, reads and other collectors, as `packs.doom` says; a backup that needs packs now
        has to begin again. Returns those of ``keys`` that something still refers to, or that could not be
        removed within a few rounds.
        """
        left: list[int] = []
        for _ in range(_ROUNDS_NOW):
            self._no_scan_before = 0.0
            self.collect()
            wanted = keys
            if wanted is None:
                wanted = [row.key for page in self._pages(PACK) for row in page]
            for start in range(0, len(wanted), self._batch):
                self._doom(wanted[start : start + self._batch], self._before(), live_at_once=True)
            self.remove_packs(ends_backup=True)
            with self._stores.db.read() as conn:
                left = sorted(packs.existing_keys(conn, wanted))
                if not left or not any(gc_candidates.has_any(conn, kind) for kind in (SET, RECORD, PIXELS)):
                    break
            time.sleep(_TRY_SECONDS)  # another collector is at it
        self.doom_packs()  # takes what is gone off the list
        return left

    # Rows -----------------------------------------------------------------------------------------------

    def empty_sets(self) -> None:
        """Remove the members, levels and cached documents of deleted image sets."""
        for page in self._pages(SET):
            self._records.check_removal()
            emptied = []
            with self._stores.db.read() as conn:
                ids = removal.deleted_ids(conn, [row.key for row in page])
            try:
                for row in page:
                    if not self._empty_set(ImageSetKey(row.key)):
                        return
                    emptied.append(row.key)
                    self._stores.documents.drop(row.key)
                    self.removed["image_sets"] += 1
            finally:
                self._records.put(removal_records.of_sets([ids[key] for key in emptied if key in ids]))

    def _empty_set(self, key: ImageSetKey) -> bool:
        """Whether nothing is left of the set, which it is not once the process stops."""
        while not self._stopping.is_set():
            if self._run_exclusively(removal.empty_set, key, self._ids.key(), self._batch):
                return True
        return False

    def remove_records(self) -> None:
        """Remove records that no member and no staged row refers to."""
        after = -1
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                page = gc_candidates.page(conn, RECORD, after, _SCAN)
            if not page or (referenced := self._referenced({RECORD: page})) is None:
                return
            self._settle(RECORD, page, referenced[RECORD])
            after = page[-1].key

    def remove_values(self) -> None:
        """Remove pixels, dictionaries, level values and instances that nothing refers to."""
        after = dict.fromkeys((PIXELS, DICTIONARY, LEVEL, INSTANCE), -1)
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                pages = {kind: gc_candidates.page(conn, kind, key, _SCAN) for kind, key in after.items()}
            if not any(pages.values()) or (referenced := self._referenced(pages)) is None:
                return
            for kind, page in pages.items():
                self._settle(kind, page, referenced[kind])
                after[kind] = page[-1].key if page else after[kind]

    def _referenced(self, pages: Mapping[int, Sequence[GcCandidate]]) -> dict[int, set[int]] | None:
        """Those of the candidates that something refers to, found in short transactions; None if unknown."""
        referenced: dict[int, set[int]] = {kind: set() for kind in pages}
        with self._stores.db.read() as conn:
            parts = gc_candidates.scan_parts(conn, [kind for kind, page in pages.items() if page])
            file = gc_candidates.scanned_file(conn)
        for part in parts:
            if self._stopping.is_set():
                return None
            self._keep_turn()
            with self._stores.db.read() as conn:
                for kind, found in gc_candidates.find_referenced(conn, pages, part).items():
                    referenced[kind] |= found
        with self._stores.db.read() as conn:
            return referenced if gc_candidates.scanned_file(conn) == file else None

    def _settle(self, kind: int, page: Sequence[GcCandidate], referenced: set[int]) -> None:
        """Remove what a scan has found to be unused, and take what is used off the list of candidates."""
        for rows in self._batches([row for row in page if row.key in referenced]):
            self._run_exclusively(removal.unmark_referenced, kind, rows)
        for rows in self._batches([row for row in page if row.key not in referenced]):
            self.removed[_WORDS[kind]] += self._run_exclusively(
                removal.remove_unreferenced, kind, rows, self._ids.key()
            )

    def remove_studies(self) -> None:
        """Remove studies that no longer have an image set."""
        for page in self._pages(STUDY):
            self.removed["studies"] += self._run_exclusively(removal.remove_studies, page)

    # Bytes ----------------------------------------------------------------------------------------------

    def doom_packs(self) -> None:
        """Doom packs that no row refers to and that are older than the grace period."""
        before = self._before()
        for page in self._pages(PACK):
            self._doom([row.key for row in page], before, page)
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                keys = packs.open_before(conn, before, self._batch)
            if not keys or not self._doom(keys, before):
                return

    def _doom(
        self,
        keys: Sequence[int],
        before: int,
        listed: Sequence[GcCandidate] = (),
        *,
        live_at_once: bool = False,
    ) -> list[int]:
        def work(conn: Connection) -> list[int]:
            result = packs.doom(conn, keys, before, live_at_once=live_at_once)
            settled = set(result.settled)
            # Another collector may be removing a pack's last reference just now, and list it again.
            gc_candidates.unmark_unchanged(conn, PACK, [row for row in listed if row.key in settled])
            return result.doomed

        return self._stores.db.write(work)

    def remove_packs(self, *, ends_backup: bool = False) -> None:
        """Remove the bytes of doomed packs, then their rows.

        Not while a backup holds them, until it has copied what its snapshot names; ``ends_backup`` ends that.
        """
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                keys = packs.doomed_keys(conn, self._batch)
                size = erasure.pack_bytes(conn, keys)
                is_held = claim.is_held(conn)  # in the same snapshot: see there
            if not keys:
                return
            if is_held:
                if not ends_backup:
                    return
                self._stores.db.write(claim.cancel_hold)
            self._records.check_removal()
            # Another database may have taken the storage over, which names these packs.
            check_before_removal(self._stores.db, self._stores.objects)
            for key in keys:
                self._stores.objects.delete(pack_name(key))
            self._records.put([removal_records.of_packs([pack_name(key) for key in keys])])
            self._forget(keys)
            self.removed.update(packs=len(keys), pack_bytes=size)

    def _forget(self, keys: Sequence[int]) -> None:
        self._stores.db.write(lambda conn: packs.delete_doomed(conn, keys))

    def sweep(self) -> None:
        """Remove files that crashes left half written here, and cached documents of deleted image sets."""
        grace = max(self._settings.collect_grace * 1000, _LONGEST_WRITE_MS)
        files = self._stores.sweep(self._machine_clock.now() - grace)

        def is_living(key: int) -> bool:
            with self._stores.db.read() as conn:
                return removal.is_active(conn, ImageSetKey(key))

        documents = self._stores.documents.sweep(is_living)
        self.removed.update({"files": files, "documents": documents})
        self.removed += Counter()  # without zeros

    # Steps -----------------------------------------------------------------------------------------------

    def _before(self) -> int:
        return self._clock.now() - self._settings.collect_grace * 1000

    def _pages(self, kind: int) -> Iterator[list[GcCandidate]]:
        after = -1
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                page = gc_candidates.page(conn, kind, after, self._batch)
            if not page:
                return
            yield page
            after = page[-1].key

    def _batches(self, rows: Sequence[GcCandidate]) -> Iterator[Sequence[GcCandidate]]:
        for start in range(0, len(rows), self._batch):
            if self._stopping.is_set():
                return
            yield rows[start : start + self._batch]

    def _run_exclusively(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **named: P.kwargs
    ) -> T:
        """Run a transaction under `gc_candidates.lock_exclusive`, without letting others queue behind it."""
        for tries_left in reversed(range(_TRIES)):

            def attempt(conn: Connection, wait: bool = not tries_left) -> tuple[T] | None:
                return (
                    (work(conn, *args, **named),) if gc_candidates.lock_exclusive(conn, wait=wait) else None
                )

            self._keep_turn()
            done = self._stores.db.write(attempt)
            if done is not None:
                return done[0]
            time.sleep(_TRY_SECONDS)
        raise AssertionError("unreachable")

    def _take_turn(self) -> bool:
        now = self._clock.now()
        until = now + _TURN_MS
        if self._stores.db.write(lambda conn: gc_candidates.claim_collection(conn, now, until, self._turn)):
            self._turn = until
            return True
        return False

    def _keep_turn(self) -> None:
        if self._turn and self._turn - self._clock.now() < _TURN_MS // 2:
            self._take_turn()

    def _housekeeping_due(self) -> bool:
        if time.monotonic() < self._housekeeping_at:
            return False
        self._housekeeping_at = time.monotonic() + _HOUSEKEEPING_SECONDS
        return True


_WORDS = {
    RECORD: "records",
    PIXELS: "pixels",
    DICTIONARY: "dictionaries",
    LEVEL: "level_values",
    INSTANCE: "instances",
}
