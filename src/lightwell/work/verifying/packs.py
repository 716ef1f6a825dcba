"""Checks packs: hands their records to codec workers, which read, derive and decode again.

What they compare is in `codec_pool.checking`. Nothing is changed, except that frames whose stored bytes have
no checksum yet are given one, if they decode to what was imported.
"""

from __future__ import annotations

import itertools
import logging
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from lightwell.codec_pool.failures import Cause
from lightwell.codec_pool.messages import CheckFrames, CheckRecords, RecordsChecked
from lightwell.codec_pool.slot import WorkerEnded, WorkerSlot
from lightwell.domain.image_sets.frame_checks import pack_checks, unpack_checks
from lightwell.domain.image_sets.frame_table import PAGE, unpack_entries
from lightwell.domain.integrity import (
    FaultKind,
    IntegrityFault,
    MadeChecks,
    PackToVerify,
    PixelsToVerify,
    RecordToVerify,
    SharedValues,
)
from lightwell.errors import ConfigurationError, DamagedError, StorageError, StorageUnavailableError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.collector import integrity
from lightwell.stores.keys.job_values import NO_KEY

log = logging.getLogger(__name__)

# So many records are sent to a worker at once.
_RECORDS = 32
# A whole pack has to be read within this.
_PACK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class PartFinding:
    """A fault that a worker has found; ``record`` is None for a fault of the pack itself."""

    pack: PackToVerify
    record: RecordToVerify | None
    fault: IntegrityFault


@dataclass(frozen=True, slots=True)
class _PartResult:
    """What a worker reports of a part of a pack; ``died_on`` is the place of the record on which it died."""

    faults: list[tuple[int, IntegrityFault]]
    frames: int
    died_on: int | None = None


