"""What an HTTP process may ask the codec workers to do while a client waits, and what they reply.

Over the Unix socket of the work process (`codec_pool.client`, `codec_pool.server`). Requests say where bytes
are, and hold none. A new kind of request is a Struct here, in `DirectRequest` and `PoolReply`, and a function
in `codec_pool.handlers`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from lightwell.codec_pool.render_requests import (
    Decode,
    Decoded,
    DecodeNested,
    NestedDecoded,
    NotRendered,
    Render,
    Rendered,
)
from lightwell.stores.data_folder.sealed_files import FileKey

DocumentKind = Literal["json", "xml"]
"""How metadata are written: in the DICOM JSON Model, or in the Native DICOM Model."""


class Spooled(msgspec.Struct, frozen=True, array_like=True):
    """A range of a file in the spool that may be a DICOM Part 10 file; ``name`` is for messages.

    ``document``: it is the metadata of one instance instead, and its bulk data are in the parts that the file
    lists from ``table`` on (`imaging.assembly`).
    """

    path: str
    offset: int
    length: int
    name: str
    document: DocumentKind | None = None
    table: int = 0


class Store(msgspec.Struct, tag=True, frozen=True):
    """Keep these files, in one transaction, as versions of image sets.

    ``study``: instances of another study are refused. ``caller`` is an ARN, of a session for an emergency if
    ``emergency``. ``key`` opens the upload that has them, if it is sealed.
    """

    datastore_id: str
    study: str | None
    caller: str
    files: list[Spooled]
    emergency: bool = False
    key: FileKey | None = None


class Ping(msgspec.Struct, tag=True, frozen=True):
    """Have a codec worker reply `Pong`, after ``seconds``."""

    seconds: float = 0.0


class ListInstances(msgspec.Struct, tag=True, frozen=True):
    """List the instances whose metadata are in ``documents``, (offset, length) in the file ``path``, which
    ``key`` opens if it is sealed.

    The reply is `InstancesListed`. `CodecPoolClient.ask` raises `InputError` for metadata that cannot be
    read, and where the parts that the file lists from ``table`` on are not those that the metadata name.
    """

    path: str
    kind: DocumentKind
    documents: list[tuple[int, int]]
    table: int
    key: FileKey | None = None


DirectRequest = Ping | Render | Decode | DecodeNested | ListInstances
"""Requests that a codec worker carries out alone."""

PoolRequest = Store | DirectRequest


class InstanceStored(msgspec.Struct, tag=True, frozen=True):
    """A file is stored. ``warnings`` is the JSON array of the manifests, None without any."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str | None
    image_set: str
    version: int
    warnings: str | None


class InstanceRefused(msgspec.Struct, tag=True, frozen=True):
    """A file is not stored. ``reason`` is a Failure Reason (0008,1197), ``message`` is for a person."""

    reason: int
    message: str


class Stored(msgspec.Struct, tag=True, frozen=True):
    """What became of each file of `Store`, in their order. What is kept is durable."""

    files: list[InstanceStored | InstanceRefused]


class ListedInstance(msgspec.Struct, frozen=True, array_like=True):
    """Where the metadata of one instance are, and its UIDs, "" if they have none."""

    offset: int
    length: int
    sop_class_uid: str
    sop_instance_uid: str


class InstancesListed(msgspec.Struct, tag=True, frozen=True):
    """The reply to `ListInstances`."""

    instances: list[ListedInstance]


class Pong(msgspec.Struct, tag=True, frozen=True):
    """The process id of the codec worker."""

    pid: int


RequestErrorKind = Literal[
    "input", "memory", "time", "died", "busy", "storage", "damaged", "missing", "fault"
]
"""Why a request failed: its bytes are at fault; the codec worker reached its limit of memory or time, or
ended; too many requests wait, or no worker can be started; storage failed, or does not have what was stored;
what the request names is not there; or the fault is ours."""


class RequestError(msgspec.Struct, tag=True, frozen=True):
    """A request was not carried out."""

    kind: RequestErrorKind
    message: str


PoolReply = Stored | Pong | InstancesListed | Rendered | NotRendered | Decoded | NestedDecoded | RequestError
"""The reply to a request."""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A request on the socket, and after how many seconds nobody waits for its reply any more.

    ``caller``: the ARN of whoever asks, with whom it shares the workers.
    """

    seconds: float
    request: PoolRequest
    caller: str = ""
