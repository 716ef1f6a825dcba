"""What an HTTP process may ask the codec workers to do while a client waits, and what they answer.

Over the Unix socket of the work process (`codec_pool.client`, `codec_pool.server`). Orders say where bytes
are, and hold none. A new kind of order is a Struct here, in `Direct` and `PoolReply`, and its function in
`codec_pool.handlers`.
"""

from __future__ import annotations

import msgspec

from lightwell.codec_pool.render_requests import Decode, Decoded, NotRendered, Render, Rendered


class Spooled(msgspec.Struct, frozen=True, array_like=True):
    """A range of a file in the spool that may be a DICOM Part 10 file; ``name`` is for messages."""

    path: str
    offset: int
    length: int
    name: str


class Store(msgspec.Struct, tag=True, frozen=True):
    """Keep these files, in one transaction, as versions of image sets.

    ``study``: instances of another study are refused. ``caller`` is an ARN.
    """

    datastore_id: str
    study: str | None
    caller: str
    files: list[Spooled]


class Ping(msgspec.Struct, tag=True, frozen=True):
    """Answer `Pong` from a codec worker, after ``seconds``."""

    seconds: float = 0.0


Direct = Ping | Render | Decode
"""Orders that a codec worker carries out alone."""

PoolRequest = Store | Direct


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


class Pong(msgspec.Struct, tag=True, frozen=True):
    """The process id of the codec worker."""

    pid: int


class RequestError(msgspec.Struct, tag=True, frozen=True):
    """An order was not carried out.

    ``kind``: *input*, its bytes are at fault; *memory*, *time*, *died*, the codec worker reached a limit or
    ended; *busy*, too many wait; *storage*; *damaged*, what is kept is not what was stored; *missing*, what
    it names is not there; *fault*, ours.
    """

    kind: str
    message: str


PoolReply = Stored | Pong | Rendered | NotRendered | Decoded | RequestError
"""What comes back for an order."""


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A request on the socket: an order, and after how many seconds its answer is of no more use."""

    seconds: float
    order: PoolRequest
