"""Targets: what a client sends over HTTP, from the first byte of a connection to the members of a body."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any, cast

import uvicorn

from lightwell.domain import page_tokens
from lightwell.domain.image_sets.updates import read_changes
from lightwell.domain.qido.query import parse_query
from lightwell.domain.rendering import rendered_parameters, uri_parameters
from lightwell.errors import ApiError
from lightwell.operations.dicomweb.fields import tag_of
from lightwell.web.dicomweb import media
from lightwell.web.dicomweb.resources import resource
from lightwell.web.dicomweb.upload import MultipartBody
from lightwell.web.dicomweb.upload_format import inflater_for, media_type, upload_format
from lightwell.web.http1.protocol import Protocol
from lightwell.web.requests.negotiation import quality
from lightwell.web.requests.ranges import matches_if_none_match, requested_range
from lightwell.web.requests.request import Request
from lightwell.web.requests.responses import Message, Receive, Send
from lightwell.wire import matching, parse
from lightwell.wire.body import read_body
from lightwell.wire.query import query_pairs
from lightwell.wire.routes import ROUTES
from tests.fuzz.target import Target


def multipart(data: bytes) -> None:
    """The parts of a body are the same however it is cut; the first byte says how."""
    step = 1 + (data[0] if data else 0) % 23
    body = data[1:]
    whole = _parts([body])
    assert _parts([body[place : place + step] for place in range(0, len(body), step)]) == whole
    assert _parts([body[: len(body) // 2], body[len(body) // 2 :]]) == whole


def _parts(pieces: list[bytes]) -> tuple[list[bytes], list[Any]] | None:
    """Contents and headers of all parts; None if the body is refused."""
    body = MultipartBody(b"B", keeps_headers=True)
    got = bytearray()
    try:
        for piece in pieces:
            for view in body.feed(piece):
                got += view
        body.end()
    except ApiError:
        return None
    return [bytes(got[start : start + length]) for start, length in body.parts], body.headers


def _multipart_seeds() -> Iterator[bytes]:
    part = b"\r\n--B\r\nContent-Type: application/dicom\r\nContent-Location: a/1\r\n\r\n"
    yield b"\3" + part[2:] + b"abc" + part + b"\r\n-\r\n--\r\n" + b"\r\n--B--\r\n"
    yield b"\0preamble" + part + b"\r\n--B--epilogue"
    yield b"\7--B\n\nabc\n--B--"


def header_values(data: bytes) -> None:
    """Content-Type, Accept, Range, If-Range, If-None-Match and Content-Encoding, the same bytes in each."""
    text = data.decode("latin-1")
    for read in (upload_format, inflater_for):
        with contextlib.suppress(ApiError):
            read(data)
    for read_text in (media_type, media.by_preference):
        with contextlib.suppress(ApiError):
            read_text(text)
    weight = quality(text, "application/dicom+json")
    assert weight is None or 0 <= weight <= 1
    names = (b"range", b"if-range", b"if-none-match", b"accept")
    for headers in ([(name, data) for name in names], [(b"range", data)]):
        request = _request(headers)
        matches_if_none_match(request, b'"abc"')
        found = requested_range(request, 1000, b'"abc"')
        assert found is None or 0 <= found.start <= found.start + found.length <= 1000


def _request(headers: list[tuple[bytes, bytes]]) -> Request:
    scope = {"method": "GET", "raw_path": b"/", "query_string": b"", "headers": headers}
    return Request(cast(Message, scope), "1")


def _header_seeds() -> Iterator[bytes]:
    yield b'multipart/related; type="application/dicom"; boundary=B'
    yield b"multipart/related; type=application/octet-stream;transfer-syntax=*;q=0.5, */*;q=0.1"
    yield b"application/dicom+json, image/jpeg;q=0.9, text/html;q=0"
    yield b"bytes=0-499"
    yield b"bytes=-5"
    yield b'W/"abc", "abc"'
    yield b"gzip"


class _Transport(asyncio.Transport):
    """Takes what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 50000), "sockname": ("192.0.2.2", 80)})
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


_seen: list[tuple[str, bytes, bytes, tuple[tuple[bytes, bytes], ...], bytes]] = []


