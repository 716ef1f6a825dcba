"""The engine's end: opens or fetches files ahead of a codec worker, and packs, and keeps what it writes.

A file may have taken the worker over, so it gets no more than what it was told of: the files of its chunks,
packs that the last message named, and each pack that was opened for it to write, once.
"""

from __future__ import annotations

import logging
import os
import queue
import stat
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightwell.codec_pool.far_storage.failures import failure_of
from lightwell.codec_pool.far_storage.held_inputs import ChunkInputs, Outgoing, held_size
from lightwell.codec_pool.far_storage.messages import (
    MOST_READ,
    WHOLE,
    Answer,
    Failure,
    FarChannel,
    FetchDocument,
    FromWorker,
    InputArrived,
    InputsEnded,
    InputsTaken,
    KeepPack,
    MeasurePack,
    OpenInput,
    OpenPack,
    Question,
    ReadPack,
    StorePack,
)
from lightwell.codec_pool.far_storage.opening import open_fetched, open_input, uploaded_key
from lightwell.codec_pool.far_storage.threads import FETCHES, READS, UPLOAD_MEMORY, UPLOADS
from lightwell.domain.imports.jobs import InputFile
from lightwell.errors import StorageError
from lightwell.framing import MessageTooLongError, NotAMessageError
from lightwell.ingest.overrides import LIMIT, load
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.buckets.registry import Buckets
from lightwell.stores.keys.ring import KeyRing
from lightwell.stores.objects.interface import Objects
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.s3_client import PART, PARTS_AT_ONCE
from lightwell.stores.objects.sealed import bare
from lightwell.stores.objects.staging import adopt, open_to_lend

log = logging.getLogger(__name__)

# What a worker says is short; the names of so many packs are remembered for it.
LONGEST = 1 << 20
_NAMES = 1 << 16
# A worker waits for most of its questions, so that it seldom has more than one.
_QUESTIONS = 8


@dataclass(frozen=True, slots=True)
class FarStorage:
    """What all workers of a process share: storage, buckets, a folder that no worker can write to, and who
    knows the keys of sealed packs."""

    objects: Objects
    buckets: Buckets
    spool: Path
    keys: KeyRing

    @classmethod
    def of(cls, stores: Stores) -> FarStorage:
        """What workers check and compare is read from S3 itself, not from this server's cache, and as it is
        stored: they open it themselves."""
        return cls(bare(stores.objects).past_cache(), stores.buckets, stores.spool, stores.keys)


