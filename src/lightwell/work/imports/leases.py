"""The chunks that an engine has leased, and what becomes of them: rows, another try, or failures."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightwell.clock import Clock, Ids
from lightwell.codec_pool.failures import CHUNK, Cause, cause_of
from lightwell.codec_pool.messages import ReadChunk
from lightwell.domain.backoff import AGAIN, Backoff
from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports.jobs import Chunk, Outcome
from lightwell.domain.imports.names_in_logs import without_files
from lightwell.domain.imports.records import ChunkResult, Failure, NewRecord
from lightwell.domain.imports.units import Token
from lightwell.domain.states import JobPhase, OutcomeKind
from lightwell.errors import DamagedError, ServerFault, StorageError, StorageUnavailableError
from lightwell.ingest import overrides, store_commit
from lightwell.stores import Stores
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.db.now import Skew
from lightwell.stores.image_sets import existing_instances, records
from lightwell.stores.jobs import chunks, import_jobs, staging
from lightwell.stores.keys.job_values import NO_KEY
from lightwell.stores.objects import packs
from lightwell.stores.objects.pack_objects import OpenPack
from lightwell.work.dispatch import Dispatch
from lightwell.work.imports.pauses import Pauses

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)


# A unit without a chunk is not asked for again before.
_GONE_MS = 1000
_COMMIT_ATTEMPTS = 8
_COMMIT_BACKOFF = Backoff(200, 5_000)


@dataclass(slots=True)
class LeasedChunk:
    """A chunk that this engine has leased by ``token``; ``task`` is what a worker is told."""

    chunk: Chunk
    token: Token
    datastore: int
    task: ReadChunk
    result: ChunkResult = field(default_factory=ChunkResult)


@dataclass(frozen=True, slots=True)
class _JobFacts:
    """What reading needs to know of a job, and what never changes."""

    id: str
    datastore: int
    datastore_id: str
    storage_format: str
    bucket: str
    far: bool
    mappings: list[tuple[str, str | None, str]]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A chunk that was taken, and the key of its first pack."""

    chunk: Chunk
    facts: _JobFacts
    pack: OpenPack


