"""Copies of imported sets: what is exported, what grows on them, faults, and many at the same time."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pydicom
import pytest
from sqlalchemy import select

from lightwell.errors import ApiError, ConflictError, NotFoundError
from lightwell.operations import image_sets
from lightwell.operations.copy_image_set import copy_image_set
from lightwell.operations.delete_image_set import delete_image_set
from lightwell.operations.get_image_frame import FrameReader
from lightwell.operations.get_image_set_metadata import get_image_set_metadata
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.stores.db import database, errors, tables
from lightwell.stores.image_sets import copying
from lightwell.wire import shapes
from tests.support import invariants
from tests.support.ct_files import ROOT, ct, write, write_series
from tests.support.imports import Importing, exported


def copy(
    server: Importing,
    source: str,
    version: int = 1,
    to: str | None = None,
    at: int = 1,
    *,
    only: list[str] | None = None,
    **flags: bool,
) -> str:
    """The id of the destination."""
    named = None
    if only is not None:
        with server.stores.db.read() as conn:
            t = tables.image_set.c
            series = conn.execute(select(t.series_instance_uid).where(t.id == source)).scalar_one()
        of_series: dict[str, Any] = {series: {"Instances": {uid: {} for uid in only}}}
        named = json.dumps({"SchemaVersion": "1.1", "Study": {"Series": of_series}})
    answer = copy_image_set(
        server.context,
        shapes.CopyImageSetRequest(
            datastore_id=server.datastore,
            source_image_set_id=source,
            copy_image_set_information=shapes.CopyImageSetInformation(
                source_image_set=shapes.CopySourceImageSetInformation(
                    latest_version_id=str(version),
                    dicom_copies=None if named is None else shapes.MetadataCopies(copiable_attributes=named),
                ),
                destination_image_set=None
                if to is None
                else shapes.CopyDestinationImageSet(image_set_id=to, latest_version_id=str(at)),
            ),
            **flags,
        ),
    )
    return answer.destination_image_set_properties.image_set_id


def update(server: Importing, id: str, version: int, **blobs: Any) -> None:
    """``updatable`` and ``removable`` as objects."""
    encoded = {
        f"{name}_attributes": json.dumps({"SchemaVersion": 1.1, **blob}).encode()
        for name, blob in blobs.items()
    }
    update_image_set_metadata(
        server.context,
        shapes.UpdateImageSetMetadataRequest(
            datastore_id=server.datastore,
            image_set_id=id,
            latest_version_id=str(version),
            update_image_set_metadata_updates=shapes.MetadataUpdates(
                dicom_updates=shapes.DICOMUpdates(**encoded)
            ),
            force=True,
        ),
    )


def delete(server: Importing, id: str) -> None:
    request = shapes.DeleteImageSetRequest(datastore_id=server.datastore, image_set_id=id)
    delete_image_set(server.context, request)


def properties(server: Importing, id: str) -> shapes.GetImageSetResponse:
    request = shapes.GetImageSetRequest(datastore_id=server.datastore, image_set_id=id)
    return image_sets.get_image_set(server.context, request)


def document(server: Importing, id: str) -> Any:
    import gzip

    request = shapes.GetImageSetMetadataRequest(datastore_id=server.datastore, image_set_id=id)
    answer = get_image_set_metadata(server.context, request)
    return json.loads(gzip.decompress(answer.image_set_metadata_blob))


def imported(server: Importing, prefix: str, count: int = 2, **options: Any) -> str:
    """The id of the one set that a series of slices becomes."""
    write_series(server.input / prefix, count, **options)
    (summary,) = server.run(f"{prefix}/").manifest["imageSetsSummary"]
    return str(summary["imageSetId"])


def series_uid(number: int) -> str:
    return f"{ROOT}.1.{number}"


def test_exports_forced_instances_as_those_of_their_set(server: Importing) -> None:
    target = imported(server, "a")
    source = imported(
        server, "b", 3, series="2", PatientID="P2", PatientName="OTHER", PatientComments="x", StudyID="S2",
    )  # fmt: skip
    copy(server, source, 1, target, force=True, only=[f"{series_uid(2)}.3"])
    files = exported(server, target)
    joined = files[f"{series_uid(2)}.3"]
    assert (joined.PatientID, joined.PatientName, joined.StudyID) == ("P1", "DOE^JANE", "S1")
    assert (joined.SeriesInstanceUID, joined.SeriesNumber) == (series_uid(1), 1)
    assert "PatientComments" not in joined
    original = exported(server, source)[f"{series_uid(2)}.3"]
    assert joined.PixelData == original.PixelData
    assert (original.PatientID, original.PatientComments) == ("P2", "x")
    invariants.check(server.stores)


def test_forces_values_under_their_own_vr(server: Importing) -> None:
    item = pydicom.Dataset()
    item.CodeValue = "x"
    item.private_block(0x0009, "ACME", create=True).add_new(1, "DS", "5")
    target = imported(
        server, "a", 1, ProcedureCodeSequence=[item], PixelPaddingValue=-2000, OtherPatientNames=["A^B", "C"]
    )
    source = imported(server, "b", 1, series="2", PatientBirthDate="19700101")
    copy(server, source, 1, target, force=True)
    first, joined = (exported(server, target)[f"{series_uid(n)}.1"] for n in (1, 2))
    assert joined.ProcedureCodeSequence == first.ProcedureCodeSequence
    assert joined.ProcedureCodeSequence[0][0x00091001].VR == "DS"
    assert joined["PixelPaddingValue"].VR == "SS" and joined.PixelPaddingValue == -2000
    assert joined.OtherPatientNames == ["A^B", "C"]
    assert "PatientBirthDate" not in joined
    shown = document(server, target)["Study"]["Series"][series_uid(1)]["Instances"]
    assert not shown[f"{series_uid(2)}.1"]["DICOM"].keys() & {"ProcedureCodeSequence", "PixelPaddingValue"}
    invariants.check(server.stores)


def test_covers_what_an_instance_shows_by_the_digits_of_its_tag(server: Importing) -> None:
    target = imported(server, "a", 1)
    odd = ct(1, series="2")
    del odd.PatientName
    odd.add_new(0x00100010, "UN", b"SECRET^NAME ")
    write(server.input / "b" / "1.dcm", odd)
    source = server.run("b/").manifest["imageSetsSummary"][0]["imageSetId"]
    forms = ("SECRET", "U0VDUkVU")  # as text, and in base64
    assert any(form in json.dumps(document(server, source)) for form in forms)
    copy(server, source, 1, target, force=True)
    assert not any(form in json.dumps(document(server, target)) for form in forms)
    assert exported(server, target)[f"{series_uid(2)}.1"].PatientName == "DOE^JANE"
    invariants.check(server.stores)


def test_lets_no_forced_instance_show_its_origin_when_it_is_left_alone(server: Importing) -> None:
    target = imported(server, "a", 1)
    source = imported(server, "b", 1, series="2", PatientID="P2", PatientName="OTHER", PatientComments="x")
    copy(server, source, 1, target, force=True)
    gone: dict[str, Any] = {"Study": {"Series": {series_uid(1): {"Instances": {f"{series_uid(1)}.1": {}}}}}}
    before = document(server, target)
    update(server, target, 2, removable=gone)
    after = document(server, target)
    assert after["Patient"] == before["Patient"]
    assert list(after["Study"]["Series"]) == [series_uid(1)]
    (shown,) = after["Study"]["Series"][series_uid(1)]["Instances"].values()
    assert not shown["DICOM"].keys() & {"PatientID", "PatientName", "PatientComments", "SeriesInstanceUID"}
    # What the set is found by stays, too: the next import of its series finds it.
    assert imported(server, "c", 1) == target
    invariants.check(server.stores)


def test_keeps_what_its_edits_say_of_forced_instances_that_are_left_alone(server: Importing) -> None:
    """Edits of a level settle what they name; the base below them is never seen, whichever block it is."""
    target = imported(server, "a", 1, PatientComments="of the target")
    source = copy(server, imported(server, "b", 1, series="2", PatientName="OTHER", PatientComments="x"))
    target = copy(server, target)
    update(
        server,
        target,
        1,
        updatable={"Patient": {"DICOM": {"PatientName": "EDITED"}}},
        removable={"Patient": {"DICOM": {"PatientComments": "of the target"}}},
    )
    update(server, source, 1, updatable={"Patient": {"DICOM": {"PatientName": "MOVED", "PatientSex": "F"}}})
    copy(server, source, 2, target, 2, force=True)
    before = document(server, target)
    assert before["Patient"]["DICOM"] == {"PatientID": "P1", "PatientName": "EDITED"}
    gone: dict[str, Any] = {"Study": {"Series": {series_uid(1): {"Instances": {f"{series_uid(1)}.1": {}}}}}}
    update(server, target, 3, removable=gone)
    aside = copy(server, target, 4)
    for id in (target, aside):
        after = document(server, id)
        assert after["Patient"] == before["Patient"]
        assert after["Study"]["DICOM"] == before["Study"]["DICOM"]
        (series,), (was,) = after["Study"]["Series"].values(), before["Study"]["Series"].values()
        assert series["DICOM"] == was["DICOM"]
        assert series["Instances"] == {uid: was["Instances"][uid] for uid in series["Instances"]}
        (file,) = exported(server, id).values()
        assert (file.PatientName, file.SeriesInstanceUID) == ("EDITED", series_uid(1))
        assert not {"PatientComments", "PatientSex"} & set(file.dir("Patient"))
    invariants.check(server.stores)


def test_passes_levels_on_to_an_edited_instance_when_an_import_replaces_the_first(server: Importing) -> None:
    write(server.input / "a" / "1.dcm", ct(1))
    write(server.input / "a" / "2.dcm", ct(2, PatientName="DOE^J", PatientComments="x"))
    target = server.run("a/").manifest["imageSetsSummary"][0]["imageSetId"]
    second = f"{series_uid(1)}.2"

    def of_second(**attributes: Any) -> Any:
        named = {"Instances": {second: {"DICOM": attributes}}}
        return {"Study": {"Series": {series_uid(1): named}}}

    copied = copy(server, target)
    update(
        server, copied, 1, updatable=of_second(PatientName="NEW"), removable=of_second(PatientComments="x")
    )
    delete(server, target)
    promoted = copy(server, copied, 2, promote_to_primary=True)
    write(server.input / "b" / "1.dcm", ct(1, PatientName="AGAIN"))
    assert server.run("b/").manifest["imageSetsSummary"][0]["imageSetId"] == promoted
    shown = document(server, promoted)
    assert shown["Patient"]["DICOM"] == {"PatientID": "P1", "PatientName": "NEW"}
    instances = shown["Study"]["Series"][series_uid(1)]["Instances"]
    assert instances[f"{series_uid(1)}.1"]["DICOM"]["PatientName"] == "AGAIN"
    assert not instances[second]["DICOM"].keys() & {"PatientName", "PatientComments"}
    invariants.check(server.stores)


def test_lets_imports_join_what_was_promoted_but_no_copy(server: Importing) -> None:
    primary = imported(server, "a", 2)
    copied = copy(server, primary)
    write(server.input / "b" / "3.dcm", ct(3))
    assert server.run("b/").manifest["imageSetsSummary"][0]["imageSetId"] == primary
    delete(server, primary)
    promoted = copy(server, copied, promote_to_primary=True)
    write(server.input / "c" / "4.dcm", ct(4))
    (summary,) = server.run("c/").manifest["imageSetsSummary"]
    assert summary["imageSetId"] == promoted
    assert (summary["isPrimary"], summary["imageSetVersion"]) == (True, 2)
    assert properties(server, copied).version_id == "1"
    assert properties(server, promoted).image_set_workflow_status == "IMPORTED"
    invariants.check(server.stores)


def test_makes_a_copy_again_of_pixels_of_every_kind(server: Importing) -> None:
    write(server.input / "a" / "1.dcm", ct(1, NumberOfFrames=3, PixelData=bytes(range(256)) * 6))
    unreadable = ct(2)
    unreadable.PixelData = unreadable.PixelData[:-100]
    write(server.input / "a" / "2.dcm", unreadable)
    without = ct(3)
    del without.PixelData
    write(server.input / "a" / "3.dcm", without)
    source = server.run("a/").manifest["imageSetsSummary"][0]["imageSetId"]
    copied = copy(server, source)
    shown = document(server, source)
    assert {**document(server, copied), "ImageSetID": source} == shown
    reader = FrameReader(server.stores, server.context.clock)
    ids = [
        frame["ID"]
        for instance in shown["Study"]["Series"][series_uid(1)]["Instances"].values()
        for frame in instance["ImageFrames"]
    ]
    assert len(ids) == 3
    for id in ids:
        one, other = (reader.locate(server.datastore, image_set, id) for image_set in (source, copied))
        assert (one.object, one.offset) == (other.object, other.offset)
        assert one.image_set != other.image_set
        assert reader.locate(server.datastore, source, id) == one
    invariants.check(server.stores)


@pytest.mark.parametrize("new", [True, False])
def test_records_an_internal_fault(
    server: Importing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, new: bool
) -> None:
    source = imported(server, "a")
    target = None if new else copy(server, imported(server, "b", series="2"))
    before = document(server, target) if target else None

    def fail(*_: Any) -> None:
        raise KeyError("fault")

    add = copying.copy_all_members if new else copying.common_instance
    monkeypatch.setattr(copying, add.__name__, fail)
    failed = copy(server, source, 1, target, force=True)
    monkeypatch.setattr(copying, add.__name__, add)
    assert "fault" in caplog.text
    found = properties(server, failed)
    assert (found.image_set_state, found.image_set_workflow_status) == ("ACTIVE", "COPY_FAILED")
    assert found.message is not None and found.message.startswith("The server failed")
    assert found.version_id == ("1" if new else "2")
    if new:
        with pytest.raises(NotFoundError):
            document(server, failed)
    else:
        assert document(server, failed) == before
    invariants.check(server.stores)


def run_concurrently(*calls: Callable[[], Any]) -> list[Any]:
    """What each returned or raised."""
    start = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(place: int, call: Callable[[], Any]) -> None:
        start.wait()
        try:
            results[place] = call()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_lets_one_of_several_copies_into_the_same_set_succeed(server: Importing) -> None:
    target = imported(server, "target")
    sources = [copy(server, imported(server, f"s{n}", series=str(n))) for n in range(2, 6)]
    calls = [lambda id=id: copy(server, id, 1, target, force=True) for id in sources]
    results = run_concurrently(*calls)
    assert results.count(target) == 1
    losers = [error for error in results if error != target]
    assert {str(error) for error in losers} == {"Requested version(s) of ImageSet(s) is not the latest."}
    assert properties(server, target).version_id == "2"
    invariants.check(server.stores)


def test_promotes_one_of_several_sets_of_a_series(server: Importing) -> None:
    primary = imported(server, "a", 3)
    sources = [copy(server, primary) for _ in range(4)]
    delete(server, primary)
    calls = [lambda id=id: copy(server, id, promote_to_primary=True) for id in sources]
    results = run_concurrently(*calls)
    statuses = Counter(properties(server, id).image_set_workflow_status for id in results)
    assert statuses == {"COPIED": 1, "COPY_FAILED": 3}
    invariants.check(server.stores)


def test_copies_into_no_primary_set_created_after_the_policy_check(server: Importing) -> None:
    primary = imported(server, "a", 1)
    copied = copy(server, primary)
    delete(server, primary)
    write(server.input / "b" / "2.dcm", ct(2))
    server.run("b/")
    request = shapes.CopyImageSetRequest(
        datastore_id=server.datastore,
        source_image_set_id=copied,
        copy_image_set_information=shapes.CopyImageSetInformation(
            source_image_set=shapes.CopySourceImageSetInformation(latest_version_id="1")
        ),
        promote_to_primary=True,
    )
    with pytest.raises(ConflictError, match="is being changed by another request; try again"):
        copy_image_set(replace(server.context, authorized_image_sets=frozenset()), request)
    copy_image_set(server.context, request)
    invariants.check(server.stores)


def test_runs_beside_an_import_of_the_same_series(server: Importing) -> None:
    target = imported(server, "a", 2)
    source = imported(server, "b", 2, series="2")
    for number in range(4):
        write(server.input / f"c{number}" / "1.dcm", ct(10 + number))

    def insist() -> int:
        """Copies one instance after the other, each into the version that it finds."""
        tries = 0
        for uid in (f"{series_uid(2)}.1", f"{series_uid(2)}.2"):
            while True:
                tries += 1
                at = int(properties(server, target).version_id)
                try:
                    copy(server, source, 1, target, at, only=[uid], force=True)
                    break
                except NotFoundError:
                    continue
        return tries

    jobs = [server.start(f"c{number}/") for number in range(4)]
    tries, _ = run_concurrently(insist, server.work)
    assert isinstance(tries, int), tries
    assert [server.report(job.id).manifest["numberOfImportedFiles"] for job in jobs] == [1] * 4
    shown = document(server, target)["Study"]["Series"][series_uid(1)]["Instances"]
    assert len(shown) == 8
    assert properties(server, target).version_id == "7"
    invariants.check(server.stores)


def test_never_deadlocks(server: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlocks = []
    may_retry = errors.may_retry

    def watch(error: BaseException) -> bool:
        deadlocks.append(str(error))
        return may_retry(error)

    monkeypatch.setattr(database, "may_retry", watch)
    sets = [imported(server, f"a{n}", 1, study=str(n), series="1") for n in range(3)]
    sets += [imported(server, f"b{n}", 1, study="0", series=str(n)) for n in (2, 3)]
    outcomes: Counter[str] = Counter()

    def act(seed: int) -> None:
        chance = Random(seed)
        for _ in range(12):
            source, target = chance.sample(sets, 2)
            versions = {id: int(properties(server, id).version_id) for id in (source, target)}
            kind = chance.choice(["join", "join", "new", "promote", "study"])
            try:
                if kind == "join":
                    copy(server, source, versions[source], target, versions[target], force=True)
                elif kind == "study":
                    blob = {"Study": {"DICOM": {"StudyDescription": str(chance.random())}}}
                    update(server, copy(server, source, versions[source]), 1, updatable=blob)
                else:
                    made = copy(server, source, versions[source])
                    if kind == "promote":
                        copy(server, made, 1, promote_to_primary=True)
            except ApiError as error:
                outcomes[error.code] += 1
            else:
                outcomes[kind] += 1

    results = run_concurrently(*(lambda seed=seed: act(seed) for seed in range(4)))
    assert results == [None] * 4
    assert deadlocks == []
    assert set(outcomes) <= {"join", "new", "promote", "study", "ResourceNotFoundException"}
    assert outcomes["join"] and outcomes["promote"]
    invariants.check(server.stores)
