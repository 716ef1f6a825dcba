"""GetImageSetMetadata."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import update

from lightwell.stores import Stores
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance, BuiltSet
from tests.support.server import Server

Refused = Callable[..., str]


@pytest.fixture
def stores(server: Server) -> Iterator[Stores]:
    found = image_set_builders.open_at(server.data, server.database_url)
    yield found
    found.close()


def build(stores: Stores, datastore: str, instances: list[BuiltInstance], **more: Any) -> BuiltSet:
    with stores.db.read() as conn:
        store = datastores.get(conn, datastore)
    assert store is not None
    return image_set_builders.image_set(stores, instances, store=(store.key, store.id), **more)


def read(client: Any, built: BuiltSet, **more: Any) -> Any:
    answer = client.get_image_set_metadata(datastoreId=built.datastore_id, imageSetId=built.id, **more)
    assert (answer["contentType"], answer["contentEncoding"]) == ("application/json", "gzip")
    return json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))


def uids(document: Any) -> list[str]:
    (series,) = document["Study"]["Series"].values()
    return list(series["Instances"])


def change(stores: Stores, built: BuiltSet, **columns: Any) -> None:
    statement = update(tables.image_set).where(tables.image_set.c.key == built.key).values(columns)
    stores.db.write(lambda conn: conn.execute(statement))


def test_gives_the_document_of_the_latest_and_of_an_older_version(
    client: Any, stores: Stores, datastore: str
) -> None:
    instances = [BuiltInstance("1.1", 1), BuiltInstance("1.2", 2, from_version=2)]
    built = build(stores, datastore, instances, versions=[{}, {}])
    for _ in range(2):  # assembled, then from memory
        assert uids(read(client, built)) == ["1.1", "1.2"]
        assert uids(read(client, built, versionId="1")) == ["1.1"]
    assert read(client, built)["ImageSetID"] == built.id


def test_compresses_whatever_the_client_accepts(server: Server, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore, [BuiltInstance("1.1", 1)])
    path = f"/datastore/{datastore}/imageSet/{built.id}/getImageSetMetadata"
    for accepted in ("identity", "gzip", "br"):
        reply = server.send(server.signed("POST", path, headers={"accept-encoding": accepted}))
        assert reply.status == 200
        assert reply.headers["content-encoding"] == "gzip"
        assert reply.headers["content-type"] == "application/json"
        assert json.loads(gzip.decompress(reply.body))["ImageSetID"] == built.id


def test_gives_the_newest_version_that_has_content(client: Any, stores: Stores, datastore: str) -> None:
    built = build(
        stores, datastore, [BuiltInstance("1.1", 1)], versions=[{}, {"workflow_status": "COPY_FAILED"}]
    )
    change(stores, built, readable_version=1)
    assert uids(read(client, built)) == ["1.1"]


def test_refuses_a_set_without_content(client: Any, stores: Stores, datastore: str, refused: Refused) -> None:
    built = build(stores, datastore, [], versions=[{"workflow_status": "COPY_FAILED"}])
    change(stores, built, readable_version=0)
    for more in ({}, {"versionId": "1"}):
        message = refused("ResourceNotFoundException", read, client=client, built=built, **more)
        assert "Version 1 of image set" in message and "has no content" in message


@pytest.mark.parametrize("version", ["0", "2", "999999999999999999"])
def test_refuses_a_version_that_is_not_there(
    client: Any, stores: Stores, datastore: str, refused: Refused, version: str
) -> None:
    built = build(stores, datastore, [BuiltInstance("1.1", 1)])
    read(client, built)
    refused("ResourceNotFoundException", read, client=client, built=built, versionId=version)


def test_serves_nothing_of_a_deleted_set(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    built = build(stores, datastore, [BuiltInstance("1.1", 1)])
    read(client, built)
    read(client, built)
    change(stores, built, state="DELETED", series_instance_uid=None, listed_in=None)
    for more in ({}, {"versionId": "1"}):
        assert "deleted" in refused("ResourceNotFoundException", read, client=client, built=built, **more)


def test_refuses_a_set_of_another_data_store(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    built = build(stores, datastore, [BuiltInstance("1.1", 1)])
    read(client, built)
    built.datastore_id = client.create_datastore()["datastoreId"]
    refused("ResourceNotFoundException", read, client=client, built=built)
    built.datastore_id = "0" * 32
    assert "Datastore" in refused("ResourceNotFoundException", read, client=client, built=built)


def test_notes_that_the_set_was_accessed(client: Any, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore, [BuiltInstance("1.1", 1)], last_accessed_at=NOW - 40 * 24 * 3600 * 1000)
    ids = {"datastoreId": datastore, "imageSetId": built.id}
    assert client.get_image_set(**ids)["storageTier"] == "ARCHIVE_INSTANT_ACCESS"
    read(client, built)
    deadline = time.monotonic() + 60
    while (found := client.get_image_set(**ids))["storageTier"] != "FREQUENT_ACCESS":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert found["lastAccessedAt"] > found["createdAt"]


def test_notes_no_access_where_only_properties_were_read(client: Any, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore, [BuiltInstance("1.1", 1)])
    before = client.get_image_set(datastoreId=datastore, imageSetId=built.id)["lastAccessedAt"]
    assert before == client.get_image_set(datastoreId=datastore, imageSetId=built.id)["lastAccessedAt"]
