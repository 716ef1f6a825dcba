"""Receiving an upload, from the connection to the spool: in bounded memory, hashed on the way.

Source: PS3.18 §8.7.3.5 and §10.5 (``multipart/related``), RFC 2046 §5.1, RFC 2387; and what clients really
send: no ``type`` parameter, one with or without quotes, a CRLF before the first delimiter, none after the
last, a single file as ``application/dicom``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from lightwell.errors import (
    MediaTypeError,
    RequestTimeoutError,
    StorageError,
    TooLargeError,
    UnavailableError,
    ValidationError,
)
from lightwell.web.dicomweb.upload_limits import HOW_TO_PROVE, UNPROVED_SECONDS, SpoolShare
from lightwell.web.requests.negotiation import unquoted
from lightwell.web.requests.request import Disconnected, drain
from lightwell.web.requests.responses import Message, Receive

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

DICOM, MULTIPART = "application/dicom", "multipart/related"

# The positions of all parts are kept in memory.
MAX_PARTS = 100_000
# Fewer as long as the sender is unproved: parts are separated on the event loop.
MAX_UNPROVED_PARTS = 1000
MAX_PART_HEADERS = 8 << 10  # bytes
# Text before the first delimiter is dropped, up to this size.
_PREAMBLE = 64 << 10
# How much delimiters and headers may add to the DICOM data, which has its own limit.
_OVERHEAD = 64 << 20
# This much is collected before a thread hashes and writes it,
_WRITE_SIZE = 1 << 20
# or this many pieces: each takes some hundred bytes, however short it is.
_MAX_PIECES = 1024

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
# RFC 2046 §5.1.1, and the other characters that clients use.
_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")

_STORABLE = "The server stores application/dicom, by itself or as parts of multipart/related"


class SpoolFile(Protocol):
    """Where the bytes of all parts are written, one after the other."""

    def write(self, pieces: list[bytes | memoryview]) -> None: ...


def check_coding(content_encoding: bytes | None) -> None:
    """Raises `MediaTypeError` for an encoded body, which would be taken for a file (RFC 9110 §15.5.16).

    ``aws-chunked`` is not an encoding of the body itself: a client that signs so may still send it plain.
    """
    coding = (content_encoding or b"").decode("latin-1").strip()
    if coding and coding.lower() not in ("identity", "aws-chunked"):
        raise MediaTypeError(
            f"The server does not accept Content-Encoding: {coding[:40]}. Send the body without one."
        )


def boundary(content_type: bytes | None) -> bytes | None:
    """The boundary of a multipart body, None for a body that is one file.

    Raises `MediaTypeError` for anything but DICOM, `ValidationError` for a multipart type without a boundary.
    """
    text = (content_type or b"").decode("latin-1").strip()
    kind = text.partition(";")[0].strip().lower()
    if kind == DICOM:
        return None
    if kind != MULTIPART:
        raise MediaTypeError(f"{_STORABLE}, not {kind or 'a body without a Content-Type'}.")
    parameters: dict[str, str] = {}
    for name, value in _PARAMETER.findall(text):
        parameters.setdefault(name.lower(), unquoted(value.strip()))
    inner = parameters.get("type", DICOM).partition(";")[0].strip().lower()
    if inner != DICOM:
        raise MediaTypeError(f"{_STORABLE}, not parts of {inner}.")
    found = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(found):
        raise ValidationError("The Content-Type multipart/related needs a boundary parameter.")
    return found.encode("latin-1")


class SingleFile:
    """A body that is a single file."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int]] = []
        self.size = 0

    def feed(self, data: bytes) -> list[memoryview]:
        self.size += len(data)
        return [memoryview(data)]

    def end(self) -> None:
        if self.size:
            self.parts.append((0, self.size))


