"""Frames of other sets and versions than the primary one's latest, and who may see them; native ranges."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from botocore.credentials import Credentials

from tests.api.auth.restricted_keys import allow, deny, key, store_arn
from tests.dicomweb.levels.conftest import filled
from tests.dicomweb.levels.packed import frames, records
from tests.dicomweb.levels.test_levels import PACKED, image_set, named, native, series_frames
from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.sample_datastore import FRAMES, VIDEO, SampleDatastore, parts
from tests.dicomweb.support.stored_files import StoredFiles
from tests.support.ct_files import ct, write
from tests.support.server import Reply


def test_gives_the_frames_of_a_set_that_is_not_primary(sample: SampleDatastore) -> None:
    path = f"{sample.series('other')}/frames?level=0"
    for query, wanted in ((f"&imageSetId={sample.non_primary}", ["other"]), ("", ["ct1", "ct2", "ct3"])):
        reply = sample.get(path + query, PACKED)
        assert [name for name, _ in named(sample, frames(reply.body))] == wanted
    assert sample.get(f"{path}&imageSetId={'0' * 32}", PACKED).status == 404


def test_gives_the_frames_of_a_version(sample: SampleDatastore) -> None:
    series = filled(sample.server)
    first = frames(native(series, level=0).body)
    assert series.get(series.instance("s2"), method="DELETE").status == 204
    client = series.server.client()
    last = {str(series.files["s1"].SOPInstanceUID): {"DICOM": {"InstanceNumber": 99}}}
    change = {
        "SchemaVersion": "1.1",
        "Study": {"Series": {str(series.files["s1"].SeriesInstanceUID): {"Instances": last}}},
    }
    client.update_image_set_metadata(
        datastoreId=series.datastore,
        imageSetId=image_set(series),
        latestVersionId="2",
        updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": json.dumps(change).encode()}},
    )
    head, *now, _ = records(native(series, level=0).body)
    order = ["s3", "s4", "many", "many", "many", "lossy", "s1"]
    assert head.described["versionId"] == "3" and [name for name, _ in named(series, now)] == order
    assert frames(series_frames(series, "level=0").body) == now
    assert frames(native(series, level=0, versionId="1").body) == first
    # GetImageFrame gives a frame of any version of the set; so do these, by its id.
    gone = first[1].described["id"]
    (found,) = frames(native(series, level=0, imageFrameIds=[gone]).body)
    assert found.body == first[1].body and found.described["position"] is None
    assert native(series, level=0, imageFrameIds=[gone], versionId="3").status == 404
    client.delete_image_set(datastoreId=series.datastore, imageSetId=image_set(series))
    assert series_frames(series, "level=0").status == 404


def test_needs_the_right_to_frames_of_the_set(series: StoredFiles) -> None:
    server, name = series.server, "medical-imaging:GetImageFrame"
    found = image_set(series)
    store = store_arn(series.datastore)
    path = f"{series.root}/imageSet/{found}/getImageFrames"

    def ask(who: Credentials, path: str = path) -> int:
        return server.send(server.signed("POST", path, b'{"level":0}', credentials=who)).status

    assert ask(key(server, allow(name, [store, f"{store}/imageset/{found}"]))) == 200
    assert ask(key(server, allow(name, store))) == 403
    assert ask(key(server, allow("*"), deny(name, f"{store}/imageset/{found}"))) == 403
    nobody = key(server, deny("s3:*"))
    assert ask(nobody) == ask(nobody, f"{series.root}/imageSet/{'0' * 32}/getImageFrames") == 403
    assert server.call("POST", path, b"{}").status == 403
    assert server.call("POST", path, b"{}", {"Authorization": "Bearer x"}).status in (401, 403, 404)


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-99", 206, 0, 100),
        ("bytes=-7", 206, -7, None),
        ("bytes=500-", 206, 500, None),
        ("bytes=0-999999999", 200, 0, None),
        ("bytes=7-3", 200, 0, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("items=0-1", 200, 0, None),
    ],
)
def test_honours_a_range_of_a_native_frame(
    series: StoredFiles, wanted: str, status: int, start: int, end: int | None
) -> None:
    plain, reply = native_frame(series), native_frame(series, range=wanted)
    whole = plain.body
    assert reply.status == status and reply.body == whole[start:end]
    assert reply.headers["accept-ranges"] == "bytes" and reply.headers["content-type"] == "image/jph"
    ends = list(map(int, reply.headers["x-lightwell-levels"].split(",")))
    assert ends[-1] == len(whole) and len(ends) == 4
    first = start if start >= 0 else len(whole) + start
    if status == 206:
        last = first + len(reply.body) - 1
        assert reply.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    for condition, status_then in ((reply.headers["etag"], status), ('"other"', 200), ("W/" + "x", 200)):
        assert native_frame(series, range=wanted, if_range=condition).status == status_then
    # Without Range the answer is what it always was.
    for name in ("etag", "accept-ranges", "x-lightwell-levels", "content-range"):
        assert name not in plain.headers
    assert plain.headers["cache-control"] == "no-store"


def test_tells_who_has_it_already(series: StoredFiles) -> None:
    single = f"{series.instance('s1')}/frames/1?level="
    every = f"{series.series('s1')}/frames?level="
    for path, accept in ((single, "image/jphc"), (single, FRAMES + "*"), (every, FRAMES + "*")):
        tags = [series.get(f"{path}{level}", accept).headers["etag"] for level in (0, 1, 1)]
        assert tags[0] != tags[1] == tags[2] and tags[0].startswith("W/") == (accept != "image/jphc")
        assert series.get(f"{path}1", accept, if_none_match=tags[1]).status == 304
        assert series.get(f"{path}0", accept, if_none_match=tags[1]).status == 200
    assert series.get(f"{every}0", PACKED).headers["cache-control"] == "no-store"


def test_gives_more_frames_than_stand_in_one_row(sample: SampleDatastore) -> None:
    server = sample.server
    many = ct(1, study="79", size=9, NumberOfFrames=300)
    many.PixelData = np.random.default_rng(9).integers(-9, 9, (300, 9, 9), np.int16).tobytes()
    write(server.data / "buckets" / "in-bucket" / "many-frames" / "1.dcm", many)
    store = server.client().create_datastore(datastoreName="many-frames")["datastoreId"]
    imported(server, store, "many-frames/")
    stored = StoredFiles(server, store, {"s1": many})
    found = frames(native(stored, level=0, first="middle").body)
    assert sorted(each.described["position"] for each in found) == list(range(1, 301))
    for each in found:
        number = each.described["frame"]
        assert number == each.described["position"] and each.described["id"][16:24] == f"{number - 1:08x}"
    last = parts(stored.get(f"{stored.instance('s1')}/frames/257,300,1?level=0", FRAMES + "*"))
    by_number = {each.described["frame"]: each.body for each in found}
    assert [part.body for part in last] == [by_number[number] for number in (257, 300, 1)]


def test_gives_a_long_frame_in_pieces(sample: SampleDatastore) -> None:
    (found,) = frames(sample.get(f"{sample.series('video')}/frames?level=0", PACKED).body)
    assert found.body == VIDEO and found.described["level"] == "full"
    (part,) = parts(sample.get(f"{sample.instance('video')}/frames/1?level=0", FRAMES + "*"))
    assert part.body == VIDEO


def test_refuses_a_range_behind_the_end(series: StoredFiles) -> None:
    reply = native_frame(series, range="bytes=99999999-")
    length = len(native_frame(series).body)
    assert reply.status == 416 and reply.headers["content-range"] == f"bytes */{length}"


def native_frame(series: StoredFiles, **headers: str) -> Reply:
    id = frames(native(series, frames="2", level=0).body)[0].described["id"]
    given: dict[str, Any] = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"{series.root}/imageSet/{image_set(series)}/getImageFrame"
    body = json.dumps({"imageFrameId": id}).encode()
    return series.server.send(series.server.signed("POST", path, body, headers=given))
