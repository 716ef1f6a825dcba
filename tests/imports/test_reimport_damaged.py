"""Repeated imports of a file whose stored copy is damaged, lost, unavailable or about to be removed."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import select, update

from lightwell.clock import Ids
from lightwell.domain.states import PackState
from lightwell.errors import StorageUnavailableError
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.part10 import FileSource
from lightwell.ingest.pipeline import Pipeline, PipelineInputs
from lightwell.stores.account import datastores as store_rows
from lightwell.stores.db import tables
from lightwell.stores.image_sets import existing_instances
from lightwell.stores.objects.pack_objects import OpenPack
from lightwell.work.imports.leases import LeasedChunk, Leases
from tests.imports.test_reimport import already_there, objects, rows, versions, whole
from tests.support.collector import collector, delete, living
from tests.support.ct_files import ct, write, write_series
from tests.support.imports import Importing, exported


def spoil(server: Importing, offset: int) -> None:
    """Turn a bit of the only pack."""
    (name,) = objects(server)
    path = server.settings.data / "objects" / name
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_stores_again_what_is_damaged(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "1.dcm", ct(1, size=64))
    (id,) = (s["imageSetId"] for s in sqlite.run("a/").manifest["imageSetsSummary"])
    spoil(sqlite, 3000)
    report = sqlite.run("a/")
    assert (versions(report), already_there(sqlite, report), report.failure) == ([2], 0, [])
    (file,) = exported(sqlite, id).values()
    np.testing.assert_array_equal(file.pixel_array, ct(1, size=64).pixel_array)
    report = sqlite.run("a/")
    assert (versions(report), already_there(sqlite, report)) == ([2], 1)


def test_stores_again_what_is_lost(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "1.dcm", ct(1))
    (id,) = (s["imageSetId"] for s in sqlite.run("a/").manifest["imageSetsSummary"])
    (name,) = objects(sqlite)
    sqlite.stores.objects.delete(name)
    report = sqlite.run("a/")
    assert (versions(report), already_there(sqlite, report), report.failure) == ([2], 0, [])
    (file,) = exported(sqlite, id).values()
    np.testing.assert_array_equal(file.pixel_array, ct(1).pixel_array)


def test_stores_again_the_attributes_that_the_database_has_wrong(sqlite: Importing) -> None:
    write_series(sqlite.input / "a", 3)
    (id,) = (s["imageSetId"] for s in sqlite.run("a/").manifest["imageSetsSummary"])
    r = tables.record
    with sqlite.stores.db.read() as conn:
        wrong, right = conn.execute(
            select(r.c.key, r.c.fragment_z).where(r.c.dictionary.is_not(None)).order_by(r.c.instance_number)
        ).all()
    sqlite.stores.db.write(
        lambda conn: conn.execute(update(r).where(r.c.key == wrong.key).values(fragment_z=right.fragment_z))
    )
    report = sqlite.run("a/")
    assert (versions(report), already_there(sqlite, report)) == ([2], 2)
    assert rows(sqlite, tables.pixels) == 3
    assert sorted(file.InstanceNumber for file in exported(sqlite, id).values()) == [1, 2, 3]
    assert versions(sqlite.run("a/")) == [2]


def _doom(server: Importing) -> None:
    """The packs that there are, as a collector that is sure that nothing names them."""
    server.stores.db.write(
        lambda conn: conn.execute(
            update(tables.pack).where(tables.pack.c.state == PackState.LIVE).values(state=PackState.DOOMED)
        )
    )


def test_does_not_treat_unavailable_storage_as_a_difference(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "1.dcm", ct(1))
    sqlite.run("a/")

    class Away:
        def read(self, key: str, offset: int, length: int) -> bytes:
            raise StorageUnavailableError("S3 is away")

    with sqlite.stores.db.read() as conn:
        store = store_rows.get(conn, sqlite.datastore)
        assert store is not None
        data = ct(1)
        found = existing_instances.find(
            conn, store.key, data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID
        )
    assert found
    inputs = PipelineInputs(
        storage_format="HTJ2K",
        inflate_limit=1 << 20,
        ids=Ids(),
        cache=SeriesCache(),
        take_pack=lambda: OpenPack(1, b""),
        find_existing=lambda *uids: found,
    )
    pipeline = Pipeline(Away(), sqlite.stores.spool, inputs)  # type: ignore[arg-type]
    with FileSource(sqlite.input / "a" / "1.dcm") as source, pytest.raises(StorageUnavailableError):
        pipeline.read(0, "1.dcm", source)


def test_references_no_pack_that_is_about_to_be_removed(server: Importing) -> None:
    write_series(server.input / "a", 2)
    server.run("a/")
    kept = objects(server)
    _doom(server)
    report = server.run("a/")
    assert (versions(report), already_there(server, report)) == ([2], 0)
    assert len(objects(server)) == len(kept) + 1


@pytest.mark.parametrize("grace", [0, 60], ids=["bytes", "rows"])
def test_reads_files_again_whose_stored_copies_are_collected_before_they_are_referenced(
    server: Importing, monkeypatch: pytest.MonkeyPatch, grace: int
) -> None:
    write_series(server.input / "a", 2)
    server.run("a/")
    shared: list[list[int | None]] = []
    commit = Leases.commit

    def committing(claims: Leases, claimed: LeasedChunk) -> None:
        shared.append([record.shared_pixels for record in claimed.result.records])
        if len(shared) == 1:
            delete(server, *living(server))
            collector(server, grace=grace).collect()
        commit(claims, claimed)

    monkeypatch.setattr(Leases, "commit", committing)
    report = server.run("a/")
    assert None not in shared[0] and shared[-1] == [None, None]
    assert (versions(report), already_there(server, report), report.failure) == ([1], 0, [])
    whole(server)
    assert len(objects(server)) == 1
