"""Requests to lightwell's DICOMweb surface, signed once and sent as often as wanted."""

from __future__ import annotations

import configparser
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.clients.http_load import Request
from bench.clients.signed_requests import exchange
from bench.servers.lightwell_server import Server
from bench.servers.orthanc import stow_body


class DicomwebClient:
    """The DICOMweb resources of one data store."""

    def __init__(self, server: Server, datastore: str) -> None:
        file = configparser.ConfigParser()
        file.read(server.data / "credentials")
        profile = file["lightwell"]
        key = Credentials(profile["aws_access_key_id"], profile["aws_secret_access_key"])
        self._auth = SigV4Auth(key, "medical-imaging", "us-east-1")
        self._address = server.address
        self._host = "{}:{}".format(*server.address)
        self._base = f"/datastore/{datastore}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Request:
        """A signed GET, good for 15 minutes. ``path`` may have a query."""
        return self._request("GET", path, dict(headers or {}), b"")

    def stow(self, *files: bytes) -> Request:
        """A signed STOW-RS request; the body is not hashed, as a streaming client cannot."""
        kind, body = stow_body(files)
        headers = {
            "Content-Type": kind,
            "Accept": "application/dicom+json",
            "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD",
        }
        return self._request("POST", "/studies", headers, body)

    def bearer(self, path: str, token: str, headers: Mapping[str, str] | None = None) -> Request:
        """A GET with a bearer token."""
        return self._bytes("GET", path, {**(headers or {}), "Authorization": f"Bearer {token}"}, b"")

    def fetch(self, request: Request) -> tuple[dict[str, str], bytes]:
        """(headers by lower-case name, body) of one answer; RuntimeError unless it is 200."""
        status, headers, body = exchange(self._address, request)
        if status != 200:
            raise RuntimeError(f"DICOMweb answered {status}: {body[:300]!r}")
        return headers, body

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Request:
        request = AWSRequest(method, f"http://{self._host}{self._base}{path}", data=body, headers=headers)
        self._auth.add_auth(request)
        return self._bytes(method, path, {key: str(value) for key, value in request.headers.items()}, body)

    def _bytes(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Request:
        lines = [f"{method} {self._base}{path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return Request(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
