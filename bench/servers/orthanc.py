"""Debian's Orthanc with its DICOMweb plugin, in the two set-ups that lightwell is compared with."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.clients.http_load import Request
from bench.servers.process_tree import ProcessTree
from bench.workspace import free_port, new_folder

_POSTGRESQL = Path("/usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so")
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_BOUNDARY = b"lightwell-bench-part"

# Everything that its manual names as costly and that a store can do without is off; what makes it durable
# (SyncStorageArea) stays on. The extra tags save it from opening files when it answers queries.
_TUNED: dict[str, object] = {
    "StorageCompression": False,
    "RemoteAccessAllowed": False,
    "AuthenticationEnabled": False,
    "DicomServerEnabled": False,
    "HttpThreadsCount": 50,
    "KeepAlive": True,
    "KeepAliveTimeout": 60,
    "TcpNoDelay": True,
    "HttpCompressionEnabled": False,
    "ConcurrentJobs": 4,
    "JobsHistorySize": 0,
    "SaveJobs": False,
    "StoreMD5ForAttachments": False,
    "CheckRevisions": False,
    "StoreDicom": True,
    "SyncStorageArea": True,
    "OverwriteInstances": False,
    "StorageAccessOnFind": "Never",
    "MaximumStorageCacheSize": 512,
    "MallocArenaMax": 5,
    "LimitFindResults": 0,
    "MetricsEnabled": False,
    "ExecuteLuaEnabled": False,
    "StableAge": 60,
    "ExtraMainDicomTags": {
        "Instance": [
            "Rows",
            "Columns",
            "BitsAllocated",
            "NumberOfFrames",
            "SOPClassUID",
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "SliceLocation",
        ],
        "Series": [
            "TimezoneOffsetFromUTC",
            "PerformedProcedureStepStartDate",
            "PerformedProcedureStepStartTime",
            "RequestAttributesSequence",
            "SeriesDescription",
        ],
        "Study": ["TimezoneOffsetFromUTC", "InstanceAvailability", "RetrieveURL"],
        "Patient": [],
    },
    "Plugins": [str(_PLUGIN)],
    "DicomWeb": {
        "Enable": True,
        "Root": "/dicom-web/",
        "StudiesMetadata": "Full",
        "SeriesMetadata": "Full",
        "EnableMetadataCache": True,
        "MetadataWorkerThreadsCount": 2,
        "EnablePerformanceLogs": False,
        "PublicRoot": "/dicom-web/",
    },
}

# tuned: files are kept as they come. jpegls: pixels are kept as JPEG-LS lossless, by Orthanc's own codec.
FLAVOURS: dict[str, dict[str, object]] = {
    "tuned": _TUNED,
    "jpegls": {**_TUNED, "IngestTranscoding": "1.2.840.10008.1.2.4.80"},
}


def missing() -> str | None:
    """Why Orthanc cannot take part, None if it can."""
    if _program() is None:
        return "Orthanc is not installed (Debian: orthanc)"
    if not _PLUGIN.exists():
        return f"{_PLUGIN} is missing (Debian: orthanc-dicomweb)"
    return None


def missing_postgresql() -> str | None:
    """Why Orthanc cannot keep its index in PostgreSQL, None if it can."""
    return missing() or (None if _POSTGRESQL.exists() else "Debian's orthanc-postgresql is missing")


def _program() -> str | None:
    return shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def stow(*files: bytes) -> Request:
    """One STOW-RS request that stores ``files``; any Orthanc takes it."""
    kind, body = stow_body(files)
    head = (
        "POST /dicom-web/studies HTTP/1.1\r\nHost: orthanc\r\nAccept: application/dicom+json\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Request(head.encode() + body)


def stow_body(files: Sequence[bytes]) -> tuple[str, bytes]:
    """(Content-Type, body) of a STOW-RS request."""
    parts = [
        piece
        for data in files
        for piece in (b"--", _BOUNDARY, b"\r\nContent-Type: application/dicom\r\n\r\n", data, b"\r\n")
    ]
    body = b"".join([*parts, b"--", _BOUNDARY, b"--\r\n"])
    return f'multipart/related; type="application/dicom"; boundary={_BOUNDARY.decode()}', body


def get(path: str, **headers: str) -> Request:
    """A GET below ``/dicom-web``."""
    lines = [f"GET /dicom-web{path} HTTP/1.1", "Host: orthanc"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Request(("\r\n".join(lines) + "\r\n\r\n").encode())


def _in_postgresql(port: int, database: str) -> dict[str, object]:
    return {
        "Plugins": [str(_PLUGIN), str(_POSTGRESQL)],
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": False,
            "Host": "127.0.0.1",
            "Port": port,
            "Database": database,
            "Username": "lightwell",
            "Password": "",
            "EnableSsl": False,
            "Lock": False,
            "IndexConnectionsCount": 8,
        },
    }


class Orthanc:
    """One Orthanc in a folder of its own, empty at the start: its index is SQLite, or in PostgreSQL."""

    def __init__(
        self, flavour: str, folder: Path | None = None, *, postgresql: tuple[int, str] | None = None
    ) -> None:
        """``folder`` keeps what it stores; else it is gone after `stop`.

        ``postgresql``: port of a server on this machine that trusts everybody, and a database there.
        """
        program = _program()
        if program is None:
            raise FileNotFoundError(missing())
        self.name = f"Orthanc {flavour}"
        self._keep = folder is not None
        self._folder = folder or new_folder(f"orthanc-{flavour}")
        self.address = ("127.0.0.1", free_port())
        configuration = self._folder / "orthanc.json"
        configuration.write_text(
            json.dumps(
                {
                    **FLAVOURS[flavour],
                    **({} if postgresql is None else _in_postgresql(*postgresql)),
                    "Name": f"bench-{flavour}",
                    "StorageDirectory": str(self._folder / "storage"),
                    "IndexDirectory": str(self._folder / "storage"),
                    "HttpPort": self.address[1],
                }
            )
        )
        self.tree = ProcessTree(self.name, [program, str(configuration)], log=self._folder / "output.log")
        for _ in self.tree.wait_for("answer to /system", 30):
            try:
                self.version = str(self.call("GET", "/system")["Version"])
                break
            except OSError:
                continue

    def call(self, method: str, path: str) -> Any:
        """One request of its own REST API; the answer as JSON."""
        return json.loads(self.fetch(path, method))

    def fetch(self, path: str, method: str = "GET") -> bytes:
        """The body of one answer; OSError unless it is 200."""
        connection = http.client.HTTPConnection(*self.address, timeout=120)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise OSError(f"{self.name}: {method} {path} answered {answer.status}: {body[:200]!r}")
        return body

    def instances(self) -> int:
        """How many instances it holds."""
        return int(self.call("GET", "/statistics")["CountInstances"])

    def bytes_kept(self) -> int:
        """What it holds, in bytes on disk."""
        return int(self.call("GET", "/statistics")["TotalDiskSize"])

    def empty(self) -> None:
        """Deletes everything, so that the next round starts from an empty index in a warm process."""
        for patient in self.call("GET", "/patients"):
            self.call("DELETE", f"/patients/{patient}")

    def stop(self) -> None:
        self.tree.stop()
        if not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)
