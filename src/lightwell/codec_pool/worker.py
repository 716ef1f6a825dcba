"""The codec worker: a process of its own for untrusted bytes, which may crash it or fill its memory.

It announces each file before it touches it, so that its death, its deadline or its limit of memory is blamed
on that file and no other.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from lightwell.clock import Ids
from lightwell.codec_pool.checking import Checker
from lightwell.codec_pool.failures import CHUNK, INSPECTION, Cause, cause_of, reason_of
from lightwell.codec_pool.far_storage.client import EngineGoneError, FarObjects, connected
from lightwell.codec_pool.far_storage.lent_packs import LentPacks
from lightwell.codec_pool.far_storage.sealed_source import SealedScratch
from lightwell.codec_pool.handlers import RequestHandler
from lightwell.codec_pool.input_inspection import inspect
from lightwell.codec_pool.messages import (
    Channel,
    CheckFrames,
    CheckRecords,
    ChunkFailed,
    ChunkRead,
    Configure,
    Configured,
    ExistingFound,
    FileRead,
    FileRefused,
    FileStarted,
    FindExisting,
    FromWorker,
    InputInspected,
    InspectInput,
    OpenPacks,
    PacksGranted,
    PacksOpened,
    Perform,
    Performed,
    ReadChunk,
    RecordsChecked,
    ToWorker,
)
from lightwell.codec_pool.sandbox.confinement import confine
from lightwell.codec_pool.sources import Sources
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.jobs import InputFile
from lightwell.domain.imports.records import Failure, NewRecord
from lightwell.domain.imports.warnings import Warning
from lightwell.domain.integrity import IntegrityFault
from lightwell.errors import (
    InputError,
    NotDicomError,
    ServerFault,
    StorageError,
    StorageUnavailableError,
)
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.ingest.overrides import Overrides
from lightwell.ingest.pipeline import Pipeline, PipelineInputs, with_warning
from lightwell.settings import Settings
from lightwell.stores.data_folder.sealed_files import SpooledFileDamagedError
from lightwell.stores.keys.granted import GrantedKeys
from lightwell.stores.objects.local import is_away, storage_error
from lightwell.stores.objects.open import local_root
from lightwell.stores.objects.pack_objects import OpenPack
from lightwell.stores.objects.sealed import SealedPacks

log = logging.getLogger(__name__)

# Of so many chunks at once the bytes become durable, or are uploaded, while the next is read.
_FINISHING = 2

T = TypeVar("T", PacksOpened, ExistingFound)


_REPLACED = Warning(
    "Other", "The object was replaced after this job had listed it: what was imported is the newer one"
)
_ENGINE_GONE = (EngineGoneError, BrokenPipeError, ConnectionResetError)


class Worker:
    """Does one task after another until the engine is gone."""

    def __init__(
        self,
        channel: Channel,
        objects: LentPacks | FarObjects,
        sources: Sources,
        settings: Settings,
        spool: Path,
    ) -> None:
        self._channel = channel
        self._granted = GrantedKeys()
        self._objects = SealedPacks(objects, self._granted)
        self._settings = settings
        self._spool = spool
        self._ids = Ids()
        self._cache = SeriesCache()
        self._next: deque[ToWorker] = deque()
        self._sending = threading.Lock()
        self._finisher = ThreadPoolExecutor(_FINISHING, thread_name_prefix="finish")
        # Chunks that become durable, and their bytes in the spool.
        self._finishing: dict[Future[None], int] = {}
        self._sources = sources
        self._requests = RequestHandler(self._objects, settings, sources.upload)

    def run(self, missing: list[str]) -> None:
        self._send(Configured(missing))
        try:
            while True:
                message = self._next.popleft() if self._next else self._receive()
                if isinstance(message, ReadChunk):
                    self._read_chunk(message)
                elif isinstance(message, CheckRecords):
                    self._check(message)
                elif isinstance(message, CheckFrames):
                    self._check_frames(message)
                elif isinstance(message, Perform):
                    self._send(FileStarted(message.task, 0))
                    self._send(Performed(message.task, self._requests.perform(message.request)))
                elif isinstance(message, InspectInput):
                    self._inspect(message)
                else:
                    return
                # What stays open the next file could read, if it takes this process over.
                self._objects.inner.forget()
                if not isinstance(message, ReadChunk):
                    self._sources.close()
        finally:
            self._finisher.shutdown(wait=True)

    def _check(self, check: CheckRecords) -> None:
        checker = Checker(self._objects, self._cache, check.sample)
        faults: list[tuple[int, IntegrityFault]] = []
        if check.pack is not None:
            self._send(FileStarted(check.task, -1))
            faults += [(-1, fault) for fault in checker.pack(check.pack)]
        for place, record in enumerate(check.records, check.first):
            self._send(FileStarted(check.task, place))
            faults += [(place, fault) for fault in checker.record(record, check.bodies)]
        self._send(RecordsChecked(check.task, faults, checker.frames, checker.made))

    def _check_frames(self, check: CheckFrames) -> None:
        checker = Checker(self._objects, self._cache)
        faults: list[tuple[int, IntegrityFault]] = []
        for place, pixels in enumerate(check.pixels):
            self._send(FileStarted(check.task, place))
            faults += [(place, fault) for fault in checker.pixels(pixels)]
        self._send(RecordsChecked(check.task, faults, checker.frames, checker.made))

    def _inspect(self, asked: InspectInput) -> None:
        last = InputInspected(asked.task, is_last=True)
        try:
            for page in inspect(asked, self._sources):
                self._send(page)
        except _ENGINE_GONE:
            raise
        except Exception as error:
            name = asked.path.decode("utf-8", "replace")
            cause, reason = self._why(error, "what an import looks into could not be read")
            text = INSPECTION[cause].text(reason, name)
            last = InputInspected(asked.task, cause=cause, reason=text, is_last=True)
        self._send(last)

    def _why(self, error: BaseException, what: str) -> tuple[Cause, str]:
        """The cause of an exception and its reason as both databases take it; our faults are logged."""
        cause = cause_of(error)
        if cause is Cause.FAULT:
            log.error("%s", what, exc_info=error)
        return cause, _text(reason_of(error, self._settings.worker_memory)) or type(error).__name__

    def _send(self, *messages: FromWorker) -> None:
        with self._sending:
            self._channel.send(*messages)

    def _read_chunk(self, task: ReadChunk) -> None:
        """Read a chunk; its bytes become durable while the next are read."""
        pipeline = self._pipeline(task)
        self._sources.begin_chunk(sealed=task.is_sealed, upload_key=task.upload_key)
        try:
            last: list[FromWorker] = []
            for file in task.in_order():
                # What the file before has yielded goes with the announcement of this one.
                self._send(*last, FileStarted(task.task, file.number))
                last = [self._read_file(task, pipeline, file)]
                self._objects.inner.forget()
            self._send(*last, FileStarted(task.task, None))
        except BaseException as error:
            pipeline.abort()
            if not isinstance(error, StorageError):
                raise
            self._send(ChunkFailed(task.task, cause_of(error), str(error)))
            return
        finally:
            self._sources.end_chunk(task.task)
        self._wait_for_finishing(_FINISHING - 1)
        staged = 0 if isinstance(self._objects.inner, LentPacks) else pipeline.stored
        self._finishing[self._finisher.submit(self._finish, task, pipeline)] = staged
        self._wait_for_finishing(_FINISHING)

    def _wait_for_finishing(self, most: int) -> None:
        """Wait until only so many chunks, and so many bytes of them as may be, wait to become durable."""
        while self._finishing:
            for future in [future for future in self._finishing if future.done()]:
                del self._finishing[future]
                future.result()
            if len(self._finishing) <= most and sum(self._finishing.values()) <= self._settings.upload_disk:
                return
            wait(self._finishing, return_when=FIRST_COMPLETED)

    def _finish(self, task: ReadChunk, pipeline: Pipeline) -> None:
        try:
            dependencies = pipeline.finish()
        except StorageError as error:
            self._send(ChunkFailed(task.task, cause_of(error), str(error)))
        except Exception as error:
            log.exception("a pack could not be finished")
            fault = f"a fault in lightwell ({type(error).__name__})"
            self._send(ChunkFailed(task.task, Cause.FAULT_BETWEEN_FILES, fault))
        else:
            self._send(ChunkRead(task.task, dependencies))
        finally:
            pipeline.abort()

    def _pipeline(self, task: ReadChunk) -> Pipeline:
        packs = self._packs(task)
        overrides = Overrides(task.mappings, lambda key: self._json(task, key))
        inputs = PipelineInputs(
            storage_format=task.storage_format,
            inflate_limit=self._settings.inflate_max_bytes,
            metadata_limit=self._settings.metadata_max_bytes,
            ids=self._ids,
            cache=self._cache,
            take_pack=lambda: next(packs),
            override=overrides.find if task.mappings else None,
            find_existing=self._find_existing(task),
            seal=SealedScratch if task.is_sealed else None,
        )
        return Pipeline(self._objects, self._spool, inputs)

    def _read_file(self, task: ReadChunk, pipeline: Pipeline, file: InputFile) -> FileRead | FileRefused:
        try:
            return FileRead(task.task, self._record(task, pipeline, file))
        except (StorageError, EngineGoneError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_away(error):
                raise storage_error(error, f"{self._spool} cannot be written to") from error
            cause, reason = self._why(error, f"file {file.number} of the chunk could not be read")
            kind = error.exception_type if isinstance(error, InputError) else ServerFault.exception_type
            is_dicom = not isinstance(error, NotDicomError)
            failure = Failure(file.number, file.name, kind, CHUNK[cause].text(reason), is_dicom)
            return FileRefused(task.task, failure)

    def _record(self, task: ReadChunk, pipeline: Pipeline, file: InputFile) -> NewRecord:
        try:
            opened = self._sources.open(task.task, file)
        except StorageError as error:
            if task.last_attempt and not isinstance(error, StorageUnavailableError):
                raise ServerFault(str(error)) from error
            raise
        try:
            record = pipeline.read(file.number, file.name, opened.source)
            return with_warning(record, _REPLACED) if opened.is_other else record
        except SpooledFileDamagedError as error:
            if task.last_attempt:
                raise ServerFault(str(error)) from error
            raise  # the next attempt writes it anew
        finally:
            opened.close()

    def _packs(self, task: ReadChunk) -> Iterator[OpenPack]:
        yield from task.packs
        count = 1
        while True:
            yield from self._ask(OpenPacks(task.task, count), PacksOpened).packs
            count = min(2 * count, 16)

    def _find_existing(self, task: ReadChunk) -> Callable[[str, str, str], Sequence[ExistingInstance]]:
        """Asks the engine, once only of a series that is new to the data store, or of a whole upload."""
        new: set[tuple[str, str]] = set()
        unknown: set[str] = set()
        ahead = self._sources.ahead(task.files)

        def find(study: str, series: str, sop_instance_uid: str) -> Sequence[ExistingInstance]:
            if sop_instance_uid in unknown or (study, series) in new:
                return ()
            question = FindExisting(task.task, study, series, sop_instance_uid, next(ahead, []))
            answer = self._ask(question, ExistingFound)
            unknown.update(answer.unknown)
            if answer.instances is None:
                new.add((study, series))
            return answer.instances or ()

        return find

    def _ask(self, question: FromWorker, kind: type[T]) -> T:
        self._send(question)
        while not isinstance(message := self._receive(), kind):
            if message is None:
                raise EngineGoneError
            self._next.append(message)  # the next chunk, sent ahead
        return message

    def _receive(self) -> ToWorker | None:
        """The next message that asks for something, or answers; None once the engine is gone."""
        while isinstance(message := self._channel.receive_from_engine(), PacksGranted):
            self._granted.add(message.packs, message.refused, message.plain)
        return message

    def _json(self, task: ReadChunk, key: str) -> bytes:
        return self._sources.document(task.bucket, key)


def _text(reason: str) -> str:
    """A reason as both databases take it."""
    return reason.replace("\0", "").encode("utf-8", "replace").decode()[:4000]


def run(channel: Channel, settings: Settings, configure: Configure, far: int) -> bool:
    """Serve the engine at the other end until it closes the channel; False if it was gone in the middle.

    ``far`` is the descriptor of the socket by which it gets files and packs.
    """
    spool, staging = Path(configure.spool), Path(configure.staging) if configure.staging else None
    missing = _confine(settings, [spool] if staging is None else [spool, staging])
    client = connected(far)
    objects: LentPacks | FarObjects
    if local_root(settings.storage) is not None:
        objects = LentPacks(client, settings.storage, staging, configure.no_staging)
    else:
        objects = FarObjects(client, settings.storage)
    sources = Sources(client, spool, settings.inflate_max_bytes)
    try:
        Worker(channel, objects, sources, settings, spool).run(missing)
    except _ENGINE_GONE:
        return False
    return True


def _confine(settings: Settings, folders: Sequence[Path]) -> list[str]:
    """Give up what this worker does not need, before it has read anything: all files but those below
    ``folders``. What it reads the engine opens for it."""
    if settings.worker_sandbox == "off":
        return []
    return confine([], list(map(str, folders)))
