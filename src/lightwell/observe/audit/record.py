"""What the audit trail keeps of one access: one line of JSON, members that are absent left out.

A record says who did what to whom, and how it ended. It holds ids and UIDs, so it tells about patients, but
no names, no birth dates, no values of attributes and no texts of errors, which quote them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec
from msgspec import Struct, field

Via = Literal["api", "dicomweb", "console", "sts", "cli", "engine", "start"]
"""Which door it came through; ``start`` is the start of a server itself, ``engine`` work without a client."""

Kind = Literal["read", "search", "change", "access", "security", "system"]
"""``read``, ``search`` and ``change`` are of patient data; ``access`` is of keys, roles, policies,
authorizers and data stores; ``security`` is what looks like an attack or a gap in the trail; ``system`` is
the rest."""

Phase = Literal["begun", "ended"]

# Of a header that its sender chose.
AGENT_LENGTH: Final = 200


class SystemUser(Struct, omit_defaults=True):
    """Who ran a command: the user of its process, and who had logged in before ``sudo`` where Linux knows."""

    uid: int
    name: str | None = None
    loginuid: int | None = None


class Change(Struct, omit_defaults=True):
    """What has changed, by its name, and digests of it before and after; None where there was or is none."""

    what: str
    before: str | None = None
    after: str | None = None


class AuditRecord(Struct, omit_defaults=True, gc=False):
    """One access. Times are milliseconds since the epoch, sizes bytes.

    The types of members with few values (`Via`, `Kind`, `Phase`) are plain text here, so that a trail that a
    newer lightwell has written can be read.
    """

    # Its number in its chain, from 1. The chain sets it.
    number: int = field(default=0, name="n")
    at: int = 0
    # The request's id, the same that the answer and the log show; for a command, one id a run.
    id: str | None = None
    via: str = ""
    operation: str = field(default="", name="do")
    kind: str = ""
    # An ARN, once it is proved, and the access key id that proved it.
    who: str | None = None
    key: str | None = None
    # An access key id that nothing proved: its signature was wrong, or the request was refused before.
    claimed: str | None = None
    # Whose token it was, as its issuer calls that person, and the issuer.
    subject: str | None = None
    provider: str | None = None
    # The owner of the credentials that took the role.
    taken_by: str | None = None
    user: SystemUser | None = field(default=None, name="os")
    address: str | None = field(default=None, name="from")
    # The subject of the client's certificate.
    certificate: str | None = field(default=None, name="cert")
    agent: str | None = None
    store: str | None = None
    image_set: str | None = field(default=None, name="set")
    image_sets: tuple[str, ...] = field(default=(), name="sets")
    version: int | None = None
    patient: str | None = None
    patients: tuple[str, ...] = ()
    study: str | None = None
    studies: tuple[str, ...] = ()
    series: str | None = None
    instance: str | None = None
    # Frames, bulk data or transfer syntaxes that were asked for.
    items: tuple[str, ...] = ()
    # How many members the lists would have besides.
    more: int = 0
    # What was searched for, masked.
    query: dict[str, Any] | None = None
    found: int | None = None
    job: str | None = None
    # The role whose rights a job had in buckets, an ARN. Only of records by the engine.
    role: str | None = None
    # How many instances a version of an image set was given, or were stored.
    instances: int = 0
    status: int | None = None
    # The code of the error, such as AccessDeniedException.
    error: str | None = None
    # What allowed or denied it: the title of a policy's statement, ``root`` or ``administrator``; and a
    # digest of that policy.
    by: str | None = None
    policy: str | None = None
    # Done with a role for emergencies, or that was taken; then ``reason`` says why, in the words of whoever
    # took it.
    emergency: bool = False
    reason: str | None = None
    # An answer that is sent piece by piece has two records: before its first byte, and after its last.
    phase: str | None = None
    sent: int | None = None
    # The answer ended before its end.
    is_cut: bool = field(default=False, name="cut")
    change: tuple[Change, ...] = ()
    # Of a record that stands for many: how many, and when the last was. With ``lost`` nothing more is known.
    count: int = 0
    lost: int = 0
    until: int = 0
    # When it was written, if the process that should have done so had died or could not: from the database,
    # where it stood since the transaction that did what it tells.
    recovered: int = 0


class FrameRecord(Struct, omit_defaults=True, gc=False):
    """What an `AuditRecord` says of a frame or a document that was read whole, with the same names in JSON.

    Thousands are made each second, and making one takes a fraction of the time: it has half as many members,
    which are given by their order.
    """

    image_sets: ClassVar[tuple[str, ...]] = ()
    patients: ClassVar[tuple[str, ...]] = ()
    studies: ClassVar[tuple[str, ...]] = ()

    number: int = field(default=0, name="n")
    at: int = 0
    id: str | None = None
    via: str = ""
    operation: str = field(default="", name="do")
    kind: str = ""
    who: str | None = None
    key: str | None = None
    subject: str | None = None
    provider: str | None = None
    taken_by: str | None = None
    address: str | None = field(default=None, name="from")
    certificate: str | None = field(default=None, name="cert")
    agent: str | None = None
    store: str | None = None
    image_set: str | None = field(default=None, name="set")
    patient: str | None = None
    study: str | None = None
    series: str | None = None
    instance: str | None = None
    items: tuple[str, ...] = ()
    status: int | None = None
    by: str | None = None
    policy: str | None = None
    sent: int | None = None
    emergency: bool = False


AnyRecord = AuditRecord | FrameRecord


class Unmade(Struct, gc=False):
    """What a record is made from, later and elsewhere than where it is put."""

    at: int

    def record(self) -> AnyRecord:
        """The record. It must be the same however often it is made."""
        raise NotImplementedError


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(AuditRecord)


def encode_lines(records: Sequence[AnyRecord]) -> bytes:
    """Each record as a line that ends with a line feed.

    What JSON cannot hold, such as half a surrogate pair that a client sent, is replaced and keeps no other
    record from being written.
    """
    try:
        return _ENCODER.encode_lines(records)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return b"".join(_encode_line(record) for record in records)


BEGINS: Final = b'{"n":'
"""What the line of a record begins with, and no other line."""


def decode_line(line: bytes) -> AuditRecord:
    """The record of a line. Raises `ValueError`."""
    return _DECODER.decode(line)


def _encode_line(record: AnyRecord) -> bytes:
    try:
        return _ENCODER.encode(record) + b"\n"
    except (TypeError, ValueError, OverflowError, RecursionError):
        kept = {}
        for name in record.__struct_fields__:
            value = getattr(record, name)
            try:
                _ENCODER.encode(value)
            except (TypeError, ValueError, OverflowError, RecursionError):
                value = _replaced(name, value)
            kept[name] = value
        return _ENCODER.encode(type(record)(**kept)) + b"\n"


def _replaced(name: str, value: object) -> Any:
    """What stands for a value that JSON cannot hold: the same with ``?`` in it, or that it was not kept."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, tuple) and all(isinstance(member, str) for member in value):
        return tuple(member.encode(errors="replace").decode() for member in value)
    if name == "query":
        return {"unrecordable": True}
    return AuditRecord.__struct_defaults__[AuditRecord.__struct_fields__.index(name)]
