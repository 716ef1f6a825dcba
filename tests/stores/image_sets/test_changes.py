"""New versions of image sets: locks, what is closed and opened, and what was there before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from lightwell.domain.events import ImageSetDetail
from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.keys import InstanceKey
from lightwell.domain.states import ImageSetState, WorkflowStatus
from lightwell.errors import ValidationError
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.image_sets import changes, instances, level_inheritance, members
from lightwell.stores.image_sets.changes import ImageSetNotFound, ImageSetWithoutContent, LockedImageSet
from lightwell.stores.image_sets.writing import ImageSetChange
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance, BuiltSet

WHO = "arn:aws:iam::000000000000:user/a"


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    found.close()


def change(stores: Stores, built: BuiltSet, version: int, work: Any) -> Any:
    """Run ``work(conn, opened)`` and write the version that it has made."""

    def write(conn: Connection) -> Any:
        opened = changes.open_sets(conn, built.datastore_id, {built.id: version})[built.id]
        result = work(conn, opened)
        changes.write_version(
            conn,
            opened,
            opened.next_version(WorkflowStatus.UPDATED, caller=WHO, now=NOW + 5000),
            ImageSetChange(
                columns=members.search_columns(conn, opened.key),
                instance_count=members.count(conn, opened.key),
            ),
        )
        return result

    return stores.db.write(write)


def test_opens_a_set_at_its_latest_version_only(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)], versions=[{}, {}])

    def opened(version: int) -> LockedImageSet:
        return stores.db.write(
            lambda conn: changes.open_sets(conn, built.datastore_id, {built.id: version})[built.id]
        )

    assert opened(2).number == 3
    for stale in (0, 1, 3):
        with pytest.raises(
            ImageSetNotFound, match=r"^Requested version\(s\) of ImageSet\(s\) is not the latest\.$"
        ):
            opened(stale)


def test_opens_no_set_that_is_unknown_deleted_or_without_content(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)])
    gone = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)], state="DELETED")
    empty = image_set_builders.image_set(stores, [], readable_version=0)

    def open_(datastore: str, id: str) -> Any:
        return stores.db.write(lambda conn: changes.open_sets(conn, datastore, {id: 1}))

    with pytest.raises(ImageSetNotFound, match=r"Image set .* does not exist"):
        open_(built.datastore_id, "0" * 32)
    with pytest.raises(ImageSetNotFound, match=r"Image set .* does not exist"):
        open_(gone.datastore_id, built.id)
    with pytest.raises(ImageSetNotFound, match=r"Data store .* does not exist"):
        open_("0" * 32, built.id)
    with pytest.raises(ImageSetNotFound, match="deleted"):
        open_(gone.datastore_id, gone.id)
    with pytest.raises(ImageSetWithoutContent, match="no content"):
        open_(empty.datastore_id, empty.id)


def held(stores: Stores, built: BuiltSet, version: int) -> tuple[Any, Any]:
    """What holds at a version, by record, base and edits."""
    with stores.db.read() as conn:

        def rows(table: Any, *columns: str) -> set[Any]:
            t = table.c
            found = conn.execute(
                select(*(t[name] for name in columns)).where(
                    t.image_set == built.key,
                    t.valid_from <= version,
                    t.valid_to.is_(None) | (t.valid_to > version),
                )
            )
            return {tuple(row) for row in found}

        return rows(tables.member, "instance", "record", "edits"), rows(
            tables.level, "level", "base", "edits"
        )


def test_restores_exactly_the_content_of_another_version(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores, [BuiltInstance(f"1.{n}", n, patient={"PatientID": f"P{n}"}) for n in range(1, 5)]
    )
    named = Edit("LO", "new")

    def edit_and_remove(conn: Connection, opened: LockedImageSet) -> None:
        found = members.open_members(conn, opened.key, ["1.1", "1.2", "no such"])
        assert sorted(found) == ["1.1", "1.2"]
        members.close_members(conn, opened.key, opened.number, [found["1.1"].instance, found["1.2"].instance])
        changed = replace(found["1.2"], edits={"StudyDescription": named})
        members.add_members(conn, opened.key, opened.number, [changed])
        study = members.open_levels(conn, opened.key)[1]
        members.replace_level(conn, opened.key, opened.number, replace(study, edits={"StudyID": named}))

    change(stores, built, 1, edit_and_remove)
    first, second = held(stores, built, 1), held(stores, built, 2)
    assert (len(first[0]), len(second[0])) == (4, 3)

    for version, target, expected in (
        (2, 1, first),
        (3, 2, second),
        (4, 3, first),
        (5, 4, second),
        (6, 5, first),
    ):
        change(
            stores,
            built,
            version,
            lambda conn, o, target=target: members.restore(conn, o.key, o.number, target),
        )
        assert held(stores, built, version + 1) == expected
    assert held(stores, built, 1) == first
    assert held(stores, built, 2) == second


def test_gives_a_level_the_oldest_members_block_when_its_base_is_removed(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores,
        [
            BuiltInstance("1.1", 1, patient={"PatientID": "A"}),
            BuiltInstance("1.3", 3, patient={"PatientID": "C"}),
            BuiltInstance("1.2", 2, patient={"PatientID": "B"}),
        ],
        patient={"PatientID": "A"},
    )

    def remove(uid: str) -> Any:
        def work(conn: Connection, opened: LockedImageSet) -> bool:
            found = members.open_members(conn, opened.key, [uid])
            members.close_members(conn, opened.key, opened.number, [found[uid].instance])
            return level_inheritance.reassign_level_base(conn, opened.key, opened.number)

        return work

    assert change(stores, built, 1, remove("1.3")) is False
    assert change(stores, built, 2, remove("1.1")) is True
    with stores.db.read() as conn:
        assert members.search_columns(conn, built.key).patient_id == "B"
        row = conn.execute(select(tables.image_set).where(tables.image_set.c.key == built.key)).one()
    assert (row.patient_id, row.instance_count, row.latest_version) == ("B", 1, 3)


def test_undoes_a_change_that_fails_and_nothing_else(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1), BuiltInstance("1.2", 2)])

    def write(error: Exception) -> Any:
        def work(conn: Connection) -> Exception | None:
            opened = changes.open_sets(conn, built.datastore_id, {built.id: 1})[built.id]

            def fail() -> None:
                found = members.open_members(conn, opened.key, ["1.1"])["1.1"]
                members.close_members(conn, opened.key, opened.number, [found.instance])
                raise error

            caught = changes.attempt(conn, fail)
            failed = opened.next_version(
                WorkflowStatus.UPDATE_FAILED, caller=WHO, now=NOW + 1, message="why", forced=True
            )
            changes.write_version(conn, opened, failed)
            return caught

        return stores.db.write(work)

    with pytest.raises(ValidationError):
        write(ValidationError("no"))
    before = held(stores, built, 1)
    fault = KeyError("fault")
    assert write(fault) is fault
    assert held(stores, built, 2) == before
    with stores.db.read() as conn:
        row = conn.execute(
            select(tables.version).where(
                tables.version.c.image_set == built.key, tables.version.c.number == 2
            )
        ).one()
    assert tuple(row)[2:7] == ("UPDATE_FAILED", "why", True, WHO, NOW + 1)


def test_refuses_the_same_instance_twice(stores: Stores) -> None:
    from sqlalchemy.exc import IntegrityError

    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)])

    def twice(conn: Connection, opened: LockedImageSet) -> None:
        members.add_members(
            conn, opened.key, opened.number, list(members.open_members(conn, opened.key, ["1.1"]).values())
        )

    with pytest.raises(IntegrityError):
        change(stores, built, 1, twice)


def test_finds_existing_instances_and_inserts_the_others(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)])

    def make(key: int) -> dict[str, InstanceKey]:
        return stores.db.write(
            lambda conn: instances.find_or_insert(conn, built.datastore_key, {"7.7": InstanceKey(key)})
        )

    assert make(77) == make(78) == {"7.7": 77}


def test_writes_events_in_order(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)])

    def work(conn: Connection) -> None:
        announcer = changes.Announcer(
            conn,
            region="r",
            account="1" * 12,
            datastore_id=built.datastore_id,
            new_id=lambda: "0" * 32,
            now=NOW,
        )
        detail = ImageSetDetail(
            image_set_id=built.id,
            version=2,
            is_primary=True,
            state=ImageSetState.ACTIVE,
            workflow_status=WorkflowStatus.UPDATING,
        )
        announcer.image_set("Image Set Updating", detail)
        announcer.image_set("Image Set Updated", replace(detail, workflow_status=WorkflowStatus.UPDATED))

    stores.db.write(work)
    with stores.db.read() as conn:
        found = [
            json.loads(row.event)
            for row in conn.execute(select(tables.outbox).order_by(tables.outbox.c.number))
        ]
    assert [event["detail"]["imageSetWorkflowStatus"] for event in found] == ["UPDATING", "UPDATED"]
