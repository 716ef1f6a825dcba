"""Files that the console takes, sealed until their import job has read them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lightwell.clock import Ids
from lightwell.codec_pool.far_storage.opening import uploaded_key
from lightwell.codec_pool.far_storage.sealed_source import bytes_of, source_of
from lightwell.domain.imports.uploads import UploadedFile
from lightwell.errors import InputError
from lightwell.stores.account import datastores
from lightwell.stores.data_folder.sealed_files import FileSealer, SpooledFileDamagedError
from lightwell.stores.db.database import Database
from lightwell.stores.jobs import uploads
from lightwell.stores.keys import data_keys
from lightwell.stores.keys.data_keys import KeyDestroyedError
from lightwell.stores.keys.uploaded_files import grant
from tests.stores.keys.test_ring import STORE, ring

NAME = "uploads/store/1/a.dcm"


def sealed(database: Database, data_folder: Path, data: bytes, name: str = NAME) -> bytes:
    keys = ring(database, data_folder)
    with database.read() as conn:
        granted = grant(keys, conn, STORE.key, name)
    assert granted is not None
    parts: list[bytes] = []
    sealer = FileSealer(parts.append, granted)
    sealer.write(data)
    sealer.finish()
    return b"".join(parts)


@pytest.fixture
def store(database: Database, tmp_path: Path) -> Database:
    database.write(lambda conn: datastores.insert(conn, STORE))
    keys = ring(database, tmp_path)
    with database.read() as conn:
        assert grant(keys, conn, STORE.key, NAME) is None, "it has no key yet"
    database.write(lambda conn: keys.give_key(conn, STORE.key, Ids().key, 1))
    return database


@pytest.mark.parametrize("size", [0, 100, 900_000])
def test_are_opened_by_their_name_and_a_key_of_their_data_store(
    store: Database, tmp_path: Path, size: int
) -> None:
    data, keys = os.urandom(size), ring(store, tmp_path)
    whole = sealed(store, tmp_path, data)
    assert not size or data[:20] not in whole
    key = uploaded_key(keys, STORE.id, NAME, whole, None)
    assert bytes_of(whole, key).read(0, size) == data
    path = tmp_path / "file"
    path.write_bytes(whole)
    fd = os.open(path, os.O_RDONLY)
    with source_of(fd, uploaded_key(keys, STORE.id, NAME, None, fd)) as source:
        assert source.size == size and source.read(0, size) == data
    assert uploaded_key(keys, STORE.id, NAME, data or b"LWU", None) is None, "it is not sealed"
    assert uploaded_key(keys, STORE.id, "scans/1.dcm", b"LWU1" + bytes(100), None) is None, (
        "nor is it an upload"
    )


def test_a_bit_of_their_beginning_makes_them_no_file_of_another_kind(store: Database, tmp_path: Path) -> None:
    """Such a file is not DICOM, and would be removed."""
    data, keys = os.urandom(5000), ring(store, tmp_path)
    whole = sealed(store, tmp_path, data)
    taken = UploadedFile("a.dcm", "a.dcm", len(data), "", 1)
    store.write(lambda conn: uploads.claim(conn, "1", taken))
    for place in range(12):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        with pytest.raises(SpooledFileDamagedError, match="Upload it again"):
            uploaded_key(keys, STORE.id, NAME, changed, None)
    with pytest.raises(SpooledFileDamagedError):
        uploaded_key(keys, STORE.id, NAME, whole[:7], None)
    path = tmp_path / "fetched"
    with path.open("wb") as out:
        spooled = FileSealer(out.write)
        spooled.write(b"?" + whole[1:])
        opens = spooled.finish()
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(SpooledFileDamagedError):
        uploaded_key(keys, STORE.id, NAME, None, fd, opens)
    assert uploaded_key(keys, STORE.id, "scans/a.dcm", None, fd, opens) is opens, "no upload"
    os.close(fd)
    assert uploaded_key(keys, STORE.id, NAME, data, None) is None, "taken before its data store had a key"


def test_are_refused_under_another_name_changed_or_cut_off(store: Database, tmp_path: Path) -> None:
    keys, whole = ring(store, tmp_path), sealed(store, tmp_path, os.urandom(900_000))
    wrong = [(NAME + "2", whole)]
    for place in (12, 20, 60, 100_000, len(whole) - 70, len(whole) - 1):
        wrong.append((NAME, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]))
        wrong.append((NAME, whole[:place]))
    for name, content in wrong:
        with pytest.raises(SpooledFileDamagedError):
            bytes_of(content, uploaded_key(keys, STORE.id, name, content, None))


def test_are_lost_with_their_data_store(store: Database, tmp_path: Path) -> None:
    whole = sealed(store, tmp_path, b"some")
    store.write(lambda conn: data_keys.destroy(conn, STORE.key, 2))
    with pytest.raises(KeyDestroyedError):
        uploaded_key(ring(store, tmp_path), STORE.id, NAME, whole, None)


def test_are_opened_for_no_other_data_store(store: Database, tmp_path: Path) -> None:
    other = replace(STORE, key=STORE.key + 1, id="b" * 32)
    keys = ring(store, tmp_path)
    store.write(lambda conn: datastores.insert(conn, other))
    store.write(lambda conn: keys.give_key(conn, other.key, Ids().key, 1))
    whole = sealed(store, tmp_path, b"somebody's")
    # Also by their own name, which a copy in any other bucket may have.
    with pytest.raises(InputError, match="uploaded for another data store"):
        uploaded_key(keys, other.id, NAME, whole, None)
    assert bytes_of(whole, uploaded_key(keys, STORE.id, NAME, whole, None)).read(0, 99) == b"somebody's"
