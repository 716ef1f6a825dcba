"""Events, newest first, for those who may see what they are about; and how the installation is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection

from lightwell.clock import Ids
from lightwell.domain.arn import datastore_arn
from lightwell.stores.background import outbox
from tests.support.console import ACCOUNT, ConsoleClient, allow
from tests.support.server import REGION, Server, until


@dataclass(frozen=True, slots=True)
class Told:
    """Two data stores, and the image set that is in both."""

    stores: list[str]
    image_set: str


@pytest.fixture
def told(server: Server, client: Any) -> Told:
    """Two data stores of the test's own, with events of their making, of an image set and of a job."""
    ids = [client.create_datastore(datastoreName=f"events-{n}")["datastoreId"] for n in range(2)]
    image_set = Ids().id()

    def event(kind: str, **detail: str) -> dict[str, object]:
        return {"id": kind, "detail-type": kind, "time": "2026-11-30T12:00:00Z", "detail": detail}

    def append(conn: Connection) -> None:
        for id in ids:
            outbox.append(conn, event("Import Job Submitted", datastoreId=id, jobId="c" * 32))
            outbox.append(conn, event("Image Set Created", datastoreId=id, imagesetId=image_set))

    with server.database() as db:
        db.write(append)
    return Told(ids, image_set)


def types(answer: dict[str, Any]) -> list[str]:
    return [event["type"] for event in answer["events"]]


def test_shows_events_newest_first(root: ConsoleClient, told: Told) -> None:
    stores, image_set = told.stores, told.image_set
    of_store = root("POST", "events", {"datastoreId": stores[0]})
    assert types(of_store) == [
        "Image Set Created", "Import Job Submitted", "Data Store Created", "Data Store Creating",
    ]  # fmt: skip
    assert of_store["events"][0]["detail"] == {"datastoreId": stores[0], "imagesetId": image_set}
    assert of_store["events"][0]["kind"] == "imageset" and of_store["keptSeconds"] == 604_800
    assert types(root("POST", "events", {"datastoreId": stores[0], "kinds": ["job"]})) == [
        "Import Job Submitted"
    ]
    assert types(root("POST", "events", {"imageSetId": image_set, "types": ["Image Set Deleted"]})) == []
    assert len(root("POST", "events", {"imageSetId": image_set})["events"]) == 2
    found, token = [], None
    while True:
        page = root("POST", "events", {"maxResults": 3, "nextToken": token})
        found += page["events"]
        token = page["nextToken"]
        if token is None:
            break
    # Other things happen on this server meanwhile.
    own = [event for event in found if event["detail"].get("datastoreId") in stores]
    assert types({"events": own[:2]}) == ["Image Set Created", "Import Job Submitted"]
    assert len(own) == 8 and own[0]["detail"]["datastoreId"] == stores[1]
    for wrong in (
        {"datastoreId": "%"},
        {"types": ["x"]},
        {"kinds": ["x"]},
        {"maxResults": 0},
        {"nextToken": "x"},
    ):
        assert root.refused("POST", "events", wrong)[0] == 400


def test_shows_what_one_may_see(told: Told, limited: Callable[..., ConsoleClient]) -> None:
    image_set = told.image_set
    arn = datastore_arn(REGION, ACCOUNT, told.stores[0])
    assert types(limited(allow("medical-imaging:GetDICOMImportJob", arn))("POST", "events", {})) == [
        "Import Job Submitted"
    ]
    one = limited(allow("medical-imaging:GetImageSet", [arn, f"{arn}/imageset/{image_set}"]))
    assert types(one("POST", "events", {})) == ["Image Set Created"]
    other = limited(allow("medical-imaging:GetImageSet", [arn, f"{arn}/imageset/{'0' * 32}"]))
    assert types(other("POST", "events", {})) == []
    stores_only = limited(allow("medical-imaging:GetDatastore", arn))
    assert types(stores_only("POST", "events", {})) == ["Data Store Created", "Data Store Creating"]


def test_says_how_the_installation_is(
    root: ConsoleClient, server: Server, limited: Callable[..., ConsoleClient]
) -> None:
    # What tests before have begun is done first.
    until(lambda: root("GET", "health")["installation"]["queue"] == [])
    found = root("GET", "health")
    assert found["isReady"] and found["message"] is None
    assert [(check["name"], check["code"]) for check in found["checks"]] == [
        ("database", "ok"), ("schema", "ok"), ("storage", "ok"), ("audit", "ok"),
    ]  # fmt: skip
    installation = found["installation"]
    assert installation["schema"] == "current" and installation["databaseBytes"] > 0
    assert 0 < installation["diskFree"] <= installation["diskTotal"]
    assert installation["queue"] == [] and installation["awaited"] == []
    if installation["database"] == "sqlite":
        assert installation["servers"] == [] and installation["workforce"] is None
    else:
        assert [each["isAlive"] for each in installation["servers"]] == [True]
        assert installation["workforce"] == {"working": 1, "servingOnly": 0, "jobs": 0}
        assert "postgres:" not in installation["databaseAddress"].partition("@")[0].partition("//")[2]
    nobody = limited(allow("medical-imaging:*"))
    for path in ("health", "metrics"):
        assert nobody.refused("GET", path)[:2] == (403, "AccessDeniedException")


def test_shows_the_metrics(root: ConsoleClient) -> None:
    found = root("GET", "metrics")
    assert "lightwell_requests_total{" in found["text"]
    assert found["server"] == root("GET", "health")["server"]
