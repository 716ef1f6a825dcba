"""CreateDatastore, GetDatastore, ListDatastores, DeleteDatastore."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from lightwell.clock import Ids
from lightwell.stores.db import tables
from tests.api import rows
from tests.cli.running import lightwell
from tests.support.server import Server, running, until

Refused = Callable[..., str]
KMS = "arn:aws:kms:us-east-1:000000000000:key/12345678-1234-1234-1234-123456789012"
LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:authorize"


def get(client: Any, id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get_datastore(datastoreId=id)["datastoreProperties"]
    return found


def test_creates_a_data_store_that_is_active_at_once(client: Any) -> None:
    created = client.create_datastore(datastoreName="Chest.CT/2026_a-1#")
    assert created["datastoreStatus"] == "CREATING"
    found = get(client, created["datastoreId"])
    assert found["datastoreStatus"] == "ACTIVE"
    assert found["datastoreName"] == "Chest.CT/2026_a-1#"
    assert found["losslessStorageFormat"] == "HTJ2K"
    arn = f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{created['datastoreId']}"
    assert found["datastoreArn"] == arn
    assert found["createdAt"] == found["updatedAt"]
    assert "kmsKeyArn" not in found and "lambdaAuthorizerArn" not in found


def test_keeps_and_echoes_what_was_asked(client: Any) -> None:
    created = client.create_datastore(
        kmsKeyArn=KMS,
        lambdaAuthorizerArn=LAMBDA,
        losslessStorageFormat="JPEG_2000_LOSSLESS",
        tags={"team": "radiology"},
    )
    found = get(client, created["datastoreId"])
    assert (found["kmsKeyArn"], found["lambdaAuthorizerArn"]) == (KMS, LAMBDA)
    assert found["losslessStorageFormat"] == "JPEG_2000_LOSSLESS"
    assert found["datastoreName"] == f"Datastore-{created['datastoreId'][:8]}"
    tags = client.list_tags_for_resource(resourceArn=found["datastoreArn"])["tags"]
    assert tags == {"team": "radiology"}


def test_says_that_nothing_is_encrypted_with_a_kms_key(tmp_path: Path) -> None:
    environ = {"LIGHTWELL_KEY_PROVIDER": "none"}
    with running(tmp_path / "data", env=environ) as server:

        def logged(name: str) -> list[str]:
            return [line for line in server.err if "kmsKeyArn" in line and f'"name":"{name}"' in line]

        for key, name in (({"kmsKeyArn": KMS}, "with-a-key"), ({}, "without-one")):
            for _ in range(2):
                server.client().create_datastore(datastoreName=name, clientToken=name, **key)
        until(lambda: bool(logged("with-a-key")))
        assert len(logged("with-a-key")) == 1
        assert not logged("without-one")
        doctor = lightwell("doctor", "--json", data=server.data, environ=environ)
        rows = {row["check"]: row for row in doctor.json()}
    says = rows["encryption"]["says"]
    assert (rows["encryption"]["ok"], rows["encryption"]["warning"]) == (True, True)
    assert "with-a-key" in says and "without-one" not in says


def test_gives_timestamps_as_epoch_seconds(server: Server, datastore: str) -> None:
    reply = server.send(server.signed("GET", f"/datastore/{datastore}"))
    created = json.loads(reply.body)["datastoreProperties"]["createdAt"]
    assert isinstance(created, float)


def test_answers_a_repeated_token_with_the_same_data_store(client: Any) -> None:
    asked = {"datastoreName": "twice", "clientToken": Ids().id(), "tags": {"b": "1", "a": "2"}}
    first = client.create_datastore(**asked)
    again = client.create_datastore(**{**asked, "tags": {"a": "2", "b": "1"}})
    assert first["datastoreId"] == again["datastoreId"]


def test_refuses_a_token_with_other_parameters(client: Any, refused: Refused) -> None:
    token = Ids().id()
    client.create_datastore(datastoreName="one", clientToken=token)
    refused("ConflictException", client.create_datastore, datastoreName="two", clientToken=token)
    refused(
        "ConflictException", client.create_datastore, datastoreName="one", tags={"a": "b"}, clientToken=token
    )


def test_makes_one_data_store_of_many_requests_with_one_token(client: Any) -> None:
    token = Ids().id()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: client.create_datastore(datastoreName="race", clientToken=token), range(16))
        )
    assert len({answer["datastoreId"] for answer in answers}) == 1


def test_refuses_more_than_50_tags(client: Any, refused: Refused) -> None:
    tags = {f"k{number}": "" for number in range(51)}
    refused("ValidationException", client.create_datastore, tags=tags)


def test_refuses_what_the_model_does_not_allow(client: Any, refused: Refused) -> None:
    message = refused("ValidationException", client.create_datastore, datastoreName="no blanks")
    assert "datastoreName" in message
    refused("ValidationException", client.create_datastore, losslessStorageFormat="PNG")
    refused("ValidationException", client.create_datastore, datastoreName="n" * 257)
    refused("ValidationException", client.get_datastore, datastoreId="UPPER")


def test_says_that_a_data_store_is_not_there(client: Any, refused: Refused) -> None:
    assert "f" * 32 in refused("ResourceNotFoundException", client.get_datastore, datastoreId="f" * 32)
    refused("ResourceNotFoundException", client.delete_datastore, datastoreId="f" * 32)


def test_lists_the_newest_first_in_pages(client: Any) -> None:
    made = [client.create_datastore(datastoreName=f"page-{n}")["datastoreId"] for n in range(5)]
    pages = client.get_paginator("list_datastores").paginate(
        datastoreStatus="ACTIVE", PaginationConfig={"PageSize": 2}
    )
    summaries = [summary for page in pages for summary in page["datastoreSummaries"]]
    ids = [summary["datastoreId"] for summary in summaries]
    assert len(ids) == len(set(ids))
    assert [id for id in ids if id in made] == made[::-1]
    moments = [summary["createdAt"] for summary in summaries]
    assert moments == sorted(moments, reverse=True)
    assert set(summaries[0]) == {
        "datastoreId", "datastoreName", "datastoreStatus", "datastoreArn", "createdAt", "updatedAt",
    }  # fmt: skip


def test_walks_data_stores_of_the_same_millisecond(server: Server, client: Any) -> None:
    id = client.create_datastore()["datastoreId"]
    with server.database() as db:
        store = rows.datastore(db, id)
        twins = [
            {c.name: getattr(store, c.name) for c in tables.datastore.c}
            | {"key": Ids().key(), "id": Ids().id()}
            for _ in range(7)
        ]
        db.write(lambda conn: conn.execute(insert(tables.datastore), twins))
    pages = client.get_paginator("list_datastores").paginate(PaginationConfig={"PageSize": 3})
    ids = [summary["datastoreId"] for page in pages for summary in page["datastoreSummaries"]]
    assert {twin["id"] for twin in twins} <= set(ids)
    assert len(ids) == len(set(ids))


def test_refuses_a_token_that_it_has_not_made(client: Any, refused: Refused) -> None:
    for token in ("x", "W10", "WzEsIDIsIDNd", "WzEuNSwyXQ", "W3RydWUsMV0", "W10=" * 100):
        assert "nextToken" in refused("ValidationException", client.list_datastores, nextToken=token)
    refused("ValidationException", client.list_datastores, maxResults=51)


def test_deletes_an_empty_data_store_and_keeps_it_visible(
    client: Any, datastore: str, refused: Refused
) -> None:
    arn = get(client, datastore)["datastoreArn"]
    client.tag_resource(resourceArn=arn, tags={"a": "b"})
    assert client.delete_datastore(datastoreId=datastore)["datastoreStatus"] == "DELETING"
    assert get(client, datastore)["datastoreStatus"] == "DELETED"
    assert client.delete_datastore(datastoreId=datastore)["datastoreStatus"] == "DELETING"
    deleted = client.list_datastores(datastoreStatus="DELETED")["datastoreSummaries"]
    assert datastore in [summary["datastoreId"] for summary in deleted]
    refused("ResourceNotFoundException", client.list_tags_for_resource, resourceArn=arn)


def test_refuses_to_delete_a_data_store_with_image_sets(
    server: Server, client: Any, datastore: str, refused: Refused
) -> None:
    with server.database() as db:
        image_set = rows.insert_image_set(db, datastore)
        assert "not empty" in refused("ConflictException", client.delete_datastore, datastoreId=datastore)
        rows.delete_image_set(db, image_set)
    client.delete_datastore(datastoreId=datastore)


def test_refuses_to_delete_a_data_store_with_running_jobs(
    server: Server, client: Any, datastore: str, refused: Refused
) -> None:
    with server.database() as db:
        rows.insert_job(db, datastore)
    assert "import jobs" in refused("ConflictException", client.delete_datastore, datastoreId=datastore)


def test_writes_both_events_of_a_creation_and_of_a_deletion(server: Server, client: Any) -> None:
    id = client.create_datastore(datastoreName="told")["datastoreId"]
    client.delete_datastore(datastoreId=id)
    client.delete_datastore(datastoreId=id)
    with server.database() as db, db.read() as conn:
        texts = conn.execute(select(tables.outbox.c.event).order_by(tables.outbox.c.number)).scalars()
        events = [event for event in map(json.loads, texts) if event["detail"]["datastoreId"] == id]
    assert [(event["detail-type"], event["detail"]["datastoreStatus"]) for event in events] == [
        ("Data Store Creating", "CREATING"),
        ("Data Store Created", "ACTIVE"),
        ("Data Store Deleting", "DELETING"),
        ("Data Store Deleted", "DELETED"),
    ]
    assert events[0]["source"] == "aws.medical-imaging"
    assert events[0]["detail"]["datastoreName"] == "told"
    assert events[0]["resources"] == [f"arn:aws:medical-imaging:us-east-1:000000000000:datastore/{id}"]
    assert len({event["id"] for event in events}) == 4
