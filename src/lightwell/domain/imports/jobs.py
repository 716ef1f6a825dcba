"""Import jobs, their chunks, and the outcome of each file.

A job goes through its phases in order: *list* the input and cut it into chunks, *read* each chunk in a codec
worker, *commit* what was read into image sets, *report* in the output bucket, *done*.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from lightwell.domain.states import JobPhase, JobStatus, OutcomeKind

ALREADY_THERE = "already there"
"""The message of an imported file that did not change its image set."""

NOT_DICOM = "not DICOM"
"""The message of a file that shows no sign of DICOM; the manifests say it in AWS's words."""

# Keys of `Chunk.deaths` that are no file: failures when no file was being read, of the storage, and workers
# that said what they could not know. How many are too many: `codec_pool.failures.CHUNK`.
NO_FILE, STORAGE, FORGED = "none", "storage", "forged"

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

    ``configuration`` and ``source`` are as in the row, which may hold them sealed; see `import_jobs.opened`.

    ``input_node`` and ``output_node``: the node whose folders hold the input and the output, and which alone
    reads or writes them (`stores.data_folder.node`); "" for S3, which needs no particular node; None for any
    node, as on SQLite, where there is only one.

    ``assumes_role``: in buckets, the job has the rights of the role ``role_arn``, not those of the server.
    Of two jobs, the one with the higher ``priority`` is worked on first. ``caller`` is the ARN of who started
    it, ``owner`` whose it is, None for older ones: the session's name in an ARN may be anybody's.
    ``emergency``: whoever started it had a session for an emergency (`Principal.emergency`).
    """

    key: int
    id: str
    datastore: int
    name: str | None
    status: JobStatus
    phase: JobPhase
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
    priority: int = 0
    owner: str | None = None
    emergency: bool | None = None


def may_work_at_phase(phase: JobPhase, node: str, input_node: str | None, output_node: str | None) -> bool:
    """Whether the server of ``node`` may work on a phase of a job; see `Job`."""
    needs = {
        JobPhase.LIST: (input_node, output_node),
        JobPhase.READ: (input_node,),
        JobPhase.REPORT: (output_node,),
    }.get(phase, ())
    return all(each in (None, "", node) for each in needs)


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of a job.

    ``number`` counts from 0 in input order. ``name`` is what the manifests call it: the object's key.
    ``location`` says where it is if it is not in the job's bucket: ``["file", path]``, ``["zip", path,
    member, index]`` (the index in the zip's directory, since members may share a name; older jobs lack it),
    ``["s3", bucket, key]`` or, for ``size`` bytes of a file, ``["part", path, offset]``. ``tag`` is what S3
    called the object's content when it was listed.
    """

    number: int
    name: str
    location: tuple[str, ...] | None
    size: int
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some files of a job that one worker reads together."""

    job: int
    number: int
    files: tuple[InputFile, ...]
    deaths: dict[str, list[str]] = field(default_factory=dict)

    def died(self, file: int) -> int:
        """How often a worker died while reading this file."""
        return len(self.deaths.get(str(file), ()))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one file; a line of the manifests.

    ``warnings`` is the JSON array of the manifest. ``exception_type`` and ``message`` are set for kinds
    customer and server, the image set for imported, whose only message is `ALREADY_THERE`. One message is
    ours: `NOT_DICOM`.
    """

    file: int
    input_file: str
    kind: OutcomeKind
    exception_type: str | None = None
    message: str | None = None
    image_set: str | None = None
    version: int | None = None
    is_primary: bool | None = None
    warnings: str | None = None


def pack_files(files: list[InputFile]) -> bytes:
    """The files of a chunk as JSON, without their numbers, which are consecutive."""
    rows = [
        [f.name, f.location, f.size] if f.tag is None else [f.name, f.location, f.size, f.tag] for f in files
    ]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def unpack_files(data: bytes, first_file: int) -> tuple[InputFile, ...]:
    """The inverse of `pack_files`; ``first_file`` is the number of the first."""
    rows = json.loads(data.decode("utf-8", "surrogateescape"))
    return tuple(
        InputFile(first_file + i, name, tuple(location) if location else None, size, *tag)
        for i, (name, location, size, *tag) in enumerate(rows)
    )


def split_uri(uri: str) -> tuple[str, str]:
    """``(bucket, key or prefix)`` of ``s3://bucket/key``."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def output_folder(output_uri: str, datastore_id: str, job_id: str) -> str:
    """The job's own folder below the caller's ``outputS3Uri``, with a trailing slash.

    Source: devguide/understanding-import-jobs; the CLI's example shows the whole form in GetDICOMImportJob.
    """
    return f"{output_uri.rstrip('/')}/{datastore_id}-DicomImport-{job_id}/"
