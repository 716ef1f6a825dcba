"""Chunks as an engine holds them, and what becomes of them: rows, another try, or failures."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightwell.clock import Clock, Ids
from lightwell.codec_pool import existing_lookup
from lightwell.codec_pool.messages import Existing, FindExisting, Task
from lightwell.codec_pool.sandbox.grants import inputs_of
from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports.jobs import CUSTOMER, SERVER, Chunk, Outcome
from lightwell.domain.imports.records import ChunkResult, Failure, NewRecord
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.ingest import overrides, store_commit
from lightwell.stores import Stores
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.image_sets import existing_instances, records
from lightwell.stores.jobs import chunks, import_jobs, staging
from lightwell.stores.objects import packs
from lightwell.work.import_phases import CLAIM_MS
from lightwell.work.pauses import Pauses

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

_COMMIT_ATTEMPTS = 8


@dataclass(slots=True)
class LeasedChunk:
    """A chunk that this engine holds under ``claim``; ``task`` is what a worker is told.

    ``inputs`` as `reach.inputs_of` gives them.
    """

    chunk: Chunk
    claim: str
    datastore: int
    task: Task
    inputs: tuple[str, ...] = ()
    result: ChunkResult = field(default_factory=ChunkResult)


@dataclass(frozen=True, slots=True)
class _JobFacts:
    """What reading needs to know of a job; never changes."""

    id: str
    datastore: int
    storage_format: str
    bucket: str
    far: bool
    mappings: list[tuple[str, str | None, str]]
    inputs: tuple[str, ...]


class Leases:
    """Takes chunks for this engine and settles them. For all its threads.

    ``on_change`` is called when a job may have gone to its next phase. Jobs that are paused are left alone.
    """

    def __init__(
        self,
        stores: Stores,
        clock: Clock,
        ids: Ids,
        engine: str,
        pauses: Pauses,
        on_change: Callable[[], None],
    ) -> None:
        self._pauses = pauses
        self._stores = stores
        self._clock = clock
        self._ids = ids
        self._engine = engine
        self._on_change = on_change
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._facts: dict[int, _JobFacts] = {}

    def held(self) -> set[str]:
        """The claims of all chunks that are being worked at."""
        with self._lock:
            return set(self._held)

    def take(self) -> LeasedChunk | None:
        """Claim a chunk, None if there is none."""
        now, node, paused = self._clock.now(), self._stores.node_id, self._pauses.waiting()
        with self._stores.db.read() as conn:
            if not chunks.any_waiting(conn, now, node, paused):
                return None
        number = next(self._numbers)
        claim, pack = f"{self._engine}:{number}", self._ids.key()

        def work(conn: Connection) -> tuple[Chunk, _JobFacts] | None:
            chunk = chunks.claim(conn, claim, now, now + CLAIM_MS, node, paused)
            if chunk is None:
                return None
            facts = self._facts.get(chunk.job) or _facts_of(conn, chunk.job)
            packs.insert_open(conn, [pack], facts.datastore, now)
            return chunk, facts

        taken = self._stores.db.write(work)
        if taken is None:
            return None
        chunk, facts = taken
        with self._lock:
            self._held.add(claim)
            if len(self._facts) > 256:
                self._facts.clear()
            self._facts[chunk.job] = facts
        task = _task(number, chunk, facts, pack)
        return LeasedChunk(chunk, claim, facts.datastore, task, facts.inputs)

    def open_packs(self, claimed: LeasedChunk, count: int) -> list[int]:
        """Keys of packs whose rows are open from now on."""
        keys = [self._ids.key() for _ in range(count)]
        now = self._clock.now()
        self._stores.db.write(lambda conn: packs.insert_open(conn, keys, claimed.datastore, now))
        return keys

    def find_existing(self, claimed: LeasedChunk, asked: FindExisting) -> Existing:
        """What a worker asks for."""
        return existing_lookup.answer(self._stores.db, claimed.datastore, asked)

    def commit(self, claimed: LeasedChunk) -> None:
        """Write what reading the chunk has yielded, in one transaction, unless the claim was lost."""
        chunk, result = claimed.chunk, claimed.result
        result.failures.extend(_given_up(chunk, claimed.task.skip))
        new_keys = [self._ids.key() for _ in result.level_values]

        def work(conn: Connection) -> bool:
            if not chunks.finish(conn, chunk.job, chunk.number, claimed.claim):
                return False
            used = result.used()
            packs.make_live(conn, used.packs)
            existing_instances.protect_shared(conn, result.records, used.packs)
            keys = records.level_values(conn, claimed.datastore, used.level_values, new_keys)
            records.insert(conn, claimed.datastore, result.records, keys, used.dictionaries)
            staging.stage(conn, chunk.job, result.records)
            staging.add_outcomes(conn, chunk.job, [_outcome(f) for f in result.failures])
            import_jobs.add_read(conn, chunk.job, len(chunk.files))
            import_jobs.finish_reading(conn, chunk.job)
            return True

        try:
            if not self._write(work, claimed):
                log.warning("chunk %d of a job was taken over by another engine", chunk.number)
            self._pauses.end(chunk.job)
        except StorageUnavailableError as error:
            self.pause(claimed, str(error))
            raise
        except StorageError as error:
            self.put_back(claimed, domain.STORAGE, str(error))
            raise
        except Exception as error:
            log.exception("a chunk could not be committed")
            self.put_back(claimed, domain.NO_FILE, f"a fault in lightwell ({type(error).__name__})")
        finally:
            self._forget(claimed)
            self._on_change()

    def _write(self, work: Callable[[Connection], bool], claimed: LeasedChunk) -> bool:
        attempt = 0
        while True:
            try:
                return self._stores.db.write(work)
            except existing_instances.SharedBytesGone:
                # Trying again changes nothing: the files have to be read again, and stored.
                raise
            except StorageError as error:
                attempt += 1
                if attempt == _COMMIT_ATTEMPTS:
                    raise
                log.warning("a chunk could not be committed, trying again: %s", error)
                time.sleep(min(0.1 * 2**attempt, 5))
            except Exception:
                # A row that the database does not take: find it, and let the others go on.
                if not self._leave_out_refused(claimed):
                    raise

    def _leave_out_refused(self, claimed: LeasedChunk) -> bool:
        """Turn records that the database refuses into failures; False if there are none."""
        result = claimed.result

        def work(conn: Connection) -> list[NewRecord]:
            def stage(record: NewRecord) -> None:
                staging.stage(conn, claimed.chunk.job, [record])

            return store_commit.refused(conn, claimed.datastore, result, stage)

        refused = self._stores.db.write(work)
        numbers = {record.file for record in refused}
        result.records = [r for r in result.records if r.file not in numbers]
        result.failures += [
            Failure(r.file, r.input_file, "InternalServerException", store_commit.REFUSED) for r in refused
        ]
        return bool(refused)

    def is_storage_there(self, claimed: LeasedChunk) -> bool:
        """Whether packs can be written where the others lie; the chunk's job waits where they cannot."""
        try:
            packs.check_mounted(self._stores.db, self._stores.objects)
        except StorageUnavailableError as error:
            self.pause(claimed, str(error))
            return False
        return True

    def pause(self, claimed: LeasedChunk, reason: str) -> None:
        """Let the chunk be read again once what is away is there; that uses up no try of any file."""
        job = claimed.chunk.job
        facts = self._facts.get(job)
        self._pauses.begin(job, f"import job {facts.id}" if facts else "an import job", reason)
        self.put_back(claimed)

    def put_back(self, claimed: LeasedChunk, cause: str | None = None, reason: str = "") -> None:
        """Let the chunk be read again; ``cause`` is the file number, or the kind of trouble, to be noted."""
        chunk, now = claimed.chunk, self._clock.now()
        deaths = {key: list(value) for key, value in chunk.deaths.items()}
        not_before = None
        if cause is not None:
            deaths.setdefault(cause, []).append(reason[:500])
            if cause in (domain.STORAGE, domain.NO_FILE):
                # No file is to blame: what is wrong may pass, such as a worker that cannot start.
                not_before = now + min(250 * 2 ** len(deaths[cause]), 60_000)
        try:
            self._stores.db.write(
                lambda conn: chunks.release(conn, chunk.job, chunk.number, claimed.claim, deaths, not_before)
            )
        finally:
            self._forget(claimed)
            self._on_change()

    def hopeless(self, claimed: LeasedChunk) -> str | None:
        """Why all files of the chunk fail, None while it may still be read."""
        deaths = claimed.chunk.deaths
        if len(deaths.get(domain.NO_FILE, ())) >= domain.CHUNK_DEATHS:
            return f"The process that read the file ended again and again: {deaths[domain.NO_FILE][-1]}"
        if len(deaths.get(domain.STORAGE, ())) >= domain.STORAGE_FAILURES:
            return f"The storage failed again and again: {deaths[domain.STORAGE][-1]}"
        return None

    def fail_all(self, claimed: LeasedChunk, message: str) -> None:
        """Give the chunk up: no file of it is imported."""
        skipped = set(claimed.task.skip)
        claimed.result = ChunkResult(
            failures=[
                Failure(f.number, f.name, "InternalServerException", message)
                for f in claimed.chunk.files
                if f.number not in skipped
            ]
        )
        self.commit(claimed)

    def _forget(self, claimed: LeasedChunk) -> None:
        with self._lock:
            self._held.discard(claimed.claim)


