"""``datastores/{datastoreId}/uploads``: files that a page sends one by one, for an import job to read.

The names of files may hold those of patients, so they are in headers and bodies, never in a URL.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import msgspec

from lightwell.auth.policies.actions import PASS_ROLE, SERVICE, AuthorizationRequest
from lightwell.auth.sigv4 import is_literal
from lightwell.errors import StorageError, UnavailableError, ValidationError
from lightwell.operations.console import uploaded_files, uploads
from lightwell.operations.console.uploaded_files import FileDigest, SpoolFile, Target
from lightwell.operations.console.uploads import UploadState
from lightwell.web.console.route import Answer, Body, Call, Route, iso
from lightwell.web.requests.request import Disconnected

if TYPE_CHECKING:
    from pathlib import Path

_START = "medical-imaging:StartDICOMImportJob"
_ID = re.compile(r"[0-9a-z]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME, _STATED = b"x-lightwell-name", b"x-lightwell-digest"
# This much is collected before a thread hashes and writes it; a file that is not longer needs no spool.
_WRITE_SIZE = 1 << 20


class NewUpload(Body):
    """``name`` is for people: what was dropped. ``bytes`` is of all files together."""

    name: str
    files: int
    bytes: int


class UploadAnswer(Answer):
    """An upload. The job that reads it is started by StartDICOMImportJob with the two URIs and the role.

    ``left_files``: how many that job has not imported although they are DICOM; null before it has ended.
    """

    upload_id: str
    name: str
    created_at: str
    kept_until: str | None
    files: int
    bytes: int
    arrived_files: int
    arrived_bytes: int
    input_s3_uri: str = msgspec.field(name="inputS3Uri")
    output_s3_uri: str = msgspec.field(name="outputS3Uri")
    data_access_role_arn: str
    job_id: str | None
    job_status: str | None
    left_files: int | None


class UploadList(Answer):
    uploads: list[UploadAnswer]


class ArrivedFile(Answer):
    """``digest`` is the SHA-256, in hex, of the SHA-256s of each 8 MiB of the file."""

    name: str
    bytes: int
    digest: str


class FilesQuery(Body):
    """Which page: the token of one has the name of a file in it."""

    max_results: int = uploads.PAGE
    next_token: str | None = None


class ArrivedFiles(Answer):
    files: list[ArrivedFile]
    next_token: str | None


class FileAnswer(Answer):
    bytes: int
    digest: str


def _required(call: Call) -> Sequence[AuthorizationRequest]:
    """What the import job of an upload needs: whoever may not start it need not send anything."""
    datastore_id = _datastore(call)
    role = uploads.passed_role(call.ctx, datastore_id)
    return [
        *call.state.access_control.actions.datastore(_START, datastore_id),
        AuthorizationRequest((PASS_ROLE,), role, None, {"iam:passedtoservice": SERVICE}),
    ]


def begin(call: Call) -> UploadAnswer:
    """A new upload."""
    body: NewUpload = call.body
    uploads.check_size(body.name, body.files, body.bytes)
    new = uploads.begin(call.ctx, _datastore(call), name=body.name, files=body.files, size=body.bytes)
    return _answer(call, UploadState(new, None))


def listed(call: Call) -> UploadList:
    """The caller's own uploads."""
    found = uploads.of_caller(call.ctx, _datastore(call))
    return UploadList(uploads=[_answer(call, each) for each in found])


def shown(call: Call) -> UploadAnswer:
    """One of them."""
    return _answer(call, uploads.get(call.ctx, _datastore(call), _upload(call)))


def files(call: Call) -> ArrivedFiles:
    """What has arrived of one."""
    asked: FilesQuery = call.body
    if not 1 <= asked.max_results <= uploads.PAGE:
        raise ValidationError(f"maxResults must be a number from 1 to {uploads.PAGE}.")
    found, token = uploaded_files.arrived_page(
        call.ctx, _datastore(call), _upload(call), asked.next_token, asked.max_results
    )
    return ArrivedFiles(
        files=[ArrivedFile(name=each.name, bytes=each.size, digest=each.digest) for each in found],
        next_token=token,
    )


