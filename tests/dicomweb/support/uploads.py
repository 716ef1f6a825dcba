"""What DICOMweb clients send to store, made for tests, and what comes back, read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.dataset import FileDataset

from tests.support.server import Reply, Server

BOUNDARY = "0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"
RELATED = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'


def part10(data: FileDataset) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def related(*files: bytes, boundary: str = BOUNDARY, before: bytes = b"", after: bytes = b"\r\n") -> bytes:
    """A multipart body; ``before`` its first delimiter and ``after`` its last."""
    delimiter = b"--" + boundary.encode()
    parts = [delimiter + b"\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files]
    return before + b"".join(parts) + delimiter + b"--" + after


@dataclass(frozen=True, slots=True)
class Report:
    """The answer of a store: items by keyword, and the status."""

    status: int
    module: dict[str, Any]

    def items(self, tag: str) -> list[dict[str, Any]]:
        found = self.module.get(tag, {}).get("Value", [])
        return [{key: element.get("Value", [None])[0] for key, element in item.items()} for item in found]

    @property
    def stored(self) -> list[dict[str, Any]]:
        return self.items("00081199")

    @property
    def failed(self) -> list[dict[str, Any]]:
        return self.items("00081198")

    @property
    def others(self) -> list[dict[str, Any]]:
        return self.items("0008119A")


@dataclass(frozen=True, slots=True)
class Store:
    """One data store of a running server."""

    server: Server
    datastore: str

    def path(self, study: str | None = None) -> str:
        return f"/datastore/{self.datastore}/studies{f'/{study}' if study else ''}"

    def post(
        self, body: bytes, kind: str = RELATED, *, study: str | None = None, **headers: str
    ) -> tuple[Reply, Report]:
        """A signed store request; header names with ``_`` for ``-``."""
        names = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        reply = self.server.send(self.server.signed("POST", self.path(study), body, headers=names))
        is_json = reply.headers["content-type"] == "application/dicom+json"
        return reply, Report(reply.status, json.loads(reply.body) if is_json else {})

    def store(self, *data: FileDataset, study: str | None = None) -> Report:
        return self.post(related(*map(part10, data)), study=study)[1]

    def sets(self) -> list[dict[str, Any]]:
        """All image sets, oldest first."""
        client = self.server.client()
        pages = client.get_paginator("search_image_sets").paginate(datastoreId=self.datastore)
        found = [each for page in pages for each in page["imageSetsMetadataSummaries"]]
        return sorted(found, key=lambda each: each["createdAt"])

    def is_empty(self) -> bool:
        return not self.sets()

    def spooled(self) -> list[str]:
        return [path.name for path in (self.server.data / "spool").glob("upload-*")]


def new(server: Server) -> Store:
    return Store(server, server.client().create_datastore(datastoreName="test")["datastoreId"])


def pieces(body: bytes, size: int) -> Sequence[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def head(server: Server, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