class Leases:
    """Leases chunks for this engine and settles them. For all its threads.

    ``on_read`` is called with the key of a job whose last chunk may have been read, ``on_taken`` with what
    was leased. Jobs that are paused are left alone.
    """

    def __init__(
        self,
        stores: Stores,
        clock: Clock,
        ids: Ids,
        dispatch: Dispatch,
        pauses: Pauses,
        on_read: Callable[[int], None],
        on_taken: Callable[[Token], None] = lambda token: None,
    ) -> None:
        self._on_taken = on_taken
        self._pauses = pauses
        self._stores = stores
        self._clock = clock
        self._skew = Skew(Clock().now)
        self._ids = ids
        self._dispatch = dispatch
        self._on_read = on_read
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._facts: dict[int, _JobFacts] = {}
        self._latest: int | None = None

    def take(self) -> LeasedChunk | None:
        """Lease a chunk; None if there is none."""
        latest, self._latest = self._latest, None
        if latest is not None:
            with suppress(StorageError, *NO_KEY):  # what begins the next chunk says so
                self._stores.keys.prepare(latest)
        token = self._dispatch.take((JobPhase.READ,), self._pauses.waiting(), self._begin)
        if token is None:
            return None
        begun = token.begun
        if not isinstance(begun, _Begun):
            # The job was cancelled at this moment.
            self._dispatch.retry(token, _GONE_MS)
            return None
        self._on_taken(token)
        chunk, facts = begun.chunk, begun.facts
        with self._lock:
            if len(self._facts) > 256:
                self._facts.clear()
            self._facts[chunk.job] = facts
            self._latest = facts.datastore
        task = _task(next(self._numbers), chunk, facts, begun.pack)
        return LeasedChunk(chunk, token, facts.datastore, task)

    def _begin(self, conn: Connection, tokens: Sequence[Token]) -> list[_Begun | None]:
        """Look up chunks, and open a pack for each; None for a chunk that is gone."""
        job = tokens[0].unit.job
        try:
            # Names of files, overrides and packs are sealed with the key of the job's data store.
            found = chunks.get(conn, job, [token.unit.number for token in tokens])
            if not found:
                return [None for _ in tokens]
            facts = self._facts.get(job) or _facts_of(conn, job)
            now = self._clock.now() + self._skew.of(conn)
            opened = self._stores.keys.open_packs(conn, facts.datastore, len(found), self._ids.key, now)
        except (*NO_KEY, DamagedError) as error:
            # Its key is not to be had here, or its row is not what was stored: the other jobs go on.
            known = self._facts.get(job) or import_jobs.get(conn, job)
            self._pauses.begin(job, f"import job {known.id}" if known else "an import job", str(error))
            raise
        pack_of = dict(zip(found, opened, strict=True))
        return [
            _Begun(chunk, facts, pack_of[chunk.number]) if (chunk := found.get(token.unit.number)) else None
            for token in tokens
        ]

    def open_packs(self, leased: LeasedChunk, count: int) -> list[OpenPack]:
        """Packs whose rows are open from now on."""
        self._stores.keys.prepare(leased.datastore)

        def work(conn: Connection) -> list[OpenPack]:
            now = self._clock.now() + self._skew.of(conn)
            return self._stores.keys.open_packs(conn, leased.datastore, count, self._ids.key, now)

        return self._stores.db.write(work)

    def commit(self, leased: LeasedChunk, dead: str | None = None) -> None:
        """Write what reading the chunk has yielded, in one transaction, unless the lease was lost.

        ``dead`` says why the chunk was given up, where it was.
        """
        chunk, result = leased.chunk, leased.result
        more = False
        result.failures.extend(_given_up(chunk, leased.task.skip))
        new_keys = [self._ids.key() for _ in result.dependencies.level_values]

        def work(conn: Connection) -> bool:
            nonlocal more
            if not self._dispatch.done(conn, leased.token, dead=dead):
                return False
            used = result.used()
            packs.make_live(conn, used.packs, used.seals)
            existing_instances.protect_shared(conn, result.records, used.packs)
            keys = records.level_values(conn, leased.datastore, used.level_values, new_keys)
            records.insert(conn, leased.datastore, result.records, keys, used.dictionaries)
            staging.stage(conn, chunk.job, result.records)
            staging.add_outcomes(conn, chunk.job, [_outcome(f) for f in result.failures])
            more = self._dispatch.more(conn, chunk.job, JobPhase.READ)
            return True

        try:
            if not self._write(work, leased):
                log.warning(
                    "chunk %d of a job is dropped: cancelled, or taken over by another engine", chunk.number
                )
            self._pauses.end(chunk.job)
        except StorageError as error:
            self.settle(leased, cause_of(error), str(error))
            raise
        except Exception as error:
            log.exception("a chunk could not be committed")
            fault = f"a fault in lightwell ({type(error).__name__})"
            self.settle(leased, Cause.FAULT_BETWEEN_FILES, fault)
        else:
            if not more:
                self._on_read(chunk.job)

    def _write(self, work: Callable[[Connection], bool], leased: LeasedChunk) -> bool:
        attempt = 0
        while True:
            try:
                return self._stores.db.write(work)
            except existing_instances.SharedBytesGone:
                # Trying again would not help: the files have to be read again, and stored.
                raise
            except StorageError as error:
                attempt += 1
                if attempt == _COMMIT_ATTEMPTS:
                    raise
                log.warning("a chunk could not be committed, trying again: %s", error)
                time.sleep(_COMMIT_BACKOFF.delay_ms(attempt) / 1000)
            except Exception:
                # There is a row that the database rejects: find it, and commit the others.
                if not self._leave_out_refused(leased):
                    raise

    def _leave_out_refused(self, leased: LeasedChunk) -> bool:
        """Turn records that the database rejects into failures; False if there are none."""
        result = leased.result

        def work(conn: Connection) -> list[NewRecord]:
            def stage(record: NewRecord) -> None:
                staging.stage(conn, leased.chunk.job, [record])

            return store_commit.refused(conn, leased.datastore, result, stage)

        refused = self._stores.db.write(work)
        numbers = {record.file for record in refused}
        result.records = [r for r in result.records if r.file not in numbers]
        result.failures += [
            Failure(r.file, r.input_file, ServerFault.exception_type, store_commit.REFUSED) for r in refused
        ]
        return bool(refused)

    def is_storage_there(self, leased: LeasedChunk) -> bool:
        """Whether packs can be written where the others are; where they cannot, the chunk's job is paused."""
        try:
            packs.check_mounted(self._stores.db, self._stores.objects)
        except StorageUnavailableError as error:
            self.settle(leased, Cause.UNAVAILABLE, str(error))
            return False
        return True

    def settle(self, leased: LeasedChunk, cause: Cause, reason: str, file: int | None = None) -> None:
        """Let the chunk be read again after a failure, as `CHUNK` says: it is counted, or the job pauses.

        ``file`` is the number of the file that is to blame, where one is.
        """
        if file is None and CHUNK[cause].blames == "file":
            # Only a worker that its files have taken over names no file: without a count there is no end.
            cause = Cause.DIED_BETWEEN_FILES
        consequence, chunk = CHUNK[cause], leased.chunk
        if consequence.tries is None:
            facts = self._facts.get(chunk.job)
            why = without_files(reason, chunk.files)
            self._pauses.begin(chunk.job, f"import job {facts.id}" if facts else "an import job", why, reason)
            self.release(leased)
            return
        deaths = {key: list(value) for key, value in chunk.deaths.items()}
        reasons = deaths.setdefault(consequence.counter or str(file), [])
        reasons.append(reason[:500])
        # Where no file is to blame, what is wrong may pass.
        wait = 0 if consequence.blames == "file" else AGAIN.delay_ms(len(reasons))
        self._dispatch.retry(
            leased.token, wait, lambda conn: chunks.record_deaths(conn, leased.token.unit, deaths)
        )

    def release(self, leased: LeasedChunk) -> None:
        """Let the chunk be read again at once; nothing has failed."""
        self._dispatch.retry(leased.token)

    def final_failure(self, leased: LeasedChunk) -> str | None:
        """Why all files of the chunk fail, None while it may still be read."""
        for consequence in CHUNK.values():
            reasons = leased.chunk.deaths.get(consequence.counter or "", [])
            if consequence.is_final(len(reasons)):
                return consequence.text(reasons[-1])
        return None

    def fail_all(self, leased: LeasedChunk, message: str) -> None:
        """Give the chunk up: no file of it is imported."""
        skipped = set(leased.task.skip)
        leased.result = ChunkResult(
            failures=[
                Failure(f.number, f.name, ServerFault.exception_type, message)
                for f in leased.chunk.files
                if f.number not in skipped
            ]
        )
        self.commit(leased, dead=message)