def discard(call: Call) -> None:
    """Forget one."""
    uploads.discard(call.ctx, _datastore(call), _upload(call))


async def put_file(call: Call) -> FileAnswer:
    """Receive one file, in bounded memory, and keep it."""
    name, size, stated = _name(call), _size(call), _stated(call)
    datastore, upload = _datastore(call), _upload(call)
    target = await call.state.in_thread(uploaded_files.target, call.ctx, datastore, upload, name, size)
    is_there = stated is not None and uploaded_files.is_there(target, stated, size)
    received = _Received(call, target, is_dropped=is_there)
    try:
        with uploaded_files.spool_room(call.ctx, target, size):
            if size > _WRITE_SIZE:
                await call.state.in_thread(uploaded_files.check_room, call.ctx, target)
            await received.receive(size)
            digest = await call.state.in_thread(received.keep, stated)
    finally:
        call.state.threads.submit(received.remove)
    return FileAnswer(bytes=size, digest=digest)


class _Received:
    """The body of one request: in memory if it is short, else in a file of the spool."""

    def __init__(self, call: Call, target: Target, *, is_dropped: bool) -> None:
        self._call = call
        self._target = target
        self._is_dropped = is_dropped
        self._pieces: list[bytes] = []
        self._digest = FileDigest()
        payload_hash = call.payload_hash or ""
        self._signed = None if is_literal(payload_hash) else payload_hash.lower()
        self._whole = sha256()
        self._file: SpoolFile | None = None
        self._size = 0

    async def receive(self, size: int) -> None:
        """Raises `ValidationError` if it is not as long as it said, `UnavailableError` for a full disk."""
        assert self._call.receive is not None
        gathered, more = 0, True
        while more:
            message = await self._call.receive()
            if message["type"] != "http.request":
                raise Disconnected
            body, more = message["body"], message["more_body"]
            self._size += len(body)
            gathered += len(body)
            self._call.request.received += len(body)
            if body:
                self._pieces.append(body)
            if gathered >= _WRITE_SIZE and (more or self._file is not None):
                await self._call.state.in_thread(self._write)
                gathered = 0
        if self._size != size:
            raise ValidationError(f"The body has {self._size} bytes, not {size}.")

    def _hash(self) -> None:
        for piece in self._pieces:
            self._digest.update(piece)
            if self._signed is not None:
                self._whole.update(piece)

    def _write(self) -> None:
        self._hash()
        if not self._is_dropped:
            try:
                if self._file is None:
                    self._file = uploaded_files.spool_file(self._call.ctx, self._target)
                self._file.write(self._pieces)
            except StorageError as error:
                raise UnavailableError(str(error)) from error
        self._pieces = []

    def _finish(self, file: SpoolFile) -> None:
        try:
            file.finish()
        except StorageError as error:
            raise UnavailableError(str(error)) from error

    def keep(self, stated: str | None) -> str:
        """Keep it, if it is what was signed and ``stated``. Returns its digest."""
        content: bytes | Path
        if self._file is None:
            self._hash()
            content = uploaded_files.to_keep(self._target, b"".join(self._pieces))
        else:
            self._write()
            self._finish(self._file)
            content = self._file.path
        digest = self._digest.hexdigest()
        is_signed = self._signed is None or hmac.compare_digest(self._whole.hexdigest(), self._signed)
        if not is_signed or (stated is not None and stated != digest):
            raise ValidationError(
                "The file has been changed on its way: its hash is not what was stated. Send it again."
            )
        if not self._is_dropped:
            uploaded_files.keep(self._call.ctx, self._target, content, digest, self._size)
        return digest

    def remove(self) -> None:
        if self._file is not None:
            self._file.remove()


