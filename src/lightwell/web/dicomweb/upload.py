"""Receiving an upload, from the connection to the spool: in bounded memory, hashed on the way.

Source: PS3.18 §8.7.3.5 and §10.5 (``multipart/related``), RFC 2046 §5.1, RFC 2387; and what clients really
send: a CRLF before the first delimiter, none after the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from lightwell.errors import (
    StorageError,
    TooLargeError,
    UnavailableError,
    ValidationError,
)
from lightwell.web.dicomweb.upload_format import Inflater, UploadFormat
from lightwell.web.dicomweb.upload_limits import HOW_TO_PROVE, SpoolShare
from lightwell.web.requests.request import Disconnected, drain

if TYPE_CHECKING:
    from lightwell.web.dicomweb.dispatch import DicomwebRequest

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
# Headers of all parts that are kept, in bytes.
_MAX_KEPT_HEADERS = 8 << 20
_KEPT_HEADERS = (b"content-type", b"content-location")


class SpoolFile(Protocol):
    """Where the bytes of all parts are written, one after the other."""

    def write(self, pieces: list[bytes | memoryview]) -> None: ...


@dataclass(frozen=True, slots=True)
class PartHeaders:
    """The headers of a part that count for metadata and bulk data, "" for one that it does not have."""

    content_type: str = ""
    location: str = ""


class SingleFile:
    """A body that is a single file."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int]] = []
        self.headers: list[PartHeaders] = []
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
    the number of bytes of that. ``headers`` are those of each part if ``keeps_headers``, or else empty.
    """

    def __init__(self, delimiter: bytes, *, is_proved: bool = True, keeps_headers: bool = False) -> None:
        self.parts: list[tuple[int, int]] = []
        self.headers: list[PartHeaders] = []
        self._keeps_headers = keeps_headers
        self._kept = 0
        self._name = self._value = b""
        self._named: dict[bytes, bytes] = {}
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
            "on_header_field": self._on_header_name,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
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
        self._named = {}

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._on_header(data, start, end)
        if self._keeps_headers:
            self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._on_header(data, start, end)
        if self._keeps_headers:
            self._value += data[start:end]

    def _on_header_end(self) -> None:
        if not self._keeps_headers:
            return
        name, self._name, value, self._value = self._name.strip().lower(), b"", self._value.strip(), b""
        if name in _KEPT_HEADERS:
            if name in self._named:
                raise ValidationError(f"A part of the request has more than one {name.decode()}.")
            self._named[name] = value
            self._kept += len(value)
            if self._kept > _MAX_KEPT_HEADERS:
                raise TooLargeError("The headers of the parts are too long. Use shorter locations.")

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._headers += end - start
        if self._headers > MAX_PART_HEADERS:
            raise ValidationError(f"A part of the request has more than {MAX_PART_HEADERS} bytes of headers.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._out.append(memoryview(data)[start:end])
        self.size += end - start

    def _on_part_end(self) -> None:
        self.parts.append((self._start, self.size - self._start))
        if self._keeps_headers:
            kept = (self._named.get(name, b"").decode("utf-8", "replace") for name in _KEPT_HEADERS)
            self.headers.append(PartHeaders(*kept))

    def _on_end(self) -> None:
        self._ended = True


@dataclass(frozen=True, slots=True)
class Received:
    """What has been received: (offset, length) of each part, the headers that were kept, and the SHA-256 of
    the whole body as it came, "" if it was not needed.
    """

    parts: list[tuple[int, int]]
    headers: list[PartHeaders]
    digest: str


async def receive(
    request: DicomwebRequest,
    file: SpoolFile,
    form: UploadFormat,
    limit: int,
    spool_share: SpoolShare,
    *,
    hashed: bool = True,
    inflater: Inflater | None = None,
) -> Received:
    """Read the body into ``file``, inflated by ``inflater`` if there is one.

    ``hashed`` False: the SHA-256 is not needed. Raises `TooLargeError` above ``limit`` bytes of DICOM data,
    `ValidationError` for a malformed body, `UnavailableError` for a full disk or spool, `Disconnected`.
    """
    http = request.http
    declared = http.declared_length()
    if declared is not None and declared > limit + _OVERHEAD:
        raise TooLargeError(_too_large(limit))
    if declared is None and b"transfer-encoding" not in http.head:
        raise ValidationError("The request has no body.")
    if declared is not None:
        spool_share.check(declared)
    body_parser = (
        SingleFile()
        if form.delimiter is None
        else MultipartBody(
            form.delimiter, is_proved=spool_share.is_proved, keeps_headers=form.document is not None
        )
    )
    digest = sha256() if hashed else None
    raw: list[bytes] = []
    pieces: list[bytes | memoryview] = []
    gathered, spooled, more = 0, 0, True
    loop = asyncio.get_running_loop()
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Disconnected
        body, more = message["body"], message["more_body"]
        http.received += len(body)
        if hashed:
            raw.append(body)
        gathered += len(body)
        if inflater is not None:
            inflater.add(body)
        is_first = True
        while is_first or (inflater is not None and inflater.has_more):
            is_first = False
            data = body
            if inflater is not None:
                data = await loop.run_in_executor(request.state.threads, inflater.step)
                gathered += len(data)
            spooled += len(data)
            spool_share.add(len(data))
            pieces += body_parser.feed(data)
            if body_parser.size > limit or max(spooled, http.received) > limit + _OVERHEAD:
                if more:
                    await drain(request.receive)
                raise TooLargeError(_too_large(limit))
            if gathered >= _WRITE_SIZE or len(raw) + len(pieces) >= _MAX_PIECES or not more:
                try:
                    await loop.run_in_executor(
                        request.state.threads, partial(_hash_and_write, digest, file, raw, pieces)
                    )
                except StorageError as error:
                    raise UnavailableError(str(error)) from error
                raw, pieces, gathered = [], [], 0
    if inflater is not None:
        inflater.end()
    body_parser.end()
    return Received(body_parser.parts, body_parser.headers, "" if digest is None else digest.hexdigest())


def _hash_and_write(digest: Any, file: SpoolFile, raw: list[bytes], pieces: list[bytes | memoryview]) -> None:
    for each in raw:
        digest.update(each)
    file.write(pieces)


def _too_large(limit: int) -> str:
    return f"The request contains more than {limit} bytes of DICOM data. Split it into several requests."
