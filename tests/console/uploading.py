"""Sending files to the console's API as its import page does."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from urllib.parse import quote

from lightwell.domain.imports.uploads import FileDigest
from tests.support.console import ConsoleClient
from tests.support.server import Reply


def digest_of(data: bytes) -> str:
    digest = FileDigest()
    digest.update(data)
    return digest.hexdigest()


def put(
    client: ConsoleClient,
    path: str,
    name: str,
    data: bytes,
    *,
    digest: str | None = None,
    is_hashed: bool = False,
) -> Reply:
    """Send one file to ``path``, an upload. A ``name`` that has a percent sign is taken to be encoded."""
    named = {
        "x-lightwell-name": name if "%" in name else quote(name),
        "x-amz-content-sha256": sha256(data).hexdigest() if is_hashed else "UNSIGNED-PAYLOAD",
    }
    if digest is not None:
        named["x-lightwell-digest"] = digest
    request = client.server.signed(
        "PUT", f"/console/api/{path}/files", data, credentials=client.credentials, headers=named
    )
    return client.server.send(request)


def begin(
    client: ConsoleClient, datastore_id: str, files: int = 100, size: int = 100 << 20
) -> tuple[str, Any]:
    """Begin an upload: its path, and the answer."""
    body = {"name": "folder", "files": files, "bytes": size}
    answer = client("POST", f"datastores/{datastore_id}/uploads", body)
    return f"datastores/{datastore_id}/uploads/{answer['uploadId']}", answer
