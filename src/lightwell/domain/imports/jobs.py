"""Import jobs, their chunks and the fate of each file.

A job goes through its phases in order: *list* the input and cut it into chunks, *read* each chunk in a codec
worker, *commit* what was read into image sets, *report* in the output bucket, *done*.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

SUBMITTED, IN_PROGRESS, COMPLETED, FAILED = "SUBMITTED", "IN_PROGRESS", "COMPLETED", "FAILED"
LIST, READ, COMMIT, REPORT, DONE = "list", "read", "commit", "report", "done"

# Whose fault it is that a file was not imported.
IMPORTED, CUSTOMER, SERVER = "imported", "customer", "server"
ALREADY_THERE = "already there"
"""The message of an imported file whose image set did not change by it."""

# Keys of `Chunk.deaths` that are no file: failures when no file was being read, and of the storage. How many
# are too many: `codec_pool.failures.CHUNK`.
NO_FILE, STORAGE = "none", "storage"

MESSAGE_LENGTH = 2048
_FOREIGN = str.maketrans(
    {";": ",", "<": "(", "=": ":", ">": ")", "?": ".", "@": " at ", "[": "(", "]": ")", "{": "(", "}": ")"}
)


def clean_message(text: str) -> str:
    """``text`` as the model's Message shape takes it: 1-2048 of ``[\\w -:`]``, the rest replaced."""
    text = re.sub(r"[^\w -:`]", "_", " ".join(text.translate(_FOREIGN).split()), flags=re.ASCII)
    return text[:MESSAGE_LENGTH] or "Failed."


@dataclass(frozen=True, slots=True)
class Job:
    """A row of ``import_job``. Times are milliseconds since the epoch.

    ``input_node`` and ``output_node``: the node whose folders the input and the output are in, and who alone
    reads or writes them (`stores.data_folder.node`); "" for none, since they are in S3; None for any, as on
    SQLite, where there is one.

    ``assumes_role``: it may do in buckets what the role ``role_arn`` may, not whatever the server itself may.
    """

    key: int
    id: str
    datastore: int
    name: str | None
    status: str
    phase: str
    message: str | None
    role_arn: str
    input_uri: str
    output_uri: str
    input_owner: str | None
    configuration: bytes | None
    source: bytes | None
    caller: str
    submitted_at: int
    ended_at: int | None
    scanned: int
    read: int
    input_node: str | None = None
    output_node: str | None = None
    assumes_role: bool | None = None


def belongs(phase: str, node: str, input_node: str | None, output_node: str | None) -> bool:
    """Whether the server of ``node`` may work at a phase of a job; see `Job`."""
    needs = {LIST: (input_node, output_node), READ: (input_node,), REPORT: (output_node,)}.get(phase, ())
    return all(each in (None, "", node) for each in needs)


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of a job.

    ``number`` counts from 0 in input order. ``name`` is what the manifests call it: the object's key.
    ``location`` says where it is where that is not the job's bucket: ``["file", path]``,
    ``["zip", path, member, index]`` (in the zip's directory, since members may share a name; jobs of old lack
    it), ``["s3", bucket, key]`` or, for ``size`` bytes of a file, ``["part", path, offset]``.
    """

    number: int
    name: str
    location: tuple[str, ...] | None
    size: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some files of a job that one worker reads in one go."""

    job: int
    number: int
    files: tuple[InputFile, ...]
    deaths: dict[str, list[str]] = field(default_factory=dict)

    def died(self, file: int) -> int:
        """How often a worker died of this file."""
        return len(self.deaths.get(str(file), ()))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file; a line of the manifests.

    ``warnings`` is the JSON array of the manifest. ``exception_type`` and ``message`` are set for kinds
    customer and server, the image set for imported, whose only message is `ALREADY_THERE`.
    """

    file: int
    input_file: str
    kind: str
    exception_type: str | None = None
    message: str | None = None
    image_set: str | None = None
    version: int | None = None
    is_primary: bool | None = None
    warnings: str | None = None


def pack_files(files: list[InputFile]) -> bytes:
    """The files of a chunk as JSON, without their numbers, which follow one another."""
    return json.dumps(
        [[f.name, f.location, f.size] for f in files], ensure_ascii=False, separators=(",", ":")
    ).encode("utf-8", "surrogateescape")


def unpack_files(data: bytes, first_file: int) -> tuple[InputFile, ...]:
    """The inverse of `pack_files`; ``first_file`` is the number of the first."""
    rows = json.loads(data.decode("utf-8", "surrogateescape"))
    return tuple(
        InputFile(first_file + i, name, tuple(location) if location else None, size)
        for i, (name, location, size) in enumerate(rows)
    )


def split_uri(uri: str) -> tuple[str, str]:
    """``(bucket, key or prefix)`` of ``s3://bucket/key``."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def output_folder(output_uri: str, datastore_id: str, job_id: str) -> str:
    """The job's own folder below the caller's ``outputS3Uri``, with a slash at its end.

    Source: devguide/understanding-import-jobs; the CLI's example shows the whole form in GetDICOMImportJob.
    """
    return f"{output_uri.rstrip('/')}/{datastore_id}-DicomImport-{job_id}/"
