"""Repeated imports of a file: existing data are not stored again, and any difference is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from sqlalchemy import func, select

from lightwell.clock import Ids
from lightwell.operations import datastores
from lightwell.stores.db import tables
from lightwell.stores.image_sets import existing_instances
from lightwell.stores.jobs import outcomes
from lightwell.wire import shapes
from lightwell.work.imports.leases import Leases
from lightwell.work.verifying.run import Verifier
from tests.imports.operations.test_updates import blob
from tests.imports.operations.test_updates import update as change_attributes
from tests.support import invariants
from tests.support.collector import collector, delete, living
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.imports import Importing, Report, exported
from tests.support.shared_data import SHARED, needs_shared


def objects(server: Importing) -> dict[str, int]:
    """Every pack with its size."""
    return dict(server.stores.objects.list("packs"))


def versions(report: Report) -> list[int]:
    return [each["imageSetVersion"] for each in report.manifest["imageSetsSummary"]]


def already_there(server: Importing, report: Report) -> int:
    with server.stores.db.read() as conn:
        return outcomes.tally(conn, report.job.key).already_there


def rows(server: Importing, table: Any) -> int:
    with server.stores.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def pixels_of(server: Importing, id: str) -> dict[str, list[int]]:
    """The keys of the pixels of each instance of a set, in the order of the versions that it is in."""
    t, member, instance = tables.image_set.c, tables.member.c, tables.instance.c
    held = tables.member.join(tables.instance, instance.key == member.instance).join(
        tables.image_set, t.key == member.image_set
    )
    found: dict[str, list[int]] = {}
    with server.stores.db.read() as conn:
        for uid, key in conn.execute(
            select(instance.sop_instance_uid, member.pixels)
            .select_from(held)
            .where(t.id == id)
            .order_by(member.valid_from)
        ):
            found.setdefault(uid, []).append(key)
    return found


def problems(server: Importing) -> list[Any]:
    return Verifier(server.stores, server.settings, lambda done, total: None).run().problems


def whole(server: Importing) -> None:
    """Everything is as it was written, and the collector removes only what was imported again."""
    invariants.check(server.stores, decode=True)
    collector(server).collect()
    invariants.check(server.stores, decode=True)
    invariants.check_collected(server.stores)
    assert not problems(server)


def test_stores_and_changes_nothing_for_a_repeated_import(server: Importing) -> None:
    write_series(server.input / "a", 3)
    write(server.input / "a" / "other.dcm", ct(1, series="2"))
    first = server.run("a/")
    kept, events = objects(server), rows(server, tables.outbox)
    for again in (server.run("a/"), server.run("a/")):
        assert objects(server) == kept
        assert already_there(server, again) == 4
        assert again.manifest["numberOfImportedFiles"] == 4 and not again.failure
        assert again.manifest["imageSetsSummary"] == first.manifest["imageSetsSummary"]
        assert again.success == first.success
    assert already_there(server, first) == 0
    assert rows(server, tables.version) == 2
    # Each job tells that it was submitted, began and ended; no image set tells of anything.
    assert rows(server, tables.outbox) == events + 2 * 3
    whole(server)
    assert rows(server, tables.record) == rows(server, tables.pixels) == 4
    assert objects(server) == kept


@needs_shared
def test_keeps_the_size_of_a_real_series_that_is_imported_three_times(sqlite: Importing) -> None:
    source = SHARED / "ct-head-phantom"
    files = sorted(path for path in source.rglob("*") if path.is_file() and path.suffix != ".md")
    for number, path in enumerate(files):
        target = sqlite.input / "a" / f"{number}.dcm"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    first = sqlite.run("a/")
    kept = objects(sqlite)
    for _ in range(2):
        again = sqlite.run("a/")
        assert objects(sqlite) == kept
        assert versions(again) == versions(first)
        assert already_there(sqlite, again) == first.manifest["numberOfImportedFiles"] > 0
    whole(sqlite)


def test_stores_the_one_instance_of_which_one_sample_differs(server: Importing) -> None:
    write_series(server.input / "a", 3)
    (id,) = (s["imageSetId"] for s in server.run("a/").manifest["imageSetsSummary"])
    changed = ct(2)
    samples = np.frombuffer(changed.PixelData, "<i2").copy()
    samples[-1] ^= 1
    write(server.input / "a" / "0002.dcm", ct(2))
    changed.PixelData = samples.tobytes()
    write(server.input / "a" / "0002.dcm", changed)
    report = server.run("a/")
    assert versions(report) == [2]
    assert already_there(server, report) == 2
    assert [len(set(keys)) for _, keys in sorted(pixels_of(server, id).items())] == [1, 2, 1]
    assert [len(keys) for _, keys in sorted(pixels_of(server, id).items())] == [1, 2, 1]
    np.testing.assert_array_equal(exported(server, id)[changed.SOPInstanceUID].pixel_array.ravel(), samples)
    whole(server)


def test_makes_a_version_of_an_attribute_that_differs_and_keeps_the_pixels(server: Importing) -> None:
    write(server.input / "a" / "1.dcm", ct(1, size=64))
    (id,) = (s["imageSetId"] for s in server.run("a/").manifest["imageSetsSummary"])
    write(server.input / "a" / "1.dcm", ct(1, size=64, ImageComments="again"))
    report = server.run("a/")
    assert (versions(report), already_there(server, report)) == ([2], 0)
    assert rows(server, tables.pixels) == 1 and rows(server, tables.member) == 2
    (file,) = exported(server, id).values()
    assert file.ImageComments == "again"
    np.testing.assert_array_equal(file.pixel_array, ct(1, size=64).pixel_array)
    assert versions(server.run("a/")) == [2]
    whole(server)


def _read_before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read as by an import that runs beside another: nothing of that is committed yet."""
    monkeypatch.setattr(existing_instances, "find", lambda *_: None)


