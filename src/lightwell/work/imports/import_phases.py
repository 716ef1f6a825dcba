"""The phases of an import job that need no codec worker: list, commit, report; and from one to the next."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Connection

from lightwell.clock import Clock, Ids
from lightwell.domain.events import EventHeader, ImportJobEventType, import_job_event
from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports import names_in_logs
from lightwell.domain.imports.bucket_rights import Rights
from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.listing_progress import ListingProgress
from lightwell.domain.imports.manifests import OutcomeCounts
from lightwell.domain.imports.units import Token
from lightwell.domain.imports.uploads import UPLOADS
from lightwell.domain.states import JobPhase, JobStatus, OutcomeKind
from lightwell.errors import InputError, LightwellError, StorageError, StorageUnavailableError
from lightwell.ingest import merge, on_record, report, twins
from lightwell.ingest.merge import Group, ImportTarget, Merge
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background import outbox
from lightwell.stores.background.records import NOT_RECORDED, BackgroundRecords, Owed
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.image_sets.existing_instances import Verdicts
from lightwell.stores.jobs import import_jobs, staging, transitions, units, uploads
from lightwell.stores.jobs.staging import WaitingSeries
from lightwell.work.dispatch import Dispatch
from lightwell.work.imports import listing, role_access
from lightwell.work.imports.chunk_writer import ChunkWriter, JobFailed
from lightwell.work.imports.directories import Directories
from lightwell.work.imports.role_access import RoleAssumer

log = logging.getLogger(__name__)

Count = Callable[[str, str, int], None]

# Groups in one transaction of the commit phase: so many, or until they have so many files.
_GROUPS, _FILES = 32, 1000

_FAULT = "The series could not be put into an image set because of a fault in lightwell, please report it."


class ClaimLost(LightwellError):
    """Another engine has taken over the unit, or the job was cancelled."""


class UnitStopped(LightwellError):
    """The process stops. What the unit has done is kept; another engine does the rest."""


class ImportPhases:
    """Does one unit of one job, which this process holds by a token.

    ``wake`` is called when units were queued; ``count`` adds to one of `observe.metrics.COUNTERS`;
    ``data_access`` assumes the roles that jobs name. Once ``stopping`` is set, waiting for a codec worker
    ends with a `StorageError`.
    """

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock,
        ids: Ids,
        count: Count,
        data_access: RoleAssumer | None = None,
        *,
        stopping: threading.Event | None = None,
        wake: Callable[[], None] = lambda: None,
        dispatch: Dispatch,
        records: BackgroundRecords = NOT_RECORDED,
    ) -> None:
        self._dispatch = dispatch
        self._records = records
        self._wake = wake
        self._stopping = stopping or threading.Event()
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._count = count
        self._data_access = data_access

    def work(self, token: Token) -> None:
        """Do the unit; a job that cannot continue ends FAILED.

        Raises `StorageError`, `ClaimLost`, and `UnitStopped` if the process stops meanwhile.
        """
        with self._stores.db.read() as conn:
            job = import_jobs.get(conn, token.unit.job)
            if job is None:
                return
            if token.unit.phase == JobPhase.LIST:
                job = import_jobs.opened(conn, job)
            datastore_id, _ = import_jobs.datastore_of(conn, job.key)
        target = ImportTarget(self._settings.region, self._settings.account_id, job.datastore, datastore_id)
        try:
            if token.unit.phase == JobPhase.LIST:
                self._list(job, target, token)
            elif token.unit.phase == JobPhase.COMMIT:
                self._commit(job, target, token)
            elif token.unit.phase == JobPhase.REPORT:
                self._report(job, target, token)
        except (JobFailed, InputError) as error:
            self.fail(job, datastore_id, token, str(error))

    def advance(self, key: int, phase: JobPhase) -> None:
        """Let a job go on whose phase *read* or *commit* may be over. Harmless at any time.

        One that is to be listed or reported and has no unit for that is given one.
        """
        enqueue = self._stores.enqueue
        if phase in (JobPhase.LIST, JobPhase.REPORT):
            if self._stores.db.write(lambda conn: transitions.begin_phase(conn, key, phase, enqueue)):
                self._wake()
            return
        with self._stores.db.read() as conn:
            if not import_jobs.is_in(conn, key, phase) or units.any_open(conn, key, phase):
                return
            # Nothing is listed any more and all is settled, so these are final; and too many to look for them
            # in a transaction.
            series = staging.waiting_series(conn, key) if phase == JobPhase.READ else []
        if phase == JobPhase.READ:
            is_over = self._stores.db.write(lambda conn: transitions.end_reading(conn, key, series, enqueue))
        else:
            is_over = self._stores.db.write(lambda conn: transitions.end_committing(conn, key, enqueue))
        if is_over:
            self._wake()

    def give_up(self, token: Token, message: str) -> None:
        """A unit never succeeds. The job ends as FAILED, unless it is one of *commit*: that one's files fail.

        Image sets that it would have changed record it.
        """
        with self._stores.db.read() as conn:
            job = import_jobs.get(conn, token.unit.job)
            if job is None:
                return
            datastore_id, _ = import_jobs.datastore_of(conn, job.key)
        if token.unit.phase != JobPhase.COMMIT:
            self.fail(job, datastore_id, token, message, dead=message)
            return
        target = ImportTarget(self._settings.region, self._settings.account_id, job.datastore, datastore_id)
        clean = domain.clean_message(message)
        try:
            self._give_up_waiting(job, target, token, clean)
        except ClaimLost:
            raise
        except Exception:
            log.exception("import job %s: its failure cannot be recorded in image sets", job.id)
            self.fail(job, datastore_id, token, message, dead=message)
            return
        self._end_unit(job, token, dead=clean)

    def fail(self, job: Job, datastore_id: str, token: Token, message: str, dead: str | None = None) -> None:
        """End the job as FAILED."""
        log.warning("import job %s failed: %s", job.id, names_in_logs.of_job(message, job))
        message = domain.clean_message(message)
        self._end(job, datastore_id, token, JobStatus.FAILED, message, dead)

    def _end(
        self,
        job: Job,
        datastore_id: str,
        token: Token,
        status: JobStatus,
        message: str | None,
        dead: str | None = None,
    ) -> None:
        now = self._clock.now()
        name: ImportJobEventType = (
            "Import Job Completed" if status == JobStatus.COMPLETED else "Import Job Failed"
        )
        event = self._event(name, job, datastore_id, status, now)

        def work(conn: Connection) -> Owed | None:
            if not self._dispatch.done(conn, token, dead=dead):
                return None
            if not transitions.finish(conn, token.unit.job, status, message, now):
                return None
            outbox.append(conn, event)
            return self._records.owe(conn, [so_far])

        files = self._counts(job)
        so_far = on_record.end_of_job(job, datastore_id, status, files)
        owed = self._stores.db.write(work)
        if owed is None:
            raise ClaimLost(job.id)
        self._count("lightwell_import_jobs_total", status, 1)
        # Of one that fails, others may have committed files until now; its end is on record anyway.
        with suppress(StorageError):
            files = self._counts(job)
        so_far.query = on_record.counted(status, files)
        self._records.put_owed(owed)
        for outcome in (OutcomeKind.IMPORTED, OutcomeKind.CUSTOMER, OutcomeKind.SERVER):
            self._count("lightwell_import_files_total", outcome, getattr(files, outcome))

    def _counts(self, job: Job) -> OutcomeCounts:
        with self._stores.db.read() as conn:
            return staging.counts(conn, job.key)

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

    def _list(self, job: Job, target: ImportTarget, token: Token) -> None:
        with self._stores.db.read() as conn:
            before = ListingProgress.unpack(units.content(conn, token.unit))
        if job.source is not None or listing.is_local(self._stores.input_buckets(job), job):
            before = None
        try:
            self._list_from(job, target, token, before)
        except listing.OrderLost:
            log.warning("import job %s: %s is listed from its beginning again", job.id, job.input_uri)
            self._list_from(job, target, token, None)

    def _list_from(
        self, job: Job, target: ImportTarget, token: Token, before: ListingProgress | None
    ) -> None:
        """List the input, or what comes after what an earlier attempt has written."""
        event = self._event(
            "Import Job In Progress", job, target.datastore_id, JobStatus.IN_PROGRESS, self._clock.now()
        )

        def begin(conn: Connection) -> None:
            # An engine that has lost the claim must not clear what the new holder has listed.
            keep_claim(conn, before)
            if transitions.begin_listing(conn, job.key, None if before is None else before.files):
                outbox.append(conn, event)

        reached = before

        def keep_claim(conn: Connection, progress: ListingProgress | None) -> None:
            nonlocal reached
            reached = progress
            self._keep_claim(conn, token)
            units.keep_content(conn, token.unit, None if progress is None else progress.pack())

        def written() -> None:
            self._wake()
            # An input that cannot be listed from one key on would be listed from its beginning again.
            if self._stopping.is_set() and reached is not None:
                raise UnitStopped(job.id)

        self._stores.db.write(begin)
        writer = ChunkWriter(self._stores, self._settings, job, keep_claim, written)
        rights = self._rights(job, target)
        if rights is not None:
            role_access.check_input(rights, job, self._stores.input_buckets(job))
            role_access.check_output(rights, job)
        with self._directories(job) as directories:
            refused, overrides = writer.check_overrides(directories)
            if before is None:
                self._check_uploads(job)
            bucket = None
            if job.source is not None:
                found = listing.list_sources(self._stores.input_buckets(job), job.source, directories)
            else:
                bucket = listing.bucket_listing(self._stores.input_buckets(job), job, overrides, before)
                found = bucket.files("" if before is None else before.after)
            listed = found if before is not None else listing.peek(found)
            if listed is None:
                raise JobFailed(_nothing_found(job))
            # It must not empty the report of a job that others have brought to its end meanwhile.
            self._stores.db.write(lambda conn: self._keep_claim(conn, token))
            try:
                report.check_output(self._stores, job)
            except StorageUnavailableError:
                raise
            except (InputError, StorageError) as error:
                raise JobFailed(f"The output {job.output_uri} cannot be written: {error}") from error
            if rights is not None:
                listed = role_access.readable(rights, job, listed)
            if before is None:
                listed = itertools.chain(refused, listed)
            scanned = writer.write(listed, bucket, before)

        def end(conn: Connection) -> None:
            if not self._dispatch.done(conn, token):
                raise ClaimLost(job.id)
            transitions.end_listing(conn, job.key, scanned)

        self._stores.db.write(end)
        log.info("import job %s: %d files listed", job.id, scanned)
        self.advance(job.key, JobPhase.READ)

    def _check_uploads(self, job: Job) -> None:
        """That no uploads have come into the input since the job was taken: see `operations.import_jobs`."""
        bucket, prefix = domain.split_uri(job.input_uri)
        if job.source is None and UPLOADS.startswith(prefix):
            with self._stores.db.read() as conn:
                has_uploads = uploads.is_in_use(conn, bucket, self._settings)
            if has_uploads:
                raise JobFailed(
                    "Meanwhile somebody has uploaded files into the input by the console, which nobody else "
                    f"may import. Name another folder of the bucket than {UPLOADS}."
                )

    def _rights(self, job: Job, target: ImportTarget) -> Rights | None:
        return role_access.rights_of(job, target.datastore_id, self._data_access, self._clock.now())

    def _directories(self, job: Job) -> Directories:
        far = job.input_node == NOBODY
        return Directories(self._settings, self._stores, far=far, stopping=self._stopping)

    # commit ---------------------------------------------------------------------------------------------

    def _commit(self, job: Job, target: ImportTarget, token: Token) -> None:
        groups: list[Group] = []
        files = 0
        for series in self._series(token):
            with self._stores.db.read() as conn:
                found = merge.prepare(conn, job, series)
            for group in found:
                groups.append(group)
                files += group.files
                if len(groups) >= _GROUPS or files >= _FILES:
                    self._commit_groups(job, target, token, groups)
                    groups, files = [], 0
                    if self._stopping.is_set():
                        raise UnitStopped(job.id)
        if groups and self._commit_groups(job, target, token, groups, is_last=True):
            self.advance(job.key, JobPhase.COMMIT)
        else:
            self._end_unit(job, token)

    def _series(self, token: Token) -> list[WaitingSeries]:
        """The series of a unit of *commit*; those that are in image sets already have nothing staged."""
        with self._stores.db.read() as conn:
            content = units.content(conn, token.unit)
        if content is None:
            raise ClaimLost(str(token.unit.job))
        return [WaitingSeries(study, series, 0, 0) for study, series in transitions.unpack_series(content)]

    def _end_unit(self, job: Job, token: Token, dead: str | None = None) -> None:
        if not self._stores.db.write(lambda conn: self._dispatch.done(conn, token, dead=dead)):
            raise ClaimLost(job.id)
        self.advance(job.key, JobPhase.COMMIT)

    def _commit_groups(
        self, job: Job, target: ImportTarget, token: Token, groups: list[Group], *, is_last: bool = False
    ) -> bool:
        """Commit groups in one transaction, which ends the unit if it ``is_last``; whether it has done so."""
        now = self._clock.now()

        def work(conn: Connection, verdicts: Verdicts) -> Owed:
            self._keep_claim(conn, token)
            merging = Merge(conn, target, self._ids, now, verdicts)
            merge.commit(merging, groups)
            # Last, since a transaction that begins anew still needs its claim.
            if is_last and not self._dispatch.done(conn, token):
                raise ClaimLost(job.id)
            return self._records.owe(conn, on_record.of_job(job, target, merging.written))

        self._records.check()
        try:
            owed = twins.write(self._stores.db, self._stores.objects, work)
        except LightwellError:
            raise
        except Exception:
            if len(groups) > 1:
                for group in groups:
                    self._commit_groups(job, target, token, [group])
            else:
                log.exception("import job %s: a series could not be committed", job.id)
                self._give_up(job, target, token, groups[0], _FAULT)
            return False
        self._records.put_owed(owed)
        return is_last

    def _give_up_waiting(self, job: Job, target: ImportTarget, token: Token, message: str) -> None:
        for series in self._series(token):
            with self._stores.db.read() as conn:
                groups = merge.prepare(conn, job, series)
            for group in groups:
                self._give_up(job, target, token, group, message)

    def _give_up(self, job: Job, target: ImportTarget, token: Token, group: Group, message: str) -> None:
        now = self._clock.now()

        def work(conn: Connection) -> Owed:
            self._keep_claim(conn, token)
            written = merge.give_up(conn, job, target, group, message=message, now=now)
            failed = [] if written is None else [written]
            return self._records.owe(conn, on_record.of_job(job, target, failed, "ImportFailed"))

        self._records.put_owed(self._stores.db.write(work))

    def _keep_claim(self, conn: Connection, token: Token) -> None:
        if not units.hold(conn, token):
            raise ClaimLost(str(token.unit.job))

    # report ---------------------------------------------------------------------------------------------

    def _report(self, job: Job, target: ImportTarget, token: Token) -> None:
        rights = self._rights(job, target)
        if rights is not None:
            role_access.check_output(rights, job)
        report.write_report(self._stores, job, target.datastore_id)
        self._end(job, target.datastore_id, token, JobStatus.COMPLETED, None)


def _nothing_found(job: Job) -> str:
    """In the words in which the input was named: a URI, or paths on this machine."""
    if job.source is None:
        return f"There are no files below the input {job.input_uri}. Check bucket and prefix."
    return f"There are no files below {', '.join(json.loads(job.source))}. Check the path."
