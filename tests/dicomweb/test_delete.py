"""DELETE, collections of pixel data, and capabilities over HTTP."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest

from lightwell.errors import ConflictError
from lightwell.operations.dicomweb import delete
from lightwell.operations.dicomweb.lookup import DicomwebTarget
from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.sample_datastore import (
    EXPLICIT,
    FRAMES,
    HTJ2K,
    JPEG,
    SampleDatastore,
    parts,
    read,
)
from tests.support.ct_files import ct, write

FILES = {"a1": ("1", 1), "a2": ("1", 2), "b1": ("2", 1), "c1": ("3", 1)}


@pytest.fixture
def doomed(sample: SampleDatastore) -> SampleDatastore:
    """A data store of a study with series of 2, 1 and 1 instances, whose parts may be deleted."""
    datastore = sample.server.client().create_datastore(datastoreName="doomed")["datastoreId"]
    files = {name: ct(number, study="77", series=series) for name, (series, number) in FILES.items()}
    for name, data in files.items():
        write(sample.server.data / "buckets" / "in-bucket" / datastore / f"{name}.dcm", data)
    imported(sample.server, datastore, f"{datastore}/")
    return SampleDatastore(sample.server, datastore, files)


def left(sample: SampleDatastore) -> set[str]:
    return {name for name in FILES if sample.get(sample.instance(name)).status == 200}


def test_deletes_an_instance_a_series_and_a_study(doomed: SampleDatastore) -> None:
    reply = doomed.get(doomed.instance("a1"), method="DELETE")
    assert (reply.status, reply.body) == (204, b"")
    assert left(doomed) == {"a2", "b1", "c1"}
    sets = doomed.server.client().search_image_sets(datastoreId=doomed.datastore)
    assert sorted(found["version"] for found in sets["imageSetsMetadataSummaries"]) == [1, 1, 2]
    # The last one takes the set with it.
    assert doomed.get(doomed.instance("a2"), method="DELETE").status == 204
    assert left(doomed) == {"b1", "c1"}
    assert doomed.get(doomed.series("a1"), method="DELETE").status == 404
    assert doomed.get(doomed.series("b1"), method="DELETE").status == 204
    assert left(doomed) == {"c1"}
    assert doomed.get(doomed.study("a1"), method="DELETE").status == 204
    assert doomed.get(doomed.study("a1")).status == 404
    sets = doomed.server.client().search_image_sets(datastoreId=doomed.datastore)
    assert sets["imageSetsMetadataSummaries"] == []


def test_deletes_a_whole_study_at_once(doomed: SampleDatastore) -> None:
    assert doomed.get(doomed.study("a1"), method="DELETE").status == 204
    assert left(doomed) == set()


def test_deletes_nothing_that_is_not_there(sample: SampleDatastore) -> None:
    for path, status in (
        ("/studies/1.2.3", 404),
        ("/studies/x", 400),
        ("/studies/1.2/series/1.2/instances/abc", 400),
        (f"{sample.study('ct1')}/series/1.2.3", 404),
        (f"{sample.series('ct1')}/instances/1.2.3", 404),
        (f"{sample.instance('ct1')}?imageSetId={'0' * 32}", 404),
    ):
        assert sample.get(path, method="DELETE").status == status, path


def test_shows_updates_in_a_file(doomed: SampleDatastore) -> None:
    client = doomed.server.client()
    (found,) = client.search_image_sets(
        datastoreId=doomed.datastore,
        searchCriteria={
            "filters": [
                {
                    "operator": "EQUAL",
                    "values": [{"DICOMSeriesInstanceUID": doomed.files["b1"].SeriesInstanceUID}],
                }
            ]
        },
    )["imageSetsMetadataSummaries"]
    before = doomed.get(doomed.instance("b1")).headers["etag"]
    client.update_image_set_metadata(
        datastoreId=doomed.datastore,
        imageSetId=found["imageSetId"],
        latestVersionId="1",
        includeStudyImageSets=True,
        updateImageSetMetadataUpdates={
            "DICOMUpdates": {
                "updatableAttributes": json.dumps(
                    {"SchemaVersion": 1.1, "Study": {"DICOM": {"StudyDescription": "KNEE"}}}
                ).encode()
            }
        },
    )
    reply = doomed.get(doomed.instance("b1"), "application/dicom; transfer-syntax=*")
    assert read(reply.body).StudyDescription == "KNEE"
    assert np.array_equal(read(reply.body).pixel_array, doomed.files["b1"].pixel_array)
    assert doomed.get(doomed.instance("b1")).headers["etag"] != before


def test_gives_all_pixel_data(sample: SampleDatastore) -> None:
    for accept, syntax in ((None, EXPLICIT), (FRAMES + "*", HTJ2K)):
        reply = sample.get(sample.instance("frames") + "/pixeldata", accept)
        found = parts(reply)
        assert [part.headers["content-type"].rpartition("=")[2] for part in found] == [syntax] * 4
        for part, frame in zip(found, sample.files["frames"].pixel_array, strict=True):
            got = part.body if syntax == EXPLICIT else imagecodecs.htj2k_decode(part.body).tobytes()
            assert got == frame.tobytes()
    assert len(parts(sample.get(sample.series("ct1") + "/pixeldata"))) == 3
    reply = sample.get(sample.study("ct1") + "/pixeldata", FRAMES + JPEG)
    assert reply.status == 206 and reply.headers["warning"].startswith("299 ")
    (part,) = parts(reply)
    assert part.headers["content-location"].endswith(sample.instance("jpeg") + "/frames/1")
    assert sample.get(sample.instance("report") + "/pixeldata").status == 404
    assert sample.get(sample.instance("blob") + "/pixeldata").status == 406


def test_describes_what_there_is(sample: SampleDatastore) -> None:
    found = json.loads(sample.get("", method="OPTIONS").body)
    assert found["base"] == sample.server.url + sample.root
    paths = {each["path"]: [method["name"] for method in each["methods"]] for each in found["resources"]}
    assert paths["/studies/{study}"] == ["GET", "POST", "DELETE"]
    wadl = sample.get("", "application/vnd.sun.wadl+xml", method="OPTIONS")
    root = ElementTree.fromstring(wadl.body)
    assert len(root[0]) == len(paths)


def test_describes_nothing_below_what_is_no_id(sample: SampleDatastore) -> None:
    for id in ("%00", "%0D%0AX:1", "A", f"{sample.datastore}%2Fstudies"):
        reply = sample.server.send(sample.server.signed("OPTIONS", f"/datastore/{id}"))
        assert reply.status == 400


def test_deletes_no_set_that_has_come_since_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (SimpleNamespace(id=id * 32, key=int(id)) for id in "12")
    found: list[Any] = [one]

    class Database:
        def read(self) -> Any:
            return contextlib.nullcontext()

        def write(self, work: Any) -> Any:
            return work(None)

    def allow(ids: Any) -> None:
        assert list(ids) == [one.id]
        found.append(other)

    ctx: Any = SimpleNamespace(
        stores=SimpleNamespace(db=Database()), clock=SimpleNamespace(now=lambda: 0), ids=None
    )
    monkeypatch.setattr(delete, "_target_sets", lambda conn, target: list(found))
    monkeypatch.setattr(delete, "delete_in", lambda *args: pytest.fail("deleted"))
    for instance in (None, "1.2.3"):
        del found[1:]
        series = None if instance is None else "1.2"
        with pytest.raises(ConflictError, match="try again"):
            delete.delete(ctx, DicomwebTarget("0" * 32, "1", series, instance), allow)
