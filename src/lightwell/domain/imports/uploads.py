"""Uploads: files that a browser sends one by one, for an import job to read. Their names are untrusted.

An upload's files are objects below ``uploads/DATASTORE/UPLOAD/`` of one bucket, so that any worker can read
them; the reports of the jobs that read them are below ``reports/DATASTORE/``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256

KEEP_MS = 24 * 3600 * 1000
"""How long an upload is kept that nobody goes on with, and what could not be imported of one."""

PIECE = 8 << 20
"""The bytes whose SHA-256 is one part of a `FileDigest`."""

UPLOADS = "uploads/"
"""What the keys of all uploads begin with."""

NAME_BYTES = 4096
_PART_BYTES, _KEY_BYTES = 200, 700
# What obstore does not take, what ends a name, and what makes one look like another.
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\\%\u2028\u2029\u202a-\u202e\u2066-\u2069]")
# `stores.buckets.local` does not list its own temporary files.
_TEMPORARY = ".lightwell-"
_ROLE = "lightwell-console-import-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A row of ``upload``. Times are milliseconds since the epoch.

    ``name`` is what the person dropped, ``files`` and ``size`` are what it has in all: files and bytes.
    ``node``: whose folder holds the files, as `Job.input_node`. ``is_removed``: it will be gone soon.
    ``cleared_job`` is the key of the job whose imported files have been removed.

    ``caller`` is the owner, ``bucket`` where the files are, None for older ones: in that of the settings.
    ``claimed_…`` are files and bytes that have been received since it began, ``arrived_…`` those of them that
    are there for sure and not removed, ``last_at`` when the last of them arrived.
    """

    id: str
    datastore: int
    caller: str
    name: str
    files: int
    size: int
    node: str | None
    created_at: int
    is_removed: bool = False
    cleared_job: int | None = None
    bucket: str | None = None
    claimed_files: int = 0
    claimed_size: int = 0
    arrived_files: int = 0
    arrived_size: int = 0
    last_at: int | None = None

    @property
    def touched_at(self) -> int:
        """When something of it came last."""
        return max(self.created_at, self.last_at or 0)

    def has_room(self, size: int) -> bool:
        """Whether another file of ``size`` bytes is among what it is to have."""
        return self.claimed_files < self.files and self.claimed_size + size <= self.size


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that was received: ``key`` is below the upload's folder, ``name`` as the client sent it.

    ``arrived_at`` is when it was there for sure; 0 before.
    """

    key: str
    name: str
    size: int
    digest: str
    arrived_at: int = 0

    def is_same(self, other: UploadedFile) -> bool:
        """Whether both are the very same file."""
        mine = (self.key, self.name, self.size, self.digest)
        return mine == (other.key, other.name, other.size, other.digest)


class FileDigest:
    """SHA-256 of the SHA-256s of each `PIECE` of a file.

    A browser's own SHA-256 takes a whole buffer at once, so that of a large file is beyond it.
    """

    def __init__(self) -> None:
        self._whole = sha256()
        self._piece = sha256()
        self._in_piece = 0

    def update(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while len(view):
            some = view[: PIECE - self._in_piece]
            self._piece.update(some)
            self._in_piece += len(some)
            view = view[len(some) :]
            if self._in_piece == PIECE:
                self._end_piece()

    def hexdigest(self) -> str:
        """Of all that came; nothing may follow."""
        if self._in_piece:
            self._end_piece()
        return self._whole.hexdigest()

    def _end_piece(self) -> None:
        self._whole.update(self._piece.digest())
        self._piece, self._in_piece = sha256(), 0


def name_fault(name: str) -> str | None:
    """What is wrong with the path of a file; None if it can be used."""
    if not name:
        return "it is empty"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if "\0" in name:
        return "it contains a NUL"
    if len(encoded) > NAME_BYTES:
        return f"it has more than {NAME_BYTES} bytes"
    parts = name.split("/")
    if "" in parts:
        return "a part of it is empty: give it relative to the folder, without a slash at either end"
    if "." in parts or ".." in parts:
        return "it contains . or .."
    return None


def key_of(name: str) -> str:
    """The object's key for a path that `name_fault` lets pass, relative to the upload's folder.

    The path as it is wherever possible, since reports show it. Different paths have different keys. No part
    is longer than a file system takes, nor the whole than S3 does.
    """
    key = "/".join(_part(part) for part in name.split("/"))
    if len(key.encode()) <= _KEY_BYTES:
        return key
    folder, _, last = name.rpartition("/")
    return f"%-{_mark(folder)}/{_part(last)}"


def _part(part: str) -> str:
    if part.startswith(_TEMPORARY):
        part = f"\0{part}"  # becomes %00
    plain = _ODD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), part)
    encoded = plain.encode()
    if len(encoded) <= _PART_BYTES:
        return plain
    begin, end = encoded[:100].decode(errors="ignore"), encoded[-40:].decode(errors="ignore")
    return f"{begin}%-{_mark(part)}%-{end}"


def _mark(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def folder(datastore_id: str, upload_id: str) -> str:
    """The prefix of the keys of an upload, with a slash at its end."""
    return f"{UPLOADS}{datastore_id}/{upload_id}/"


def input_uri(bucket: str, datastore_id: str, upload_id: str) -> str:
    """``inputS3Uri`` of the import job for an upload."""
    return f"s3://{bucket}/{folder(datastore_id, upload_id)}"


def output_uri(bucket: str, datastore_id: str) -> str:
    """``outputS3Uri`` of the import jobs for uploads."""
    return f"s3://{bucket}/reports/{datastore_id}/"


def role_name(datastore_id: str) -> str:
    """The role that import jobs of a data store's uploads name."""
    return f"{_ROLE}{datastore_id}"


def trust_policy(datastore_arn: str) -> str:
    """Only import jobs of this data store have the role."""
    return _policy(
        {
            "Effect": "Allow",
            "Principal": {"Service": "medical-imaging.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceArn": datastore_arn}},
        }
    )


def access_policy(bucket: str, datastore_id: str) -> str:
    """The role may read one upload whose id is named, and write reports.

    The id has 32 characters, of which no prefix can be listed: who does not know it cannot read the upload.
    """
    objects = f"arn:aws:s3:::{bucket}"
    uploads = folder(datastore_id, "?" * 32)
    return _policy(
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": objects,
            "Condition": {"StringLike": {"s3:prefix": f"{uploads}*"}},
        },
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{objects}/{uploads}*"},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{objects}/reports/{datastore_id}/*"},
    )


def _policy(*statements: dict[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