def test_makes_no_version_of_what_two_imports_have_read_at_once(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(server.input / "a", 3)
    multi = ct(1, series="2", NumberOfFrames=300, size=4, PixelData=bytes(range(32)) * 300)
    for name, data in (("2", multi), ("4", _deflated("4"))):
        write(server.input / "a" / f"{name}.dcm", data)
    first = server.run("a/")
    events = rows(server, tables.outbox)
    _read_before_commit(monkeypatch)
    again = server.run("a/")
    assert already_there(server, again) == 5
    assert again.manifest["imageSetsSummary"] == first.manifest["imageSetsSummary"]
    assert again.success == first.success
    assert rows(server, tables.version) == 3 and rows(server, tables.outbox) == events + 3
    whole(server)


def test_makes_a_version_of_anything_that_differs_in_what_two_imports_have_read_at_once(
    server: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(server.input / "a", 3, ImageComments="one")
    (id,) = (s["imageSetId"] for s in server.run("a/").manifest["imageSetsSummary"])
    _read_before_commit(monkeypatch)
    write(server.input / "a" / "0002.dcm", ct(2, ImageComments="two"))
    report = server.run("a/")
    assert (versions(report), already_there(server, report)) == ([2], 2)
    changed = ct(3, ImageComments="one")
    samples = np.frombuffer(changed.PixelData, "<i2").copy()
    samples[-1] ^= 1
    changed.PixelData = samples.tobytes()
    write(server.input / "a" / "0003.dcm", changed)
    report = server.run("a/")
    assert (versions(report), already_there(server, report)) == ([3], 2)
    np.testing.assert_array_equal(exported(server, id)[changed.SOPInstanceUID].pixel_array.ravel(), samples)
    # Of a frame whose bytes were damaged since, the file is stored again.
    for name, size in objects(server).items():
        path = server.settings.data / "objects" / name
        path.chmod(0o600)
        with path.open("r+b") as pack:
            pack.seek(size // 2)
            byte = pack.read(1)
            pack.seek(size // 2)
            pack.write(bytes((byte[0] ^ 1,)))
    report = server.run("a/")
    assert versions(report) == [4] and already_there(server, report) < 3


def _blob() -> FileDataset:
    data = ct(1)
    data.PixelData = data.PixelData[:-100]
    return data


def _without_pixels() -> FileDataset:
    data = ct(1)
    del data.PixelData
    return data


def _deflated(series: str = "1") -> FileDataset:
    data = ct(1, series=series)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return data


def _shipped(name: str) -> Callable[[], FileDataset]:
    def read() -> FileDataset:
        path = get_testdata_file(name, download=False)
        assert isinstance(path, str)
        return pydicom.dcmread(path)

    return read


KINDS: dict[str, Callable[[], FileDataset]] = {
    "multi-frame": lambda: ct(1, NumberOfFrames=300, size=4, PixelData=bytes(range(32)) * 300),
    "RGB": _shipped("SC_rgb_small_odd.dcm"),
    "lossy JPEG, kept": _shipped("SC_rgb_jpeg_dcmtk.dcm"),
    "JPEG 2000": _shipped("JPEG2000.dcm"),
    "RLE": _shipped("MR_small_RLE.dcm"),
    "one bit": _shipped("liver_1frame.dcm"),
    "32 bits": _shipped("rtdose_1frame.dcm"),
    "big endian": _shipped("MR_small_bigendian.dcm"),
    "deflated": _deflated,
    "pixels that cannot be split": _blob,
    "no pixels": _without_pixels,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("storage_format", ["HTJ2K", "JPEG_2000_LOSSLESS"])
def test_stores_no_kind_of_pixels_again(
    sqlite: Importing, storage_format: shapes.LosslessStorageFormat
) -> None:
    use_store(sqlite, storage_format)
    for number, make in enumerate(KINDS.values()):
        data = make()
        # Each a series of its own, so that one that is stored again is told from the others.
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.7.{number}")
        data.StudyInstanceUID = data.SeriesInstanceUID = f"{ROOT}.8.{number}"
        path = sqlite.input / "a" / f"{number:02}.dcm"
        path.parent.mkdir(exist_ok=True)
        pydicom.dcmwrite(path, data, enforce_file_format=True)
    first = sqlite.run("a/")
    assert not first.failure and len(first.success) == len(KINDS)
    kept = objects(sqlite)
    again = sqlite.run("a/")
    assert objects(sqlite) == kept
    assert (again.success, again.warning) == (first.success, first.warning)
    assert already_there(sqlite, again) == len(KINDS)
    assert not problems(sqlite)


def use_store(server: Importing, storage_format: shapes.LosslessStorageFormat) -> None:
    """Make another data store, and import into it from now on."""
    answer = datastores.create_datastore(
        server.context,
        shapes.CreateDatastoreRequest(client_token=Ids().id(), lossless_storage_format=storage_format),
    )
    server.datastore = answer.datastore_id


def test_shares_nothing_between_data_stores(sqlite: Importing) -> None:
    write_series(sqlite.input / "a", 2)
    sqlite.run("a/")
    kept = objects(sqlite)
    use_store(sqlite, "JPEG_2000_LOSSLESS")
    report = sqlite.run("a/")
    assert (versions(report), already_there(sqlite, report)) == ([1], 0)
    assert len(objects(sqlite)) == len(kept) + 1
    assert rows(sqlite, tables.pixels) == 4
    whole(sqlite)


def test_creates_a_version_for_files_with_another_override(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "x.dcm", ct(1))

    def run(description: str) -> Report:
        laid = {"00081030": {"vr": "LO", "Value": [description]}}
        (sqlite.input / "a" / "study.json").write_text(json.dumps(laid))
        mapping = shapes.DicomMetadataMapping(study_instance_uid=f"{ROOT}.1", metadata_file_path="study.json")
        mapped = shapes.DicomJsonMetadataImportConfiguration(dicom_metadata_mappings=[mapping])
        configuration = shapes.ImportConfiguration(dicom_json_metadata_import_configuration=mapped)
        return sqlite.run("a/", import_configuration=configuration)

    assert [versions(run(text)) for text in ("one", "one", "two", "two")] == [[1], [1], [2], [2]]
    assert rows(sqlite, tables.pixels) == 1
    (sqlite.input / "a" / "study.json").unlink()
    assert versions(sqlite.run("a/")) == [3]
    whole(sqlite)


def test_makes_a_version_of_an_edited_set_and_stores_nothing(server: Importing) -> None:
    write_series(server.input / "a", 2)
    (id,) = (s["imageSetId"] for s in server.run("a/").manifest["imageSetsSummary"])
    kept = objects(server)
    uid = f"{ROOT}.1.1.1"
    instances = {uid: {"DICOM": {"ImageComments": "EDITED"}}}
    change_attributes(server, id, 1, blob(instances=instances))
    report = server.run("a/")
    assert (versions(report), already_there(server, report)) == ([3], 1)
    assert "ImageComments" not in exported(server, id)[uid], "a repeated import starts without edits"
    wide: dict[str, Any] = {"include_study_image_sets": True}
    change_attributes(server, id, 3, blob(study={"StudyDescription": "EDITED"}), **wide)
    report = server.run("a/")
    assert (versions(report), already_there(server, report)) == ([5], 0)
    assert {file.StudyDescription for file in exported(server, id).values()} == {"EDITED"}
    # Another group now: the repeated import creates a set that shares the pixels, and joins it.
    change_attributes(server, id, 5, blob(study={"AccessionNumber": "NEW"}), **wide)
    assert versions(server.run("a/")) == [1]
    assert versions(server.run("a/")) == [2], "a set that is not primary grows as ever"
    assert objects(server) == kept and rows(server, tables.pixels) == 2
    first, second = living(server)
    delete(server, first)
    whole(server)
    assert objects(server) == kept
    for number, file in enumerate(
        sorted(exported(server, second).values(), key=lambda f: f.InstanceNumber), 1
    ):
        np.testing.assert_array_equal(file.pixel_array, ct(number).pixel_array)


def test_brings_back_what_was_removed_from_a_set(sqlite: Importing) -> None:
    write_series(sqlite.input / "a", 2)
    (id,) = (s["imageSetId"] for s in sqlite.run("a/").manifest["imageSetsSummary"])
    change_attributes(sqlite, id, 1, None, blob(instances={f"{ROOT}.1.1.1": {}}))
    assert versions(sqlite.run("a/")) == [3]
    assert sorted(exported(sqlite, id)) == [f"{ROOT}.1.1.1", f"{ROOT}.1.1.2"]
    whole(sqlite)


def test_stores_again_what_a_deleted_set_had(sqlite: Importing) -> None:
    write_series(sqlite.input / "a", 2)
    sqlite.run("a/")
    (id,) = living(sqlite)
    delete(sqlite, id)
    report = sqlite.run("a/")
    assert (versions(report), already_there(sqlite, report)) == ([1], 0)
    assert rows(sqlite, tables.pixels) == 4
    whole(sqlite)
    assert rows(sqlite, tables.pixels) == 2


def test_keeps_the_last_of_an_instance_that_is_imported_twice(sqlite: Importing) -> None:
    write(sqlite.input / "a" / "1.dcm", ct(1))
    write(sqlite.input / "b" / "1.dcm", ct(1, ImageComments="other"))
    write(sqlite.input / "b" / "2.dcm", ct(1))
    sqlite.run("a/")
    report = sqlite.run("b/")
    assert (versions(report), already_there(sqlite, report)) == ([1], 1)
    assert report.manifest["numberOfImportedFiles"] == 2
    whole(sqlite)


def test_asks_once_for_a_series_that_is_new(sqlite: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, taken, find, take = [], [], existing_instances.find, Leases.take

    def finding(*arguments: Any) -> Any:
        asked.append(arguments[2:])
        return find(*arguments)

    def taking(claims: Leases) -> Any:
        claimed = take(claims)
        taken.extend([] if claimed is None else [claimed])
        return claimed

    monkeypatch.setattr(existing_instances, "find", finding)
    monkeypatch.setattr(Leases, "take", taking)
    write_series(sqlite.input / "a", 12)
    sqlite.run("a/")
    assert 0 < len(asked) <= len(taken) < 12
    sqlite.run("a/")
    assert {uid for _, _, uid in asked} == {f"{ROOT}.1.1.{number}" for number in range(1, 13)}


def test_treats_files_as_different_by_one_byte_outside_the_pixels(sqlite: Importing) -> None:
    """Even where no attribute shows it: the length of a group, say, or a padding byte."""
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ct(1, StudyID="S1"), enforce_file_format=True)
    data = stream.getvalue()
    (sqlite.input / "a").mkdir()
    (sqlite.input / "a" / "1.dcm").write_bytes(data)
    sqlite.run("a/")
    padded = data.replace(b"DOE^JANE", b"DOE^JAN ")
    assert len(padded) == len(data) and padded != data
    (sqlite.input / "a" / "1.dcm").write_bytes(padded)
    report = sqlite.run("a/")
    assert (versions(report), already_there(sqlite, report)) == ([2], 0)
    assert rows(sqlite, tables.pixels) == 1
    whole(sqlite)
