"""DICOMweb's DELETE while others add to the same sets: what was stored is there, or was named by the path."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import Any

import pytest

from lightwell.domain.image_sets.image_set import ImageSet
from lightwell.errors import ConflictError, NotFoundError
from lightwell.operations.dicomweb import delete, lookup
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.stores.account import datastores
from lightwell.stores.collector import removal
from lightwell.stores.image_sets import lookups, part10_instances
from lightwell.wire import shapes
from tests.support import image_set_builders
from tests.support.ct_files import ROOT, ct, write
from tests.support.image_set_builders import BuiltInstance, BuiltSet
from tests.support.imports import Importing

STUDY, SERIES = f"{ROOT}.1", f"{ROOT}.1.1"


def before_each_write(
    monkeypatch: pytest.MonkeyPatch, server: Importing, happens: Callable[[], bool]
) -> list[None]:
    """Let something happen before each transaction in which this thread writes, while it returns True.

    As often as it did. The server's own threads write, too.
    """
    db, real, times = server.stores.db, server.stores.db.write, list[None]()
    caller = get_ident()
    is_busy = False

    def write(work: Any) -> Any:
        nonlocal is_busy
        if not is_busy and get_ident() == caller:
            is_busy = True
            if happens():
                times.append(None)
                is_busy = False
        return real(work)

    monkeypatch.setattr(db, "write", write)
    return times


def built(server: Importing, number: int, *, is_primary: bool = True) -> BuiltSet:
    """An image set with an instance of its own study, with no file and no engine."""
    with server.stores.db.read() as conn:
        store = datastores.get(conn, server.datastore)
    assert store is not None
    uid = f"1.2.3.{number}"
    return image_set_builders.image_set(
        server.stores,
        [BuiltInstance(f"{uid}.1.1", 1, {"InstanceNumber": "1"}, [b"frame"])],
        store=(store.key, store.id),
        study={"StudyInstanceUID": uid},
        series={"Modality": "CT", "SeriesInstanceUID": f"{uid}.1"},
        is_primary=is_primary,
    )


def update(server: Importing, made: BuiltSet, version: int, **study: str) -> None:
    blob = json.dumps({"SchemaVersion": "1.1", "Study": {"DICOM": study}}).encode()
    update_image_set_metadata(
        server.context,
        shapes.UpdateImageSetMetadataRequest(
            datastore_id=server.datastore,
            image_set_id=made.id,
            latest_version_id=str(version),
            force=True,
            include_study_image_sets="StudyInstanceUID" not in study,
            update_image_set_metadata_updates=shapes.MetadataUpdates(
                dicom_updates=shapes.DICOMUpdates(updatable_attributes=blob)
            ),
        ),
    )


def state(server: Importing, id: str) -> ImageSet:
    with server.stores.db.read() as conn:
        found = lookups.get(conn, server.datastore, id)
    assert found is not None
    return found


def test_keeps_what_was_stored_before_the_last_instance_went(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(server.input / "a" / "1.dcm", ct(1, size=8))
    server.run("a/")
    for number in (2, 3):
        write(server.input / "b" / f"{number}.dcm", ct(number, size=8))
    answers = []

    def stored() -> bool:
        answers.append(server.run("b/").manifest["numberOfImportedFiles"])
        return False

    before_each_write(monkeypatch, server, stored)
    delete.delete(server.context, DicomwebTarget(server.datastore, STUDY, SERIES, f"{SERIES}.1"))
    assert answers == [2]
    with server.stores.db.read() as conn:
        found = lookup.series_set(conn, server.datastore, STUDY, SERIES)
        left = part10_instances.instances(conn, found.key, found.version)
    assert {each.sop_instance_uid for each in left} == {f"{SERIES}.2", f"{SERIES}.3"}
    # Nobody interferes with the next, and the last one takes the set with it.
    for number in (2, 3):
        delete.delete(server.context, DicomwebTarget(server.datastore, STUDY, SERIES, f"{SERIES}.{number}"))
    assert state(server, found.id).deleted


def test_gives_up_where_the_set_of_the_last_instance_changes_each_time(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built(server, 1)

    def changes() -> bool:
        update(server, made, len(times) + 1, StudyDescription=f"CHANGE {len(times)}")
        return True

    times: list[None] = []
    times = before_each_write(monkeypatch, server, changes)
    target = DicomwebTarget(server.datastore, "1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1")
    with pytest.raises(ConflictError, match="try again"):
        delete.delete(server.context, target)
    assert len(times) == delete._ATTEMPTS
    assert not state(server, made.id).deleted


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_deletes_no_set_that_has_moved_to_another_study_before_it_was_locked(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built(server, 1, is_primary=False)
    real = removal.lock_set

    def lock_set(*args: Any) -> Any:
        monkeypatch.setattr(removal, "lock_set", real)
        with ThreadPoolExecutor(1) as other:  # a thread that is in no transaction
            other.submit(update, server, made, 1, StudyInstanceUID="1.2.3.9").result()
        return real(*args)

    monkeypatch.setattr(removal, "lock_set", lock_set)
    target = DicomwebTarget(server.datastore, "1.2.3.1", "1.2.3.1.1", image_set_id=made.id)
    with pytest.raises(NotFoundError):
        delete.delete(server.context, target)
    assert not state(server, made.id).deleted
