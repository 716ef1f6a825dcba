"""Writes what listing has found as chunks, within the limits; files that cannot be tried fail at once."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from lightwell.domain.imports.jobs import InputFile, Job, Outcome, split_uri
from lightwell.domain.imports.listing_progress import ListingProgress
from lightwell.domain.imports.uploads import UPLOADS
from lightwell.domain.states import JobPhase, OutcomeKind
from lightwell.errors import InputError, LightwellError
from lightwell.ingest import overrides
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.data_folder.sealed_files import largest_object
from lightwell.stores.jobs import chunks, staging, transitions
from lightwell.work.imports import chunking
from lightwell.work.imports.directories import Directories
from lightwell.work.imports.listing import BucketListing, ListedFile

_CHUNKS_AT_ONCE = 32
_OUTCOMES_AT_ONCE = 1000
_MOST_BYTES = (1 << 63) - 1  # what a column holds


class JobFailed(LightwellError):
    """The whole job cannot continue; ``str()`` of the error is the job's message."""


@dataclass(slots=True)
class _Counter:
    """What listing has counted, and the limits on it."""

    settings: Settings
    where: str
    files: int = 0
    bytes: int = 0
    folders: int = 0
    folder: tuple[str, ...] = ()

    def add(self, file: ListedFile) -> None:
        s = self.settings
        self.files += 1
        # A zip file may state any size of its members.
        self.bytes = min(self.bytes + file.size, _MOST_BYTES)
        if s.import_max_folders:
            folder = tuple(file.name.split("/")[:-1])
            pairs = zip(folder, self.folder, strict=False)
            same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            self.folders += len(folder) - same
            self.folder = folder
            if self.folders > s.import_max_folders:
                raise JobFailed(
                    f"The input {self.where} has more than {s.import_max_folders} folders, the limit for one "
                    "import job. Split it into several jobs, or raise the setting import_max_folders."
                )
        if s.import_max_bytes and self.bytes > s.import_max_bytes:
            raise JobFailed(
                f"The input {self.where} has more than {s.import_max_bytes} bytes, the limit for one import "
                "job. Split it into several jobs, or raise the setting import_max_bytes."
            )


class ChunkWriter:
    """Writes the chunks of one job in bounded batches. What was written may be read at once.

    ``keep_claim`` is called in the transaction of each, and raises if the claim has been lost; ``on_chunks``
    after it. `ListingProgress` is what is known of an input that can be listed from there.
    """

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        job: Job,
        keep_claim: Callable[[Connection, ListingProgress | None], None],
        on_chunks: Callable[[], None],
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._job = job
        self._keep_claim = keep_claim
        self._on_chunks = on_chunks
        self._queued = transitions.queued(job, JobPhase.READ)
        # How far the input has been listed with each file that is in no written chunk yet, in their order.
        self._ahead: deque[tuple[int, ListingProgress]] = deque()

    def check_overrides(self, directories: Directories) -> tuple[list[ListedFile], frozenset[str]]:
        """The JSON files of a metadata override: those that cannot be used, and the keys of all of them."""
        bucket, prefix = split_uri(self._job.input_uri)
        refused = []
        keys = overrides.keys(self._job.configuration, prefix)
        for key in keys:
            try:
                directories.check_override(bucket, key)
            except InputError as error:
                refused.append(ListedFile(key, None, 0, str(error)))
        return refused, frozenset(keys)

    def write(
        self,
        listed: Iterator[ListedFile],
        listing: BucketListing | None = None,
        before: ListingProgress | None = None,
    ) -> int:
        """Write chunks, and the outcomes of files that cannot be tried. Returns how many files there are.

        ``listing``: where ``listed`` comes from, if it can be listed from one key on; ``before``: what an
        earlier attempt has written.
        """
        settings, counter = self._settings, _Counter(self._settings, self._job.input_uri)
        if before is not None:
            counter.files, counter.bytes = before.files, before.size
            counter.folders, counter.folder = before.folders, before.folder
        first_chunk = 0 if before is None else before.chunks
        refusals: list[Outcome] = []

        def readable() -> Iterator[InputFile]:
            for file in listed:
                number = counter.files
                counter.add(file)
                if settings.import_max_files and counter.files > settings.import_max_files:
                    raise JobFailed(self._too_many(counter, listed))
                refusal, fault = file.refusal, file.error
                if settings.import_max_file_bytes and file.size > _most(settings, file):
                    refusal = (
                        f"The file has {file.size} bytes; one file of an import job may have "
                        f"{settings.import_max_file_bytes} at most"
                    )
                if refusal is None:
                    if listing is not None and listing.is_ordered:
                        self._note(number, file, listing, counter)
                    yield InputFile(number, file.name, file.location, file.size, file.tag)
                else:
                    refusals.append(Outcome(number, file.name, OutcomeKind.CUSTOMER, fault, _text(refusal)))
                    if len(refusals) >= _OUTCOMES_AT_ONCE:
                        self._flush([], refusals, counter.files, progress)

        progress = before
        rows: list[tuple[int, list[InputFile]]] = []
        cut = _consecutive(chunking.chunks(readable(), settings.codec_processes))
        for number, run in enumerate(cut, first_chunk):
            rows.append((number, run))
            if len(rows) >= _CHUNKS_AT_ONCE:
                progress = self._reached(rows, listing)
                self._flush(rows, refusals, counter.files, progress)
        if rows:
            progress = self._reached(rows, listing)
        self._flush(rows, refusals, counter.files, progress)
        return counter.files

    def _note(self, number: int, file: ListedFile, listing: BucketListing, counter: _Counter) -> None:
        reached = ListingProgress(
            listing.prefix, file.name, number + 1, counter.bytes, counter.folders, counter.folder, 0
        )
        self._ahead.append((number, reached))

    def _reached(
        self, rows: list[tuple[int, list[InputFile]]], listing: BucketListing | None
    ) -> ListingProgress | None:
        """How far the input is in chunks once these are written; None if it cannot go on from there."""
        number, files = rows[-1]
        reached: ListingProgress | None = None
        while self._ahead and self._ahead[0][0] <= files[-1].number:
            reached = self._ahead.popleft()[1]
        if reached is None or listing is None or not listing.is_ordered:
            return None
        return replace(reached, chunks=number + 1)

    def _flush(
        self,
        rows: list[tuple[int, list[InputFile]]],
        refusals: list[Outcome],
        scanned: int,
        progress: ListingProgress | None,
    ) -> None:
        packed = [
            (number, files[0].number, len(files), chunks.compress_files(files)) for number, files in rows
        ]

        def work(conn: Connection) -> None:
            self._keep_claim(conn, progress)
            chunks.add(conn, self._queued, packed, self._stores.enqueue)
            staging.add_outcomes(conn, self._job.key, refusals)
            transitions.count_listed(conn, self._job.key, scanned, len(refusals))

        self._stores.db.write(work)
        self._on_chunks()
        rows.clear()
        refusals.clear()

    def _too_many(self, counter: _Counter, listed: Iterator[ListedFile]) -> str:
        limit = self._settings.import_max_files
        count = counter.files + sum(1 for _ in itertools.islice(listed, 1_000_000))
        return (
            f"The input {counter.where} has {count} files; the limit for one import job is {limit}. Split it "
            "into several jobs, or raise the setting import_max_files."
        )


def _most(settings: Settings, file: ListedFile) -> int:
    """The bytes that a file may have. The console has let no file pass that is too large, but may have sealed
    it, so that its object has some more."""
    most = settings.import_max_file_bytes
    return largest_object(most) if file.name.startswith(UPLOADS) else most


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
