"""What rows say of patients: sealed under the key of their data store, and opened in their row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from lightwell.clock import Ids
from lightwell.domain.datastore import DataStore
from lightwell.domain.image_sets.edits import Edit
from lightwell.domain.imports.records import NewRecord
from lightwell.domain.keys import ImageSetKey
from lightwell.domain.states import DatastoreStatus, StorageFormat
from lightwell.errors import DamagedError
from lightwell.sealing.providers.interface import KeyProviderError
from lightwell.sealing.providers.local_file import LocalFileKeys
from lightwell.stores.account import datastores
from lightwell.stores.data_folder.document_cache import DocumentCache
from lightwell.stores.db.compression import FragmentCompressor, compress
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import dictionary, image_set, level_value, record
from lightwell.stores.image_sets import edits, level_inheritance, records
from lightwell.stores.image_sets.native_instances import InstanceFragments
from lightwell.stores.keys import renewal, values
from lightwell.stores.keys.documents import SealedDocuments
from lightwell.stores.keys.ring import KeyRing
from tests.support import image_set_builders

STORE = DataStore(7, "a" * 32, "hospital", DatastoreStatus.ACTIVE, StorageFormat.HTJ2K, None, None, 1, 1)
BODIES = [b'{"PatientAddress":"17 Unmistakable Street"}', b'{"StudyID":"1"}', b'{"Modality":"CT"}']
HASHES = [hashlib.sha256(bytes((level,)) + body).digest() for level, body in enumerate(BODIES)]
FIRST = b'"DICOM":{"PatientComments":"unmistakable"},"DICOMVRs":{}'
EDITS = {"PatientComments": Edit("LT", "unmistakable")}


@pytest.fixture
def db(database: Database) -> Iterator[Database]:
    database.write(lambda conn: datastores.insert(conn, STORE))
    yield database


def carried(db: Database, key: bytes = b"k" * 32, *, seals: bool = True) -> KeyRing:
    """The ring that connections carry from now on; with ``seals`` the data store has a key."""
    keys = KeyRing(db, lambda conn: LocalFileKeys([key], "the file"), always=seals, keep=3600.0)
    db.close()
    db.carry(keys)
    if seals:
        db.write(lambda conn: keys.open_packs(conn, STORE.key, 1, Ids().key, 1))
    return keys


def level_keys(db: Database, *new: int) -> dict[bytes, int]:
    bodies = {digest: compress(body) for digest, body in zip(HASHES, BODIES, strict=True)}
    return db.write(lambda conn: records.level_values(conn, STORE.key, bodies, new))


def insert(db: Database, key: int, dictionary_key: int) -> None:
    text = FragmentCompressor(FIRST).compress(FIRST)
    one = NewRecord(
        file=1,
        input_file="a.dcm",
        key=key,
        study_instance_uid="1",
        series_instance_uid="2",
        sop_instance_uid=f"3.{key}",
        sop_class_uid=None,
        instance_number=1,
        grouping="[]",
        patient=HASHES[0],
        study=HASHES[1],
        series=HASHES[2],
        fragment_z=text,
        dictionary=dictionary_key,
        dicom_z=text,
        dicom_dictionary=dictionary_key,
        pack=5,
        original_offset=0,
        original_length=1,
        override_z=compress(b'{"override":"unmistakable"}'),
        warnings=None,
        pixels=None,
    )
    keys = level_keys(db, 1, 2, 3)
    db.write(lambda conn: records.insert(conn, STORE.key, [one], keys, {dictionary_key: FIRST}))


def insert_set(db: Database, key: int) -> None:
    row = image_set_builders.image_set_row(STORE.key, key=key)
    db.write(lambda conn: conn.execute(image_set.insert(), row))


def test_what_is_stored_is_opened_in_its_row_alone(db: Database) -> None:
    carried(db)
    insert(db, 11, 91)
    insert(db, 12, 92)
    insert_set(db, 5)
    columns = ("fragment_z", "dicom_z", "override_z")
    with db.read() as conn:
        rows: list[Any] = list(conn.execute(select(record).order_by(record.c.key)))
        stored = [getattr(row, name) for row in rows for name in columns]
        stored += conn.execute(select(level_value.c.body_z)).scalars().all()
        stored += conn.execute(select(dictionary.c.bytes)).scalars().all()
        assert len(stored) == 11 and all(bytes(value).startswith(b"LWV1") for value in stored)
        assert not {bytes(kept) for kept in conn.execute(select(level_value.c.hash)).scalars()} & set(HASHES)
        fragments = InstanceFragments(conn, 5)
        for row in rows:
            assert fragments.of_record(row.key, row.fragment_z, row.dictionary) == FIRST
            dicom = values.opened(conn, values.DICOM, row.key, row.dicom_z)
            assert fragments.read(dicom, row.dicom_dictionary) == FIRST
        assert records.level_bodies(conn, [1, 2, 3]) == dict(zip((1, 2, 3), BODIES, strict=True))
        for place, row_key, value in (
            (values.FRAGMENT, 12, rows[0].fragment_z),
            (values.DICOM, 11, rows[0].fragment_z),
        ):
            with pytest.raises(DamagedError):
                values.opened(conn, place, row_key, value)
    # The body of one block under the key, and the hash, of another.
    with db.read() as conn:
        one, two = conn.execute(select(level_value).order_by(level_value.c.key).limit(2)).all()
    db.write(lambda conn: conn.execute(update(level_value).where(_is(one.key)).values(body_z=two.body_z)))
    with db.read() as conn, pytest.raises(DamagedError):
        records.level_bodies(conn, [one.key])


def _is(key: int) -> Any:
    return level_value.c.key == key


def test_blocks_are_found_again_when_encryption_begins_and_after_a_rotation(db: Database) -> None:
    carried(db, seals=False)
    plain = level_keys(db, 1, 2, 3)
    keys = carried(db)
    assert level_keys(db, 4, 5, 6) == plain
    db.write(lambda conn: conn.execute(level_value.delete()))
    sealed = level_keys(db, 4, 5, 6)
    assert set(sealed.values()) == {4, 5, 6}
    renewal.rotate(db, keys, STORE.key, Ids().key, 2)
    assert level_keys(db, 7, 8, 9) == sealed


@pytest.mark.parametrize("seals", [True, False])
def test_keys_of_edited_blocks_are_no_hashes_of_what_is_sealed(db: Database, seals: bool) -> None:
    """Whoever reads them could try what was edited."""
    carried(db, seals=seals)
    insert_set(db, 5)
    insert(db, 10, 20)

    def edited(conn: Connection) -> int:
        return level_inheritance._edited(conn, ImageSetKey(5), 10, 0, 1, EDITS)

    key = db.write(edited)
    assert db.write(edited) == key
    with db.read() as conn:
        body = records.level_bodies(conn, [key])[key]
        assert b"PatientComments" in body
    digest = hashlib.sha256(b"\0" + body).digest()
    told = int.from_bytes(hashlib.sha256(digest + STORE.key.to_bytes(8)).digest()[:8]) >> 1
    assert (key != told) is seals


def test_equal_edits_of_a_data_store_are_equal_bytes(db: Database) -> None:
    carried(db)
    insert_set(db, 5)

    def packed(conn: Connection) -> bytes | None:
        return edits.pack(EDITS, values.sealer(conn, STORE.key))

    first, second = db.write(packed), db.write(packed)
    assert first is not None and first == second and b"unmistakable" not in first
    with db.read() as conn:
        assert edits.unpack(conn, 5, first) == EDITS
        assert edits.unpack(conn, 5, edits.pack(EDITS, None)) == EDITS
        with pytest.raises(DamagedError):
            edits.unpack(conn, 5, first[:-1] + bytes([first[-1] ^ 1]))


def test_without_the_key_nothing_passes_for_what_it_is_not(db: Database) -> None:
    carried(db)
    insert(db, 11, 91)
    for ring in (None, carried(db, b"another key of 32 bytes.........", seals=False)):
        db.close()
        db.carry(ring)
        with db.read() as conn, pytest.raises(KeyProviderError):
            records.level_bodies(conn, [1])


def test_cached_documents_are_sealed_and_open_under_their_name_alone(db: Database, tmp_path: Path) -> None:
    carried(db)
    insert_set(db, 5)
    cache = DocumentCache(tmp_path, seals=SealedDocuments(db))
    cache.put(5, 1, 0, "native", b"unmistakable")
    cache.put(6, 1, 0, "native", b"of a set that was removed meanwhile")
    assert cache.get(6, 1, 0, "native") is None
    assert cache.get(5, 1, 0, "native") == b"unmistakable"
    (path,) = tmp_path.rglob("1-0-native")
    assert b"LWV1" in path.read_bytes() and b"unmistakable" not in path.read_bytes()
    path.rename(path.with_name("2-0-native"))
    assert cache.get(5, 2, 0, "native") is None
    # One from before there was a key.
    DocumentCache(tmp_path).put(5, 3, 0, "native", b"plain")
    assert cache.get(5, 3, 0, "native") == b"plain"