class MultipartBody:
    """Extracts the contents of its parts from a multipart body that arrives in pieces.

    ``parts`` is the (offset, length) of each complete part in what `feed` has returned so far; ``size`` is
    the number of bytes of that.
    """

    def __init__(self, delimiter: bytes, *, is_proved: bool = True) -> None:
        self.parts: list[tuple[int, int]] = []
        self.size = 0
        self._is_proved = is_proved
        self._delimiter = b"--" + delimiter
        self._preamble: bytes | None = b""
        self._start = 0
        self._headers = 0
        self._ended = False
        self._out: list[memoryview] = []
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_header,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self._parser: Any = MultipartParser(delimiter, callbacks)  # type: ignore[arg-type]

    def feed(self, data: bytes) -> list[memoryview]:
        """The bytes of parts in the next piece of the body. Raises `ValidationError`, `TooLargeError`."""
        if self._ended:
            return []  # an epilogue
        if self._preamble is not None:
            found = self._from_first_delimiter(data)
            if found is None:
                return []
            data = found
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise ValidationError(f"The multipart body is malformed: {error}.") from None
        out, self._out = self._out, []
        return out

    def end(self) -> None:
        """The body is complete. Raises `ValidationError` if its last delimiter is missing."""
        if not self._ended:
            raise ValidationError("The multipart body ends without its last delimiter.")

    def _from_first_delimiter(self, data: bytes) -> bytes | None:
        """The data from the first delimiter on; None until it has arrived."""
        assert self._preamble is not None
        data = self._preamble + data
        start = 0 if data.startswith(self._delimiter) else data.find(b"\n" + self._delimiter) + 1
        if start or data.startswith(self._delimiter):
            self._preamble = None
            return data[start:]
        if len(data) > _PREAMBLE:
            raise ValidationError("The boundary that the Content-Type names does not occur in the body.")
        self._preamble = data
        return None

    def _on_part_begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise ValidationError(f"The request has more than {MAX_PARTS} parts.")
        if not self._is_proved and len(self.parts) >= MAX_UNPROVED_PARTS:
            raise TooLargeError(
                f"An upload that does not state its hash may have at most {MAX_UNPROVED_PARTS} parts. "
                f"{HOW_TO_PROVE}"
            )
        self._start, self._headers = self.size, 0

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._headers += end - start
        if self._headers > MAX_PART_HEADERS:
            raise ValidationError(f"A part of the request has more than {MAX_PART_HEADERS} bytes of headers.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._out.append(memoryview(data)[start:end])
        self.size += end - start

    def _on_part_end(self) -> None:
        self.parts.append((self._start, self.size - self._start))

    def _on_end(self) -> None:
        self._ended = True


async def receive(
    request: DicomwebRequest,
    file: SpoolFile,
    delimiter: bytes | None,
    limit: int,
    spool_share: SpoolShare,
    *,
    hashed: bool = True,
) -> tuple[list[tuple[int, int]], str]:
    """Read the body into ``file``: (offset, length) of each DICOM file in it, and the SHA-256 of the whole
    body.

    ``hashed`` False: the SHA-256 is not needed. Raises `TooLargeError` above ``limit`` bytes of DICOM data,
    `ValidationError` for a malformed body, `UnavailableError` for a full disk or spool, `RequestTimeoutError`
    if an unproved upload is too slow, `Disconnected`.
    """
    http = request.http
    declared = http.head.get(b"content-length")
    if declared is not None and (not declared.isdigit() or int(declared) > limit + _OVERHEAD):
        raise TooLargeError(_too_large(limit))
    if declared is None and b"transfer-encoding" not in http.head:
        raise ValidationError("The request has no body.")
    if declared is not None:
        spool_share.check(int(declared))
    body_parser = (
        SingleFile() if delimiter is None else MultipartBody(delimiter, is_proved=spool_share.is_proved)
    )
    digest = sha256() if hashed else None
    raw: list[bytes] = []
    pieces: list[bytes | memoryview] = []
    gathered, more = 0, True
    loop = asyncio.get_running_loop()
    deadline = loop.time() + UNPROVED_SECONDS
    while more:
        message = await (
            request.receive() if spool_share.is_proved else _receive_before(deadline, request.receive)
        )
        if message["type"] != "http.request":
            raise Disconnected
        body, more = message["body"], message["more_body"]
        http.received += len(body)
        spool_share.add(len(body))
        pieces += body_parser.feed(body)
        if body_parser.size > limit or http.received > limit + _OVERHEAD:
            if more:
                await drain(request.receive)
            raise TooLargeError(_too_large(limit))
        if hashed:
            raw.append(body)
        gathered += len(body)
        if gathered >= _WRITE_SIZE or len(raw) + len(pieces) >= _MAX_PIECES or not more:
            try:
                await loop.run_in_executor(
                    request.state.threads, partial(_hash_and_write, digest, file, raw, pieces)
                )
            except StorageError as error:
                raise UnavailableError(str(error)) from error
            raw, pieces, gathered = [], [], 0
    body_parser.end()
    return body_parser.parts, "" if digest is None else digest.hexdigest()


async def _receive_before(deadline: float, receive: Receive) -> Message:
    """The next piece of the body, if it arrives in time. Raises `RequestTimeoutError`.

    `asyncio.timeout` needs a task, and a request may run outside one (`web.http1.response_cycle`).
    """

    async def receive_one() -> Message:
        return await receive()

    loop = asyncio.get_running_loop()
    task = loop.create_task(receive_one())
    try:
        await asyncio.wait((task,), timeout=max(0.0, deadline - loop.time()))
        if task.done():
            return task.result()
        raise RequestTimeoutError(
            f"An upload that does not state its hash must arrive within {UNPROVED_SECONDS:.0f} seconds. "
            f"{HOW_TO_PROVE}"
        )
    finally:
        task.cancel()


def _hash_and_write(digest: Any, file: SpoolFile, raw: list[bytes], pieces: list[bytes | memoryview]) -> None:
    for each in raw:
        digest.update(each)
    file.write(pieces)


def _too_large(limit: int) -> str:
    return f"The request contains more than {limit} bytes of DICOM data. Split it into several requests."