def _facts_of(conn: Connection, key: int) -> _JobFacts:
    job = import_jobs.get(conn, key)
    assert job is not None
    job = import_jobs.opened(conn, job)
    datastore_id, storage_format = import_jobs.datastore_of(conn, key)
    bucket, prefix = domain.split_uri(job.input_uri)
    return _JobFacts(
        job.id,
        job.datastore,
        datastore_id,
        storage_format,
        bucket,
        job.input_node == NOBODY,
        overrides.mappings(job.configuration, prefix),
    )


def _task(number: int, chunk: Chunk, facts: _JobFacts, pack: OpenPack) -> ReadChunk:
    died = CHUNK[Cause.DIED]
    deaths = {file.number: chunk.died(file.number) for file in chunk.files} if chunk.deaths else {}
    return ReadChunk(
        task=number,
        bucket=facts.bucket,
        storage_format=facts.storage_format,
        files=domain.pack_files(list(chunk.files)),
        first_file=chunk.files[0].number,
        skip=[number for number, count in deaths.items() if died.is_final(count)],
        first=[number for number, count in deaths.items() if count and not died.is_final(count)],
        packs=[pack],
        mappings=facts.mappings,
        last_attempt=CHUNK[Cause.STORAGE].is_final(len(chunk.deaths.get(domain.STORAGE, ())) + 1),
        far=facts.far,
        datastore=facts.datastore_id,
    )


def _given_up(chunk: Chunk, skipped: list[int]) -> Iterator[Failure]:
    names = {f.number: f.name for f in chunk.files}
    for number in skipped:
        message = CHUNK[Cause.DIED].text(chunk.deaths[str(number)][-1])
        yield Failure(number, names[number], ServerFault.exception_type, message)


def _outcome(failure: Failure) -> Outcome:
    kind = (
        OutcomeKind.SERVER if failure.exception_type == ServerFault.exception_type else OutcomeKind.CUSTOMER
    )
    message = failure.message if failure.is_dicom else domain.NOT_DICOM
    return Outcome(failure.file, failure.input_file, kind, failure.exception_type, message)