def _facts_of(conn: Connection, key: int) -> _JobFacts:
    job = import_jobs.get(conn, key)
    assert job is not None
    _, storage_format = import_jobs.datastore_of(conn, key)
    bucket, prefix = domain.split_uri(job.input_uri)
    return _JobFacts(
        job.id,
        job.datastore,
        storage_format,
        bucket,
        job.input_node == NOBODY,
        overrides.mappings(job.configuration, prefix),
        inputs_of(job.source),
    )


def _task(number: int, chunk: Chunk, facts: _JobFacts, pack: int) -> Task:
    return Task(
        number=number,
        bucket=facts.bucket,
        storage_format=facts.storage_format,
        files=domain.pack_files(list(chunk.files)),
        first_file=chunk.files[0].number,
        skip=[f.number for f in chunk.files if chunk.died(f.number) >= domain.FILE_DEATHS],
        first=[f.number for f in chunk.files if 0 < chunk.died(f.number) < domain.FILE_DEATHS],
        packs=[pack],
        mappings=facts.mappings,
        last_attempt=len(chunk.deaths.get(domain.STORAGE, ())) >= domain.STORAGE_FAILURES - 1,
        far=facts.far,
    )


def _given_up(chunk: Chunk, skipped: list[int]) -> Iterator[Failure]:
    names = {f.number: f.name for f in chunk.files}
    for number in skipped:
        reason = chunk.deaths[str(number)][-1]
        yield Failure(
            number,
            names[number],
            "InternalServerException",
            f"Reading this file has ended its codec worker {domain.FILE_DEATHS} times: {reason}",
        )


def _outcome(failure: Failure) -> Outcome:
    kind = SERVER if failure.exception_type == "InternalServerException" else CUSTOMER
    return Outcome(failure.file, failure.input_file, kind, failure.exception_type, failure.message)
