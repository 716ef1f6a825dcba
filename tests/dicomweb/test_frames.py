"""Frames over HTTP, as HealthImaging documents them and as viewers ask for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID
from sqlalchemy import Connection, select, update

from lightwell.domain.image_sets.frame_table import frame_id, pack_entries, unpack_entries
from lightwell.stores.db.tables import frame_table, pack, pixels
from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.sample_datastore import (
    EXPLICIT,
    FRAMES,
    H264,
    HTJ2K,
    JPEG,
    JPEG2000,
    VIDEO,
    SampleDatastore,
    parts,
)
from tests.dicomweb.support.stored_files import StoredFiles
from tests.dicomweb.support.uploads import new
from tests.support.ct_files import ct, write

STORED = FRAMES + "*"
OCTETS = "application/octet-stream"


def samples_of(sample: SampleDatastore, name: str) -> NDArray[Any]:
    return sample.files[name].pixel_array


@pytest.mark.parametrize(
    ("accept", "syntax", "kind"),
    [
        (None, EXPLICIT, OCTETS),
        ("*/*", EXPLICIT, OCTETS),
        ('multipart/related; type="*/*"', EXPLICIT, OCTETS),
        ("multipart/related", EXPLICIT, OCTETS),
        (FRAMES + EXPLICIT, EXPLICIT, OCTETS),
        (f"multipart/related; type={OCTETS}; transfer-syntax={EXPLICIT}", EXPLICIT, OCTETS),
        (STORED, HTJ2K, "image/jphc"),
        (FRAMES + '"*"', HTJ2K, "image/jphc"),
        (FRAMES + HTJ2K + "; transfer-syntax=*", HTJ2K, "image/jphc"),
        ("multipart/related; type=image/jphc", HTJ2K, "image/jphc"),
        (f"multipart/related; type=image/jphc; transfer-syntax={HTJ2K}", HTJ2K, "image/jphc"),
        (f'multipart/related; type="image/jp2"; transfer-syntax={JPEG2000}', JPEG2000, "image/jp2"),
        ("multipart/related; type=image/jp2", JPEG2000, "image/jp2"),
        (f"multipart/related; type=image/jpeg; transfer-syntax={JPEG}, {STORED};q=0.5", HTJ2K, "image/jphc"),
        ("text/html, multipart/related; type=image/bmp, */*;q=0.1", EXPLICIT, OCTETS),
    ],
)
def test_gives_a_frame_as_it_is_asked_for(
    sample: SampleDatastore, accept: str | None, syntax: str, kind: str
) -> None:
    reply = sample.get(sample.instance("ct1") + "/frames/1", accept)
    assert reply.status == 200, reply.body
    (part,) = parts(reply)
    assert reply.headers["content-type"].startswith(f'multipart/related; type="{kind}"; boundary=')
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert part.headers["content-type"] == f"{kind}; transfer-syntax={syntax}"
    assert part.headers["content-location"] == (
        f"{sample.server.url}{sample.root}{sample.instance('ct1')}/frames/1"
    )
    if syntax == EXPLICIT:
        assert part.body == sample.files["ct1"].PixelData
    else:
        assert part.body.startswith(b"\xff\x4f\xff\x51")  # a bare codestream
        assert np.array_equal(imagecodecs.jpeg2k_decode(part.body), samples_of(sample, "ct1"))


@pytest.mark.parametrize("asked", ["1", "1,2", "2,1", "4%2C1,3", "1,2,3,4"])
@pytest.mark.parametrize("accept", [STORED, FRAMES + EXPLICIT, FRAMES + JPEG2000])
def test_gives_frames_in_the_order_asked(sample: SampleDatastore, asked: str, accept: str) -> None:
    reply = sample.get(f"{sample.instance('frames')}/frames/{asked}", accept)
    wanted = [int(number) for number in asked.replace("%2C", ",").split(",")]
    found = parts(reply)
    assert [int(part.headers["content-location"].rpartition("/")[2]) for part in found] == wanted
    for part, number in zip(found, wanted, strict=True):
        frame = samples_of(sample, "frames")[number - 1]
        if part.headers["content-type"].endswith(f"={EXPLICIT}"):
            assert part.body == frame.tobytes()
        else:
            assert np.array_equal(imagecodecs.jpeg2k_decode(part.body), frame)


@pytest.mark.parametrize(
    ("asked", "status", "error"),
    [
        ("0", 400, "ValidationException"),
        ("1,1", 400, "ValidationException"),
        ("one", 400, "ValidationException"),
        ("1,", 400, "ValidationException"),
        ("-1", 400, "ValidationException"),
        ("5", 404, "ResourceNotFoundException"),
        ("1,5", 404, "ResourceNotFoundException"),
        ("999999999", 404, "ResourceNotFoundException"),
    ],
)
def test_refuses_frames_that_are_not_there(
    sample: SampleDatastore, asked: str, status: int, error: str
) -> None:
    reply = sample.get(f"{sample.instance('frames')}/frames/{asked}", STORED)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (status, error)


@pytest.mark.parametrize(
    ("name", "accept"),
    [
        ("ct1", FRAMES + JPEG),
        ("ct1", FRAMES + "1.2.840.10008.1.2"),
        ("ct1", FRAMES + "1.2.840.10008.1.2.4.91"),
        ("ct1", f"image/jpeg; transfer-syntax={JPEG2000}"),
        ("ct1", "text/html"),
        ("jpeg", FRAMES + "1.2.840.10008.1.2.4.91"),
        ("bits", FRAMES + JPEG2000),
        ("bits", "image/jls"),
        ("blob", STORED),
        ("video", FRAMES + EXPLICIT),
    ],
)
def test_answers_406_for_what_cannot_be_had(sample: SampleDatastore, name: str, accept: str) -> None:
    reply = sample.get(sample.instance(name) + "/frames/1", accept)
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (406, "NotAcceptableException")
    assert b"transfer-syntax=*" in reply.body


def test_gives_what_was_kept_as_it_came(sample: SampleDatastore) -> None:
    (fragment,) = pydicom_frames(sample, "jpeg")
    for accept in (None, STORED, FRAMES + JPEG, "multipart/related; type=image/jpeg"):
        (part,) = parts(sample.get(sample.instance("jpeg") + "/frames/1", accept))
        assert part.headers["content-type"] == f"image/jpeg; transfer-syntax={JPEG}"
        assert part.body.rstrip(b"\0") == fragment.rstrip(b"\0")


def test_decodes_what_was_kept(sample: SampleDatastore) -> None:
    (part,) = parts(sample.get(sample.instance("jpeg") + "/frames/1", FRAMES + EXPLICIT))
    image = sample.files["jpeg"]
    assert part.headers["content-type"] == f"{OCTETS}; transfer-syntax={EXPLICIT}"
    assert len(part.body) == image.Rows * image.Columns * 3


def test_gives_decoded_colours_as_the_metadata_describe_them(sample: SampleDatastore) -> None:
    rows, columns = np.mgrid[0:48, 0:64]
    sent = np.stack([rows * 5, columns * 3 + 20, 200 - rows - columns], axis=-1).astype(np.uint8)
    seen = imagecodecs.jpeg8_decode(coded(sent, "ycbcr"))
    store = new(sample.server)
    three: dict[str, Any] = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "LossyImageCompression": "01"}
    eight: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    files = {}
    for series, (said, space) in enumerate(
        [("YBR_FULL_422", "ycbcr"), ("YBR_FULL", "ycbcr"), ("RGB", "rgb"), ("RGB", "ycbcr")], 1
    ):
        data = ct(series=str(series), Rows=48, Columns=64, PhotometricInterpretation=said, **three, **eight)
        data.PixelData = encapsulate([coded(sent, space)])
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = UID(JPEG)
        files[f"{said} {space}"] = data
    assert store.store(*files.values()).status == 200
    kept = StoredFiles(sample.server, store.datastore, files)
    for name, data in files.items():
        (part,) = parts(kept.get(kept.instance(name) + "/frames/1", FRAMES + EXPLICIT))
        pixels = np.frombuffer(part.body, np.uint8).reshape(48, 64, 3)
        if data.PhotometricInterpretation == "YBR_FULL":
            pixels = convert_color_space(pixels, "YBR_FULL", "RGB")
        assert np.abs(pixels.astype(int) - seen).max() <= 8, name


def coded(pixels: Any, space: str) -> bytes:
    """A JPEG frame in a colour space of its own."""
    return bytes(imagecodecs.jpeg8_encode(pixels, level=95, colorspace="rgb", outcolorspace=space))


def test_gives_colours_in_the_planes_of_the_image(sample: SampleDatastore) -> None:
    (part,) = parts(sample.get(sample.instance("colour") + "/frames/1", FRAMES + EXPLICIT))
    assert part.body == sample.files["colour"].PixelData


def test_gives_one_frame_alone(sample: SampleDatastore) -> None:
    path = sample.instance("ct1") + "/frames/1"
    reply = sample.get(path, OCTETS)
    assert reply.headers["content-type"] == f"{OCTETS}; transfer-syntax={EXPLICIT}"
    assert reply.body == sample.files["ct1"].PixelData
    for accept in ("image/jphc", f"{OCTETS}; transfer-syntax=*", "image/jph", "image/*"):
        reply = sample.get(path, accept)
        assert reply.headers["content-type"] == f"image/jphc; transfer-syntax={HTJ2K}"
        assert reply.headers["accept-ranges"] == "bytes"
        assert np.array_equal(imagecodecs.htj2k_decode(reply.body), samples_of(sample, "ct1"))
    assert sample.get(sample.instance("frames") + "/frames/1,2", "image/jphc").status == 406


def test_gives_a_video_in_pieces_and_parts_of_it(sample: SampleDatastore) -> None:
    path = sample.instance("video") + "/frames/1"
    (part,) = parts(sample.get(path, STORED))
    assert part.headers["content-type"] == f"video/mp4; transfer-syntax={H264}"
    assert part.body == VIDEO
    assert sample.get(path, "video/mp4").body == VIDEO
    for start, end in ((1, 4_999_999), (4_999_000, 5_000_004), (0, 10)):
        reply = sample.get(path, "video/*", range=f"bytes={start}-{end - 1}")
        assert (reply.status, reply.body) == (206, VIDEO[start:end])
    assert sample.get(sample.instance("video") + "/frames/2", STORED).status == 404


def test_gives_no_pixels_that_are_not_those_that_came(sample: SampleDatastore) -> None:
    datastore = sample.server.client().create_datastore(datastoreName="damaged")["datastoreId"]
    image = ct(1, study="79", size=70)
    write(sample.server.data / "buckets" / "in-bucket" / datastore / "1.dcm", image)
    imported(sample.server, datastore, f"{datastore}/")
    damaged = SampleDatastore(sample.server, datastore, {"ct1": image})
    with sample.server.database() as db:
        db.write(_damage)
    for accept in (None, FRAMES + JPEG2000, OCTETS):
        reply = damaged.get(damaged.instance("ct1") + "/frames/1", accept)
        assert (reply.status, reply.headers["x-amzn-errortype"]) == (500, "InternalServerException")
    assert damaged.get(damaged.instance("ct1")).status == 500
    assert damaged.get(damaged.instance("ct1") + "/frames/1", STORED).status == 200


def _damage(conn: Connection) -> None:
    """Say that the newest pixels decode to something else."""
    newest = (
        conn.execute(
            select(pixels.c.key).join(pack, pack.c.key == pixels.c.pack).order_by(pack.c.created_at.desc())
        )
        .scalars()
        .first()
    )
    where = frame_table.c.pixels == newest
    (frame,) = unpack_entries(conn.execute(select(frame_table.c.entries).where(where)).scalar_one())
    entries = pack_entries([replace(frame, checksum=frame.checksum ^ 1)])
    conn.execute(update(frame_table).where(where).values(entries=entries))


def test_takes_the_media_type_from_the_query(sample: SampleDatastore) -> None:
    reply = sample.get(sample.instance("ct1") + "/frames/1?accept=image%2Fjphc", "*/*")
    assert reply.headers["content-type"].startswith("image/jphc")


def test_gives_a_range_of_bytes(sample: SampleDatastore) -> None:
    path = sample.instance("ct1") + "/frames/1"
    for accept in ("image/jphc", OCTETS):
        whole = sample.get(path, accept)
        for asked, start, end in (
            ("0-9", 0, 10),
            ("10-", 10, None),
            ("-5", -5, None),
            ("5-99999999", 5, None),
        ):
            reply = sample.get(path, accept, range=f"bytes={asked}")
            assert (reply.status, reply.body) == (206, whole.body[start:end])
            first, last = len(whole.body[: start % len(whole.body)]), len(whole.body)
            last = first + len(reply.body) - 1
            assert reply.headers["content-range"] == f"bytes {first}-{last}/{len(whole.body)}"
        reply = sample.get(path, accept, range="bytes=99999999-")
        assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(whole.body)}")
        stale = sample.get(path, accept, range="bytes=0-9", if_range='"another"')
        assert (stale.status, stale.body) == (200, whole.body)
        fresh = sample.get(path, accept, range="bytes=0-9", if_range=whole.headers["etag"])
        assert fresh.status == 206


def test_says_that_a_frame_is_the_one_known(sample: SampleDatastore) -> None:
    path = sample.instance("frames") + "/frames/2,1"
    for accept in (STORED, FRAMES + EXPLICIT):
        etag = sample.get(path, accept).headers["etag"]
        reply = sample.get(path, accept, if_none_match=f'"x", {etag}')
        assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", etag)
        other = FRAMES + EXPLICIT if accept == STORED else STORED
        assert sample.get(path, other, if_none_match=etag).status == 200


def test_names_a_frame_by_its_pixels_and_number(sample: SampleDatastore) -> None:
    """By this the console tells whether an answer of the latest version is the frame of another one."""
    accept = f"{OCTETS}; transfer-syntax={EXPLICIT}"
    etag = sample.get(sample.instance("frames") + "/frames/3", accept).headers["etag"]
    with sample.server.database() as db, db.read() as conn:
        keys = set(conn.execute(select(pixels.c.key)).scalars())
    key, syntax, number = etag.strip('"').split("-")
    assert int(key, 16) in keys and (syntax, number) == ("1", "3")
    assert frame_id(int(key, 16), int(number) - 1) == f"{key.rjust(16, '0')}0000000200000000"


def test_answers_head_without_a_body(sample: SampleDatastore) -> None:
    path = sample.instance("ct1") + "/frames/1"
    whole, head = (sample.get(path, "image/jphc", method=method) for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_finds_frames_of_another_set_by_its_id(sample: SampleDatastore) -> None:
    path = sample.instance("other") + "/frames/1"
    assert sample.get(path, STORED).status == 404
    reply = sample.get(f"{path}?imageSetId={sample.non_primary}", FRAMES + EXPLICIT)
    (part,) = parts(reply)
    assert part.body == sample.files["other"].PixelData
    assert part.headers["content-location"].endswith(f"/frames/1?imageSetId={sample.non_primary}")
    assert (
        sample.get(f"{sample.instance('ct1')}/frames/1?imageSetId={sample.non_primary}", STORED).status == 404
    )
    assert sample.get(f"{path}?imageSetId={'0' * 32}", STORED).status == 404
    assert sample.get(f"{path}?imageSetId=no", STORED).status == 400


def test_says_what_is_not_there(sample: SampleDatastore) -> None:
    for path, status in (
        (sample.instance("report") + "/frames/1", 404),
        (sample.series("ct1") + "/instances/1.2.3/frames/1", 404),
        (sample.series("ct1") + "/instances/abc/frames/1", 400),
        (sample.study("ct1") + "/series/1.2/instances/1.2.3/frames/1", 404),
    ):
        assert sample.get(path, STORED).status == status, path


def test_lets_browsers_read_answers_and_refusals(sample: SampleDatastore) -> None:
    for path in (sample.instance("ct1") + "/frames/1", sample.instance("ct1") + "/frames/0"):
        reply = sample.get(path, STORED, origin="https://viewer.example")
        assert reply.headers["access-control-allow-origin"] == "*"
        exposed = set(reply.headers["access-control-expose-headers"].split(", "))
        needed = {"content-type", "content-length", "content-range", "accept-ranges", "etag", "warning"}
        assert exposed >= needed | {"x-amzn-requestid", "x-amzn-errortype"}
    asked = {"origin": "https://viewer.example", "access-control-request-method": "GET"}
    preflight = sample.server.call(
        "OPTIONS", sample.root + sample.instance("ct1") + "/frames/1", headers=asked
    )
    assert preflight.status == 204 and "authorization" in preflight.headers["access-control-allow-headers"]


def pydicom_frames(sample: SampleDatastore, name: str) -> list[bytes]:
    return list(generate_frames(sample.files[name].PixelData, number_of_frames=1))
