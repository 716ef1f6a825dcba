"""DeleteImageSet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from lightwell.stores import Stores
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet
from tests.support.server import Server

Refused = Callable[..., str]
ARN = "arn:aws:medical-imaging:us-east-1:000000000000:datastore/{}/imageset/{}"


@pytest.fixture
def stores(server: Server) -> Iterator[Stores]:
    found = image_set_builders.open_at(server.data, server.database_url)
    yield found
    found.close()


def build(stores: Stores, datastore: str, **more: Any) -> BuiltSet:
    with stores.db.read() as conn:
        store = datastores.get(conn, datastore)
    assert store is not None
    instance = BuiltInstance("1.1", 1, frames=[b"frame"])
    return image_set_builders.image_set(stores, [instance], store=(store.key, store.id), **more)


def named(built: BuiltSet) -> dict[str, Any]:
    return {"datastoreId": built.datastore_id, "imageSetId": built.id}


def events(stores: Stores, built: BuiltSet) -> list[dict[str, Any]]:
    with stores.db.read() as conn:
        rows = conn.execute(select(tables.outbox.c.event).order_by(tables.outbox.c.number)).scalars()
        found = [json.loads(row) for row in rows]
    return [event for event in found if event["detail"].get("imagesetId") == built.id]


def test_answers_as_the_service_does(client: Any, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore)
    answer = client.delete_image_set(**named(built))
    del answer["ResponseMetadata"]
    assert answer == {**named(built), "imageSetState": "LOCKED", "imageSetWorkflowStatus": "DELETING"}


def test_leaves_the_set_and_its_versions_visible_as_deleted(
    client: Any, stores: Stores, datastore: str
) -> None:
    built = build(stores, datastore, versions=({}, {"workflow_status": "UPDATED"}))
    client.delete_image_set(**named(built))
    found = client.get_image_set(**named(built))
    assert (found["imageSetState"], found["imageSetWorkflowStatus"]) == ("DELETED", "DELETED")
    assert found["versionId"] == "2"
    assert found["deletedAt"] == found["updatedAt"] >= found["createdAt"]
    listed = client.list_image_set_versions(**named(built))["imageSetPropertiesList"]
    assert [one["versionId"] for one in listed] == ["2", "1"]
    assert {one["ImageSetWorkflowStatus"] for one in listed} == {"DELETED"}
    assert {one["imageSetState"] for one in listed} == {"DELETED"}
    assert {one["deletedAt"] for one in listed} == {found["deletedAt"]}


def test_hides_the_content_at_once(client: Any, stores: Stores, datastore: str, refused: Refused) -> None:
    built = build(stores, datastore)
    frame = {"imageFrameId": built.instances[0].frame_id()}
    # Read first, so that everything that can be cached is.
    client.get_image_set_metadata(**named(built))["imageSetMetadataBlob"].read()
    client.get_image_frame(**named(built), imageFrameInformation=frame)["imageFrameBlob"].read()
    client.delete_image_set(**named(built))
    for version in ({}, {"versionId": "1"}):
        message = refused(
            "ResourceNotFoundException", client.get_image_set_metadata, **named(built), **version
        )
        assert "is deleted" in message
    refused("ResourceNotFoundException", client.get_image_frame, **named(built), imageFrameInformation=frame)
    assert client.search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"] == []
    assert not list((stores.documents.root).rglob(f"{built.key:016x}/*"))


def test_refuses_what_is_deleted_or_never_was(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    built = build(stores, datastore)
    client.delete_image_set(**named(built))
    assert "is deleted" in refused("ResourceNotFoundException", client.delete_image_set, **named(built))
    nobody = {"datastoreId": datastore, "imageSetId": "0" * 32}
    assert "does not exist" in refused("ResourceNotFoundException", client.delete_image_set, **nobody)
    nowhere = {"datastoreId": "0" * 32, "imageSetId": built.id}
    assert "Datastore" in refused("ResourceNotFoundException", client.delete_image_set, **nowhere)


def test_takes_the_tags_along(client: Any, stores: Stores, datastore: str, refused: Refused) -> None:
    built, other = build(stores, datastore), build(stores, datastore)
    for one in (built, other):
        client.tag_resource(resourceArn=ARN.format(datastore, one.id), tags={"a": "b"})
    client.delete_image_set(**named(built))
    refused(
        "ResourceNotFoundException",
        client.list_tags_for_resource,
        resourceArn=ARN.format(datastore, built.id),
    )
    assert client.list_tags_for_resource(resourceArn=ARN.format(datastore, other.id))["tags"] == {"a": "b"}
    with stores.db.read() as conn:
        kept = conn.execute(select(tables.tag.c.resource)).scalars().all()
    assert not [path for path in kept if built.id in path]


def test_tells_both_events_in_order(client: Any, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore, versions=({}, {}))
    client.delete_image_set(**named(built))
    told = events(stores, built)
    assert [(e["detail-type"], e["detail"]["imageSetState"]) for e in told] == [
        ("Image Set Deleting", "LOCKED"),
        ("Image Set Deleted", "DELETED"),
    ]
    assert [e["detail"]["imageSetWorkflowStatus"] for e in told] == ["DELETING", "DELETED"]
    assert {e["detail"]["imageSetVersion"] for e in told} == {"2"}
    assert {e["detail"]["isPrimary"] for e in told} == {True}
    assert told[0]["resources"] == [ARN.format(datastore, built.id)]


def test_makes_no_other_set_primary(client: Any, stores: Stores, datastore: str) -> None:
    blocks = {
        "study": {"StudyInstanceUID": "1.2.3.77"},
        "series": {"Modality": "CT", "SeriesInstanceUID": "1.2.4.77"},
    }
    primary = build(stores, datastore, **blocks)
    other = build(stores, datastore, is_primary=False, **blocks)
    client.delete_image_set(**named(primary))
    assert client.get_image_set(**named(other))["isPrimary"] is False
    assert client.get_image_set(**named(primary))["isPrimary"] is True


def test_lets_the_data_store_be_deleted_at_once(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    built = build(stores, datastore)
    refused("ConflictException", client.delete_datastore, datastoreId=datastore)
    client.delete_image_set(**named(built))
    assert client.delete_datastore(datastoreId=datastore)["datastoreStatus"] == "DELETING"


def test_deletes_a_set_without_content(client: Any, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore, readable_version=0, listed_in=None)
    client.delete_image_set(**named(built))
    assert client.get_image_set(**named(built))["imageSetState"] == "DELETED"


def test_one_of_many_deletes_at_once_wins(
    client: Any, stores: Stores, server: Server, datastore: str
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from botocore.exceptions import ClientError

    built = build(stores, datastore)

    def delete(_: int) -> str:
        try:
            server.client().delete_image_set(**named(built))
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "done"

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(delete, range(4)))
    assert outcomes == ["ResourceNotFoundException"] * 3 + ["done"]
    assert len(events(stores, built)) == 2
