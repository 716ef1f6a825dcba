"""The codec worker: reads chunks of files in a process of its own, as untrusted bytes may crash or fill it.

It announces each file before it touches it, so that its death, its deadline or its limit of memory names that
file and no other.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from lightwell.clock import Ids
from lightwell.codec_pool.checking import Checker
from lightwell.codec_pool.handlers import RequestHandler
from lightwell.codec_pool.input_inspection import look
from lightwell.codec_pool.messages import (
    Answer,
    Begin,
    Channel,
    Check,
    Checked,
    Existing,
    FindExisting,
    Look,
    NeedPacks,
    Order,
    Packs,
    Perform,
    Performed,
    Read,
    Reading,
    Ready,
    Refused,
    Seen,
    Task,
    TaskDone,
    TaskFailed,
)
from lightwell.codec_pool.sandbox.confinement import confine
from lightwell.codec_pool.sources import Fetcher, OpenFile, instances_ahead
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.jobs import InputFile, unpack_files
from lightwell.domain.imports.records import Failure, NewRecord
from lightwell.domain.integrity import IntegrityFault
from lightwell.errors import (
    InputError,
    LightwellError,
    ServerFault,
    StorageError,
    StorageUnavailableError,
)
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.ingest.overrides import LIMIT, Overrides, load
from lightwell.ingest.pipeline import Pipeline
from lightwell.settings import Settings
from lightwell.stores import Files, open_files
from lightwell.stores.objects.local import LocalObjects, failure, is_away, make_folders

log = logging.getLogger(__name__)

T = TypeVar("T", Packs, Existing)


class _EngineGone(Exception):
    """The other end of the channel is closed."""


class Worker:
    """Reads one chunk after another, until the engine is gone."""

    def __init__(self, channel: Channel, files: Files, settings: Settings, spool: Path) -> None:
        self._channel = channel
        self._files = files
        self._settings = settings
        self._spool = spool
        self._ids = Ids()
        self._cache = SeriesCache()
        self._orders: deque[Order] = deque()
        self._sending = threading.Lock()
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="finish")
        self._finishing: Future[None] | None = None
        self._buckets, self._far = files.buckets, files.buckets.far()
        self._fetcher = Fetcher(files.buckets, spool, settings.inflate_max_bytes)
        self._direct = RequestHandler(files, settings)

    def run(self, missing: list[str]) -> None:
        self._send(Ready(missing))
        try:
            while True:
                order = self._orders.popleft() if self._orders else self._channel.receive_order()
                if isinstance(order, Task):
                    self._begin(order)
                elif isinstance(order, Check):
                    self._check(order)
                elif isinstance(order, Perform):
                    self._send(Reading(order.number, 0))
                    self._send(Performed(order.number, self._direct.perform(order.order)))
                elif isinstance(order, Look):
                    self._look(order)
                else:
                    return
        finally:
            self._finisher.shutdown(wait=True)

    def _check(self, order: Check) -> None:
        checker = Checker(self._files.objects, self._cache)
        faults: list[tuple[int, IntegrityFault]] = []
        if order.pack is not None:
            self._send(Reading(order.number, -1))
            faults += [(-1, fault) for fault in checker.pack(order.pack)]
        for place, record in enumerate(order.records, order.first):
            self._send(Reading(order.number, place))
            faults += [(place, fault) for fault in checker.record(record, order.bodies)]
        self._send(Checked(order.number, faults, checker.frames))

    def _look(self, order: Look) -> None:
        try:
            for seen in look(order, self._far if order.far else self._buckets, self._spool):
                self._send(seen)
            self._send(Seen(order.number, is_last=True))
            return
        except InputError as error:
            refused = ("input", _text(error))
        except StorageUnavailableError as error:
            refused = ("unavailable", _text(error))
        except StorageError as error:
            refused = ("storage", _text(error))
        except MemoryError:
            refused = ("input", self._takes_too_much(_name(order)))
        except (_EngineGone, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            log.exception("%s could not be read", _name(order))
            refused = (
                "input",
                f"{_name(order)} could not be read because of a fault in lightwell ({type(error).__name__}): "
                "please report it",
            )
        self._send(Seen(order.number, refusal=refused[1], trouble=refused[0], is_last=True))

    def _send(self, *messages: Answer) -> None:
        with self._sending:
            self._channel.send(*messages)

    def _begin(self, task: Task) -> None:
        """Read a chunk; its bytes become durable while the next is read."""
        self._fetcher.buckets = self._far if task.far else self._buckets
        pipeline = self._pipeline(task)
        try:
            last: list[Answer] = []
            for file, open_file in self._fetcher.each(task.bucket, _in_order(task)):
                # What the file before has yielded goes with the announcement of this one.
                self._send(*last, Reading(task.number, file.number))
                last = [self._read_file(task, pipeline, file, open_file)]
            self._send(*last, Reading(task.number, None))
        except BaseException as error:
            pipeline.abort()
            if not isinstance(error, StorageError):
                raise
            self._send(_failed(task, error))
            return
        finally:
            self._fetcher.close_archive()
        if self._finishing is not None:
            self._finishing.result()
        self._finishing = self._finisher.submit(self._finish, task, pipeline)

    def _finish(self, task: Task, pipeline: Pipeline) -> None:
        try:
            done = pipeline.finish()
        except StorageError as error:
            self._send(_failed(task, error))
        except Exception as error:
            log.exception("a pack could not be finished")
            self._send(TaskFailed(task.number, f"a fault in lightwell ({type(error).__name__})"))
        else:
            self._send(TaskDone(task.number, done.level_values, done.dictionaries, done.packs))
        finally:
            pipeline.abort()

    def _pipeline(self, task: Task) -> Pipeline:
        packs = self._packs(task)
        overrides = Overrides(task.mappings, lambda key: self._json(task, key))
        return Pipeline(
            self._files.objects,
            self._spool,
            storage_format=task.storage_format,
            inflate_limit=self._settings.inflate_max_bytes,
            ids=self._ids,
            cache=self._cache,
            take_pack=lambda: next(packs),
            override=overrides.find if task.mappings else None,
            find_existing=self._find_existing(task),
        )

    def _read_file(
        self, task: Task, pipeline: Pipeline, file: InputFile, open_file: Callable[[], OpenFile]
    ) -> Read | Refused:
        try:
            return Read(task.number, self._record(task, pipeline, file, open_file))
        except InputError as error:
            return Refused(task.number, Failure(file.number, file.name, error.exception_type, _text(error)))
        except MemoryError:
            fault = ServerFault(self._takes_too_much("Reading this file"))
        except (LightwellError, _EngineGone):
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_away(error):
                raise failure(error, f"{self._spool} cannot be written to") from error
            log.exception("file %d of the chunk could not be read", file.number)
            fault = ServerFault(
                f"This file could not be read because of a fault in lightwell ({type(error).__name__}): "
                "please report it"
            )
        return Refused(task.number, Failure(file.number, file.name, fault.exception_type, _text(fault)))

    def _takes_too_much(self, what: str) -> str:
        return (
            f"{what} takes more memory than a codec worker may use, {self._settings.worker_memory} bytes: "
            "raise LIGHTWELL_WORKER_MEMORY and import it again"
        )

    def _record(
        self, task: Task, pipeline: Pipeline, file: InputFile, open_file: Callable[[], OpenFile]
    ) -> NewRecord:
        try:
            opened = open_file()
        except StorageError as error:
            if task.last_attempt and not isinstance(error, StorageUnavailableError):
                raise ServerFault(str(error)) from error
            raise
        try:
            return pipeline.read(file.number, file.name, opened.source)
        finally:
            opened.close()

    def _packs(self, task: Task) -> Iterator[int]:
        yield from task.packs
        count = 1
        while True:
            yield from self._ask(NeedPacks(task.number, count), Packs).keys
            count = min(2 * count, 16)

    def _find_existing(self, task: Task) -> Callable[[str, str, str], Sequence[ExistingInstance]]:
        """Asks the engine, once only of a series that is new to the data store, or of a whole upload."""
        new: set[tuple[str, str]] = set()
        unknown: set[str] = set()
        ahead = instances_ahead(task.files)

        def find(study: str, series: str, sop_instance_uid: str) -> Sequence[ExistingInstance]:
            if sop_instance_uid in unknown or (study, series) in new:
                return ()
            question = FindExisting(task.number, study, series, sop_instance_uid, next(ahead, []))
            answer = self._ask(question, Existing)
            unknown.update(answer.unknown)
            if answer.instances is None:
                new.add((study, series))
            return answer.instances or ()

        return find

    def _ask(self, question: Answer, kind: type[T]) -> T:
        self._send(question)
        while not isinstance(order := self._channel.receive_order(), kind):
            if order is None:
                raise _EngineGone
            self._orders.append(order)  # the next chunk, sent ahead
        return order

    def _json(self, task: Task, key: str) -> bytes:
        buckets = self._far if task.far else self._buckets
        got = buckets.fetch(task.bucket, key, memory_limit=LIMIT, spool_dir=self._spool)
        return load(got, key, self._spool)


def _in_order(task: Task) -> list[InputFile]:
    """Those of which a worker died before come first, so that dying again wastes no work."""
    skip, first = set(task.skip), set(task.first)
    files = [f for f in unpack_files(task.files, task.first_file) if f.number not in skip]
    return sorted(files, key=lambda f: f.number not in first)


def _failed(task: Task, error: StorageError) -> TaskFailed:
    return TaskFailed(task.number, str(error), away=isinstance(error, StorageUnavailableError))


def _name(order: Look) -> str:
    return order.path.decode("utf-8", "replace")


def _text(error: BaseException) -> str:
    """The message as both databases take it."""
    text = str(error).replace("\0", "").encode("utf-8", "replace").decode()
    return text[:4000] or type(error).__name__


def run(channel: Channel, settings: Settings, begin: Begin) -> bool:
    """Serve the engine at the other end until it closes the channel; False if it was gone in the middle."""
    files, spool = open_files(settings), Path(begin.spool)
    missing = _confine(files, settings, begin)
    try:
        Worker(channel, files, settings, spool).run(missing)
    except (_EngineGone, BrokenPipeError, ConnectionResetError):
        return False
    return True


def _confine(files: Files, settings: Settings, begin: Begin) -> list[str]:
    """Give up what this worker does not need, before it has read anything."""
    if settings.worker_sandbox == "off":
        return []
    spool = Path(begin.spool)
    reading = [str(spool.parent), str(settings.buckets), *map(os.fsdecode, begin.paths)]
    writing = [str(spool)]
    if isinstance(files.objects, LocalObjects):
        # What is not there cannot be left out. Where it cannot be made, writing a pack says why.
        with suppress(OSError):
            make_folders(files.objects.root)
        writing.append(str(files.objects.root))
    return confine(reading, writing, network=begin.network)
