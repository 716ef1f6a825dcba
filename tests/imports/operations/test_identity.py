"""Whom what is read is about: of that set, in that version, however often its frames were read elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from lightwell.observe.audit.note import AuditNote
from lightwell.operations.dicomweb import retrieve
from lightwell.operations.dicomweb.frames import InstanceFrames
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from lightwell.operations.frame_lists import frame_list
from lightwell.operations.get_image_frame import FrameReader
from lightwell.operations.get_image_set_metadata import MetadataReader, get_image_set_metadata
from lightwell.wire import shapes
from tests.imports.operations.test_copies import copy, document, imported, update
from tests.support.ct_files import ROOT
from tests.support.imports import Importing

OTHER = {"Patient": {"DICOM": {"PatientID": "SOMEBODY-ELSE"}}}


def copy_of_another_patient(server: Importing) -> tuple[str, str]:
    """The ids of an imported set and of a copy of it, whose second version is about another patient."""
    source = imported(server, "a")
    copied = copy(server, source)
    update(server, copied, 1, updatable=OTHER)
    return source, copied


def patients(note: AuditNote) -> list[str]:
    return list(note.patients)


def test_frames_that_copies_share_are_of_the_patient_of_the_set_that_was_asked(server: Importing) -> None:
    source, copied = copy_of_another_patient(server)
    reader = FrameReader(server.stores, server.context.clock)
    (series,) = document(server, source)["Study"]["Series"].values()
    instance = next(iter(series["Instances"].values()))
    frame = instance["ImageFrames"][0]["ID"]
    uids = f"{ROOT}.1", f"{ROOT}.1.1", instance["DICOM"]["SOPInstanceUID"]
    by_uid = InstanceFrames(reader)
    for _ in range(2):
        for id, patient in ((source, "P1"), (copied, "SOMEBODY-ELSE")):
            place, row = reader.find(server.datastore, id, frame)
            assert row == (place.image_set, patient, *uids[:2])
            assert asyncio.run(reader.find_here(server.datastore, id, frame)) == (place, row)
            found = by_uid.find(server.datastore, *uids, id)
            assert (found.image_set_id, found.patient_id) == (id, patient)
            assert asyncio.run(by_uid.find_here(server.datastore, *uids, id)) == found
            assert by_uid.frame(found, 1).place.image_set == place.image_set


def test_an_older_version_is_about_the_patient_that_it_had(server: Importing) -> None:
    _, copied = copy_of_another_patient(server)
    reader = MetadataReader(server.stores, server.context.clock)
    for version, patient in (("1", "P1"), ("2", "SOMEBODY-ELSE"), (None, "SOMEBODY-ELSE"), ("1", "P1")):
        context = replace(server.context, note=AuditNote())
        request = shapes.GetImageSetMetadataRequest(
            datastore_id=server.datastore, image_set_id=copied, version_id=version
        )
        get_image_set_metadata(context, request)
        assert patients(context.note) == [patient]
        assert context.note.version == int(version or 2)
        assert list(context.note.image_sets) == [copied]
        listing = replace(server.context, note=AuditNote())
        frame_list.of_image_set(listing, server.datastore, copied, version)
        assert listing.note == context.note
    # Who is in memory is served on the event loop; the row of the set does not say of whom version 1 is.
    assert reader.cached_document(server.datastore, copied, 1) is None
    latest = reader.cached_document(server.datastore, copied, 2)
    assert latest is not None and latest[1][1] == "SOMEBODY-ELSE"


def test_what_is_retrieved_by_uid_is_noted(server: Importing) -> None:
    source, copied = copy_of_another_patient(server)
    for named, id, patient in ((None, source, "P1"), (copied, copied, "SOMEBODY-ELSE")):
        context = replace(server.context, note=AuditNote())
        target = DicomwebTarget(server.datastore, f"{ROOT}.1", f"{ROOT}.1.1", None, named)
        assert len(retrieve.find_instances(context, target)) == 2
        assert (list(context.note.image_sets), patients(context.note)) == ([id], [patient])
        assert list(context.note.studies) == [f"{ROOT}.1"]
        assert list(context.note.series) == [f"{ROOT}.1.1"]
