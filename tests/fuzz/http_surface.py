"""Requests of every kind to a whole server, as hypothesis draws them, and what is true of each answer."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from contextlib import closing
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import strategies as st

from lightwell.web.dicomweb.resources import PATHS
from lightwell.web.sts import SERVICE
from lightwell.wire.route import Route
from lightwell.wire.routes import ROUTES
from tests.fuzz import http_doors
from tests.fuzz.http_words import JSON, TEXT, Known, Sent, quoted
from tests.support.server import REGION, Server

SECONDS = 60
"""A request that has no answer after this hangs."""
BOUNDARY = "B"


_QUERIES = (
    *(
        "maxResults",
        "nextToken",
        "version",
        "force",
        "promoteToPrimary",
        "latestVersion",
        "jobStatus",
        "tagKeys",
    ),
    *("PatientName", "00100020", "StudyDate", "ModalitiesInStudy", "limit", "offset", "includefield"),
    *(
        "fuzzymatching",
        "window",
        "viewport",
        "quality",
        "annotation",
        "iccprofile",
        "requestType",
        "studyUID",
    ),
    *("seriesUID", "objectUID", "contentType", "rows", "columns", "region", "frameNumber", "transferSyntax"),
    *("Action", "Version", "X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Date", "imageSetId", "accept"),
)
_HEADERS = {
    "Accept": [
        *(
            "*/*",
            "application/dicom+json",
            "application/dicom+xml",
            "application/json",
            "image/jpeg",
            "image/png",
        ),
        *(
            'multipart/related; type="application/octet-stream"; transfer-syntax=*',
            "video/mp4;q=0",
            "a/b;q=2",
        ),
        *(
            'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50',
            "text/html,",
        ),
        *("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", 'multipart/related; type="image/jpeg"'),
    ],
    "Range": [
        "bytes=0-0",
        "bytes=5-",
        "bytes=-5",
        "bytes=9-1",
        "bytes=0-0,2-3",
        "lines=1-2",
        "bytes=" + "9" * 18,
    ],
    "If-Range": ['"abc"', 'W/"a"', "Thu, 01 Jan 1970 00:00:00 GMT"],
    "If-None-Match": ["*", '"abc"', 'W/"a", "b"', '"'],
    "Accept-Encoding": ["gzip", "gzip;q=0", "identity;q=0, *;q=0", "br"],
    "Content-Type": [
        *(
            "application/json",
            "application/x-amz-json-1.1",
            "application/dicom",
            "text/plain",
            "multipart/related",
        ),
        *(f'multipart/related; type="application/dicom"; boundary={BOUNDARY}', "application/dicom+json"),
        *(f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}', "image/jpeg; boundary="),
    ],
    "Content-Encoding": ["gzip", "deflate", "identity", "gzip, gzip", "x"],
    "Origin": ["null", "http://example.test", "é"],
    "Access-Control-Request-Method": ["GET", "POST", "\x7f"],
    "X-Amz-Security-Token": ["a", "x" * 3000],
    "X-Amz-Target": ["a.b"],
    "X-Forwarded-For": ["192.0.2.1, 127.0.0.1", "'"],
    "Host": ["", "a b", "evil.test/", "[::1", "x:99999999"],
    "Cookie": ["a=b", ";;;"],
    "Upgrade": ["h2c", "websocket"],
    "Connection": ["close", "keep-alive, upgrade", "x"],
    "Accept-Charset": ["utf-16", "utf-8;q=0"],
}
_UNFRAMED: dict[str, list[str]] = {
    "Content-Length": ["0" * 5000 + "5", "5, 5", "+5", "-1", "1_0", "9" * 20, "0x5", " "],
    "Transfer-Encoding": ["chunked", "identity", "xchunked", "gzip, chunked"],
}
_VALID: dict[str, list[object]] = {
    "CreateDatastore": [
        {"datastoreName": "x", "clientToken": "t"},
        {"losslessStorageFormat": "JPEG_2000_LOSSLESS"},
    ],
    "SearchImageSets": [
        {"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "P1"}]}]},
        {"filters": [{"operator": "BETWEEN", "values": [{"createdAt": 1}, {"createdAt": 9e9}]}], "sort": {}},
        {"sort": {"sortOrder": "ASC", "sortField": "DICOMStudyDateAndTime"}},
    ],
    "CopyImageSet": [{"sourceImageSet": {"latestVersionId": "1"}}],
    "TagResource": [{"tags": {"a": "b"}}],
    "StartDICOMImportJob": [
        {
            "jobName": "j",
            "dataAccessRoleArn": "arn:aws:iam::000000000000:role/x",
            "clientToken": "t",
            "inputS3Uri": "s3://in/",
            "outputS3Uri": "s3://out/",
        }
    ],
}


def _updates(name: str, change: object) -> object:
    blob = base64.b64encode(json.dumps(change).encode()).decode()
    return {"DICOMUpdates": {name: blob}}


_VALID["UpdateImageSetMetadata"] = [
    _updates("updatableAttributes", {"SchemaVersion": 1.1, "Patient": {"DICOM": {"PatientName": "A^B"}}}),
    _updates("removableAttributes", {"SchemaVersion": 1.1, "Study": {"DICOM": {"AccessionNumber": ""}}}),
    {"revertToVersionId": "1"},
]


@st.composite
def requests(draw: st.DrawFn, known: Known) -> Sent:
    """One request: an operation, a DICOMweb resource, the console's API, STS, or none of them."""
    sent = _plain(draw, known)
    method, separator = sent.method, "&" if "?" in sent.target else "?"
    if draw(st.integers(0, 7)) == 0:
        method = draw(st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "PROPFIND"]))
    # The console's API and STS refuse parameters that they do not know before anything else.
    is_strict = sent.target.startswith("/console/") or sent.service == SERVICE
    most = 0 if is_strict and draw(st.integers(0, 5)) > 0 else 3
    pairs = draw(st.lists(st.tuples(st.sampled_from(_QUERIES), TEXT), max_size=most))
    query = "&".join(f"{name}={quoted(value)}" for name, value in pairs)
    headers = {
        name: draw(st.sampled_from(_HEADERS[name])).encode("latin-1", "replace")
        for name in draw(st.lists(st.sampled_from(sorted(_HEADERS)), max_size=3, unique=True))
    } | dict(sent.headers)
    is_framed = True
    if draw(st.integers(0, 11)) == 0:
        is_framed = False
        name = draw(st.sampled_from(sorted(_UNFRAMED)))
        headers[name] = draw(st.sampled_from(_UNFRAMED[name])).encode()
    proof = draw(st.sampled_from(("root", "root", "root", "root", "session", "token", "none")))
    if proof == "token":
        headers["Authorization"] = draw(http_doors.bearers(known))
    return replace(
        sent,
        method=method,
        target=sent.target + (separator + query if query else ""),
        headers=headers,
        is_signed=proof in ("root", "session"),
        is_framed=is_framed,
        session=known.session if proof == "session" else None,
    )


