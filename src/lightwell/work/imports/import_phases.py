"""The phases of an import job that need no codec worker: list, commit, report."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator

from sqlalchemy import Connection

from lightwell.clock import Clock, Ids
from lightwell.domain.events import EventHeader, ImportJobEventType, import_job_event
from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports.bucket_rights import Rights
from lightwell.domain.imports.jobs import Job
from lightwell.domain.states import JobPhase, JobStatus, OutcomeKind
from lightwell.errors import InputError, LightwellError, StorageError, StorageUnavailableError
from lightwell.ingest import merge, report
from lightwell.ingest.merge import Group, ImportTarget
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background import outbox
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.jobs import chunks, import_jobs, staging
from lightwell.work.imports import listing, role_access
from lightwell.work.imports.chunk_writer import ChunkWriter, JobFailed
from lightwell.work.imports.directories import Directories
from lightwell.work.imports.leases import LEASE_MS
from lightwell.work.imports.listing import ListedFile
from lightwell.work.imports.role_access import RoleAssumer

log = logging.getLogger(__name__)

Count = Callable[[str, str, int], None]

# Groups in one transaction of the commit phase: so many, or until they have so many files.
_GROUPS, _FILES = 32, 1000

_FAULT = "The series could not be put into an image set because of a fault in lightwell, please report it."


class ClaimLost(LightwellError):
    """Another engine has taken over the job."""


class ImportPhases:
    """Does one phase of one job under a claim.

    ``count`` adds to one of `observe.metrics.COUNTERS`; ``data_access`` assumes the roles that jobs name.
    Once ``stopping`` is set, waiting for a codec worker ends with a `StorageError`.
    """

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        count: Count,
        data_access: RoleAssumer | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._stopping = stopping or threading.Event()
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._count = count
        self._data_access = data_access

    def work(self, key: int, phase: JobPhase, claim: str) -> None:
        """Do the phase; a job that cannot continue ends FAILED. Raises `StorageError` and `ClaimLost`."""
        with self._stores.db.read() as conn:
            job = import_jobs.get(conn, key)
            if job is None:
                return
            datastore_id, _ = import_jobs.datastore_of(conn, key)
        target = ImportTarget(self._settings.region, self._settings.account_id, job.datastore, datastore_id)
        try:
            if phase == JobPhase.LIST:
                self._list(job, target, claim)
            elif phase == JobPhase.COMMIT:
                self._commit(job, target, claim)
            elif phase == JobPhase.REPORT:
                self._report(job, target, claim)
        except (JobFailed, InputError) as error:
            self.fail(job, datastore_id, claim, str(error))

    def give_up(self, key: int, claim: str, message: str) -> None:
        """End a job as FAILED whose phase never succeeds; image sets that it would have changed record it."""
        with self._stores.db.read() as conn:
            job = import_jobs.get(conn, key)
            if job is None:
                return
            datastore_id, _ = import_jobs.datastore_of(conn, key)
        if job.phase == JobPhase.COMMIT:
            target = ImportTarget(
                self._settings.region, self._settings.account_id, job.datastore, datastore_id
            )
            try:
                self._give_up_waiting(job, target, claim, domain.clean_message(message))
            except ClaimLost:
                raise
            except Exception:
                log.exception(
                    "import job %s: its failure cannot be recorded in image sets",
                    job.id,
                )
        self.fail(job, datastore_id, claim, message)

    def fail(self, job: Job, datastore_id: str, claim: str, message: str) -> None:
        """End the job as FAILED."""
        message = domain.clean_message(message)
        log.warning("import job %s failed: %s", job.id, message)
        self._end(job, datastore_id, claim, JobStatus.FAILED, message)

    def _end(self, job: Job, datastore_id: str, claim: str, status: JobStatus, message: str | None) -> None:
        now = self._clock.now()
        name: ImportJobEventType = (
            "Import Job Completed" if status == JobStatus.COMPLETED else "Import Job Failed"
        )
        event = self._event(name, job, datastore_id, status, now)

        def work(conn: Connection) -> bool:
            if not import_jobs.finish(conn, job.key, claim, status, message, now):
                return False
            outbox.append(conn, event)
            return True

        if not self._stores.db.write(work):
            raise ClaimLost(job.id)
        self._count("lightwell_import_jobs_total", status, 1)
        with self._stores.db.read() as conn:
            files = staging.counts(conn, job.key)
        for outcome in (OutcomeKind.IMPORTED, OutcomeKind.CUSTOMER, OutcomeKind.SERVER):
            self._count("lightwell_import_files_total", outcome, getattr(files, outcome))

    def _event(
        self, name: ImportJobEventType, job: Job, datastore_id: str, status: JobStatus, now: int
    ) -> dict[str, object]:
        return import_job_event(
            name,
            EventHeader(
                id=self._ids.id(),
                now=now,
                region=self._settings.region,
                account=self._settings.account_id,
                datastore_id=datastore_id,
            ),
            job_id=job.id,
            job_name=job.name,
            job_status=status,
            input_uri=job.input_uri,
            output_uri=job.output_uri,
        )

    # list -----------------------------------------------------------------------------------------------

    def _list(self, job: Job, target: ImportTarget, claim: str) -> None:
        event = self._event(
            "Import Job In Progress", job, target.datastore_id, JobStatus.IN_PROGRESS, self._clock.now()
        )

        def begin(conn: Connection) -> None:
            # An engine that has lost the claim must not clear what the new holder has listed.
            self._keep_claim(conn, job, claim)
            if import_jobs.mark_in_progress(conn, job.key, claim):
                outbox.append(conn, event)
            chunks.clear(conn, job.key)

        self._stores.db.write(begin)
        writer = ChunkWriter(
            self._stores, self._settings, job, lambda conn: self._keep_claim(conn, job, claim)
        )
        rights = self._rights(job, target)
        if rights is not None:
            role_access.check_input(rights, job, self._stores.input_buckets(job))
            role_access.check_output(rights, job)
        with self._directories(job) as directories:
            refused, overrides = writer.check_overrides(directories)
            listed = listing.peek(self._listed_files(job, overrides, directories))
            if listed is None:
                raise JobFailed(_nothing_found(job))
            try:
                report.check_output(self._stores, job)
            except StorageUnavailableError:
                raise
            except (InputError, StorageError) as error:
                raise JobFailed(f"The output {job.output_uri} cannot be written: {error}") from error
            if rights is not None:
                listed = role_access.readable(rights, job, listed)
            scanned = writer.write(itertools.chain(refused, listed))
        nothing_to_read = self._stores.db.write(lambda conn: self._end_listing(conn, job, claim, scanned))
        log.info(
            "import job %s: %d files listed%s", job.id, scanned, ", none to read" if nothing_to_read else ""
        )

    def _end_listing(self, conn: Connection, job: Job, claim: str, scanned: int) -> bool:
        if not import_jobs.advance(conn, job.key, claim, JobPhase.READ, scanned=scanned):
            raise ClaimLost(job.id)
        return import_jobs.finish_reading(conn, job.key)

    def _rights(self, job: Job, target: ImportTarget) -> Rights | None:
        return role_access.rights_of(job, target.datastore_id, self._data_access, self._clock.now())

    def _directories(self, job: Job) -> Directories:
        far = job.input_node == NOBODY
        return Directories(self._settings, self._stores, job.source, far=far, stopping=self._stopping)

    def _listed_files(
        self, job: Job, overrides: frozenset[str], directories: Directories
    ) -> Iterator[ListedFile]:
        buckets = self._stores.input_buckets(job)
        if job.source is not None:
            return listing.list_sources(buckets, job.source, directories)
        return listing.list_bucket(buckets, job, overrides)

    # commit ---------------------------------------------------------------------------------------------

    def _commit(self, job: Job, target: ImportTarget, claim: str) -> None:
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
                        self._commit_groups(job, target, claim, groups)
                        groups, files = [], 0
            if groups:
                self._commit_groups(job, target, claim, groups)
        if not self._stores.db.write(lambda conn: import_jobs.advance(conn, job.key, claim, JobPhase.REPORT)):
            raise ClaimLost(job.id)

    def _commit_groups(self, job: Job, target: ImportTarget, claim: str, groups: list[Group]) -> None:
        now = self._clock.now()

        def work(conn: Connection) -> None:
            self._keep_claim(conn, job, claim)
            merge.commit(conn, target, groups, ids=self._ids, now=now)

        try:
            self._stores.db.write(work)
        except LightwellError:
            raise
        except Exception:
            if len(groups) > 1:
                for group in groups:
                    self._commit_groups(job, target, claim, [group])
                return
            log.exception("import job %s: a series could not be committed", job.id)
            self._give_up(job, target, claim, groups[0], _FAULT)

    def _give_up_waiting(self, job: Job, target: ImportTarget, claim: str, message: str) -> None:
        while True:
            with self._stores.db.read() as conn:
                waiting = staging.waiting_series(conn, job.key, 1)
                groups = [group for series in waiting for group in merge.prepare(conn, job, series)]
            if not groups:
                return
            for group in groups:
                self._give_up(job, target, claim, group, message)

    def _give_up(self, job: Job, target: ImportTarget, claim: str, group: Group, message: str) -> None:
        now = self._clock.now()

        def work(conn: Connection) -> None:
            self._keep_claim(conn, job, claim)
            merge.give_up(conn, job, target, group, message=message, now=now)

        self._stores.db.write(work)

    def _keep_claim(self, conn: Connection, job: Job, claim: str) -> None:
        if not import_jobs.renew_claim(conn, job.key, claim, self._clock.now() + LEASE_MS):
            raise ClaimLost(job.id)

    # report ---------------------------------------------------------------------------------------------

    def _report(self, job: Job, target: ImportTarget, claim: str) -> None:
        rights = self._rights(job, target)
        if rights is not None:
            role_access.check_output(rights, job)
        report.write_report(self._stores, job, target.datastore_id)
        self._end(job, target.datastore_id, claim, JobStatus.COMPLETED, None)


def _nothing_found(job: Job) -> str:
    """In the words in which the input was named: a URI, or paths on this machine."""
    if job.source is None:
        return f"There are no files below the input {job.input_uri}. Check bucket and prefix."
    return f"There are no files below {', '.join(json.loads(job.source))}. Check the path."
