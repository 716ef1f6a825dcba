"""Removes uploads that have served their purpose: see `domain.imports.uploads`.

What an import job has put into image sets goes when the job has ended, and so does what is not DICOM; what it
could not import a day later, so that a person can try it again; an upload for which there is no job a day
after its last file arrived.

Only the server whose folder has the files removes them. That a day has passed any server sees: nobody may
come with that folder again, after a restore or a move, and its uploads would count as the person's for ever.
"""

from __future__ import annotations

import logging
import threading

from sqlalchemy import Connection

from lightwell.clock import Clock
from lightwell.domain.imports.jobs import Job, split_uri
from lightwell.domain.imports.uploads import KEEP_MS, Upload
from lightwell.domain.states import JobPhase
from lightwell.errors import InputError, StorageError
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.background.records import NOT_RECORDED, BackgroundRecords
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.data_folder.node import NOBODY
from lightwell.stores.jobs import uploads
from lightwell.work import removal_records

log = logging.getLogger(__name__)

_BATCH = 500


class UploadRemoval:
    """`remove` is one round, of bounded transactions. Several processes may do it at once."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        clock: Clock,
        stopping: threading.Event,
        records: BackgroundRecords = NOT_RECORDED,
    ) -> None:
        self._records = records
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._stopping = stopping

    def remove(self) -> int:
        """Remove what is due of the uploads that this process can reach. Returns how many files."""
        node = self._stores.node_id
        nodes = [NOBODY] if node is None else [NOBODY, node]
        removed, after = 0, ""
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                page = uploads.every(conn, nodes, after, _BATCH)
            for upload, datastore_id in page:
                try:
                    files = self._look_at(upload, datastore_id)
                    if files:
                        self._records.put([removal_records.of_upload(upload, datastore_id, files)])
                    removed += files
                except (InputError, StorageError) as error:
                    # Its text names a file, and files are often named after patients.
                    reason = getattr(error.__cause__, "strerror", None) or type(error).__name__
                    log.warning("the upload %s cannot be removed: %s", upload.id, reason)
            if len(page) < _BATCH:
                break
            after = page[-1][0].id
        self._end_unreachable(nodes)
        return removed

    def _end_unreachable(self, nodes: list[str]) -> None:
        """Mark as removed what is due in folders of other servers: these remove it when they are there."""
        before, after = self._clock.now() - KEEP_MS, ""
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                page = uploads.of_others(conn, nodes, before, after, _BATCH)
            for upload, datastore_id in page:
                uri = uploads.uri_of(upload, datastore_id, self._settings)
                with self._stores.db.read() as conn:
                    job = uploads.newest_job(conn, upload, uri)
                if self._is_over(upload, job, before):
                    self._mark_removed(upload, uri, job)
            if len(page) < _BATCH:
                return
            after = page[-1][0].id

    @staticmethod
    def _is_over(upload: Upload, job: Job | None, before: int) -> bool:
        """Whether nobody goes on with an upload: nothing has happened since then."""
        if job is None:
            return upload.touched_at < before
        if job.phase != JobPhase.DONE or job.ended_at is None:
            return False
        return max(job.ended_at, upload.touched_at) < before

    def _look_at(self, upload: Upload, datastore_id: str) -> int:
        uri = uploads.uri_of(upload, datastore_id, self._settings)
        before = self._clock.now() - KEEP_MS
        if upload.is_removed:
            return self._remove_all(upload, uri)
        with self._stores.db.read() as conn:
            job = uploads.newest_job(conn, upload, uri)
        if self._is_over(upload, job, before):
            return self._end(upload, uri, job)
        if job is None or job.phase != JobPhase.DONE:
            return 0
        return 0 if upload.cleared_job == job.key else self._remove_finished(upload, uri, job)

    def _end(self, upload: Upload, uri: str, job: Job | None) -> int:
        """Remove the upload, unless something has come or another job has begun since it was looked at."""
        return self._remove_all(upload, uri) if self._mark_removed(upload, uri, job) else 0

    def _mark_removed(self, upload: Upload, uri: str, job: Job | None) -> bool:
        def work(conn: Connection) -> bool:
            found = uploads.lock(conn, upload.id)
            if found is None:
                return False
            newest = uploads.newest_job(conn, found, uri)
            if found.touched_at != upload.touched_at or (newest and newest.key) != (job and job.key):
                return False
            # From now on no file is taken, so that what is listed is all there is.
            uploads.mark_removed(conn, upload.id)
            return True

        return self._stores.db.write(work)

    def _remove_all(self, upload: Upload, uri: str) -> int:
        """Remove the upload, which is marked as removed."""
        removed = 0
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                keys = [file.key for file in uploads.files(conn, upload.id, "", _BATCH, are_there=False)]
            if not keys:
                break
            self._remove_files(upload, uri, keys)
            removed += len(keys)
        else:
            return removed
        bucket, folder = split_uri(uri)
        # A file whose row was not written, since the server died between the two.
        buckets = self._buckets(upload)
        buckets.remove(bucket, [key for key, _ in buckets.list(bucket, folder)])
        buckets.remove_unfinished(bucket, folder)
        self._stores.db.write(lambda conn: uploads.remove(conn, upload.id))
        return removed

    def _remove_finished(self, upload: Upload, uri: str, job: Job) -> int:
        removed, after = 0, -1
        folder = split_uri(uri)[1]
        while not self._stopping.is_set():
            with self._stores.db.read() as conn:
                newest = uploads.newest_job(conn, upload, uri)
                page = uploads.finished(conn, job.key, after, _BATCH)
            if newest is None or newest.key != job.key:
                return removed  # what it reads is not taken away from it
            if not page:
                break
            after = page[-1][0]
            keys = [name.removeprefix(folder) for _, name in page if name.startswith(folder)]
            self._remove_files(upload, uri, keys)
            removed += len(keys)
        else:
            return removed
        with self._stores.db.read() as conn:
            is_empty = not uploads.files(conn, upload.id, "", 1, are_there=False)
        if is_empty:
            return removed + self._end(upload, uri, job)
        self._stores.db.write(lambda conn: uploads.mark_cleared(conn, upload.id, job.key))
        return removed

    def _remove_files(self, upload: Upload, uri: str, keys: list[str]) -> None:
        """The objects first: rows without objects are found again, objects without rows are not."""
        bucket, folder = split_uri(uri)
        self._buckets(upload).remove(bucket, [folder + key for key in keys])
        self._stores.db.write(lambda conn: uploads.remove_files(conn, upload.id, keys))

    def _buckets(self, upload: Upload) -> Buckets:
        return uploads.buckets_of(upload, self._stores.buckets, self._settings)