async def _record(scope: Message, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    headers = tuple(scope["headers"])
    _seen.append((scope["method"], scope["raw_path"], scope["query_string"], headers, body))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


_loop = asyncio.new_event_loop()
_config = uvicorn.Config(_record, lifespan="off", log_config=None, http=Protocol, ws="none")
_config.load()
logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def _talk(pieces: list[bytes]) -> tuple[list[Any], bytes, bool]:
    """Whole requests that the application saw, what was answered, and whether the connection was closed."""
    _seen.clear()
    transport = _Transport()

    async def main() -> None:
        connection = Protocol(_config, uvicorn.server.ServerState(), {}, _loop)
        connection.connection_made(transport)
        for piece in pieces:
            if transport.is_closed:
                break
            connection.data_received(piece)
            for _ in range(4):
                await asyncio.sleep(0)
        for _ in range(40):  # requests that are pipelined are answered one after the other
            await asyncio.sleep(0)
        connection.connection_lost(None)
        for _ in range(4):
            await asyncio.sleep(0)

    _loop.run_until_complete(main())
    return list(_seen), bytes(transport.written), transport.is_closed


def http1(data: bytes) -> None:
    """However the bytes of a connection arrive, the same requests are read from them: nothing is smuggled."""
    step = 1 + (data[0] if data else 0) % 61
    data = data[1:]
    whole, answer, _ = _talk([data])
    cut, answer_of_cut, _ = _talk([data[place : place + step] for place in range(0, len(data), step)])
    is_refused = any(
        b" 4" in line[:12] for got in (answer, answer_of_cut) for line in got.split(b"HTTP/1.1")[1:]
    )
    fewer = min(len(whole), len(cut))
    assert whole[:fewer] == cut[:fewer], (whole, cut)
    assert is_refused or len(whole) == len(cut), (whole, cut, answer, answer_of_cut)
    for method, path, query, headers, _ in whole:
        assert not any(byte in path + query + method.encode() for byte in b"\r\n \0")
        for name, value in headers:
            assert not any(byte in name + value for byte in b"\r\n\0") and name == name.lower()


def _http1_seeds() -> Iterator[bytes]:
    yield b"\7GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\nGET /d HTTP/1.1\r\nHost: h\r\n\r\n"
    yield b"\3POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n"
    chunked = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: r\r\n\r\n"
    yield b"\0" + chunked + chunked
    both = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield b"\0" + both + b"GET / HTTP/1.1\r\n\r\n"
    yield b"\5GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"
    yield b"\5PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 003\r\n\r\nabc"


def queries(data: bytes) -> None:
    """Paths and queries of searches, of pictures and of WADO-URI, and tokens of pages."""
    path, _, query = data.partition(b"?")
    for method in ("GET", "POST", "DELETE", "PUT"):
        try:
            resource(method, b"/datastore/" + path, query)
            matching.match(method, b"/" + path)
        except ApiError:
            pass
    pairs = query_pairs(query)
    for level in ("study", "series", "instance"):
        for strict in (False, True):
            with contextlib.suppress(ApiError):
                parse_query(level, None, None, pairs, tag_of, strict=strict)
    for read in (rendered_parameters, lambda found: uri_parameters(dict(found))):
        with contextlib.suppress(ApiError):
            read(pairs)
    token = path.decode("latin-1")
    for read_token in (page_tokens.decode, page_tokens.after):
        with contextlib.suppress(ApiError):
            read_token(token)


def _query_seeds() -> Iterator[bytes]:
    yield b"studies/1.2/series?PatientName=Y*&StudyDate=20200101-20201231&limit=10&includefield=all"
    yield b"studies?00100020=a&fuzzymatching=true&offset=5&00400275.00400007=x&ModalitiesInStudy=CT,MR"
    path = b"studies/1.2/series/1.3/instances/1.4/frames/1,2/rendered"
    yield path + b"?window=40,400,linear&viewport=10,10,1,2,-3,4"
    yield b"?requestType=WADO&studyUID=1&seriesUID=2&objectUID=3&contentType=image/jpeg&rows=9&region=0,0,1,1"
    yield page_tokens.encode([1, 2]).encode()
    yield page_tokens.encode(["a", None, 1.5, True]).encode()


def bodies(data: bytes) -> None:
    """JSON of every operation, and of an update."""
    with contextlib.suppress(ApiError):
        read_body(data)
    for name in ("updatableAttributes", "removableAttributes"):
        with contextlib.suppress(ApiError):
            read_changes(data, name)
    for route in ROUTES.values():
        with contextlib.suppress(ApiError):
            parse.parse(route, {}, [], data)


def _body_seeds() -> Iterator[bytes]:
    made: list[object] = [
        {"datastoreName": "a", "clientToken": "t", "tags": {"k": "v"}, "losslessStorageFormat": "HTJ2K"},
        {
            "SchemaVersion": 1.1,
            "Patient": {"DICOM": {"PatientName": "A^B"}},
            "Study": {"DICOM": {}, "Series": {"1.2": {"Instances": {"1.3": {"DICOM": {"PatientID": "1"}}}}}},
        },
        {
            "filters": [{"operator": "BETWEEN", "values": [{"createdAt": 1.5}, {"createdAt": 2}]}],
            "sort": {"sortOrder": "ASC", "sortField": "updatedAt"},
        },
        {"updateImageSetMetadataUpdates": {"DICOMUpdates": {"updatableAttributes": "e30="}}},
        {"sourceImageSet": {"latestVersionId": "1", "DICOMCopies": {"copiableAttributes": "{}"}}},
    ]
    yield from (json.dumps(one).encode() for one in made)


REQUESTS = {
    "multipart": Target(multipart, _multipart_seeds),
    "headers": Target(header_values, _header_seeds),
    "http1": Target(http1, _http1_seeds),
    "queries": Target(queries, _query_seeds),
    "bodies": Target(bodies, _body_seeds),
}