def _plain(draw: st.DrawFn, known: Known) -> Sent:
    kind = draw(st.integers(0, 13))
    if kind < 4:
        method, path, body = _operation(draw, known)
        return Sent(method, path, {}, body)
    if kind < 9:
        method, path, body = _resource(draw, known)
        return Sent(method, path, {}, body)
    if kind < 13:
        return http_doors.at_a_door(draw, known)
    fixed = ("/", "/healthz", "/readyz", "/metrics", "/version", "/console/", "/console/api/config", "/ohif/")
    method = draw(st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"]))
    path = draw(st.sampled_from(fixed) | st.builds(lambda text: "/" + quote(text), TEXT))
    return Sent(method, path, {}, draw(st.binary(max_size=64)))


def _operation(draw: st.DrawFn, known: Known) -> tuple[str, str, bytes]:
    route = ROUTES[draw(st.sampled_from(sorted(ROUTES)))]
    is_lasting = "Delete" not in route.operation
    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{known.datastore}"
    labels = {
        "datastoreId": known.datastore,
        "imageSetId": draw(st.sampled_from(known.image_sets)),
        "sourceImageSetId": draw(st.sampled_from(known.image_sets)),
        "jobId": known.datastore,
        "resourceArn": arn,
    }
    path = route.template
    for name, value in labels.items():
        is_known = draw(st.integers(0, 9 if is_lasting else 1)) > 0
        path = path.replace(f"{{{name}}}", quoted(value if is_known else draw(TEXT)))
    return route.method, path, _body(draw, route, known)


def _body(draw: st.DrawFn, route: Route, known: Known) -> bytes:
    valid = [*_VALID.get(route.operation, [{}])]
    if route.operation == "GetImageFrame":
        valid = [{"imageFrameId": known.frame}]
    kind = draw(st.integers(0, 7))
    if kind < 4:
        return json.dumps(draw(st.sampled_from(valid))).encode()
    if kind < 6:
        whole = draw(st.sampled_from(valid))
        assert isinstance(whole, dict)
        names = [*whole, *route.body, "x"]
        changed: dict[str, Any] = {**whole, draw(st.sampled_from(names)): draw(JSON)}
        return json.dumps(changed).encode("utf-8", "replace")
    if kind == 6:
        return draw(
            st.sampled_from(
                [b"[" * 3000, b'{"a":' * 900, b"{", b"\xff", b"null", b'{"a":1,"a":2}', b"1" * 5000]
            )
        )
    return draw(st.binary(max_size=40))


def _resource(draw: st.DrawFn, known: Known) -> tuple[str, str, bytes]:
    pattern = draw(st.sampled_from(sorted(PATHS)))
    method = draw(st.sampled_from(sorted(PATHS[pattern])))
    study, series, instance = draw(st.sampled_from(known.uids))
    found = {
        "S": study,
        "E": series,
        "I": instance,
        "*": draw(st.sampled_from(["1", "1,1", "2", "0", "ab" * 32])),
    }
    most = 1 if method == "DELETE" else 9
    store = draw(st.sampled_from([known.datastore, known.datastore, known.authorized]))
    parts = [
        quoted(found[part] if draw(st.integers(0, most)) > 0 else draw(TEXT)) if part in found else part
        for part in pattern.split("/")
    ]
    body = b""
    if method == "POST":
        body = draw(
            st.sampled_from(
                [store_body(known.part10), store_body(known.part10[:-40]), store_body(b""), b"--B--", b"{}"]
            )
        )
        place = draw(st.integers(0, max(0, len(body) - 1)))
        if body and draw(st.booleans()):
            body = body[:place] + draw(st.binary(max_size=4)) + body[place:]
    return method, "/".join(["", "datastore", store, *(part for part in parts if part)]), body


def store_body(part10: bytes) -> bytes:
    """A store request's body with one file."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return head + part10 + f"\r\n--{BOUNDARY}--\r\n".encode()


class Connection:
    """One client of a server that keeps its connection as long as the server lets it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket: socket.socket | None = None
        self.answers: dict[int, int] = {}

    def send(self, sent: Sent) -> None:
        """Sends it, and fails unless it is answered as it has to be."""
        data = self._bytes(sent)
        if not sent.is_framed:
            self.close()
        is_new = self._socket is None
        try:
            self._exchange(sent, data)
        except ConnectionError:
            self.close()
            if not sent.is_framed:
                return  # half a request has no answer, or one that is cut off by closing
            if is_new:
                raise
            # The server had closed the connection meanwhile, as it may.
            self._exchange(sent, data)

    def _exchange(self, sent: Sent, data: bytes) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(self._server.address, timeout=SECONDS)
        self._socket.sendall(data)
        if not sent.is_framed:
            self._socket.shutdown(socket.SHUT_WR)
        with closing(http.client.HTTPResponse(self._socket, method=sent.method)) as response:
            response.begin()
            body = response.read()
            self._judge(sent, response, body)
            if response.will_close or not sent.is_framed:
                self.close()

    def _judge(self, sent: Sent, response: http.client.HTTPResponse, body: bytes) -> None:
        status = response.status
        self.answers[status] = self.answers.get(status, 0) + 1
        is_busy = status == 503 and response.getheader("retry-after") is not None
        assert status < 500 or status == 501 or is_busy, (status, body[:500], sent)
        assert response.version == 11 and status >= 200, (status, sent)
        for name, value in response.getheaders():
            assert name.strip() == name and "\r" not in value and "\n" not in value, (name, value, sent)
        stated = response.getheader("content-length")
        if sent.method == "HEAD" or status in (204, 304):
            assert body == b"", sent
        elif stated is not None:
            assert int(stated) == len(body), sent
        if (
            status >= 400
            and body
            and (response.getheader("content-type") or "").startswith("application/json")
        ):
            json.loads(body)

    def _bytes(self, sent: Sent) -> bytes:
        headers: dict[str, bytes] = {}
        if sent.is_signed:
            request = AWSRequest(sent.method, self._server.url + sent.target, data=sent.body)
            SigV4Auth(sent.session or self._server.root, sent.service, REGION).add_auth(request)
            headers = {name: str(value).encode("latin-1") for name, value in request.headers.items()}
        host, port = self._server.address
        headers = {"Host": f"{host}:{port}".encode()} | headers
        if sent.body:
            headers["Content-Length"] = str(len(sent.body)).encode()
        for name, value in sent.headers.items():
            headers[name] = value
        lines = [f"{sent.method} {sent.target} HTTP/1.1".encode("ascii")]
        lines += [name.encode() + b": " + value for name, value in headers.items()]
        return b"\r\n".join(lines) + b"\r\n\r\n" + sent.body

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
