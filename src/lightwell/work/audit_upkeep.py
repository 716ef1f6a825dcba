"""What keeps the audit trail of a data folder provable and small.

The heads of its chains are noted in the database every ten seconds, and in the chain of this process every
minute, if any has moved. At the start, and before each note, it is looked whether the chains still have what
was noted of them before; what is missing goes on record, since later notes take the place of those. Segments
that are complete are compressed and get their index, one a round, and those that are older than
``audit_keep`` are removed, once that is on record. A clock that is wrong must not remove what is not old:
nothing goes in the first minutes after a start, when a machine may not have set its clock yet, and the time
by which it goes is a week at most ahead of what this process has seen to pass since the last one was there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from lightwell.clock import Clock
from lightwell.errors import StorageError, UnavailableError
from lightwell.observe.audit.chain import Chain, closed
from lightwell.observe.audit.heads import (
    Head,
    Place,
    anchor,
    durable_heads,
    ended,
    ends_missing,
    expectations,
    goes_on,
    goes_through,
    last_anchored,
    parts_missing,
    removals,
)
from lightwell.observe.audit.keys import AuditKeys
from lightwell.observe.audit.retention import Expired, announced, expired, may_be_gone
from lightwell.observe.audit.segments import compress, index_path, segments, writers
from lightwell.observe.audit.sidecar import build
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.audit.verification import NOTHING, verify_chain
from lightwell.observe.logs import event
from lightwell.stores.background import audit_heads
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.database import Database
from lightwell.stores.db.now import Skew

log = logging.getLogger(__name__)

_SECONDS = 10.0
_ANCHOR_ROUNDS = 6
# What goes wrong for longer than a minute is an error, each hour once.
_TELL_ROUNDS = 360
# How often to look for what is too old, and how many segments go at once, each named in one record.
_REMOVE_ROUNDS, _MOST_REMOVED = 360, 100
_FIRST_REMOVAL = 60
_DAY = 86_400_000
_MOST_AWAY = 7 * _DAY


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
        self._told: set[Place] = set()
        self._db = db
        self._trail = trail
        self._writer = writer
        self._now = now
        self._stopping = Event()
        self._skew = Skew(Clock().now)
        # When a head was noted last before this process, and by which monotonic time it was looked at.
        self._seen: tuple[int, float] | None = None
        self._noted: dict[str, Head] = {}
        # The last head of each chain of which it is known that the chain goes through those before.
        self._followed: dict[str, Head] = {}
        self._failed_rounds = 0
        # Chains of which something is wrong, with what was looked at, so that they are not read each hour.
        self._not_whole: dict[Path, tuple[AuditKeys, object]] = {}
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

        Raises `OSError`, `StorageError` if the database is away, and `UnavailableError` if what is missing
        cannot be put on record: then the notes that tell stay.
        """
        failed: list[OSError] = []
        heads = {head.writer: head for head in durable_heads(self._root, failed)}
        self._follow(heads)
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
        if failed:
            raise failed[0]

    def look_back(self) -> None:
        """Find out when the data folder was kept last, and what was noted then, before anything is noted.

        Raises `OSError`, `StorageError` if the database is away, and `UnavailableError`.
        """
        if self._seen is None:
            node = self._folder.node() or ""
            with self._db.read() as conn:
                noted = audit_heads.newest(conn, node)
                heads = audit_heads.of_nodes(conn, [node])
            self._look_for(heads)
            # A trail of which nothing is noted may be of another database: then nothing goes.
            self._seen = (noted or 0), monotonic()

    def sure_now(self) -> int:
        """The time by which something is too old: the database's, and no more than can be believed.

        Raises `StorageError` if the database is away. Call `look_back` before.
        """
        with self._db.read() as conn:
            now = self._now() + self._skew.of(conn)
        assert self._seen is not None
        noted, since = self._seen
        most = noted + _MOST_AWAY + int((monotonic() - since) * 1000)
        if noted and now > most:
            event(
                log,
                logging.WARNING,
                "nothing that is younger than the last run of this server is removed from the audit trail",
                days_ahead=(now - most + _MOST_AWAY) // _DAY,
                advice="if the clock is right, nothing needs to be done: the next start goes by it",
            )
        return min(now, most)

    def compress_one(self) -> bool:
        """Compress a segment that is complete; whether there was one. Raises `OSError`.

        Those that others own, such as root's, are left to them.
        """

        def compressed(folder: Path) -> bool:
            for segment in segments(folder)[:-1]:
                if not segment.is_compressed and segment.path.stat().st_uid == os.geteuid():
                    compress(segment)
                    return True
            return False

        return self._in_one(compressed)

    def index_one(self) -> bool:
        """Give a compressed segment its index, if one lacks it; whether there was one. Raises `OSError`."""
        keys = self._folder.keys()

        def indexed(folder: Path) -> bool:
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

        return self._in_one(indexed)

    def _in_one(self, do: Callable[[Path], bool]) -> bool:
        """Do something in the first chain that has it to do, whatever is wrong with those before."""
        failed = None
        for folder in writers(self._root):
            try:
                if do(folder):
                    return True
            except OSError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return False

    def remove_old(self, now: int, noted: Sequence[Head] = ()) -> int:
        """Remove segments that are older than is kept at this time; how many.

        ``noted`` is what the database knows of the chains. Raises `OSError` and `UnavailableError`.
        """
        if not self._keep_ms:
            return 0
        keys, before = self._folder.keys(), now - self._keep_ms
        self._end_gone(keys, before, noted)
        old = self._expired(keys, before)
        if not old:
            return 0
        again, unknown = announced(self._root, keys, self._writer)
        if unknown:
            self._tell_of(unknown)
            old = self._expired(keys, before, {place.writer for place in unknown})
            if not old:
                return 0
        # Otherwise nothing would prove that they were meant to go.
        places, newest = [*again, *(each.begins for each in old)], max(each.newest for each in old)
        self._trail.keep(removals(places, now, self._keep_ms // _DAY, newest))
        for each in old:
            index_path(each.segment.path).unlink(missing_ok=True)
            each.segment.path.unlink()
        event(log, logging.INFO, "old parts of the audit trail were removed", segments=len(old))
        # The newest anchor may have been in one of them.
        self._anchored = {}
        return len(old)

    def do_round(self, number: int) -> None:
        """What is due in this round since the start, from 0. Raises what its steps raise."""
        self.look_back()
        failed = None
        for step in (
            lambda: self.note(anchors=number % _ANCHOR_ROUNDS == 0),
            self.compress_one,
            self.index_one,
        ):
            try:
                step()
            except (OSError, StorageError, UnavailableError) as error:
                failed = failed or error
        if failed is not None:
            raise failed
        if self._keep_ms and number % _REMOVE_ROUNDS == _FIRST_REMOVAL:
            self.remove_old(self.sure_now(), self._noted_heads())

    def _noted_heads(self) -> list[Head]:
        with self._db.read() as conn:
            return audit_heads.of_nodes(conn, [self._folder.node() or ""])

    def _end_gone(self, keys: AuditKeys, before: int, noted: Sequence[Head]) -> None:
        """Go on behind chains whose processes are gone, with nothing but their end, so that the rest may go.

        Not behind one that is not whole: what is wrong with it must not look as if a crash had left it.
        """
        expected = None

        def is_apart(folder: Path) -> bool:
            with suppress(PermissionError), closed(folder) as is_closed:
                return not is_closed or self._not_whole.get(folder) == (keys, _state(folder))
            return True

        for folder in may_be_gone(self._root, before, is_apart):
            with suppress(BlockingIOError, PermissionError):
                state = _state(folder)
                if expected is None:
                    expected = expectations(self._root, keys, noted)
                if verify_chain(folder, keys, expected.get(folder.name, NOTHING)).findings:
                    self._not_whole[folder] = keys, state
                    continue
                chain = Chain(self._folder.chain(folder.name, self._now), patience=0.0)
                try:
                    chain.append([ended(self._now())])
                    chain.sync()
                finally:
                    chain.close()
                event(
                    log,
                    logging.INFO,
                    "the audit trail of a process that is gone was ended",
                    writer=folder.name,
                )

    def _expired(self, keys: AuditKeys, before: int, apart: Collection[str] = ()) -> list[Expired]:
        old = expired(self._root, keys, before, _MOST_REMOVED, apart)
        return [each for each in old if each.segment.path.stat().st_uid == os.geteuid()]

    def _tell_of(self, unknown: list[Place]) -> None:
        """Say of each chain once that its beginning is missing, and that its old parts stay therefore."""
        if new := [place for place in unknown if place not in self._told]:
            self._told.update(new)
            for place in new:
                log.error(
                    "the audit trail of %s begins behind record %s, and no record says that the rest was "
                    "removed; so audit_keep removes nothing more of it; see lightwell audit verify",
                    place.writer,
                    place.number,
                )
            self._trail.put(parts_missing(new, self._now()))

    def _look_for(self, heads: list[Head]) -> None:
        """Say which chains do not have any more what was noted of them."""
        keys = self._folder.keys()
        # The newest of each: a chain goes through all that it had come to before.
        known = {head.writer: head for head in heads}
        of_keys: dict[Place, str | None] = dict.fromkeys(last_anchored(self._root, keys, self._writer))
        of_keys |= {_place(head): head.key_id for head in known.values()}
        self._tell_of_ends([place for place, id in of_keys.items() if not self._has(keys, place, id)])

    def _follow(self, heads: dict[str, Head]) -> None:
        """Say which chains do not go on from where they were at the last round, before that is forgotten.

        One that goes on behind a cut is soon further than it was; then a newer note tells no more.
        """
        keys = self._folder.keys()
        missing = []
        for writer, head in heads.items():
            since = self._followed.get(writer, head)
            if head == since or goes_on(self._root, keys, since, head):
                continue
            if not self._has(keys, _place(since), since.key_id):
                missing.append(_place(since))
        self._tell_of_ends(missing)
        self._followed |= heads

    def _has(self, keys: AuditKeys, place: Place, key_id: str | None) -> bool:
        try:
            return goes_through(self._root / place.writer, keys, place, key_id)
        except PermissionError:
            log.info("the audit trail of %s belongs to another user and is not looked at", place.writer)
            return True

    def _tell_of_ends(self, missing: list[Place]) -> None:
        if not missing:
            return
        for place in sorted(missing):
            log.error(
                "the end of the audit trail of %s is missing: record %s was noted before; somebody has "
                "removed or changed it, or an older copy was put in its place; see lightwell audit verify",
                place.writer,
                place.number,
            )
        if not self._trail.put(ends_missing(sorted(missing), self._now())):
            raise UnavailableError("there is no room for what is missing in the trail")

    def try_round(self, number: int) -> None:
        """`do_round`, and say in the log what goes wrong, as an error once it has for a minute."""
        try:
            self.do_round(number)
        except (OSError, StorageError, UnavailableError) as error:
            self._failed_rounds += 1
            is_long = self._failed_rounds % _TELL_ROUNDS == _ANCHOR_ROUNDS
            level = logging.ERROR if is_long else logging.INFO
            log.log(level, "the upkeep of the audit trail cannot be done now: %s", error)
        except Exception:
            log.exception("the upkeep of the audit trail failed")
        else:
            self._failed_rounds = 0

    def _run(self) -> None:
        rounds = 0
        while True:
            self.try_round(rounds)
            rounds += 1
            if self._stopping.wait(_SECONDS):
                return


def _place(head: Head) -> Place:
    return Place(head.writer, head.number, head.mac)


def _state(folder: Path) -> object:
    """What is another when something has changed in a folder."""
    found = [(each.path.name, each.path.stat()) for each in segments(folder)]
    return [(name, at.st_ino, at.st_size, at.st_mtime_ns) for name, at in found]
