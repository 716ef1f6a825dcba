"""What a server has stored, and what the chapters of the story have in common."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from tests.console.browser.walk import Walk
from tests.dicomweb.support.javascript_clients import imported as import_prefix
from tests.support.server import Server


@dataclass(frozen=True, slots=True)
class Story:
    """A walk through the console of a server, by whom ``key`` belongs to."""

    walk: Walk
    server: Server
    key: dict[str, str]
    folder: Path
    subtests: pytest.Subtests

    def new_store(self, name: str) -> str:
        store: str = self.server.client().create_datastore(datastoreName=name)["datastoreId"]
        return store


def signed(
    server: Server, credentials: Credentials | None, method: str, path: str, body: object = None
) -> dict[str, Any]:
    """A request as a page can send it; with root's key unless ``credentials`` are given."""
    data = b"" if body is None else json.dumps(body).encode()
    headers = dict(server.signed(method, path, data, credentials=credentials).headers)
    return {"method": method, "path": path, "headers": headers, "body": data.decode()}


def document(server: Server, store: str, image_set: str) -> dict[str, Any]:
    """The metadata of an image set."""
    blob = server.client().get_image_set_metadata(datastoreId=store, imageSetId=image_set)
    found: dict[str, Any] = json.loads(gzip.decompress(blob["imageSetMetadataBlob"].read()))
    return found


def image_sets(server: Server, store: str, study: str | None = None) -> list[dict[str, Any]]:
    """Summaries of the image sets of a data store, or of one of its studies."""
    criteria: dict[str, Any] = {}
    if study is not None:
        criteria["filters"] = [{"operator": "EQUAL", "values": [{"DICOMStudyInstanceUID": study}]}]
    search = server.client().search_image_sets
    found: list[dict[str, Any]] = search(datastoreId=store, searchCriteria=criteria)[
        "imageSetsMetadataSummaries"
    ]
    return found


def imported(server: Server, store: str, folder: Path) -> dict[str, dict[str, str]]:
    """Image sets of a data store: id → frame id → SOPInstanceUID. Imports ``folder`` if nothing is there."""
    client = server.client()
    search = partial(client.search_image_sets, datastoreId=store, searchCriteria={})
    if not search()["imageSetsMetadataSummaries"]:
        shutil.copytree(folder, server.data / "buckets" / "in-bucket" / folder.name)
        import_prefix(server, store, f"{folder.name}/")
    found = {}
    for summary in search()["imageSetsMetadataSummaries"]:
        held = document(server, store, summary["imageSetId"])
        found[summary["imageSetId"]] = {
            frame["ID"]: instance
            for series in held["Study"]["Series"].values()
            for instance, attributes in series["Instances"].items()
            for frame in attributes["ImageFrames"]
        }
    return found