def _answer(call: Call, state: UploadState) -> UploadAnswer:
    upload, job = state.upload, state.job
    input_uri, output_uri = uploads.uris(call.ctx, _datastore(call), upload)
    kept_until = state.kept_until
    return UploadAnswer(
        upload_id=upload.id,
        name=upload.name,
        created_at=iso(upload.created_at),
        kept_until=None if kept_until is None else iso(kept_until),
        files=upload.files,
        bytes=upload.size,
        arrived_files=upload.arrived_files,
        arrived_bytes=upload.arrived_size,
        input_s3_uri=input_uri,
        output_s3_uri=output_uri,
        data_access_role_arn=uploads.passed_role(call.ctx, _datastore(call)),
        job_id=None if job is None else job.id,
        job_status=None if job is None else job.status,
        left_files=state.left,
    )


def _datastore(call: Call) -> str:
    return _checked(call.params["datastoreId"], "data store")


def _upload(call: Call) -> str:
    return _checked(call.params["uploadId"], "upload")


def _checked(id: str, what: str) -> str:
    if not _ID.fullmatch(id):
        raise ValidationError(f"The {what} in the path is not an id: ids have 32 digits and letters.")
    return id


def _name(call: Call) -> str:
    given = call.request.head.get(_NAME)
    if given is None:
        raise ValidationError("State the path of the file, percent-encoded UTF-8, in x-lightwell-name.")
    try:
        return unquote_to_bytes(given).decode()
    except UnicodeDecodeError:
        raise ValidationError("x-lightwell-name is not percent-encoded UTF-8.") from None


def _size(call: Call) -> int:
    given = call.request.head.get(b"content-length", b"")
    if not given.isdigit() or len(given) > 15:
        raise ValidationError("State the length of the file in Content-Length.")
    return int(given)


def _stated(call: Call) -> str | None:
    given = call.request.head.get(_STATED)
    if given is None:
        return None
    text: str = given.decode("latin-1").lower()
    if not _DIGEST.fullmatch(text):
        raise ValidationError(
            "x-lightwell-digest is the SHA-256, in hex, of the SHA-256s of each 8 MiB of the file."
        )
    return text


_UPLOADS = "datastores/{datastoreId}/uploads"
_ONE = f"{_UPLOADS}/{{uploadId}}"
_RIGHTS = (
    "`medical-imaging:StartDICOMImportJob` on the data store, and `iam:PassRole` on "
    "`role/lightwell-console-import-DATASTORE`, as its import job needs"
)

ROUTES = (
    Route(
        "ConsoleBeginUpload",
        "POST",
        _UPLOADS,
        begin,
        _required,
        body=msgspec.json.Decoder(NewUpload),
        action=_RIGHTS,
        says="Begins an upload of so many files and bytes. When all have arrived, StartDICOMImportJob with "
        "the answer's URIs and role reads them. What nobody goes on with is removed after a day.",
    ),
    Route(
        "ConsoleListUploads",
        "GET",
        _UPLOADS,
        listed,
        _required,
        action=_RIGHTS,
        says="The caller's own uploads that are not removed, newest first, at most 100: nobody else's.",
    ),
    Route(
        "ConsoleGetUpload",
        "GET",
        _ONE,
        shown,
        _required,
        action=_RIGHTS,
        says="One upload: how much of it has arrived, and the last job that was to read it.",
    ),
    Route(
        "ConsoleListUploadedFiles",
        "POST",
        f"{_ONE}/files",
        files,
        _required,
        body=msgspec.json.Decoder(FilesQuery),
        action=_RIGHTS,
        says="The files of an upload that have arrived and are not imported, with their digests, so that a "
        "page sends only what is missing.",
    ),
    Route(
        "ConsolePutUploadedFile",
        "PUT",
        f"{_ONE}/files",
        put_file,
        _required,
        where="loop",
        reads_body=True,
        action=_RIGHTS,
        says="Sends one file, whose path is in the header x-lightwell-name, percent-encoded. With its digest "
        "in x-lightwell-digest it is refused if it was changed on its way. It is durable then; sending it "
        "again changes nothing, another one of that name is refused with 409.",
    ),
    Route(
        "ConsoleDiscardUpload",
        "DELETE",
        _ONE,
        discard,
        _required,
        action=_RIGHTS,
        says="Forgets an upload and removes its files soon. What was imported of it stays.",
    ),
)
