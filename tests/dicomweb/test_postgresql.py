"""Retrieval on PostgreSQL, whose look-ups are statements of their own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.dicomweb.levels import packed
from tests.dicomweb.levels.conftest import filled
from tests.dicomweb.levels.test_levels import image_set, native, series_frames
from tests.dicomweb.support.sample_datastore import EXPLICIT, FRAMES, SampleDatastore, fill, parts
from tests.dicomweb.support.searchable_studies import JSON
from tests.support import services
from tests.support.server import running


@pytest.fixture(scope="module")
def there(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleDatastore]:
    data = tmp_path_factory.mktemp("postgresql") / "data"
    with services.new_database(postgres_server) as url, running(data, database_url=url) as server:
        yield fill(server)


def test_retrieves_and_deletes(there: SampleDatastore) -> None:
    (part,) = parts(there.get(there.instance("ct1") + "/frames/1", FRAMES + EXPLICIT))
    assert part.body == there.files["ct1"].PixelData
    other = f"{there.instance('other')}/frames/1"
    assert there.get(other, FRAMES + "*").status == 404
    assert there.get(f"{other}?imageSetId={there.non_primary}", FRAMES + "*").status == 200
    assert there.get(there.series("ct1") + "/instances/1%00/frames/1", FRAMES + "*").status == 400
    assert len(parts(there.get(there.series("ct1")))) == 3
    assert _counts(there) == (3, 3, 9)
    assert there.get(there.instance("ct1"), method="DELETE").status == 204
    assert len(parts(there.get(there.series("ct1")))) == 2
    assert _counts(there) == (2, 2, 9)
    # A page after what is deleted meanwhile begins where it would have begun.
    filters = [{"operator": "EQUAL", "values": [{"isPrimary": True}]}]
    search = partial(
        there.server.client().search_image_sets,
        datastoreId=there.datastore,
        searchCriteria={"filters": filters, "sort": {"sortField": "createdAt", "sortOrder": "ASC"}},
    )
    every = [found["imageSetId"] for found in search()["imageSetsMetadataSummaries"]]
    page = search(maxResults=4)
    assert [found["imageSetId"] for found in page["imageSetsMetadataSummaries"]] == every[:4]
    assert there.get(there.series("report"), method="DELETE").status == 204
    after = search(maxResults=4, nextToken=page["nextToken"])["imageSetsMetadataSummaries"]
    left = [found["imageSetId"] for found in search()["imageSetsMetadataSummaries"]]
    assert len(left) == len(every) - 1
    assert [found["imageSetId"] for found in after] == [id for id in every[4:] if id in left][:4]
    assert _counts(there) == (2, 2, 8)
    assert there.get(there.study("ct1"), method="DELETE").status == 204
    assert there.get(there.study("ct1")).status == 404
    assert there.get(there.series("ct1") + "/metadata", JSON).status == 404
    assert _objects(there, "/studies") == []


def _counts(there: SampleDatastore) -> tuple[int, int, int]:
    """Instances in the metadata of a series, as a search says of it, and how many series a search finds."""
    uid = there.files["ct1"].SeriesInstanceUID
    (series,) = _objects(there, there.study("ct1") + f"/series?SeriesInstanceUID={uid}")
    instances = _objects(there, there.series("ct1") + "/metadata")
    return len(instances), series["00201209"]["Value"][0], len(_objects(there, "/series"))


def _objects(there: SampleDatastore, path: str) -> list[dict[str, Any]]:
    reply = there.get(path, JSON)
    assert reply.status == 200, reply.body
    body = gzip.decompress(reply.body) if "content-encoding" in reply.headers else reply.body
    found: list[dict[str, Any]] = json.loads(body)
    return found


def test_gives_the_same_frames_of_a_series(there: SampleDatastore, sample: SampleDatastore) -> None:
    far, series = filled(there.server), filled(sample.server)
    for query in ("level=0", "level=2&first=middle", "level=1&frames=2-6&uncut=omit", ""):
        here, away = (packed.frames(series_frames(each, query).body) for each in (series, far))
        assert packed.bare(away) == packed.bare(here), query
    for level in (0, 1):
        path = f"{far.instance('s3')}/frames/1?level={level}"
        assert far.get(path, "image/jphc").body == series.get(path, "image/jphc").body
    id = packed.frames(native(far, level=0).body)[4].described["id"]
    assert len(packed.frames(native(far, level=0, imageFrameIds=[id]).body)) == 1
    assert native(far, level=0, imageFrameIds=["0" * 32]).status == 404
    # Frames of another version of the set.
    assert far.get(far.instance("s4"), method="DELETE").status == 204
    assert len(packed.frames(native(far).body)) == 7
    before = packed.frames(native(far, versionId="1", level=1).body)
    assert packed.bare(before) == packed.bare(packed.frames(native(series, level=1).body))
    far.server.client().delete_image_set(datastoreId=far.datastore, imageSetId=image_set(far))
    assert series_frames(far, "level=0").status == 404


def test_refuses_ids_that_the_database_cannot_be_asked_for(there: SampleDatastore) -> None:
    body = b'{"imageFrameId":"%s"}' % (b"0" * 32)
    for path in (f"/datastore/{'0' * 32}/imageSet/%00", f"/datastore/a%00b/imageSet/{'0' * 32}"):
        for operation in ("getImageFrame", "getImageSetMetadata", "getImageSet", "getImageFrames"):
            given = b"{}" if operation == "getImageFrames" else body
            reply = there.server.send(there.server.signed("POST", f"{path}/{operation}", given))
            assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "ValidationException")
