"""What the engine and a codec worker say to each other: msgpack, each message behind its length (u32)."""

from __future__ import annotations

import select
import socket
import struct

import msgspec

from lightwell.domain.records import Failure, NewRecord

_LENGTH = struct.Struct("<I")
# A record with the frame tables of 100,000 frames is 5 MB.
_MOST = 1 << 30
_MESSAGE_SECONDS = 60.0


class Begin(msgspec.Struct, tag=True, frozen=True):
    """To a new worker: the effective settings without the secrets, and the worker's own spool folder."""

    settings: dict[str, str | int | None]
    spool: str


class Task(msgspec.Struct, tag=True, frozen=True):
    """To a worker: read a chunk. ``number`` is the engine's, for the answers.

    ``files`` as `domain.jobs.pack_files` makes them. ``skip`` are not read; ``first`` are read before the
    others, since a worker died of each. ``mappings`` are (study, series, key of the JSON) of a metadata
    override, their keys in ``bucket``. ``last_attempt``: files that cannot be fetched fail, not the chunk.
    """

    number: int
    bucket: str
    storage_format: str
    files: bytes
    first_file: int
    skip: list[int]
    first: list[int]
    packs: list[int]
    mappings: list[tuple[str, str | None, str]]
    last_attempt: bool


class Packs(msgspec.Struct, tag=True, frozen=True):
    """To a worker: keys of packs whose rows are open."""

    keys: list[int]


Order = Begin | Task | Packs


class Ready(msgspec.Struct, tag=True, frozen=True):
    """From a worker that has loaded its codecs."""


class Reading(msgspec.Struct, tag=True, frozen=True):
    """From a worker: the file that it is on, or None between files."""

    task: int
    file: int | None


class NeedPacks(msgspec.Struct, tag=True, frozen=True):
    """From a worker that waits for `Packs`."""

    task: int
    count: int


class Read(msgspec.Struct, tag=True, frozen=True):
    """From a worker: a file has been read."""

    task: int
    record: NewRecord


class Refused(msgspec.Struct, tag=True, frozen=True):
    """From a worker: a file cannot be imported."""

    task: int
    failure: Failure


class TaskDone(msgspec.Struct, tag=True, frozen=True):
    """From a worker: everything of a chunk is durable."""

    task: int
    level_values: dict[bytes, bytes]
    dictionaries: dict[int, bytes]
    packs: dict[int, tuple[int, int]]


class TaskFailed(msgspec.Struct, tag=True, frozen=True):
    """From a worker: storage failed; nothing of the chunk counts."""

    task: int
    message: str


Answer = Ready | Reading | NeedPacks | Read | Refused | TaskDone | TaskFailed

_orders = msgspec.msgpack.Decoder(Order)
_answers = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


class Channel:
    """One end of the connection. Not for several threads at once, but one may send while one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, message: Order | Answer) -> None:
        data = _encoder.encode(message)
        self._sock.sendall(_LENGTH.pack(len(data)) + data)

    def receive_order(self) -> Order | None:
        """The next message to a worker; None once the engine is gone."""
        data = self._receive()
        return None if data is None else _orders.decode(data)

    def receive_answer(self, timeout: float) -> Answer | None:
        """The next message of a worker, None if none comes in ``timeout`` seconds.

        Raises EOFError once the worker is gone, or stands still in the middle of a message.
        """
        if not self._wait(timeout):
            return None
        self._sock.settimeout(_MESSAGE_SECONDS)
        try:
            data = self._receive()
        except TimeoutError:
            data = None
        finally:
            self._sock.settimeout(None)
        if data is None:
            raise EOFError
        answer: Answer = _answers.decode(data)
        return answer

    def _wait(self, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def _receive(self) -> bytearray | None:
        head = self._exactly(_LENGTH.size)
        if head is None:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > _MOST:
            raise ConnectionError(f"a message of {length} bytes")
        return self._exactly(length)

    def _exactly(self, length: int) -> bytearray | None:
        data = bytearray(length)
        view = memoryview(data)
        done = 0
        while done < length:
            try:
                got = self._sock.recv_into(view[done:])
            except (ConnectionResetError, BrokenPipeError):
                return None
            if not got:
                return None
            done += got
        return data

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()
