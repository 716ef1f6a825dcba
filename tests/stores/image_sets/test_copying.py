"""The statements of copies, what they cost, and how levels pass on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from lightwell.clock import Clock, Ids
from lightwell.documents import metadata_documents
from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.keys import ImageSetKey
from lightwell.domain.states import WorkflowStatus
from lightwell.operations.context import Caller, Context
from lightwell.operations.copy_image_set import copy_image_set
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.db import tables
from lightwell.stores.image_sets import (
    changes,
    copying,
    level_inheritance,
    lookups,
    members,
    native_instances,
    records,
)
from lightwell.stores.image_sets import edits as packed_edits
from lightwell.stores.image_sets.changes import LockedImageSet
from lightwell.wire import shapes
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet

NAME = Edit("PN", "NEW")


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    yield found
    found.close()


def write(stores: Stores, built: BuiltSet, work: Any, version: int = 1) -> Any:
    """Run ``work(conn, opened)`` and write the version that it has made."""

    def transaction(conn: Connection) -> Any:
        opened = changes.open_sets(conn, built.datastore_id, {built.id: version})[built.id]
        result = work(conn, opened)
        changes.write_version(
            conn, opened, opened.next_version(WorkflowStatus.UPDATED, caller="me", now=image_set_builders.NOW)
        )
        return result

    return stores.db.write(transaction)


def edited(uid: str, edits: Any) -> Any:
    """Give one instance these edits."""

    def work(conn: Connection, opened: LockedImageSet) -> None:
        held = members.open_members(conn, opened.key, [uid])[uid]
        members.close_members(conn, opened.key, opened.number, [held.instance])
        members.add_members(conn, opened.key, opened.number, [replace(held, edits=edits)])

    return work


def removed(*uids: str) -> Any:
    """Close instances and pass the levels on; whether one changed."""

    def work(conn: Connection, opened: LockedImageSet) -> bool:
        found = members.open_members(conn, opened.key, uids)
        members.close_members(conn, opened.key, opened.number, [held.instance for held in found.values()])
        return level_inheritance.reassign_level_base(conn, opened.key, opened.number)

    return work


def patient(stores: Stores, built: BuiltSet, version: int) -> Any:
    with stores.db.read() as conn:
        return json.loads(native_instances.levels(conn, built.key, version)[0].body)


def read_all(stores: Stores, built: BuiltSet) -> list[Any]:
    """The metadata documents of all its versions."""
    with stores.db.read() as conn:
        found = lookups.get(conn, built.datastore_id, built.id)
        assert found is not None
        return [
            json.loads(
                b"".join(metadata_documents.native_document_pieces(conn, built.datastore_id, found, version))
            )
            for version in range(1, found.readable_version + 1)
        ]


def named(name: str, **more: Any) -> Mapping[str, Any]:
    return {"PatientID": "P1", "PatientName": name, **more}


def test_passes_on_the_current_block_of_the_member_that_inherits_the_level(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores,
        [
            BuiltInstance("1.1", 1),
            BuiltInstance("1.2", 2, patient=dict(named("B", PatientComments="x"))),
            BuiltInstance("1.3", 3, patient=dict(named("B", PatientComments="x"))),
        ],
        patient=dict(named("A")),
    )
    write(stores, built, edited("1.2", {"PatientName": NAME, "PatientComments": None}), 1)
    write(stores, built, edited("1.3", {"PatientName": NAME, "SliceLocation": Edit("DS", "1")}), 2)
    assert write(stores, built, removed("1.1"), 3) is True
    assert patient(stores, built, 3) == named("A")
    # 1.2 is the older one by now, since 1.3 was edited after it.
    assert patient(stores, built, 4) == named("NEW")
    assert write(stores, built, removed("1.2"), 4) is True
    assert patient(stores, built, 5) == named("NEW", PatientComments="x")
    assert patient(stores, built, 4) == named("NEW")
    assert [each["Patient"]["DICOM"]["PatientName"] for each in read_all(stores, built)] == [
        *("A", "A", "A"),
        *("NEW", "NEW"),
    ]


def test_keeps_a_base_that_an_edited_member_carries(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores,
        [
            BuiltInstance("1.1", 1),
            BuiltInstance("1.2", 2, patient=dict(named("B"))),
            BuiltInstance("1.3", 3, patient=dict(named("C"))),
            BuiltInstance("1.4", 4),
        ],
        patient=dict(named("A")),
    )
    # Another attribute was edited; the block of the level is unchanged.
    write(stores, built, edited("1.4", {"SliceLocation": Edit("DS", "1")}), 1)
    assert write(stores, built, removed("1.1"), 2) is False
    # The same by edits: what another value became is the base all the same.
    write(stores, built, edited("1.2", {"PatientName": Edit("PN", "A")}), 3)
    assert write(stores, built, removed("1.4"), 4) is False
    assert patient(stores, built, 5) == named("A")
    assert write(stores, built, removed("1.2"), 5) is True
    assert patient(stores, built, 6) == named("C")
    assert [each["Patient"]["DICOM"]["PatientName"] for each in read_all(stores, built)] == [*"AAAAAC"]


def test_treats_an_edited_block_like_any_other_level_value(stores: Stores) -> None:
    built = [
        image_set_builders.image_set(
            stores,
            [BuiltInstance(f"{n}.1", 1), BuiltInstance(f"{n}.2", 2, patient=dict(named("B")))],
            patient=dict(named("A")),
        )
        for n in (1, 2)
    ]
    for n, each in enumerate(built, 1):
        write(stores, each, edited(f"{n}.2", {"PatientName": NAME}), 1)
        write(stores, each, removed(f"{n}.1"), 2)
    # Each in its own data store.
    with stores.db.read() as conn:
        keys = [members.open_levels(conn, each.key)[0].base for each in built]
        stored = conn.execute(
            select(tables.level_value.c.datastore).where(tables.level_value.c.key.in_(keys))
        ).scalars()
        assert set(stored) == {each.datastore_key for each in built}
        assert set(records.level_bodies(conn, keys).values()) == {b'{"PatientID":"P1","PatientName":"NEW"}'}


def test_takes_the_record_it_is_given_where_all_members_are_new(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores,
        [
            BuiltInstance("1.1", 1, to_version=2),
            BuiltInstance("1.1", 1, patient=dict(named("B")), from_version=2),
            BuiltInstance("1.2", 2, patient=dict(named("C")), from_version=2),
        ],
        patient=dict(named("A")),
        versions=[{}, {}],
    )
    with stores.db.read() as conn:
        of = conn.execute(select(tables.record.c.key).where(tables.record.c.sop_instance_uid == "1.2"))
        record = of.scalar_one()
    stores.db.write(
        lambda conn: level_inheritance.reassign_level_base(conn, built.key, 2, first=lambda: record)
    )
    assert (patient(stores, built, 1), patient(stores, built, 2)) == (named("A"), named("C"))


def test_copies_members_with_more_edits(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance(f"1.{n}", n) for n in range(1, 4)])
    write(stores, built, edited("1.2", {"PatientName": Edit("PN", "OWN"), "Rows": Edit("US", 3)}), 1)
    key = ImageSetKey(Ids().key())

    def copy(conn: Connection) -> int:
        row = image_set_builders.image_set_row(built.datastore_key, key=key)
        image_set_builders.insert_image_sets(conn, [row])
        taken = copying.source_members(conn, built.key, None)
        return copying.copy_members(conn, key, 7, taken, {"PatientName": NAME, "PatientSex": None})

    assert stores.db.write(copy) == 3
    with stores.db.read() as conn:
        rows = conn.execute(select(tables.member).where(tables.member.c.image_set == key)).all()
        found = {
            uid: held.edits for uid, held in members.open_members(conn, key, ["1.1", "1.2", "1.3"]).items()
        }
    assert {row.valid_from for row in rows} == {7}
    plain = {"PatientName": NAME, "PatientSex": None}
    assert found == {"1.1": plain, "1.2": {**plain, "Rows": Edit("US", 3)}, "1.3": plain}
    assert len({row.edits for row in rows}) == 2


@pytest.mark.parametrize("instances", [[], ["1.1"]])
def test_copies_nothing_of_somebody_else(stores: Stores, tmp_path: Path, instances: list[str]) -> None:
    store = stores.db.write(image_set_builders.datastore)
    ours, into = (
        image_set_builders.image_set(stores, [BuiltInstance(uid, 1, frames=[b"x"])], store=store)
        for uid in ("1.1", "1.2")
    )
    theirs = image_set_builders.image_set(stores, [BuiltInstance("1.3", 1, frames=[b"y"])])
    (series,) = read_all(stores, ours)[0]["Study"]["Series"]
    by_uid: dict[str, Any] = {uid: {} for uid in instances}
    chosen = {"SchemaVersion": "1.1", "Study": {"Series": {series: {"Instances": by_uid}}}}
    asked = shapes.CopySourceImageSetInformation(
        latest_version_id="1",
        dicom_copies=shapes.MetadataCopies(copiable_attributes=json.dumps(chosen)) if instances else None,
    )
    target = shapes.CopyDestinationImageSet(image_set_id=into.id, latest_version_id="1")
    settings = Settings(data=tmp_path, database_url=str(stores.db.url))

    def copy(destination: shapes.CopyDestinationImageSet | None) -> Any:
        information = shapes.CopyImageSetInformation(
            source_image_set=asked, destination_image_set=destination
        )
        made = copy_image_set(
            Context(stores, settings, Clock(), Ids(), Caller("0" * 12, "arn", "AK")),
            shapes.CopyImageSetRequest(
                datastore_id=ours.datastore_id,
                source_image_set_id=ours.id,
                copy_image_set_information=information,
            ),
        ).destination_image_set_properties
        with stores.db.read() as conn:
            version = tables.version.c
            of_set = select(version.workflow_status).join(
                tables.image_set, tables.image_set.c.key == version.image_set
            )
            this = (tables.image_set.c.id == made.image_set_id, version.number == int(made.latest_version_id))
            return conn.execute(of_set.where(*this)).scalar_one()

    assert copy(None) == WorkflowStatus.COPIED
    key = theirs.instances[0].pixels_key
    statement = update(tables.member).where(tables.member.c.image_set == ours.key)
    stores.db.write(lambda conn: conn.execute(statement.values(record=key, pixels=key)))
    before = read_all(stores, into)
    assert copy(None) == copy(target) == WorkflowStatus.COPY_FAILED
    # What was whole before stays so.
    assert read_all(stores, into) == before * 2


def test_holds_an_instance_of_a_set_once_at_a_time(stores: Stores) -> None:
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)])
    with stores.db.read() as conn:
        row = dict(conn.execute(select(tables.member)).one()._mapping)
    for version in (1, 2):
        again = {**row, "valid_from": version}
        with pytest.raises(IntegrityError):
            stores.db.write(methodcaller("execute", insert(tables.member), again))
    ended = {**row, "valid_from": 2, "valid_to": 3}
    stores.db.write(lambda conn: conn.execute(insert(tables.member), ended))
    with pytest.raises(IntegrityError):
        stores.db.write(lambda conn: copying.copy_all_members(conn, built.key, built.key, 5))


def test_finds_what_stands_in_both_sets_and_counts_frames(stores: Stores) -> None:
    store = stores.db.write(image_set_builders.datastore)
    one, other = (
        image_set_builders.image_set(
            stores,
            [BuiltInstance(uid, 1, frames=[b"x"] * 3, split=uid != "1.3") for uid in uids],
            store=store,
        )
        for uids in (["1.1", "1.2", "1.3"], ["1.2", "1.3", "1.4"])
    )
    with stores.db.read() as conn:
        keys = {row.sop_instance_uid: row.key for row in conn.execute(select(tables.instance))}
        assert copying.common_instance(conn, one.key, other.key, None) == "1.2"
        assert copying.common_instance(conn, one.key, other.key, [keys["1.3"], keys["1.1"]]) == "1.3"
        assert copying.common_instance(conn, one.key, other.key, [keys["1.1"]]) is None
        # Pixels that could not be split have no frames.
        assert copying.frame_count(conn, one.key, None) == 6
        assert copying.frame_count(conn, one.key, [keys["1.1"], keys["1.3"]]) == 3


def test_tells_the_different_blocks_of_members(stores: Stores) -> None:
    built = image_set_builders.image_set(
        stores, [BuiltInstance(f"1.{n}", n, patient=dict(named("AB"[n % 2]))) for n in range(6)]
    )
    write(stores, built, edited("1.3", {"PatientName": NAME}), 1)
    with stores.db.read() as conn:
        found = list(copying.distinct_levels(conn, built.key, None))
        assert sorted(len(block.edits) for block in found) == [0, 0, 1]
        (key,) = conn.execute(
            select(tables.instance.c.key).where(tables.instance.c.sop_instance_uid == "1.3")
        ).scalars()
        (block,) = copying.distinct_levels(conn, built.key, [key])
    assert block.edits == {"PatientName": NAME}
    assert packed_edits.pack(block.edits, None) is not None


def test_writes_few_bytes_an_instance(tmp_path: Path, migrated_sqlite_url: str) -> None:
    count = 5000
    stores = image_set_builders.open_at(tmp_path, migrated_sqlite_url)
    built = image_set_builders.image_set(
        stores,
        [BuiltInstance(f"1.2.826.0.1.3680043.10.999.{n}", n, frames=[b"x"]) for n in range(1, count + 1)],
    )
    path = migrated_sqlite_url.removeprefix("sqlite:///")
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    settings = Settings(data=tmp_path, database_url=migrated_sqlite_url)
    caller = Caller("0" * 12, "arn:aws:iam::000000000000:root", "AK")
    asked = shapes.CopyImageSetInformation(
        source_image_set=shapes.CopySourceImageSetInformation(latest_version_id="1")
    )
    copy_image_set(
        Context(stores, settings, Clock(), Ids(), caller),
        shapes.CopyImageSetRequest(
            datastore_id=built.datastore_id, source_image_set_id=built.id, copy_image_set_information=asked
        ),
    )
    log = Path(path + "-wal").read_bytes()
    # A header, then pages with their number in front: each goes into the log and, once, into the database.
    pages = [log[place : place + 4] for place in range(32, len(log), 24 + 4096)]
    written = len(log) + len(set(pages)) * 4096
    raw.close()
    stores.close()
    assert written / count <= 160
