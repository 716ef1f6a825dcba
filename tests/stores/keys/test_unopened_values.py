"""What cannot be opened, damaged, without its key or of another data store, keeps nobody from the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Update, select, update

from lightwell.clock import Ids
from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.integrity import FaultKind, PackToVerify
from lightwell.errors import ConfigurationError, DamagedError
from lightwell.sealing.providers.interface import KeyProviderAwayError
from lightwell.sealing.providers.local_file import LocalFileKeys
from lightwell.settings import Settings
from lightwell.stores import Stores
from lightwell.stores.collector import erasure, integrity
from lightwell.stores.db import tables
from lightwell.stores.db.compression import compress
from lightwell.stores.image_sets import edits, existing_instances, members, native_instances
from lightwell.stores.keys import data_keys, values
from lightwell.stores.keys.ring import KeyRing
from lightwell.work.verifying.packs import PartFinding, VerifyWorker, _PartResult
from lightwell.work.verifying.run import Verifier
from tests.support import image_set_builders
from tests.support.image_set_builders import NOW, BuiltInstance, BuiltSet


@pytest.fixture
def stores(database_url: str, tmp_path: Path) -> Iterator[Stores]:
    found = image_set_builders.open_at(tmp_path, database_url)
    carry(found)
    yield found
    found.close()


def carry(stores: Stores) -> KeyRing:
    """A ring that has nothing in memory yet, for all connections from now on."""
    ring = KeyRing(stores.db, lambda conn: LocalFileKeys([b"k" * 32], "the file"), always=True, keep=3600.0)
    stores.db.close()
    stores.db.carry(ring)
    return ring


def sealed_set(stores: Stores) -> BuiltSet:
    """An image set with one instance, in a data store of its own that is encrypted; levels and an override
    are sealed.
    """
    ring = carry(stores)
    store = stores.db.write(image_set_builders.datastore)
    stores.db.write(lambda conn: ring.open_packs(conn, store[0], 1, Ids().key, NOW))
    built = image_set_builders.image_set(stores, [BuiltInstance("1.1", 1)], store=store)
    with stores.db.read() as conn:
        row = record_of(conn, built)
        sealer = values.sealer(conn, built.datastore_key)
    assert sealer is not None
    override_z = sealer.seal(values.about(values.OVERRIDE, row.key), compress(b"{}"))
    run(stores, update(tables.record).where(tables.record.c.key == row.key).values(override_z=override_z))
    live = {"key": row.pack, "datastore": built.datastore_key, "state": "live", "size": 16, "checksum": 0}
    stores.db.write(lambda conn: conn.execute(tables.pack.insert(), {**live, "created_at": NOW}))
    return built


def run(stores: Stores, statement: Update) -> None:
    stores.db.write(lambda conn: conn.execute(statement))


def record_of(conn: Connection, built: BuiltSet) -> Any:
    record = tables.record
    return conn.execute(select(record).where(record.c.datastore == built.datastore_key)).one()


def of_keys(built: BuiltSet) -> Update:
    return update(tables.data_key).where(tables.data_key.c.datastore == built.datastore_key)


def verified(
    stores: Stores, built: BuiltSet, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[PartFinding], int]:
    """What is found in the pack of a set, and how many records were checked, by a worker that finds
    nothing."""
    monkeypatch.setattr(VerifyWorker, "_check_part", lambda self, pack, **part: _PartResult([], 0))
    carry(stores)
    with stores.db.read() as conn:
        pack = PackToVerify(record_of(conn, built).pack, built.datastore_key, 16, 0)
    worker = VerifyWorker(stores, Settings(), threading.Event())
    faults, records, _ = worker.check(pack, quick=False)
    worker.close()
    return faults, records


def test_a_pack_whose_key_is_not_to_be_had_is_a_fault_of_its_own(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = sealed_set(stores)
    assert verified(stores, built, monkeypatch) == ([], 1)
    run(stores, of_keys(built).values(provider="another"))
    faults, records = verified(stores, built, monkeypatch)
    (fault,) = (each.fault for each in faults)
    assert fault.kind == FaultKind.WITHOUT_KEY and "key_provider = another" in fault.reason
    assert records == 0


def test_what_a_deleted_data_store_has_left_is_no_fault(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = sealed_set(stores)
    stores.db.write(lambda conn: data_keys.destroy(conn, built.datastore_key, NOW))
    ((finding,), records) = verified(stores, built, monkeypatch)
    assert finding.fault.kind == FaultKind.WITHOUT_KEY and records == 0
    of_store = tables.datastore.c.key == built.datastore_key
    run(stores, update(tables.datastore).where(of_store).values(status="DELETED"))
    assert verified(stores, built, monkeypatch) == ([], 0)


def test_an_instance_with_a_damaged_override_equals_nothing(stores: Stores) -> None:
    built = sealed_set(stores)
    run(stores, update(tables.pack).values(state="live"))
    with stores.db.read() as conn:
        image_set = conn.execute(select(tables.image_set)).one()
        row = record_of(conn, built)
        uids = image_set.study_instance_uid, image_set.series_instance_uid, "1.1"
        assert existing_instances.find(conn, built.datastore_key, *uids)
    flipped = row.override_z[:-1] + bytes([row.override_z[-1] ^ 1])
    run(stores, update(tables.record).values(override_z=flipped))
    with stores.db.read() as conn:
        assert existing_instances.find(conn, built.datastore_key, *uids) == []


def test_earlier_versions_of_other_data_stores_are_not_opened(stores: Stores) -> None:
    one, other = sealed_set(stores), sealed_set(stores)
    run(stores, update(tables.level).values(valid_to=2))
    run(stores, of_keys(other).values(provider="another"))
    carry(stores)
    with stores.db.read() as conn:
        (found,) = erasure.former_levels(conn, 0, [one.datastore_key])
        assert found.image_set_id == one.id and found.block is not None
        assert found.block["PatientID"] == "P1"
        (unopened,) = erasure.former_levels(conn, 0, [other.datastore_key])
        assert unopened.image_set_id == other.id and unopened.block is None


def test_edits_open_in_their_own_data_store_alone(stores: Stores) -> None:
    one, other = sealed_set(stores), sealed_set(stores)
    carry(stores)
    secret = {"PatientComments": Edit("LT", "of the other")}
    with stores.db.read() as conn:
        packed = edits.pack(secret, values.sealer(conn, other.datastore_key))
    for table in (tables.level, tables.member):
        run(stores, update(table).values(edits=packed))
    with stores.db.read() as conn:
        assert [level.edits for level in members.open_levels(conn, other.key)] == [secret] * 3
        assert [member.edits for member, _ in native_instances.members(conn, other.key, 1)] == [secret]
        with pytest.raises(DamagedError, match="another data store"):
            members.open_levels(conn, one.key)
        with pytest.raises(DamagedError, match="another data store"):
            list(native_instances.members(conn, one.key, 1))
        assert any("another data store" in fault for fault in integrity.faults_of_set(conn, one.key))
        assert not any("another data store" in fault for fault in integrity.faults_of_set(conn, other.key))


def test_a_key_service_that_is_away_keeps_no_other_data_store_from_being_verified(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, other = sealed_set(stores), sealed_set(stores)
    run(stores, update(tables.image_set).values(instance_count=9))

    def open_all(self: KeyRing, conn: Connection, datastore: str) -> None:
        if datastore == away.datastore_id:
            raise KeyProviderAwayError("The key service does not answer.")

    monkeypatch.setattr(KeyRing, "open_all", open_all)
    verifier = Verifier(stores, Settings(), lambda done, total: None, mode="quick")
    verifier.begin()
    verifier._phase = "sets"
    while not verifier.step():
        pass
    problems = verifier.report().problems
    verifier.close()
    (of_away,) = (each for each in problems if each.image_set_id is None)
    assert (of_away.kind, of_away.reason) == (FaultKind.UNREADABLE, "The key service does not answer.")
    assert {each.image_set_id for each in problems} == {None, other.id}


def test_a_key_that_goes_while_sets_are_verified_makes_no_set_damaged(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = sealed_set(stores)
    run(stores, of_keys(built).values(provider="another"))
    carry(stores)
    monkeypatch.setattr(KeyRing, "open_all", lambda self, conn, datastore: None)  # it was there then
    verifier = Verifier(stores, Settings(), lambda done, total: None, mode="quick")
    verifier.begin()
    verifier._phase = "sets"
    while not verifier.step():
        pass
    (problem,) = verifier.report().problems
    verifier.close()
    assert problem.kind is FaultKind.WITHOUT_KEY and problem.image_set_id is None


def test_a_key_file_that_is_missing_refuses_packs_and_image_sets_alone(stores: Stores) -> None:
    built = sealed_set(stores)

    def missing(conn: Connection | None) -> LocalFileKeys:
        raise ConfigurationError("The key file cannot be read.")

    ring = KeyRing(stores.db, missing, always=True, keep=3600.0)
    stores.db.close()
    stores.db.carry(ring)
    with stores.db.read() as conn:
        row = record_of(conn, built)
        of_pack = PackToVerify(row.pack, built.datastore_key, 16, 0)
    worker = VerifyWorker(stores, Settings(), threading.Event())
    _, _, (fault,) = worker._rows_of(of_pack)
    worker.close()
    assert fault.kind is FaultKind.WITHOUT_KEY and "key file cannot be read" in fault.reason
