"""What the engine and a codec worker say to each other, as msgpack in the frames of `lightwell.framing`.

Names come in pairs, a command and its outcome:

============== ============================================= ======================================
To the worker  From the worker, meanwhile                    From the worker, at the end
============== ============================================= ======================================
Configure                                                    Configured
ReadChunk      FileStarted, then FileRead or FileRefused     ChunkRead or ChunkFailed
CheckRecords   FileStarted                                   RecordsChecked
InspectInput   InputInspected, page by page                  InputInspected, the last
Perform        FileStarted                                   Performed
============== ============================================= ======================================

A worker that reads a chunk asks for two things itself: OpenPacks, answered by PacksOpened, and FindExisting,
answered by ExistingFound. PacksGranted comes before whatever names a sealed pack. ``task`` is the engine's
number for a command; whatever belongs to it bears the same.
"""

from __future__ import annotations

import select
import socket
from typing import Literal

import msgspec

from lightwell.codec_pool import requests
from lightwell.codec_pool.failures import Cause
from lightwell.codec_pool.requests import DirectRequest
from lightwell.domain.imports.existing_instances import ExistingInstance
from lightwell.domain.imports.jobs import InputFile, unpack_files
from lightwell.domain.imports.records import Dependencies, Failure, NewRecord
from lightwell.domain.integrity import (
    IntegrityFault,
    MadeChecks,
    PackToVerify,
    PixelsToVerify,
    RecordToVerify,
    SharedValues,
)
from lightwell.framing import MessageBuffer, decoded, frame, receive
from lightwell.stores.data_folder.sealed_files import FileKey
from lightwell.stores.keys.granted import Refused
from lightwell.stores.objects.pack_objects import OpenPack, PackGrant

# A worker that stands still in the middle of a message is given up after this.
_MESSAGE_SECONDS = 60.0

InputKind = Literal["zip", "dicomdir", "override"]

# To a worker -----------------------------------------------------------------------------------------------


class Configure(msgspec.Struct, tag=True, frozen=True):
    """The effective settings without the secrets, and the worker's own folders: all that it may open.

    ``staging`` is that in local storage, for packs; "" where there is none, for the reason ``no_staging``.
    """

    settings: dict[str, str | int | bool | None]
    spool: str
    staging: str = ""
    no_staging: str = ""


class ReadChunk(msgspec.Struct, tag=True, frozen=True):
    """Read the files of a chunk.

    ``files`` as `domain.imports.jobs.pack_files` makes them. Those in ``skip`` are not read; those in
    ``first`` are read before the others, since a worker has died on each. ``mappings`` are (study, series,
    key of the JSON) of a metadata override, their keys in ``bucket``. ``last_attempt``: a file that cannot be
    fetched fails alone, not with its chunk. ``far``: no bucket is a folder of this server. ``upload_key``
    opens the upload in which the files are, if it is sealed. ``datastore``: the id of the one whose uploads
    in buckets may be opened, which is the one that they are imported into; none for "".
    """

    task: int
    bucket: str
    storage_format: str
    files: bytes
    first_file: int
    skip: list[int]
    first: list[int]
    packs: list[OpenPack]
    mappings: list[tuple[str, str | None, str]]
    last_attempt: bool
    far: bool = False
    upload_key: FileKey | None = None
    datastore: str = ""

    @property
    def is_sealed(self) -> bool:
        """Whether the data store is encrypted, so that nothing of its files may lie in the spool as it is."""
        return any(pack.grant for pack in self.packs)

    def in_order(self) -> list[InputFile]:
        """The files to read. Those of which a worker died before come first, so that dying again wastes no
        work."""
        skip, first = set(self.skip), set(self.first)
        files = [f for f in unpack_files(self.files, self.first_file) if f.number not in skip]
        return sorted(files, key=lambda f: f.number not in first)


class CheckRecords(msgspec.Struct, tag=True, frozen=True):
    """Check a pack, None where that has been done, and records whose bytes lie in it.

    ``first`` is the place of the first of ``records`` among all of the pack, for `FileStarted`. Of a
    ``sample``, from 0 to 99, one frame in a hundred is decoded, another one for each number; None for all.
    """

    task: int
    pack: PackToVerify | None
    records: list[RecordToVerify]
    first: int
    bodies: SharedValues
    sample: int | None = None


class CheckFrames(msgspec.Struct, tag=True, frozen=True):
    """Check frames that have no checks of their stored bytes, and make these."""

    task: int
    pixels: list[PixelsToVerify]


class InspectInput(msgspec.Struct, tag=True, frozen=True):
    """Tell what a zip file or a DICOMDIR lists, or check a metadata override.

    ``path`` as the system has it, or the key in ``bucket``. ``far``: no bucket is a folder of this server.
    """

    task: int
    kind: InputKind
    path: bytes
    bucket: str
    far: bool


class Perform(msgspec.Struct, tag=True, frozen=True):
    """Carry out a request that a client waits for."""

    task: int
    request: DirectRequest