class FarServer:
    """Serves one worker, in two threads, until `close`. ``staging`` is its folder in local storage."""

    def __init__(
        self, channel: FarChannel, storage: FarStorage, settings: Settings, staging: Path | None = None
    ) -> None:
        self._staging = staging
        self._channel = channel
        self._storage = storage
        self._far = storage.buckets.far()
        self._most_files = max(1, settings.fetch_ahead_files)
        # In memory and on disk: a file that is larger than `WHOLE` goes to the disk.
        self._most_bytes = (settings.fetch_ahead_memory, settings.fetch_ahead_disk)
        self._upload_memory = settings.upload_memory
        self._lock = threading.Lock()
        self._chunks: OrderedDict[int, ChunkInputs] = OrderedDict()
        self._held_files = 0
        self._held_bytes = [0, 0]
        self._wanted: tuple[int, int | None] = (0, None)
        self._reading = self._uploading = 0
        self._questions = 0
        self._answered = threading.Condition(self._lock)
        self._documents: dict[tuple[str, str], bool] = {}
        self._readable: frozenset[str] = frozenset()
        self._places: frozenset[str] = frozenset()
        self._writable: set[str] = set()
        self._stored: OrderedDict[str, int] = OrderedDict()
        self._closed = False
        self._outgoing: queue.SimpleQueue[Outgoing | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._receive, name="far-requests", daemon=True),
            threading.Thread(target=self._send, name="far-answers", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def let_read(self, names: Iterable[str]) -> None:
        """The worker may read these packs, and no longer those before."""
        with self._lock:
            self._readable = frozenset(names)

    def let_open(self, places: Iterable[str]) -> None:
        """The worker may read these files, and no longer those before, but for those of its chunks."""
        with self._lock:
            self._places = frozenset(places)

    def let_write(self, names: Iterable[str]) -> None:
        """The worker may write each of these packs once."""
        with self._lock:
            self._writable.update(names)

    def stored_size(self, name: str) -> int | None:
        """The size of a pack that the worker has written, None for one of which nothing is known."""
        with self._lock:
            return self._stored.get(name)

    def let_fetch(self, bucket: str, keys: Iterable[str], *, far: bool) -> None:
        """The worker may have these overrides. ``far`` as in `codec_pool.messages.ReadChunk`."""
        with self._lock:
            self._documents.update({(bucket, key): far for key in keys})

    def begin(
        self, task: int, bucket: str, files: Iterable[InputFile], *, far: bool, sealed: bool, datastore: str
    ) -> None:
        """Begin to open or fetch a chunk's files; the worker will take them in this order.

        ``sealed``: what is fetched to the disk is encrypted there. ``datastore``: what `ReadChunk` says.
        """
        buckets = self._far if far else self._storage.buckets
        there: list[InputFile] = []
        places: set[str] = set()
        for file in files:
            if file.location is None or file.location[0] in ("s3", "file"):
                there.append(file)
            else:
                places.add(file.location[1])
        known = frozenset(file.number for file in there)
        with self._lock:
            self._chunks[task] = ChunkInputs(
                task, bucket, buckets, deque(there), known, frozenset(places), set(known), sealed, datastore
            )
            self._fetch_ahead()

    def is_awaited(self, *, between_files: bool, may_ask: bool = True) -> bool:
        """Whether the worker waits for S3, so that it is not late itself: for a file, for stored bytes if it
        ``may_ask`` for more, or ``between_files`` for an upload."""
        task, wanted = self._wanted
        chunk = self._chunks.get(task)
        if (may_ask and self._reading) or (chunk is not None and wanted in chunk.coming):
            return True
        return between_files and self._uploading > 0

    def close(self) -> None:
        """End the connection; what is being fetched or uploaded is dropped when it is done."""
        with self._lock:
            self._closed = True
            self._answered.notify_all()
            self._chunks.clear()
        self._channel.shut_down()
        self._outgoing.put(None)
        for thread in self._threads:
            thread.join()
        self._channel.close()

    # Files of chunks ------------------------------------------------------------------------------------

    def _fetch_ahead(self) -> None:
        """Begin to fetch as many files as may be held; with the lock."""
        for chunk in self._chunks.values():
            while chunk.waiting:
                size = held_size(chunk, chunk.waiting[0])
                kind = size > WHOLE
                full = self._held_bytes[kind] and self._held_bytes[kind] + size > self._most_bytes[kind]
                if self._held_files >= self._most_files or full:
                    return
                file = chunk.waiting.popleft()
                chunk.held[file.number] = size
                self._held_files += 1
                self._held_bytes[kind] += size
                FETCHES.submit(partial(self._fetch, chunk, file))

    def _let_go(self, chunk: ChunkInputs, files: Iterable[int]) -> None:
        """Count files no more, those that are under way once they are sent; with the lock."""
        for number in files:
            if number in chunk.coming:
                chunk.let_go.add(number)
            elif (size := chunk.held.pop(number, None)) is not None:
                self._held_files -= 1
                self._held_bytes[size > WHOLE] -= size

    def _fetch(self, chunk: ChunkInputs, file: InputFile) -> None:
        if self._chunks.get(chunk.task) is not chunk:
            self._sent(chunk, file.number)
            return
        data, descriptor, failure, is_other, opens = None, None, None, False, None
        where = file.name
        try:
            if file.location is not None and file.location[0] == "file":
                opened = open_input(file.location[1])
                self._put(Outgoing(InputArrived(chunk.task, file.number), opened, None, chunk))
                return
            name, key = file.location[1:3] if file.location else (chunk.bucket, file.name)
            where = f"s3://{name}/{key}"
            got, tag, opens = chunk.buckets.fetch_tagged(
                *(name, key),
                memory_limit=WHOLE,
                spool_dir=self._storage.spool,
                listed=file.size,
                sealed=chunk.sealed,
            )
            is_other = file.tag is not None and tag != file.tag
            if isinstance(got, bytes):
                data = got
            else:
                descriptor = open_fetched(got, is_ours=got.parent == self._storage.spool)
            if chunk.sealed:
                opens = uploaded_key(self._storage.keys, chunk.datastore, key, data, descriptor, opens)
                # Only one file is ever sealed by that name, and each time it is sent it has another tag.
                is_other = is_other and not (opens is not None and opens.start)
        except Exception as error:
            failure = failure_of(error, where)
            if descriptor is not None:
                os.close(descriptor)
            data, descriptor = None, None
        message = InputArrived(chunk.task, file.number, data is not None, failure, is_other, opens)
        self._put(Outgoing(message, descriptor, data, chunk))

    def _sent(self, chunk: ChunkInputs, number: int) -> None:
        """A file has been sent, or nobody needs it any more."""
        with self._lock:
            chunk.coming.discard(number)
            if number in chunk.let_go:
                self._let_go(chunk, (number,))
                self._fetch_ahead()

    def _taken(self, message: InputsTaken) -> None:
        with self._lock:
            self._wanted = (message.task, message.wanted)
            chunk = self._chunks.get(message.task)
            if chunk is not None:
                self._let_go(chunk, message.files)
                self._fetch_ahead()
            if message.wanted is None or (chunk is not None and message.wanted in chunk.known):
                return
        text = "A codec worker asked for a file that it was not told of: has a file taken it over?"
        self._put(Outgoing(InputArrived(message.task, message.wanted, failure=Failure("storage", text))))

    def _ended(self, message: InputsEnded) -> None:
        with self._lock:
            chunk = self._chunks.pop(message.task, None)
            if chunk is not None:
                self._let_go(chunk, list(chunk.held))
                self._fetch_ahead()

    # Packs and documents --------------------------------------------------------------------------------

    def _read(self, asked: ReadPack) -> Answer:
        self._check(asked.name in self._readable and 0 <= asked.length <= MOST_READ and asked.offset >= 0)
        return Answer(asked.number, self._storage.objects.read(asked.name, asked.offset, asked.length))

    def _measure(self, asked: MeasurePack) -> Answer:
        self._check(asked.name in self._readable)
        return Answer(asked.number, size=self._storage.objects.size(asked.name))

    def _open_pack(self, asked: OpenPack) -> int:
        objects = self._storage.objects
        self._check(asked.name in self._readable and isinstance(objects, LocalObjects))
        assert isinstance(objects, LocalObjects)
        return open_to_lend(objects, asked.name)

    def _open_input(self, asked: OpenInput) -> int:
        path = os.fsdecode(asked.path)
        with self._lock:
            self._check(path in self._places or any(path in each.places for each in self._chunks.values()))
        return open_input(path)

    def _keep(self, asked: KeepPack) -> Answer:
        objects, staging = self._storage.objects, self._staging
        with self._lock:
            self._check(asked.name in self._writable and staging is not None)
            self._writable.remove(asked.name)
        assert isinstance(objects, LocalObjects) and staging is not None
        self._keep_size(asked.name, adopt(objects, asked.name, staging))
        return Answer(asked.number)

    def _keep_size(self, name: str, size: int) -> None:
        with self._lock:
            self._stored[name] = size
            while len(self._stored) > _NAMES:
                self._stored.popitem(last=False)

    def _document(self, asked: FetchDocument) -> Answer:
        name, key, spool = asked.bucket, asked.key, self._storage.spool
        self._check((name, key) in self._documents)
        buckets = self._far if self._documents[name, key] else self._storage.buckets
        # What goes to the spool is too long to be read: nobody needs its key.
        got = buckets.fetch_tagged(name, key, memory_limit=LIMIT, spool_dir=spool, sealed=True).content
        return Answer(asked.number, load(got, key, spool))

    def _store(self, asked: StorePack, descriptor: int | None) -> Answer:
        self._check(descriptor is not None)
        assert descriptor is not None
        with os.fdopen(descriptor, "rb") as stream:
            state = os.fstat(descriptor)
            with self._lock:
                self._check(asked.name in self._writable)
                self._writable.remove(asked.name)
            self._check(stat.S_ISREG(state.st_mode) and state.st_size == asked.size)
            stream.seek(0)
            with UPLOAD_MEMORY.taken(min(asked.size, PART * PARTS_AT_ONCE), self._upload_memory):
                self._storage.objects.put_stream(asked.name, stream, asked.size)
        self._keep_size(asked.name, asked.size)
        return Answer(asked.number)

    @staticmethod
    def _check(is_allowed: bool) -> None:
        if not is_allowed:
            raise StorageError("A codec worker asked for what it was not told of: has a file taken it over?")

    # Threads --------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        while True:
            try:
                message = self._channel.receive_from_worker()
            except (NotAMessageError, MessageTooLongError) as error:
                log.warning("a codec worker is no longer served, it sent what is no message: %s", error)
                message = None
            if message is None:
                self._channel.shut_down()
                self._outgoing.put(None)
                return
            self._handle(message)

    def _handle(self, message: FromWorker) -> None:
        if isinstance(message, InputsTaken):
            self._taken(message)
        elif isinstance(message, InputsEnded):
            self._ended(message)
        else:
            self._begin_question()
            self._ask(message)

    def _begin_question(self) -> None:
        """Wait until few enough questions lack an answer that the worker has received.

        A worker that a file has taken over could ask on and on without reading any.
        """
        with self._lock:
            while self._questions >= _QUESTIONS and not self._closed:
                self._answered.wait()
            self._questions += 1

    def _end_question(self) -> None:
        with self._lock:
            self._questions -= 1
            self._answered.notify_all()

    def _ask(self, message: Question) -> None:
        if isinstance(message, StorePack | KeepPack):
            self._uploading += 1
            store: Callable[[], Answer]
            if isinstance(message, KeepPack):
                store = partial(self._keep, message)
            else:
                store = partial(self._store, message, self._channel.descriptor())
            UPLOADS.submit(partial(self._answer, message.number, store, is_upload=True))
        else:
            self._reading += 1
            asked: Callable[[], Answer | int]
            if isinstance(message, ReadPack):
                asked = partial(self._read, message)
            elif isinstance(message, MeasurePack):
                asked = partial(self._measure, message)
            elif isinstance(message, OpenPack):
                asked = partial(self._open_pack, message)
            elif isinstance(message, OpenInput):
                asked = partial(self._open_input, message)
            else:
                asked = partial(self._document, message)
            READS.submit(partial(self._answer, message.number, asked, is_upload=False))

    def _answer(self, number: int, work: Callable[[], Answer | int], *, is_upload: bool) -> None:
        """What ``work`` returns: the answer, or a descriptor that goes with it."""
        try:
            found = work()
        except Exception as error:
            found = Answer(number, failure=failure_of(error, self._storage.objects.address))
        if isinstance(found, int):
            self._put(Outgoing(Answer(number, is_open=True), found))
        else:
            self._put(Outgoing(found))
        with self._lock:
            if is_upload:
                self._uploading -= 1
            else:
                self._reading -= 1

    def _put(self, outgoing: Outgoing) -> None:
        with self._lock:
            if not self._closed:
                self._outgoing.put(outgoing)
                return
        if outgoing.descriptor is not None:
            os.close(outgoing.descriptor)

    def _send(self) -> None:
        is_gone = False
        while (each := self._outgoing.get()) is not None:
            try:
                if is_gone:
                    pass
                elif each.data is not None and isinstance(each.message, InputArrived):
                    self._channel.send_file(each.message, each.data)
                else:
                    self._channel.send(each.message, descriptor=each.descriptor)
            except OSError:
                is_gone = True
            finally:
                if each.descriptor is not None:
                    os.close(each.descriptor)
            if each.chunk is not None and isinstance(each.message, InputArrived):
                self._sent(each.chunk, each.message.file)
            if isinstance(each.message, Answer):
                self._end_question()
            del each
