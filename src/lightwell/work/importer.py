"""The phases of an import job that need no codec worker: list, commit, report."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from lightwell.context import Clock, Ids
from lightwell.domain import jobs as domain
from lightwell.domain.events import import_job_event
from lightwell.domain.jobs import CUSTOMER, IMPORTED, SERVER, InputFile, Job, Outcome, split_uri
from lightwell.errors import InputError, LightwellError, StorageError
from lightwell.ingest import merge, overrides, report
from lightwell.ingest.merge import Group, Place
from lightwell.settings import Settings
from lightwell.stores import Stores, chunks, jobs, outbox, staging
from lightwell.work import listing, planning
from lightwell.work.listing import Found

log = logging.getLogger(__name__)

Count = Callable[[str, str, int], None]

# Groups in one transaction of the commit phase: so many, or until they have so many files.
_GROUPS, _FILES = 32, 1000
_CHUNKS_AT_ONCE = 32
_OUTCOMES_AT_ONCE = 1000


class JobFailed(LightwellError):
    """The whole job cannot go on; ``str()`` of it is its message."""


class ClaimLost(LightwellError):
    """Another engine has taken the job over."""


@dataclass(slots=True)
class _Counter:
    """What listing has counted, and the limits on it."""

    settings: Settings
    where: str
    files: int = 0
    bytes: int = 0
    folders: int = 0
    _folder: tuple[str, ...] = ()

    def add(self, found: Found) -> None:
        s = self.settings
        self.files += 1
        self.bytes += found.size
        if s.import_max_folders:
            folder = tuple(found.name.split("/")[:-1])
            same = len(
                [
                    1
                    for _ in itertools.takewhile(
                        lambda ab: ab[0] == ab[1], zip(folder, self._folder, strict=False)
                    )
                ]
            )
            self.folders += len(folder) - same
            self._folder = folder
            if self.folders > s.import_max_folders:
                raise JobFailed(
                    f"The input {self.where} has more than {s.import_max_folders} folders, the most of one "
                    "import job. Split it into several jobs or raise the setting import_max_folders."
                )
        if s.import_max_bytes and self.bytes > s.import_max_bytes:
            raise JobFailed(
                f"The input {self.where} has more than {s.import_max_bytes} bytes, the most of one import "
                "job. Split it into several jobs or raise the setting import_max_bytes."
            )


class Importer:
    """Works at one phase of one job under a claim.

    ``beat`` is called now and then with the job's key and the claim; it holds the claim and returns
    False when it is lost. ``count`` adds to one of `observe.metrics.COUNTERS`.
    """

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        beat: Callable[[int, str], bool],
        count: Count,
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._beat = beat
        self._count = count

    def work(self, key: int, phase: str, claim: str) -> None:
        """Do the phase; a job that cannot go on ends FAILED. Raises `StorageError` and `ClaimLost`."""
        with self._stores.db.read() as conn:
            job = jobs.get(conn, key)
            if job is None:
                return
            datastore_id, _ = jobs.place(conn, key)
        place = Place(self._settings.region, self._settings.account_id, job.datastore, datastore_id)
        try:
            if phase == domain.LIST:
                self._list(job, place, claim)
            elif phase == domain.COMMIT:
                self._commit(job, place, claim)
            elif phase == domain.REPORT:
                self._report(job, place, claim)
        except (JobFailed, InputError) as error:
            self.fail(job, datastore_id, claim, str(error))

    def give_up(self, key: int, claim: str, message: str) -> None:
        """End a job FAILED whose phase never succeeds."""
        with self._stores.db.read() as conn:
            job = jobs.get(conn, key)
            if job is None:
                return
            datastore_id, _ = jobs.place(conn, key)
        self.fail(job, datastore_id, claim, message)

    def fail(self, job: Job, datastore_id: str, claim: str, message: str) -> None:
        """End the job FAILED."""
        message = domain.clean_message(message)
        log.warning("import job %s failed: %s", job.id, message)
        self._end(job, datastore_id, claim, domain.FAILED, message)

    def _end(self, job: Job, datastore_id: str, claim: str, status: str, message: str | None) -> None:
        now = self._clock.now()
        name = "Import Job Completed" if status == domain.COMPLETED else "Import Job Failed"
        event = self._event(name, job, datastore_id, status, now)

        def work(conn: Connection) -> bool:
            if not jobs.end(conn, job.key, claim, status, message, now):
                return False
            outbox.append(conn, event)
            return True

        if not self._stores.db.write(work):
            raise ClaimLost(job.id)
        self._count("lightwell_import_jobs_total", status, 1)
        with self._stores.db.read() as conn:
            files = staging.counts(conn, job.key)
        for outcome in (IMPORTED, CUSTOMER, SERVER):
            self._count("lightwell_import_files_total", outcome, getattr(files, outcome))

    def _event(self, name: str, job: Job, datastore_id: str, status: str, now: int) -> dict[str, object]:
        return import_job_event(
            name,
            id=self._ids.id(),
            now=now,
            region=self._settings.region,
            account=self._settings.account_id,
            datastore_id=datastore_id,
            job_id=job.id,
            job_name=job.name,
            job_status=status,
            input_uri=job.input_uri,
            output_uri=job.output_uri,
        )

    # list -----------------------------------------------------------------------------------------------

    def _list(self, job: Job, place: Place, claim: str) -> None:
        event = self._event(
            "Import Job In Progress", job, place.datastore_id, domain.IN_PROGRESS, self._clock.now()
        )

        def begin(conn: Connection) -> None:
            if jobs.start(conn, job.key, claim):
                outbox.append(conn, event)
            chunks.clear(conn, job.key)

        self._stores.db.write(begin)
        refused, leave_out = self._mappings(job)
        found = listing.peek(self._found(job, leave_out))
        if found is None:
            raise JobFailed(f"There is no file below the input {job.input_uri}. Check bucket and prefix.")
        try:
            report.check_output(self._stores, job)
        except (InputError, StorageError) as error:
            raise JobFailed(f"The output {job.output_uri} cannot be written: {error}") from error
        scanned = self._plan(job, claim, itertools.chain(refused, found))
        chunkless = self._stores.db.write(lambda conn: self._listed(conn, job, claim, scanned))
        log.info("import job %s: %d files listed%s", job.id, scanned, ", none to read" if chunkless else "")

    def _listed(self, conn: Connection, job: Job, claim: str, scanned: int) -> bool:
        if not jobs.advance(conn, job.key, claim, domain.READ, scanned=scanned):
            raise ClaimLost(job.id)
        return jobs.read_done(conn, job.key)

    def _found(self, job: Job, leave_out: frozenset[str]) -> Iterator[Found]:
        if job.source is not None:
            return listing.list_sources(self._stores.buckets, job.source)
        return listing.list_bucket(self._stores.buckets, job, leave_out)

    def _mappings(self, job: Job) -> tuple[list[Found], frozenset[str]]:
        """The JSON files of a metadata override: those that cannot be used, and the keys of all."""
        bucket, prefix = split_uri(job.input_uri)
        refused = []
        keys = overrides.keys(job.configuration, prefix)
        for key in keys:
            try:
                got = self._stores.buckets.fetch(
                    bucket, key, memory_limit=overrides.LIMIT, spool_dir=self._stores.spool
                )
                overrides.check(got, key, self._stores.spool)
            except InputError as error:
                refused.append(Found(key, None, 0, str(error)))
        return refused, frozenset(keys)

    def _plan(self, job: Job, claim: str, found: Iterator[Found]) -> int:
        """Write chunks and refusals in bounded batches; returns how many files there are."""
        settings, counter = self._settings, _Counter(self._settings, job.input_uri)
        refusals: list[Outcome] = []

        def readable() -> Iterator[InputFile]:
            for one in found:
                number = counter.files
                counter.add(one)
                if settings.import_max_files and counter.files > settings.import_max_files:
                    raise JobFailed(self._too_many(counter, found))
                refusal = one.refusal
                if settings.import_max_file_bytes and one.size > settings.import_max_file_bytes:
                    refusal = (
                        f"The file has {one.size} bytes, more than the {settings.import_max_file_bytes} that "
                        "one file of an import job may have"
                    )
                if refusal is None:
                    yield InputFile(number, one.name, one.location, one.size)
                else:
                    refusals.append(
                        Outcome(number, one.name, CUSTOMER, "ValidationException", _text(refusal))
                    )
                    if len(refusals) >= _OUTCOMES_AT_ONCE:
                        self._flush(job, claim, [], refusals)

        rows: list[tuple[int, list[InputFile]]] = []
        for number, run in enumerate(_consecutive(planning.chunks(readable(), settings.codec_processes))):
            rows.append((number, run))
            if len(rows) >= _CHUNKS_AT_ONCE:
                self._flush(job, claim, rows, refusals)
        self._flush(job, claim, rows, refusals)
        return counter.files

    def _flush(
        self,
        job: Job,
        claim: str,
        rows: list[tuple[int, list[InputFile]]],
        refusals: list[Outcome],
    ) -> None:
        packed = [(number, files[0].number, len(files), chunks.compress(files)) for number, files in rows]

        def work(conn: Connection) -> None:
            chunks.add(conn, job.key, packed)
            staging.add_outcomes(conn, job.key, refusals)

        self._stores.db.write(work)
        rows.clear()
        refusals.clear()
        self._keep(job, claim)

    def _too_many(self, counter: _Counter, found: Iterator[Found]) -> str:
        limit = self._settings.import_max_files
        count = counter.files + sum(1 for _ in itertools.islice(found, 1_000_000))
        return (
            f"The input {counter.where} has {count} files; the most of one import job is {limit}. Split it "
            "into several jobs or raise the setting import_max_files."
        )

    def _keep(self, job: Job, claim: str) -> None:
        if not self._beat(job.key, claim):
            raise ClaimLost(job.id)

    # commit ---------------------------------------------------------------------------------------------

    def _commit(self, job: Job, place: Place, claim: str) -> None:
        while True:
            with self._stores.db.read() as conn:
                waiting = staging.waiting_series(conn, job.key, 20 * _GROUPS)
            if not waiting:
                break
            groups: list[Group] = []
            files = 0
            for series in waiting:
                with self._stores.db.read() as conn:
                    found = merge.prepare(conn, job, series)
                for group in found:
                    groups.append(group)
                    files += group.files
                    if len(groups) >= _GROUPS or files >= _FILES:
                        self._commit_groups(job, place, claim, groups)
                        groups, files = [], 0
            if groups:
                self._commit_groups(job, place, claim, groups)
        if not self._stores.db.write(lambda conn: jobs.advance(conn, job.key, claim, domain.REPORT)):
            raise ClaimLost(job.id)

    def _commit_groups(self, job: Job, place: Place, claim: str, groups: list[Group]) -> None:
        now = self._clock.now()

        def work(conn: Connection) -> None:
            self._own(conn, job, claim)
            merge.commit(conn, job, place, groups, ids=self._ids, now=now)

        try:
            self._stores.db.write(work)
        except LightwellError:
            raise
        except Exception:
            if len(groups) > 1:
                for group in groups:
                    self._commit_groups(job, place, claim, [group])
                return
            log.exception("import job %s: a series could not be committed", job.id)
            self._give_up(job, place, claim, groups[0])

    def _give_up(self, job: Job, place: Place, claim: str, group: Group) -> None:
        now = self._clock.now()
        message = (
            "The series could not be put into an image set because of a fault in lightwell, please report it."
        )

        def work(conn: Connection) -> None:
            self._own(conn, job, claim)
            merge.give_up(conn, job, place, group, message=message, now=now)

        self._stores.db.write(work)

    def _own(self, conn: Connection, job: Job, claim: str) -> None:
        if not jobs.hold(conn, job.key, claim, self._clock.now() + CLAIM_MS):
            raise ClaimLost(job.id)

    # report ---------------------------------------------------------------------------------------------

    def _report(self, job: Job, place: Place, claim: str) -> None:
        report.write_report(self._stores, job, place.datastore_id)
        self._end(job, place.datastore_id, claim, domain.COMPLETED, None)


# How long a claim holds without a heartbeat.
CLAIM_MS = 30_000


def _consecutive(planned: Iterator[list[InputFile]]) -> Iterator[list[InputFile]]:
    """Chunks whose file numbers follow one another: files that were refused in between split them."""
    for chunk in planned:
        start = 0
        for i in range(1, len(chunk) + 1):
            if i == len(chunk) or chunk[i].number != chunk[i - 1].number + 1:
                yield chunk[start:i]
                start = i


def _text(message: str) -> str:
    return message.replace("\0", "").encode("utf-8", "replace").decode()[:4000]