class PacksOpened(msgspec.Struct, tag=True, frozen=True):
    """Packs whose rows are open."""

    packs: list[OpenPack]


class PacksGranted(msgspec.Struct, tag=True, frozen=True):
    """Of the packs that the next message is about, those that may be sealed: what reads them, those whose
    keys are not to be had, and those that are not sealed."""

    packs: list[PackGrant]
    refused: list[Refused] = []
    plain: list[int] = []


class ExistingFound(msgspec.Struct, tag=True, frozen=True):
    """What the data store has of an instance; None where it has no image set of the series.

    ``unknown``: those UIDs of ``ahead`` in `FindExisting` that are not in the data store.
    """

    instances: list[ExistingInstance] | None
    unknown: list[str]


ToWorker = (
    Configure
    | ReadChunk
    | CheckRecords
    | CheckFrames
    | InspectInput
    | Perform
    | PacksOpened
    | PacksGranted
    | ExistingFound
)

# From a worker ---------------------------------------------------------------------------------------------


class Configured(msgspec.Struct, tag=True, frozen=True):
    """The codecs are loaded, and the worker is confined. ``missing``: as `sandbox.confinement.confine`
    says it."""

    missing: list[str] = []


class FileStarted(msgspec.Struct, tag=True, frozen=True):
    """The worker turns to a file, by number, or has none left to turn to."""

    task: int
    file: int | None


class OpenPacks(msgspec.Struct, tag=True, frozen=True):
    """The worker waits for `PacksOpened`."""

    task: int
    count: int


class FindExisting(msgspec.Struct, tag=True, frozen=True):
    """The worker waits for `ExistingFound`: what do image sets have of this instance already?

    ``ahead`` are SOPInstanceUIDs about which it would otherwise ask later, one by one.
    """

    task: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    ahead: list[str]


class FileRead(msgspec.Struct, tag=True, frozen=True):
    """A file has been read."""

    task: int
    record: NewRecord


class FileRefused(msgspec.Struct, tag=True, frozen=True):
    """A file cannot be imported."""

    task: int
    failure: Failure


class ChunkRead(msgspec.Struct, tag=True, frozen=True):
    """Everything that a chunk has yielded is durable."""

    task: int
    dependencies: Dependencies


class ChunkFailed(msgspec.Struct, tag=True, frozen=True):
    """Nothing of the chunk counts. ``cause`` is UNAVAILABLE, STORAGE or FAULT_BETWEEN_FILES."""

    task: int
    cause: Cause
    reason: str


class RecordsChecked(msgspec.Struct, tag=True, frozen=True):
    """What is wrong, with the place of the record, -1 for the pack; ``frames`` were read.

    ``made`` as `codec_pool.checking.Checker` has it. The reply to `CheckFrames`, too, with places of pixels.
    """

    task: int
    faults: list[tuple[int, IntegrityFault]]
    frames: int
    made: list[MadeChecks] = []


class InputInspected(msgspec.Struct, tag=True, frozen=True):
    """A page of what `InspectInput` asks for. The last one ``is_last`` and holds nothing.

    ``members`` of a zip file: name, bytes, index. ``files`` of a DICOMDIR: the components of their paths.
    With a ``cause``, for ``reason``, it is the last page, too: see `codec_pool.failures.INSPECTION`.
    """

    task: int
    members: list[tuple[str, int, int]] = []
    files: list[list[str]] = []
    cause: Cause | None = None
    reason: str = ""
    is_last: bool = False


class Performed(msgspec.Struct, tag=True, frozen=True):
    """The reply to a request that a client waits for."""

    task: int
    reply: requests.PoolReply


FromWorker = (
    Configured
    | FileStarted
    | OpenPacks
    | FindExisting
    | FileRead
    | FileRefused
    | ChunkRead
    | ChunkFailed
    | RecordsChecked
    | InputInspected
    | Performed
)

_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_encoder = msgspec.msgpack.Encoder()


class Channel:
    """One end of the connection. Not for several threads at once, but one may send while one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = MessageBuffer()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def send(self, *messages: ToWorker | FromWorker) -> None:
        """Send messages in one go."""
        self._sock.sendall(b"".join(frame(_encoder.encode(message)) for message in messages))

    def receive_from_engine(self) -> ToWorker | None:
        """The worker's end: wait for the next message; None once the engine is gone."""
        data = self._receive()
        return None if data is None else decoded(_to_worker.decode, data)

    def receive_from_worker(self, timeout: float) -> FromWorker | None:
        """The engine's end: the next message, None if none comes within ``timeout`` seconds.

        Raises EOFError once the worker is gone, or stands still in the middle of a message.
        """
        data = self._buffer.next()
        if data is None:
            if not self._poll.poll(timeout * 1000):
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
        return decoded(_from_worker.decode, data)

    def _receive(self) -> bytes | None:
        try:
            return receive(self._sock, self._buffer)
        except (ConnectionResetError, BrokenPipeError):
            return None

    def close(self) -> None:
        self._sock.close()
