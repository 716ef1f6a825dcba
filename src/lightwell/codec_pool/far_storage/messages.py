"""What a codec worker and the engine say to each other about files and packs, on a socket of their own.

A worker has neither network nor credentials, and opens no file by its name but its own. The engine opens or
fetches the files of a chunk ahead of it, opens or reads stored packs for it, and keeps or uploads those that
it has written. Local files and packs, and large ones from S3, are passed as open descriptors.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from typing import Literal

import msgspec

from lightwell.framing import MessageBuffer, decoded, frame, frame_head
from lightwell.stores.data_folder.sealed_files import FileKey

WHOLE = 16 << 20
"""A file up to this size is read in one go: most are that small, and many short reads cost more."""
MOST_READ = 16 << 20
"""How many bytes one `ReadPack` may ask for."""

_STEP = 1 << 18
_DESCRIPTORS = 4
_NO_INHERITANCE = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

FailureKind = Literal["unavailable", "missing", "storage", "input"]


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why something came to nothing: an error of `lightwell.errors` or `stores.objects.interface`."""

    kind: FailureKind
    text: str


# From a worker ---------------------------------------------------------------------------------------------


class InputsTaken(msgspec.Struct, tag=True, frozen=True):
    """The worker has taken these files of a chunk, or waits for ``wanted`` as the last of them."""

    task: int
    files: list[int]
    wanted: int | None


class InputsEnded(msgspec.Struct, tag=True, frozen=True):
    """The worker needs no more files of this chunk."""

    task: int


class ReadPack(msgspec.Struct, tag=True, frozen=True):
    """Bytes of a pack that the worker was told of; at most `MOST_READ`."""

    number: int
    name: str
    offset: int
    length: int


class MeasurePack(msgspec.Struct, tag=True, frozen=True):
    """How many bytes a pack has that the worker was told of."""

    number: int
    name: str


class OpenPack(msgspec.Struct, tag=True, frozen=True):
    """A pack of local storage that the worker was told of, to read."""

    number: int
    name: str


class OpenInput(msgspec.Struct, tag=True, frozen=True):
    """A file of this machine that holds more than one input, such as a zip file or an upload, to read."""

    number: int
    path: bytes


class KeepPack(msgspec.Struct, tag=True, frozen=True):
    """Keep a pack that was opened for this worker, and that it has written into its folder."""

    number: int
    name: str


class StorePack(msgspec.Struct, tag=True, frozen=True):
    """Upload a pack that was opened for this worker: the whole of the file whose descriptor comes along."""

    number: int
    name: str
    size: int


class FetchDocument(msgspec.Struct, tag=True, frozen=True):
    """The JSON of a metadata override that the worker was told of."""

    number: int
    bucket: str
    key: str


Question = ReadPack | MeasurePack | OpenPack | OpenInput | KeepPack | StorePack | FetchDocument
"""What is answered by `Answer`."""

FromWorker = InputsTaken | InputsEnded | Question

# To a worker -----------------------------------------------------------------------------------------------


class InputArrived(msgspec.Struct, tag=True, frozen=True):
    """A file of a chunk: its bytes follow; or a descriptor of it comes along; or why it is neither.

    ``is_other``: the object has been replaced since it was listed. ``key`` opens a file that is sealed.
    """

    task: int
    file: int
    has_bytes: bool = False
    failure: Failure | None = None
    is_other: bool = False
    key: FileKey | None = None


class Answer(msgspec.Struct, tag=True, frozen=True):
    """What the request of this number has come to. ``size`` answers `MeasurePack`: None if there is none.

    ``is_open``: a descriptor of the file comes along.
    """

    number: int
    data: bytes = b""
    size: int | None = None
    is_open: bool = False
    failure: Failure | None = None


ToWorker = InputArrived | Answer

_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_encoder = msgspec.msgpack.Encoder()


class FarChannel:
    """One end of the connection. One thread may send while another receives.

    ``longest``: no message that is received may have more bytes.
    """

    def __init__(self, sock: socket.socket, longest: int | None = None) -> None:
        self._sock = sock
        self._buffer = MessageBuffer() if longest is None else MessageBuffer(longest)
        self._descriptors: deque[int] = deque()
        self._bytes = b""

    def send(self, *messages: FromWorker | ToWorker, descriptor: int | None = None) -> None:
        """Send messages in one go, the descriptor with them. Raises OSError once the other end is gone."""
        data = b"".join(frame(_encoder.encode(message)) for message in messages)
        if descriptor is not None:
            data = data[socket.send_fds(self._sock, [data], [descriptor]) :]
        self._sock.sendall(data)

    def send_file(self, message: InputArrived, data: bytes) -> None:
        """Send a message and the bytes that follow it, of which no copy is made."""
        head = frame(_encoder.encode(message)) + frame_head(len(data))
        sent = self._sock.sendmsg([head, data])
        self._sock.sendall(head[sent:])
        self._sock.sendall(memoryview(data)[max(0, sent - len(head)) :])

    def receive_from_worker(self) -> FromWorker | None:
        """The engine's end: the next message; None once the worker is gone."""
        data = self._receive()
        return None if data is None else decoded(_from_worker.decode, data)

    def receive_from_engine(self) -> ToWorker | None:
        """The worker's end."""
        data = self._receive()
        if data is None:
            return None
        message = decoded(_to_worker.decode, data)
        if isinstance(message, InputArrived) and message.has_bytes:
            if (follows := self._receive()) is None:
                return None
            self._bytes = follows
        return message

    def file(self) -> bytes:
        """The bytes that followed the last message."""
        data, self._bytes = self._bytes, b""
        return data

    def descriptor(self) -> int | None:
        """The descriptor that came with the last message, which is the caller's from now on."""
        return self._descriptors.popleft() if self._descriptors else None

    def _receive(self) -> bytes | None:
        while (message := self._buffer.next()) is None:
            try:
                data, found, _, _ = socket.recv_fds(self._sock, _STEP, _DESCRIPTORS, _NO_INHERITANCE)
            except OSError:
                return None
            self._descriptors.extend(found)
            if not data or len(self._descriptors) > _DESCRIPTORS:
                return None
            self._buffer.feed(data)
        return message

    def shut_down(self) -> None:
        """End what waits in `send` and `receive_from_worker`."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Once nothing waits any more."""
        self._sock.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
