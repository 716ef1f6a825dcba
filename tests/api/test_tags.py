"""TagResource, UntagResource, ListTagsForResource."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.api import rows
from tests.support.server import Server

Refused = Callable[..., str]


@pytest.fixture
def arn(client: Any, datastore: str) -> str:
    found: str = client.get_datastore(datastoreId=datastore)["datastoreProperties"]["datastoreArn"]
    return found


def tags_of(client: Any, arn: str) -> dict[str, str]:
    found: dict[str, str] = client.list_tags_for_resource(resourceArn=arn)["tags"]
    return found


def test_adds_overwrites_and_removes_tags(client: Any, arn: str) -> None:
    assert tags_of(client, arn) == {}
    client.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    client.tag_resource(resourceArn=arn, tags={"b": "3", "c": "ünï ✓"})
    assert tags_of(client, arn) == {"a": "1", "b": "3", "c": "ünï ✓"}
    client.untag_resource(resourceArn=arn, tagKeys=["a", "c", "never-there"])
    assert tags_of(client, arn) == {"b": "3"}


def test_takes_keys_with_every_sign_that_the_model_allows(client: Any, arn: str) -> None:
    key = "team:cost/center=1+2-3_4.5"
    client.tag_resource(resourceArn=arn, tags={key: ""})
    assert tags_of(client, arn) == {key: ""}
    client.untag_resource(resourceArn=arn, tagKeys=[key])
    assert tags_of(client, arn) == {}


def test_tags_image_sets(server: Server, client: Any, datastore: str, arn: str, refused: Refused) -> None:
    with server.database() as db:
        image_set = rows.insert_image_set(db, datastore)
        set_arn = f"{arn}/imageset/{image_set}"
        client.tag_resource(resourceArn=set_arn, tags={"a": "1"})
        assert tags_of(client, set_arn) == {"a": "1"}
        assert tags_of(client, arn) == {}
        rows.delete_image_set(db, image_set)
    refused("ResourceNotFoundException", client.list_tags_for_resource, resourceArn=set_arn)


def test_keeps_at_most_50_tags(client: Any, arn: str, refused: Refused) -> None:
    client.tag_resource(resourceArn=arn, tags={f"k{n}": "" for n in range(49)})
    client.tag_resource(resourceArn=arn, tags={"k0": "again", "k49": ""})
    message = refused("ValidationException", client.tag_resource, resourceArn=arn, tags={"k50": ""})
    assert "50" in message
    assert len(tags_of(client, arn)) == 50


def test_keeps_at_most_50_tags_when_many_add_at_once(client: Any, arn: str) -> None:
    client.tag_resource(resourceArn=arn, tags={f"k{n}": "" for n in range(46)})

    def add(number: int) -> bool:
        try:
            client.tag_resource(resourceArn=arn, tags={f"new{number}": ""})
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ValidationException"
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(12))) == 4
    assert len(tags_of(client, arn)) == 50


def test_refuses_what_is_not_there(client: Any, arn: str, datastore: str, refused: Refused) -> None:
    for other in (
        arn.replace(datastore, "f" * 32),
        f"{arn}/imageset/{'f' * 32}",
        arn.replace("us-east-1", "eu-west-1"),
        arn.replace("000000000000", "111111111111"),
    ):
        refused("ResourceNotFoundException", client.list_tags_for_resource, resourceArn=other)
        refused("ResourceNotFoundException", client.tag_resource, resourceArn=other, tags={"a": "b"})
        refused("ResourceNotFoundException", client.untag_resource, resourceArn=other, tagKeys=["a"])


def test_refuses_what_the_model_does_not_allow(client: Any, arn: str, refused: Refused) -> None:
    refused("ValidationException", client.tag_resource, resourceArn=arn, tags={"aws:mine": ""})
    refused("ValidationException", client.tag_resource, resourceArn=arn, tags={"a b": ""})
    refused("ValidationException", client.tag_resource, resourceArn=arn, tags={"a": "v" * 257})
    refused("ValidationException", client.list_tags_for_resource, resourceArn="arn:aws:s3:::bucket")
