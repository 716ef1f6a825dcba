"""GetImageSet and ListImageSetVersions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import insert, update

from lightwell.clock import Ids
from lightwell.domain.image_sets.grouping import Grouping
from lightwell.stores import Stores
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance, BuiltSet
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
    return image_set_builders.image_set(
        stores, [BuiltInstance("1.1", 1)], store=(store.key, store.id), **more
    )


def get(client: Any, built: BuiltSet, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get_image_set(datastoreId=built.datastore_id, imageSetId=built.id, **more)
    del found["ResponseMetadata"]
    return found


def versions(client: Any, built: BuiltSet, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.list_image_set_versions(
        datastoreId=built.datastore_id, imageSetId=built.id, **more
    )
    return found


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000).astimezone()


def stage(stores: Stores, built: BuiltSet, status: str, **other: str) -> None:
    """A staged file of a job, for this set but for what ``other`` says."""
    key = Ids().key()
    values = {
        "study_instance_uid": f"1.2.3.{built.key}",
        "series_instance_uid": f"1.2.4.{built.key}",
        "patient_id": "P1",
        "study_date": "20200102",
        "accession_number": "",
        "study_id": "",
        "series_number": "",
    }
    grouping = Grouping(**(values | other))
    job = {
        "key": key,
        "id": Ids().id(),
        "datastore": built.datastore_key,
        "status": status,
        "phase": "done",
        "role_arn": "",
        "input_uri": "",
        "output_uri": "",
        "caller": "",
        "submitted_at": 0,
        "scanned": 1,
        "read": 1,
    }
    staged = {
        "job": key,
        "file": 0,
        "record": Ids().key(),
        "study_instance_uid": grouping.study_instance_uid,
        "series_instance_uid": grouping.series_instance_uid,
        "input_file": "a.dcm",
        "grouping": grouping.to_json(),
    }

    def work(conn: Any) -> None:
        conn.execute(insert(tables.import_job), job)
        conn.execute(insert(tables.staged), staged)

    stores.db.write(work)


def delete(stores: Stores, built: BuiltSet) -> None:
    columns = {"state": "DELETED", "series_instance_uid": None, "deleted_at": NOW + 9000, "listed_in": None}
    statement = update(tables.image_set).where(tables.image_set.c.key == built.key).values(columns)
    stores.db.write(lambda conn: conn.execute(statement))


def test_shows_the_properties_of_a_fresh_set(client: Any, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore)
    assert get(client, built) == {
        "datastoreId": datastore,
        "imageSetId": built.id,
        "versionId": "1",
        "imageSetState": "ACTIVE",
        "imageSetWorkflowStatus": "CREATED",
        "createdAt": moment(NOW),
        "updatedAt": moment(NOW),
        "imageSetArn": ARN.format(datastore, built.id),
        "isPrimary": True,
        "lastAccessedAt": moment(NOW),
        "storageTier": get(client, built)["storageTier"],
    }


def test_shows_the_asked_version_and_the_latest_by_default(
    client: Any, stores: Stores, datastore: str
) -> None:
    failed = {"workflow_status": "UPDATE_FAILED", "message": "no", "forced": True}
    built = build(stores, datastore, versions=[{}, failed, {}])
    assert get(client, built)["versionId"] == "3"
    second = get(client, built, versionId="2")
    assert second["imageSetWorkflowStatus"] == "UPDATE_FAILED"
    assert second["message"] == "no"
    assert second["overrides"] == {"forced": True}
    assert second["updatedAt"] == moment(NOW + 1000)
    assert second["createdAt"] == moment(NOW)
    assert get(client, built, versionId="01")["versionId"] == "1"


@pytest.mark.parametrize("version", ["0", "2", "999999999999999999"])
def test_refuses_a_version_that_is_not_there(
    client: Any, stores: Stores, datastore: str, refused: Refused, version: str
) -> None:
    built = build(stores, datastore)
    message = refused("ResourceNotFoundException", get, client=client, built=built, versionId=version)
    assert f"no version {version}" in message


def test_says_which_of_data_store_and_set_is_not_there(
    client: Any, stores: Stores, datastore: str, refused: Refused
) -> None:
    built, other = build(stores, datastore), client.create_datastore()["datastoreId"]
    call = client.get_image_set
    message = refused("ResourceNotFoundException", call, datastoreId=datastore, imageSetId="0" * 32)
    assert "Image set 0000" in message and datastore in message
    message = refused("ResourceNotFoundException", call, datastoreId="0" * 32, imageSetId=built.id)
    assert "Datastore 0000" in message
    refused("ResourceNotFoundException", call, datastoreId=other, imageSetId=built.id)


def test_refuses_what_is_no_id(client: Any, datastore: str, refused: Refused) -> None:
    call = client.get_image_set
    refused("ValidationException", call, datastoreId=datastore, imageSetId="X" * 32)
    refused("ValidationException", call, datastoreId=datastore, imageSetId="0" * 32, versionId="x")


def test_shows_a_deleted_set_as_deleted(client: Any, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore, versions=[{}, {}])
    delete(stores, built)
    found = get(client, built)
    assert found["imageSetState"] == found["imageSetWorkflowStatus"] == "DELETED"
    assert found["deletedAt"] == moment(NOW + 9000)
    for listed in versions(client, built)["imageSetPropertiesList"]:
        assert listed["imageSetState"] == listed["ImageSetWorkflowStatus"] == "DELETED"


def test_shows_importing_while_a_running_job_has_instances_for_the_set(
    client: Any, stores: Stores, datastore: str
) -> None:
    built = build(stores, datastore, versions=[{}, {}])
    stage(stores, built, "IN_PROGRESS", patient_id="another patient")
    stage(stores, built, "COMPLETED")
    assert get(client, built)["imageSetWorkflowStatus"] == "IMPORTED"
    stage(stores, built, "IN_PROGRESS")
    found = get(client, built)
    assert (found["imageSetState"], found["imageSetWorkflowStatus"]) == ("ACTIVE", "IMPORTING")
    assert get(client, built, versionId="1")["imageSetWorkflowStatus"] == "CREATED"
    listed = versions(client, built)["imageSetPropertiesList"]
    assert [one["ImageSetWorkflowStatus"] for one in listed] == ["IMPORTING", "CREATED"]


def test_lists_versions_newest_first(client: Any, stores: Stores, datastore: str) -> None:
    failed = {"workflow_status": "UPDATE_FAILED", "message": "no"}
    built = build(stores, datastore, versions=[{}, failed, {}])
    listed = versions(client, built)["imageSetPropertiesList"]
    assert [one["versionId"] for one in listed] == ["3", "2", "1"]
    assert [one["ImageSetWorkflowStatus"] for one in listed] == ["IMPORTED", "UPDATE_FAILED", "CREATED"]
    assert listed[1]["message"] == "no"
    assert {one["createdAt"] for one in listed} == {moment(NOW)}
    assert [one.get("updatedAt") for one in listed] == [moment(NOW + 2000), moment(NOW + 1000), None]
    assert all(one["isPrimary"] and one["imageSetId"] == built.id for one in listed)


def test_lists_versions_page_by_page(client: Any, stores: Stores, datastore: str) -> None:
    built = build(stores, datastore, versions=[{}] * 7)
    pages = client.get_paginator("list_image_set_versions").paginate(
        datastoreId=datastore, imageSetId=built.id, PaginationConfig={"PageSize": 3}
    )
    found = [[one["versionId"] for one in page["imageSetPropertiesList"]] for page in pages]
    assert found == [["7", "6", "5"], ["4", "3", "2"], ["1"]]


def test_refuses_a_token_that_is_none(client: Any, stores: Stores, datastore: str, refused: Refused) -> None:
    built = build(stores, datastore)
    for token in ("nonsense", "WyJ4Il0", "e30"):
        refused("ValidationException", versions, client=client, built=built, nextToken=token)


def test_spells_the_status_of_a_listed_version_as_the_model_does(
    server: Server, stores: Stores, datastore: str
) -> None:
    built = build(stores, datastore)
    path = f"/datastore/{datastore}/imageSet/{built.id}/listImageSetVersions"
    (listed,) = json.loads(server.send(server.signed("POST", path)).body)["imageSetPropertiesList"]
    assert listed["ImageSetWorkflowStatus"] == "CREATED"
    assert "imageSetWorkflowStatus" not in listed
