"""``lightwell datastore``: lists, creates, deletes and measures data stores, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lightwell.domain.image_sets.copying import CopyRefused
from lightwell.operations.copy_image_set import copy_image_set
from lightwell.stores.account import datastores
from lightwell.stores.account.usage import usage
from lightwell.stores.db import tables
from lightwell.stores.image_sets import copying
from lightwell.stores.objects import packs
from lightwell.wire import shapes
from tests.cli.contents.verbs import Verbs
from tests.support.imports import importing

AUTHORIZER = "arn:aws:lambda:us-east-1:000000000000:function:who"


@pytest.fixture
def verbs(tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Verbs]:
    server = importing(tmp_path / "data", database_url)
    yield Verbs(server, capsys)
    server.close()


def test_it_creates_lists_and_deletes(verbs: Verbs) -> None:
    id = verbs("datastore", "create", "ward-3").strip()
    made = verbs.json("datastore", "create", "ward-4", "--authorizer", AUTHORIZER)
    assert (made["datastoreName"], made["lambdaAuthorizerArn"]) == ("ward-4", AUTHORIZER)
    heading, newest, older, _ = verbs("datastore", "list").splitlines()
    assert heading.split() == ["ID", "NAME", "STATUS", "CREATED", "AUTHORIZER"]
    assert newest.split()[:3] == [made["datastoreId"], "ward-4", "ACTIVE"] and newest.endswith(AUTHORIZER)
    assert older.startswith(f"{id}  ward-3") and older.endswith("  -")

    verbs("datastore", "create", "ward-3", status=1)
    assert "already a data store ward-3" in verbs.err
    verbs("datastore", "create", "a b", status=2)
    verbs("datastore", "create", "c", "--authorizer", AUTHORIZER.replace("us-east-1", "eu-west-1"), status=2)

    assert verbs("datastore", "delete", "ward-3") == f"data store ward-3 ({id}) deleted\n"
    assert verbs.json("datastore", "delete", made["datastoreId"])["datastoreStatus"] == "DELETED"
    verbs("datastore", "delete", "ward-3", status=1)
    assert "There is no data store ward-3" in verbs.err
    assert len(verbs.json("datastore", "list")) == 1
    states = {each["datastoreStatus"] for each in verbs.json("datastore", "list", "--deleted")}
    assert states == {"ACTIVE", "DELETED"}


def test_it_says_why_a_data_store_cannot_be_deleted(verbs: Verbs) -> None:
    id = verbs.server.datastore
    verbs.built(1)
    verbs("datastore", "delete", id, status=1)
    assert "is not empty: delete its image sets first" in verbs.err
    way = f"sets delete --datastore {id} --all"
    assert f"`lightwell {way}`" in verbs.err
    verbs(*way.split(), status=2)
    assert "Delete 1 image set with 1 instance" in verbs.err and "--yes" in verbs.err
    other = verbs("datastore", "create", "other").strip()
    kept = verbs.built(2, store=other)
    assert verbs(*way.split(), "--yes") == "1 image set deleted\n"
    assert [each["imageSetId"] for each in verbs.json("sets", "list")] == [kept.id]
    verbs.server.start()
    verbs("datastore", "delete", id, status=1)
    assert "are running" in verbs.err and "lightwell jobs cancel" in verbs.err


def test_it_empties_a_data_store_of_what_no_search_finds(
    verbs: Verbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    id, made = verbs.server.datastore, verbs.built(1)

    def fail(*arguments: object) -> None:
        raise CopyRefused("it does not fit")

    monkeypatch.setattr(copying, "check_own", fail)
    source = shapes.CopySourceImageSetInformation(latest_version_id="1")
    answer = copy_image_set(
        verbs.server.context,
        shapes.CopyImageSetRequest(
            datastore_id=id,
            source_image_set_id=made.id,
            copy_image_set_information=shapes.CopyImageSetInformation(source_image_set=source),
        ),
    )
    copied = answer.destination_image_set_properties.image_set_id
    assert [each["imageSetId"] for each in verbs.json("sets", "list")] == [made.id]
    verbs("sets", "delete", made.id)
    verbs("datastore", "delete", id, status=1)
    assert "is not empty" in verbs.err
    monkeypatch.setattr("lightwell.cli.contents.set_deletion._PAGE", 1)
    kept = [verbs.built(number) for number in (2, 3)]
    way = ("sets", "delete", "--datastore", id, "--all")
    verbs(*way, status=2)
    assert "Delete 3 image sets with 2 instances" in verbs.err
    gone = {each["imageSetId"] for each in verbs.json(*way, "--yes")}
    assert gone == {copied, *(each.id for each in kept)}
    verbs(*way, "--yes", status=1)
    assert "No image set matches" in verbs.err
    verbs("datastore", "delete", id)


def test_it_counts_what_a_data_store_holds(verbs: Verbs) -> None:
    other = verbs("datastore", "create", "other").strip()
    for number in range(3):
        verbs.built(number)
    verbs.built(3, store=other)
    write = verbs.server.stores.db.write
    write(lambda conn: conn.execute(tables.record.update().values(original_length=10)))
    with verbs.server.stores.db.read() as conn:
        store = datastores.get(conn, verbs.server.datastore)
    assert store is not None
    write(lambda conn: packs.insert_open(conn, [1, 2], store.key, 0))
    write(lambda conn: packs.make_live(conn, {1: (300, 0)}))
    (one,) = verbs.json("datastore", "usage", verbs.server.datastore)
    assert (one["imageSets"], one["studies"], one["instances"], one["frames"]) == (3, 3, 3, 3)
    assert (one["originalBytes"], one["packBytes"], one["isEstimated"]) == (30, 300, False)
    text = verbs("datastore", "usage")
    assert "DATA STORE" in text and "database" in text and "documents  0 bytes cached" in text
    assert [each["imageSets"] for each in verbs.json("datastore", "usage")] == [1, 3]

    gone = verbs.json("sets", "list", "--datastore", other)[0]["imageSetId"]
    verbs("sets", "delete", gone)
    (left,) = verbs.json("datastore", "usage", "other")
    assert (left["imageSets"], left["studies"], left["instances"]) == (0, 0, 0)


def test_it_estimates_where_time_runs_out(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightwell.stores.account.usage._PAGE", 20)
    for number in range(80):
        verbs.built(number)
    (found,) = usage(verbs.server.stores.db, lambda: True).values()
    assert found.is_estimated and 25 < found.image_sets < 400
    assert 25 < found.frames < 400
