"""Frames cut after a resolution level, one by one and a series at a time, from a running server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.dicomweb.levels.conftest import SIDE
from tests.dicomweb.levels.packed import Record, frames, records
from tests.dicomweb.support.sample_datastore import FRAMES, HTJ2K, JPEG, SampleDatastore, parts
from tests.dicomweb.support.stored_files import StoredFiles
from tests.support.server import Reply

EOC = b"\xff\xd9"
PACKED = "application/vnd.lightwell.frames"
STORED = FRAMES + "*"
ORDER = [("s1", 1), ("s2", 1), ("s3", 1), ("s4", 1), ("many", 1), ("many", 2), ("many", 3), ("lossy", 1)]


def series_frames(series: StoredFiles, query: str, accept: str = PACKED) -> Reply:
    return series.get(f"{series.series('s1')}/frames?{query}", accept)


def image_set(series: StoredFiles) -> str:
    found = series.server.client().search_image_sets(datastoreId=series.datastore)
    (only,) = found["imageSetsMetadataSummaries"]
    return str(only["imageSetId"])


def native(series: StoredFiles, **body: Any) -> Reply:
    path = f"{series.root}/imageSet/{image_set(series)}/getImageFrames"
    return series.server.send(series.server.signed("POST", path, json.dumps(body).encode()))


def named(series: StoredFiles, found: list[Record]) -> list[tuple[str, int]]:
    """Which file and frame each record is."""
    names = {str(data.SOPInstanceUID): name for name, data in series.files.items()}
    return [(names[each.described["instance"]], each.described["frame"]) for each in found]


def _reduces() -> bool:
    """Whether this imagecodecs can tell OpenJPEG to halve; that of the oldest constraints cannot."""
    try:
        imagecodecs.jpeg2k_decode(imagecodecs.jpeg2k_encode(np.zeros((8, 8), np.uint8)), skipres=0)
    except TypeError:
        return False
    return True


reduces = pytest.mark.skipif(not _reduces(), reason="imagecodecs cannot tell OpenJPEG to halve")


def reduced(data: bytes, reduce: int, folder: Path) -> NDArray[Any]:
    """What two decoders make of a codestream, each told to halve it so often."""
    by_openjpeg: NDArray[Any] = imagecodecs.jpeg2k_decode(data, skipres=reduce)
    source, target = folder / "cut.j2c", folder / "cut.raw"
    source.write_bytes(data)
    command = ["ojph_expand", "-i", str(source), "-o", str(target), "-skip_res", str(reduce)]
    subprocess.run(command, check=True, capture_output=True)
    by_openjph = np.fromfile(target, by_openjpeg.dtype).reshape(by_openjpeg.shape)
    assert np.array_equal(by_openjpeg, by_openjph)
    return by_openjpeg


@reduces
def test_cuts_a_frame_after_each_level(series: StoredFiles, tmp_path: Path) -> None:
    path = f"{series.instance('s2')}/frames/1"
    whole = series.get(path, "image/jphc; transfer-syntax=*").body
    ends = []
    for level, side in enumerate((38, 75, 150)):
        reply = series.get(f"{path}?level={level}", "image/jphc")
        assert reply.status == 200 and int(reply.headers["content-length"]) == len(reply.body)
        assert reply.headers["content-type"] == f"image/jphc; transfer-syntax={HTJ2K}"
        reduce = 3 - level
        assert reply.headers["x-lightwell-level"] == f"{level}; reduce={reduce}; width={side}; height={side}"
        assert reply.body.endswith(EOC) and whole.startswith(reply.body[:-2])
        ends.append(len(reply.body) - 2)
        picture = reduced(reply.body, reduce, tmp_path)
        assert picture.shape == (side, side)
        assert np.array_equal(picture, reduced(whole, reduce, tmp_path))
    assert reply.headers["x-lightwell-levels"] == ", ".join(map(str, [*ends, len(whole)]))
    # What is missing can be fetched without what is there.
    rest = series.get(path, "image/jphc; transfer-syntax=*", range=f"bytes={ends[2]}-")
    assert rest.status == 206 and reply.body[:-2] + rest.body == whole
    for beyond in (3, 32):
        full = series.get(f"{path}?level={beyond}", "image/jphc")
        assert full.body == whole
        assert full.headers["x-lightwell-level"] == f"full; reduce=0; width={SIDE}; height={SIDE}"


@reduces
def test_cuts_frames_as_parts(series: StoredFiles, sample: SampleDatastore) -> None:
    found = parts(series.get(f"{series.instance('many')}/frames/3,1?level=1", STORED))
    every = parts(series.get(f"{series.instance('many')}/frames/3,1", STORED))
    for part, whole, number in zip(found, every, (3, 1), strict=True):
        assert part.headers["x-lightwell-level"] == "1; reduce=2; width=75; height=75"
        assert part.headers["content-location"].endswith(f"/frames/{number}?level=1")
        assert whole.body.startswith(part.body[:-2]) and part.body.endswith(EOC)
    # Colour has three components in every tile-part.
    (part,) = parts(sample.get(f"{sample.instance('colour')}/frames/1?level=0"))
    assert part.headers["x-lightwell-level"] == "0; reduce=1; width=33; height=33"
    assert imagecodecs.jpeg2k_decode(part.body, skipres=1).shape == (33, 33, 3)


@pytest.mark.parametrize(("name", "syntax"), [("jpeg", JPEG), ("bits", "1.2.840.10008.1.2.1")])
def test_gives_what_cannot_be_cut_whole_and_says_so(sample: SampleDatastore, name: str, syntax: str) -> None:
    path = f"{sample.instance(name)}/frames/1"
    (part,) = parts(sample.get(f"{path}?level=0"))
    assert part.headers["content-type"].endswith(f"transfer-syntax={syntax}")
    assert part.headers["x-lightwell-level"].startswith("full; reduce=0; ")
    assert part.headers["x-lightwell-levels"] == str(len(part.body))
    assert part.body == parts(sample.get(path, STORED))[0].body


@pytest.mark.parametrize(
    ("query", "status"),
    [
        *((f"level={text}", 400) for text in ("", "x", "-1", "1.0", "33", "9" * 4000, "%00", "0&level=0")),
        *((f"frames={text}", 400) for text in ("0", "x", "", "1,,2", "3-2", "1,1-2", "-3", "1-2-3")),
        ("frames=9", 404),
        ("frames=2,9-", 404),
        ("first=none", 404),
        ("first=9", 404),
        ("first=1&frames=2-3", 400),
        ("uncut=maybe", 400),
    ],
)
def test_refuses_what_makes_no_sense(series: StoredFiles, query: str, status: int) -> None:
    reply = series_frames(series, query)
    assert reply.status == status and json.loads(reply.body)["message"]


def test_refuses_where_there_are_no_frames(sample: SampleDatastore) -> None:
    for name in ("report", "blob"):
        reply = sample.get(f"{sample.series(name)}/frames?level=0", PACKED)
        assert reply.status == 404
    assert sample.get(f"{sample.instance('report')}/frames/1?level=0").status == 404
    assert sample.get(f"{sample.study('ct1')}/series/1.2.3/frames", PACKED).status == 404
    assert sample.get(f"{sample.instance('ct1')}/frames/1?level=0", "image/png").status == 406
    assert sample.get(f"{sample.series('ct1')}/frames?level=0", "image/png").status == 406
    assert sample.get(f"{sample.series('ct1')}/frames?level=0", method="POST").status == 405


def test_gives_a_series_in_its_order(series: StoredFiles, tmp_path: Path) -> None:
    reply = series_frames(series, "level=0")
    assert reply.status == 200 and reply.headers["content-type"] == PACKED
    head, *found, _ = records(reply.body)
    assert head.described["level"] == 0 and head.described["versionId"] == "1"
    assert named(series, found) == ORDER
    assert [each.described["position"] for each in found] == list(range(1, 9))
    for each, (name, number) in zip(found[:-1], ORDER, strict=False):
        wanted = series.get(f"{series.instance(name)}/frames/{number}?level=0", "image/jphc")
        assert each.body == wanted.body
        assert each.described["level"] == 0 and each.described["syntax"] == HTJ2K
        assert (each.described["width"], each.described["height"], each.described["reduce"]) == (38, 38, 3)
        assert each.described["levels"][0] == len(each.body) - 2
    lossy = found[-1]
    assert lossy.described["level"] == "full" and lossy.described["syntax"] == JPEG
    assert lossy.described["levels"] == [len(lossy.body)] and lossy.body.startswith(b"\xff\xd8")
    omitted = frames(series_frames(series, "level=0&uncut=omit").body)
    assert omitted[:-1] == found[:-1]
    assert omitted[-1].body == b"" and omitted[-1].described["omitted"] is True


def test_gives_a_series_as_parts(series: StoredFiles) -> None:
    packed = frames(series_frames(series, "level=1").body)
    found = parts(series_frames(series, "level=1", FRAMES + "*"))
    assert [part.body for part in found] == [each.body for each in packed]
    for part, (name, number) in zip(found, ORDER, strict=True):
        assert part.headers["content-location"].endswith(f"{series.instance(name)}/frames/{number}?level=1")
    assert len(parts(series_frames(series, "level=1&uncut=omit", "*/*"))) == 7
    whole = parts(series_frames(series, "", FRAMES + "*"))
    for part, (name, number) in zip(whole, ORDER, strict=True):
        (alone,) = parts(series.get(f"{series.instance(name)}/frames/{number}", STORED))
        assert part.body == alone.body


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("frames=2-4", [2, 3, 4]),
        ("frames=7-,1", [7, 8, 1]),
        ("frames=6-500", [6, 7, 8]),
        ("first=middle", [5, 6, 4, 7, 3, 8, 2, 1]),
        ("first=1", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("first=8&frames=5-", [8, 7, 6, 5]),
    ],
)
def test_gives_frames_in_another_order(series: StoredFiles, query: str, wanted: list[int]) -> None:
    found = frames(series_frames(series, f"level=0&{query}").body)
    assert [each.described["position"] for each in found] == wanted


def test_begins_with_an_instance(series: StoredFiles) -> None:
    uid = series.files["s3"].SOPInstanceUID
    found = frames(series_frames(series, f"level=0&first={uid}&frames=1-5").body)
    assert named(series, found)[:3] == [("s3", 1), ("s4", 1), ("s2", 1)]


def test_gives_the_frames_of_an_image_set(series: StoredFiles) -> None:
    reply = native(series, level=0)
    assert reply.status == 200 and reply.headers["content-type"] == PACKED
    assert reply.body == series_frames(series, "level=0").body
    ids = [each.described["id"] for each in frames(reply.body)]
    some = frames(native(series, imageFrameIds=[ids[4], ids[0]], level=2).body)
    assert [each.described["position"] for each in some] == [5, 1]
    assert frames(native(series, first=ids[6], frames="6-", level=0).body)[0].described["id"] == ids[6]
    whole = frames(native(series).body)
    assert [each.described["level"] for each in whole] == ["full"] * 8


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"levels":1}', 400),
        (b'{"level":-1}', 400),
        (b'{"level":33}', 400),
        (b'{"level":"0"}', 400),
        (b'{"level":1e400}', 400),
        (b'{"level":1,"level":1}', 400),
        (b'{"imageFrameIds":[]}', 400),
        (b'{"imageFrameIds":["x"]}', 404),
        (b'{"imageFrameIds":["%s"]}' % (b"0" * 32), 404),
        (b'{"imageFrameIds":["x","x"]}', 400),
        (b'{"imageFrameIds":["x"],"first":1}', 400),
        (b'{"versionId":"x"}', 400),
        (b'{"versionId":"2"}', 404),
        (b'{"versionId":"%s"}' % (b"9" * 5000), 404),
        (b'{"frames":"0"}', 400),
        (b'{"first":true}', 400),
        (b'{"uncut":"both"}', 400),
        (b" " * (2 << 20), 413),
    ],
)
def test_refuses_wrong_bodies(series: StoredFiles, body: bytes, status: int) -> None:
    path = f"{series.root}/imageSet/{image_set(series)}/getImageFrames"
    assert series.server.send(series.server.signed("POST", path, body)).status == status