class VerifyWorker:
    """A codec worker, started again when it dies. For one thread, which outlives it."""

    def __init__(self, stores: Stores, settings: Settings, stopping: threading.Event) -> None:
        self._stores = stores
        self._settings = settings
        self._stopping = stopping
        # Codecs print tracebacks of damaged frames, which the report tells of.
        self._slot = WorkerSlot(settings, stores, self._limit, quiet=True)
        self._tasks = itertools.count(1)
        self._sample: int | None = None

    def close(self) -> None:
        self._slot.close()

    def _limit(self, task: int, place: int | None) -> float:
        """For a whole pack, whose place is -1, or for a record."""
        return _PACK_SECONDS if place is None or place < 0 else float(self._settings.file_timeout)

    def check(
        self, pack: PackToVerify, *, quick: bool, sample: int | None = None
    ) -> tuple[list[PartFinding], int, int]:
        """What is wrong with anything in a pack, and how many records and frames of it were checked.

        ``quick``: its bytes only. Of a ``sample`` one frame in a hundred is decoded, all of a damaged pack.
        """
        records, bodies, unread = ([], SharedValues({}, {}), []) if quick else self._rows_of(pack)
        result = self._check_part(pack, whole=True, part=[], first=0, bodies=SharedValues({}, {}))
        faults = [PartFinding(pack, None, fault) for _, fault in result.faults]
        faults += [PartFinding(pack, None, fault) for fault in unread]
        if any(fault.kind == FaultKind.UNREADABLE for _, fault in result.faults):
            return faults, 0, 0  # each record and frame in it would only report the same
        self._sample = None if faults else sample
        frames = 0
        for first in range(0, len(records), _RECORDS):
            for place, fault, count in self._check_records(pack, records, first, first + _RECORDS, bodies):
                frames += count
                if fault is not None:
                    faults.append(PartFinding(pack, records[place], fault))
        return faults, len(records), frames

    def _rows_of(self, pack: PackToVerify) -> tuple[list[RecordToVerify], SharedValues, list[IntegrityFault]]:
        """The records of a pack and what they share; without the key, none, and a fault that says so.

        One key that is not to be had keeps nobody from the packs of other data stores. What is left of a data
        store that was deleted waits for the collector, and nobody can ask for it: that is no fault.
        """
        try:
            with self._stores.db.read() as conn:
                records = integrity.records(conn, pack.key)
                return records, integrity.bodies(conn, records), []
        except (StorageUnavailableError, DamagedError):
            raise
        except (StorageError, ConfigurationError) as error:
            with self._stores.db.read() as conn:
                if integrity.is_of_deleted(conn, pack):
                    return [], SharedValues({}, {}), []
            reason = f"what the database has of its instances cannot be read: {error}"
            is_locked = isinstance(error, NO_KEY)
            kind = FaultKind.WITHOUT_KEY if is_locked else FaultKind.UNREADABLE
            return [], SharedValues({}, {}), [IntegrityFault(reason, kind)]

    def _check_records(
        self, pack: PackToVerify, records: list[RecordToVerify], first: int, end: int, bodies: SharedValues
    ) -> Iterator[tuple[int, IntegrityFault | None, int]]:
        """(place, fault or None, frames read) of the records from ``first`` to ``end``."""
        part = records[first:end]
        if not part or self._stopping.is_set():
            return
        result = self._check_part(pack, whole=False, part=part, first=first, bodies=_values_of(bodies, part))
        if result.died_on is None:
            yield first, None, result.frames
            yield from ((place, fault, 0) for place, fault in result.faults)
            return
        # What it had found before is lost with it.
        died_on = max(result.died_on, first)
        yield from self._check_records(pack, records, first, died_on, bodies)
        yield from ((died_on, fault, 0) for _, fault in result.faults)
        yield from self._check_records(pack, records, died_on + 1, first + len(part), bodies)

    def _check_part(
        self, pack: PackToVerify, *, whole: bool, part: list[RecordToVerify], first: int, bodies: SharedValues
    ) -> _PartResult:
        task = next(self._tasks)
        try:
            whole_pack = pack if whole else None
            return self._perform(CheckRecords(task, whole_pack, part, first, bodies, self._sample))
        except WorkerEnded as end:
            if end.cause is Cause.NOT_STARTED or end.file is None:
                raise StorageError(f"A codec worker cannot be started: {end}") from None
            fault = IntegrityFault(f"the process that checked it ended: {end}")
            return _PartResult([(end.file, fault)], 0, end.file)

    def check_frames(self, pixels: list[PixelsToVerify]) -> list[tuple[PixelsToVerify, IntegrityFault]]:
        """Give frames their checks where nothing is wrong with them; returns what is wrong with the others.

        Raises `StorageError` where no worker can be started.
        """
        faults: list[tuple[PixelsToVerify, IntegrityFault]] = []
        while pixels and not self._stopping.is_set():
            try:
                result = self._perform(CheckFrames(next(self._tasks), pixels))
                return [*faults, *((pixels[place], fault) for place, fault in result.faults)]
            except WorkerEnded as end:
                if end.cause is Cause.NOT_STARTED or end.file is None:
                    raise StorageError(f"A codec worker cannot be started: {end}") from None
                place = max(end.file, 0)
                faults.append((pixels[place], IntegrityFault(f"the process that checked it ended: {end}")))
                pixels = pixels[:place] + pixels[place + 1 :]
        return faults

    def _perform(self, request: CheckRecords | CheckFrames) -> _PartResult:
        """What the worker finds; the checks that it has made are written. Raises `WorkerEnded`."""
        self._slot.start()
        self._slot.watch(request.task, -1)
        self._slot.send(request)
        while not self._stopping.is_set():
            message = self._slot.receive()
            if isinstance(message, RecordsChecked):
                if made := _wanted_checks(request, message.made):
                    self._stores.db.write(partial(integrity.set_checks, made=made))
                return _PartResult(message.faults, message.frames)
        return _PartResult([], 0)


def _wanted_checks(request: CheckRecords | CheckFrames, made: list[MadeChecks]) -> list[MadeChecks]:
    """Those of the rows that the worker was asked about and that have none, in the form that they must have.

    A file that has taken the worker over could name any row, whose frames nobody could read then.
    """
    if isinstance(request, CheckFrames):
        asked = request.pixels
    else:
        asked = [record.pixels for record in request.records if record.pixels is not None]
    pages = {
        (held.key, held.first + place * PAGE): page
        for held in asked
        for place, (page, checks) in enumerate(zip(held.pages, held.checks, strict=True))
        if checks is None
    }
    wanted = [each for each in made if _fits(each.checks, pages.get((each.pixels, each.first_frame)))]
    if len(wanted) < len(made):
        log.error("a codec worker made checksums that nobody had asked for: has a file taken it over?")
    return wanted


def _fits(checks: bytes, page: bytes | None) -> bool:
    """Whether these are the checks of the frames of a row of the frame table."""
    if not page or not checks:
        return False
    try:
        return pack_checks(unpack_checks(checks, [frame.length for frame in unpack_entries(page)])) == checks
    except struct.error:
        return False


def _values_of(bodies: SharedValues, part: list[RecordToVerify]) -> SharedValues:
    """Only those that these records refer to."""
    levels = {key for record in part for key in record.levels}
    dictionaries = {key for record in part for key in (record.dictionary, record.dicom_dictionary)}
    return SharedValues(
        {key: body for key, body in bodies.dictionaries.items() if key in dictionaries},
        {key: body for key, body in bodies.levels.items() if key in levels},
    )
