"""The worker's end: files that the engine has opened or fetched, and packs, as if all could be reached."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from lightwell.codec_pool.far_storage.messages import (
    MOST_READ,
    Answer,
    FailureKind,
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
    ReadPack,
    StorePack,
)
from lightwell.codec_pool.far_storage.sealed_source import bytes_of, source_of
from lightwell.errors import InputError, LightwellError, StorageError, StorageUnavailableError
from lightwell.imaging.dataset.byte_source import BytesSource, FileSource
from lightwell.stores.objects.interface import MissingObjectError, ObjectWriter
from lightwell.stores.objects.spooled_writer import SpooledWriter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A file, or why there is none; ``is_other`` as in `InputArrived`."""

    source: BytesSource | FileSource | None
    error: LightwellError | None = None
    is_other: bool = False

    def drop(self) -> None:
        if self.source is not None:
            self.source.close()


def _arrived(source: Callable[[], BytesSource | FileSource], arrived: InputArrived) -> _Arrived:
    try:
        return _Arrived(source(), is_other=arrived.is_other)
    except StorageError as error:
        return _Arrived(None, error)


# The engine is told of so many files that were taken at once.
_TAKEN = 8

_ERRORS: dict[FailureKind, type[LightwellError]] = {
    "unavailable": StorageUnavailableError,
    "missing": MissingObjectError,
    "storage": StorageError,
    "input": InputError,
}


class EngineGoneError(Exception):
    """The other end of the channel is closed."""


class FarClient:
    """For the threads of a worker: whichever waits receives what has arrived for all of them."""

    def __init__(self, channel: FarChannel) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._is_receiving = False
        self._inputs: dict[tuple[int, int], _Arrived] = {}
        self._answers: dict[int, Answer] = {}
        self._opened: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._task = -1
        self._taken: list[int] = []

    def take(self, task: int, file: int) -> tuple[BytesSource | FileSource, bool]:
        """A file of the chunk that is being read, which the caller closes, and whether it is another one than
        was listed. Raises what fetching it raised.

        For one thread only; of one chunk after another, each with a higher number.
        """
        self._task = task
        self._taken.append(file)
        wanted = None if (task, file) in self._inputs else file
        if wanted is not None or len(self._taken) >= _TAKEN:
            self._send(InputsTaken(task, self._taken, wanted))
            self._taken = []

        def arrived() -> _Arrived | None:
            return self._inputs.pop((task, file), None)

        found = self._wait(arrived)
        if found.error is not None:
            raise found.error
        assert found.source is not None
        return found.source, found.is_other

    def end(self, task: int) -> None:
        """No more files of this chunk are needed."""
        self._taken = []
        with self._changed:
            self._task = task + 1
            for key in [key for key in self._inputs if key[0] <= task]:
                self._inputs.pop(key).drop()
        self._send(InputsEnded(task))

    def document(self, bucket: str, key: str) -> bytes:
        """The JSON of a metadata override."""
        return self._ask(lambda number: FetchDocument(number, bucket, key)).data

    def read(self, name: str, offset: int, length: int) -> bytes:
        """As `Objects.read`."""
        parts = []
        for start in range(offset, offset + length, MOST_READ):
            count = min(MOST_READ, offset + length - start)
            parts.append(self._read(name, start, count))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, name: str, offset: int, length: int) -> bytes:
        return self._ask(lambda number: ReadPack(number, name, offset, length)).data

    def size(self, name: str) -> int | None:
        """As `Objects.size`."""
        return self._ask(lambda number: MeasurePack(number, name)).size

    def open_pack(self, name: str) -> int:
        """A descriptor of a pack of local storage, which the caller closes; read only."""
        return self._open(lambda number: OpenPack(number, name))

    def open_input(self, path: str) -> int:
        """A descriptor of a file that holds several inputs, which the caller closes; read only."""
        return self._open(lambda number: OpenInput(number, os.fsencode(path)))

    def keep(self, name: str) -> None:
        """Have a pack kept that is in this worker's folder; it is durable when this returns."""
        self._ask(lambda number: KeepPack(number, name))

    def _open(self, question: Callable[[int], FromWorker]) -> int:
        number = self._ask(question).number
        with self._changed:
            return self._opened.pop(number)

    def store(self, name: str, stream: IO[bytes], size: int) -> None:
        """Have a pack uploaded; it is durable when this returns."""
        self._ask(lambda number: StorePack(number, name, size), stream.fileno())

    def _ask(self, question: Callable[[int], FromWorker], descriptor: int | None = None) -> Answer:
        number = next(self._numbers)
        self._send(question(number), descriptor)
        answer = self._wait(lambda: self._answers.pop(number, None))
        if answer.failure is not None:
            raise _ERRORS[answer.failure.kind](answer.failure.text)
        return answer

    def _send(self, message: FromWorker, descriptor: int | None = None) -> None:
        try:
            with self._sending:
                self._channel.send(message, descriptor=descriptor)
        except OSError:
            raise EngineGoneError from None

    def _wait(self, get: Callable[[], T | None]) -> T:
        with self._changed:
            while (found := get()) is None:
                if self._is_receiving:
                    self._changed.wait()
                    continue
                self._is_receiving = True
                self._changed.release()
                try:
                    message = self._channel.receive_from_engine()
                finally:
                    self._changed.acquire()
                    self._is_receiving = False
                    self._changed.notify_all()
                if message is None:
                    raise EngineGoneError
                if isinstance(message, Answer):
                    self._answers[message.number] = message
                    if message.is_open:
                        self._opened[message.number] = self._descriptor()
                else:
                    self._keep(message)
            return found

    def _keep(self, arrived: InputArrived) -> None:
        if arrived.failure is not None:
            found = _Arrived(None, _ERRORS[arrived.failure.kind](arrived.failure.text))
        elif arrived.has_bytes:
            found = _arrived(lambda: bytes_of(self._channel.file(), arrived.key), arrived)
        else:
            found = _arrived(lambda: source_of(self._descriptor(), arrived.key), arrived)
        if arrived.task < self._task:
            found.drop()
        else:
            self._inputs[arrived.task, arrived.file] = found

    def _descriptor(self) -> int:
        """That which came with the last message."""
        descriptor = self._channel.descriptor()
        if descriptor is None:
            raise EngineGoneError
        return descriptor


class FarObjects:
    """The packs of S3 through the engine: what codec workers need of `stores.objects.interface.Objects`."""

    def __init__(self, client: FarClient, address: str) -> None:
        self._client = client
        self.address = address

    def read(self, key: str, offset: int, length: int) -> bytes:
        return self._client.read(key, offset, length) if length else b""

    def read_again(self, key: str, offset: int, length: int) -> bytes:
        return self.read(key, offset, length)

    def size(self, key: str) -> int | None:
        return self._client.size(key)

    def forget(self) -> None:
        """Nothing is open."""

    def writer(self, key: str, spool_dir: Path) -> ObjectWriter:
        return SpooledWriter(spool_dir, lambda stream, size: self._client.store(key, stream, size))


def connected(descriptor: int) -> FarClient:
    """The client on an inherited socket."""
    import socket

    os.set_inheritable(descriptor, False)
    return FarClient(FarChannel(socket.socket(fileno=descriptor)))
