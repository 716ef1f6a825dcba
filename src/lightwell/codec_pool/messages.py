"""What the engine and a codec worker say to each other: msgpack, each message behind its length (u32)."""

from __future__ import annotations

import select
import socket
import struct

import msgspec

from lightwell.codec_pool import requests
from lightwell.codec_pool.requests import Direct
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.records import Failure, NewRecord
from lightwell.domain.integrity import HeldBodies, HeldPack, HeldRecord, IntegrityFault

_LENGTH = struct.Struct("<I")
_STEP = 1 << 18
_MESSAGE_SECONDS = 60.0


class Begin(msgspec.Struct, tag=True, frozen=True):
    """To a new worker: the effective settings without the secrets, and the worker's own spool folder.

    ``network`` and ``paths`` as in `reach.Reach`.
    """

    settings: dict[str, str | int | bool | None]
    spool: str
    network: bool
    paths: list[bytes]


class Task(msgspec.Struct, tag=True, frozen=True):
    """To a worker: read a chunk. ``number`` is the engine's, for the answers.

    ``files`` as `domain.imports.jobs.pack_files` makes them. ``skip`` are not read; ``first`` are read
    before the others, since a worker died of each. ``mappings`` are (study, series, key of the JSON) of a
    metadata override, their keys in ``bucket``. ``last_attempt``: files that cannot be fetched fail, not the
    chunk. ``far``: no bucket is a folder of this server.
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
    far: bool = False


class Packs(msgspec.Struct, tag=True, frozen=True):
    """To a worker: keys of packs whose rows are open."""

    keys: list[int]


class Existing(msgspec.Struct, tag=True, frozen=True):
    """To a worker: what `FindExisting` asks for; None where there is no image set of the series.

    ``unknown``: those of its ``ahead`` that are not in the data store.
    """

    instances: list[ExistingInstance] | None
    unknown: list[str]


class Check(msgspec.Struct, tag=True, frozen=True):
    """To a worker: check a pack, None for records of one that was checked, and what lies in it.

    ``first`` is the place of the first of ``records`` in the pack's, for `Reading`.
    """

    number: int
    pack: HeldPack | None
    records: list[HeldRecord]
    first: int
    bodies: HeldBodies


class Perform(msgspec.Struct, tag=True, frozen=True):
    """To a worker: carry out an order that a client waits for."""

    number: int
    order: Direct


class Look(msgspec.Struct, tag=True, frozen=True):
    """To a worker: say what a file lists, ``kind`` *zip* or *dicomdir*, or check an *override*.

    ``path`` as the system has it, or the key in ``bucket``. ``far``: no bucket is a folder of this server.
    """

    number: int
    kind: str
    path: bytes
    bucket: str
    far: bool


Order = Begin | Task | Packs | Existing | Check | Perform | Look


class Ready(msgspec.Struct, tag=True, frozen=True):
    """From a worker that has loaded its codecs. ``missing``: as `sandbox.confinement.confine` says it."""

    missing: list[str] = []


class Reading(msgspec.Struct, tag=True, frozen=True):
    """From a worker: the file that it is on, or None between files."""

    task: int
    file: int | None


class NeedPacks(msgspec.Struct, tag=True, frozen=True):
    """From a worker that waits for `Packs`."""

    task: int
    count: int


class FindExisting(msgspec.Struct, tag=True, frozen=True):
    """From a worker that waits for `Existing`: what image sets hold of this instance already.

    ``ahead`` are SOPInstanceUIDs for which it would otherwise ask later, one by one.
    """

    task: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    ahead: list[str]


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


class Checked(msgspec.Struct, tag=True, frozen=True):
    """From a worker: what is wrong, with the place of the record, -1 for the pack; ``frames`` were read."""

    number: int
    faults: list[tuple[int, IntegrityFault]]
    frames: int


class TaskFailed(msgspec.Struct, tag=True, frozen=True):
    """From a worker: storage failed; nothing of the chunk counts. ``away``: it may be back."""

    task: int
    message: str
    away: bool = False


class Performed(msgspec.Struct, tag=True, frozen=True):
    """From a worker: the answer to a direct order."""

    number: int
    answer: requests.PoolReply


class Seen(msgspec.Struct, tag=True, frozen=True):
    """From a worker: a page of what `Look` asks for; after the last page one that ``is_last`` and empty.

    ``members`` of a zip file: name, bytes, index. ``files`` of a DICOMDIR: the parts of their paths. With a
    ``refusal`` nothing follows; ``trouble`` is *input*, *storage* or *unavailable*.
    """

    number: int
    members: list[tuple[str, int, int]] = []
    files: list[list[str]] = []
    refusal: str | None = None
    trouble: str = "input"
    is_last: bool = False


Answer = (
    Seen
    | Ready
    | Reading
    | NeedPacks
    | FindExisting
    | Read
    | Refused
    | TaskDone
    | TaskFailed
    | Checked
    | Performed
)

_orders = msgspec.msgpack.Decoder(Order)
_answers = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


class Channel:
    """One end of the connection. Not for several threads at once, but one may send while one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = bytearray()
        self._start = 0
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def send(self, *messages: Order | Answer) -> None:
        """Send messages in one go."""
        data = bytearray()
        for message in messages:
            encoded = _encoder.encode(message)
            data += _LENGTH.pack(len(encoded))
            data += encoded
        self._sock.sendall(data)

    def receive_order(self) -> Order | None:
        """The next message to a worker; None once the engine is gone."""
        data = self._next()
        return None if data is None else _orders.decode(data)

    def receive_answer(self, timeout: float) -> Answer | None:
        """The next message of a worker, None if none comes in ``timeout`` seconds.

        Raises EOFError once the worker is gone, or stands still in the middle of a message.
        """
        if not self._has_message() and not self._poll.poll(timeout * 1000):
            return None
        self._sock.settimeout(_MESSAGE_SECONDS)
        try:
            data = self._next()
        except TimeoutError:
            data = None
        finally:
            self._sock.settimeout(None)
        if data is None:
            raise EOFError
        answer: Answer = _answers.decode(data)
        return answer

    def _has_message(self) -> bool:
        have = len(self._received) - self._start
        return have >= 4 and have - 4 >= _LENGTH.unpack_from(self._received, self._start)[0]

    def _next(self) -> bytes | None:
        """The bytes of the next message, None if the other end is closed before it is whole."""
        while not self._has_message():
            try:
                more = self._sock.recv(_STEP)
            except (ConnectionResetError, BrokenPipeError):
                return None
            if not more:
                return None
            if self._start:
                del self._received[: self._start]
                self._start = 0
            self._received += more
        (length,) = _LENGTH.unpack_from(self._received, self._start)
        begin = self._start + _LENGTH.size
        self._start = begin + length
        data = bytes(memoryview(self._received)[begin : self._start])
        if self._start == len(self._received):
            self._received, self._start = bytearray(), 0
        return data

    def close(self) -> None:
        self._sock.close()
