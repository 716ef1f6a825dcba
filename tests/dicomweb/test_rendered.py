"""Rendered resources and thumbnails over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import numpy as np
import pytest
import requests
from dicomweb_client import DICOMwebClient
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from tests.dicomweb.support.renderable_instances import PDF, RenderableInstances, pixels, store_renderable
from tests.dicomweb.support.sample_datastore import SampleDatastore
from tests.dicomweb.test_python_client import Signed


@pytest.fixture(scope="module")
def renderable(sample: SampleDatastore) -> Iterator[RenderableInstances]:
    yield store_renderable(sample.server)


def shades(renderable: RenderableInstances, name: str) -> NDArray[Any]:
    """What the window of the slices makes of one: -160 is black, 240 is white."""
    return np.floor((pixels(renderable.files[name]) + 160).clip(0, 400) * 255 / 400 + 0.5)


def test_shows_an_instance_by_its_own_window(renderable: RenderableInstances) -> None:
    for name in ("slice1", "slice5"):
        found = renderable.picture(renderable.instance(name) + "/rendered")
        assert np.abs(found - shades(renderable, name)).max() <= 1
    found = renderable.picture(renderable.instance("inverse") + "/rendered")
    assert np.abs(found - (255 - shades(renderable, "inverse"))).max() <= 1


@pytest.mark.parametrize(
    ("accept", "query", "kind"),
    [
        (None, "", "image/jpeg"),
        ("*/*", "", "image/jpeg"),
        ("image/*", "", "image/jpeg"),
        ("image/png", "", "image/png"),
        ("image/webp, image/png;q=0.5, image/jpeg;q=0.4", "", "image/png"),
        ("image/gif", "", "image/gif"),
        ("*/*, image/jpeg;q=0", "", "image/png"),
        ("text/html,image/avif,image/webp,*/*;q=0.8", "", "image/jpeg"),
        ("image/jpeg", "accept=image/png", "image/png"),
    ],
)
def test_comes_in_the_media_type_that_is_wanted(
    renderable: RenderableInstances, accept: str | None, query: str, kind: str
) -> None:
    reply = renderable.get(f"{renderable.instance('slice1')}/rendered?{query}", accept)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == kind
    assert reply.headers["x-content-type-options"] == "nosniff"
    decode = {
        "image/jpeg": imagecodecs.jpeg8_decode,
        "image/png": imagecodecs.png_decode,
        "image/gif": imagecodecs.gif_decode,
    }
    assert decode[kind](reply.body).shape[:2] == (64, 64)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("slice1/rendered?accept=image/jp2", 406),
        ("slice1/rendered?accept=multipart/related;type=image/jpeg", 406),
        ("slice1/rendered?window=1,2", 400),
        ("slice1/rendered?viewport=100,100,60,60,10,10", 400),
        ("slice1/rendered?quality=0", 400),
        ("slice1/thumbnail?viewport=10,10,0,0,5,5", 400),
        ("slice1/frames/0/rendered", 400),
        ("slice1/frames/x/rendered", 400),
        ("slice1/frames/1,2/rendered", 400),
        ("slice1/frames/2/rendered", 404),
        ("slice1/rendered?imageSetId=0123456789abcdef0123456789abcdef", 404),
        ("slice1/rendered?imageSetId=x", 400),
        ("report/rendered?accept=image/png", 406),
        ("report/thumbnail", 406),
        ("report/frames/1/rendered", 404),
        ("pdf/frames/1/rendered", 404),
        ("pdf/rendered?accept=image/jpeg", 406),
        ("video/rendered?accept=image/jpeg", 406),
        ("video/thumbnail", 406),
    ],
)
def test_says_what_is_wrong(renderable: RenderableInstances, path: str, status: int) -> None:
    name, _, rest = path.partition("/")
    reply = renderable.get(f"{renderable.instance(name)}/{rest}")
    assert (reply.status, b"message" in reply.body) == (status, True), reply.body


def test_shows_a_report_as_text_that_runs_nothing(renderable: RenderableInstances) -> None:
    path = renderable.instance("report") + "/rendered"
    page = renderable.get(path, "text/html,application/xhtml+xml,image/webp,*/*;q=0.8")
    assert page.status == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    plain = renderable.get(path, "text/plain")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert b"Patient: DOE, JANE\n" in plain.body and b"\n  Report Text: Enter text\n" in plain.body
    assert b"<bdi>Report Text</bdi></dt><dd><bdi>Enter text</bdi>" in page.body
    assert renderable.get(path).headers["etag"] == page.headers["etag"] != plain.headers["etag"]
    xml = ElementTree.fromstring(renderable.get(path, "text/xml").body)
    assert xml.tag.endswith("NativeDicomModel")


def test_shows_all_frames_as_an_animation(renderable: RenderableInstances) -> None:
    path = renderable.instance("frames")
    found = imagecodecs.gif_decode(renderable.get(f"{path}/rendered", "image/gif").body)
    assert found.shape == (3, 32, 32, 3) and found[:, 0, 0, 0].tolist() == [0, 128, 255]
    single = imagecodecs.gif_decode(renderable.get(f"{path}/frames/2/rendered", "image/gif").body)
    assert single.shape == (32, 32, 3) and single.mean() == 128
    small = renderable.get(f"{path}/rendered?viewport=16,16", "image/gif").body
    assert imagecodecs.gif_decode(small).shape == (3, 16, 16, 3) and b"NETSCAPE2.0" in small


def test_gives_a_video_as_it_is_kept(renderable: RenderableInstances) -> None:
    path = renderable.instance("video") + "/rendered"
    reply = renderable.get(path, "video/mp4, */*;q=0.1")
    assert reply.status == 200 and reply.headers["content-type"] == "video/mp4"
    assert reply.body[4:8] == b"ftyp" and reply.headers["accept-ranges"] == "bytes"
    part = renderable.get(path, "video/*", range="bytes=4-7")
    assert part.status == 206 and part.body == b"ftyp"
    assert renderable.get(path, if_none_match=reply.headers["etag"]).status == 304
    again = renderable.get(path, range="bytes=0-3", if_range=reply.headers["etag"])
    assert again.status == 206


def test_shows_the_frame_that_is_named(renderable: RenderableInstances) -> None:
    path = renderable.instance("frames")
    found = [renderable.picture(f"{path}/frames/{n}/rendered").mean() for n in (1, 2, 3)]
    assert found == [0, 128, 255]
    assert renderable.picture(f"{path}/rendered").mean() == 0
    assert renderable.picture(f"{path}/thumbnail").mean() == 128, "volumes mostly begin with nothing"
    reply = renderable.get(f"{path}/thumbnail")
    assert reply.headers["content-location"].endswith("/frames/2/thumbnail")
    assert renderable.picture(f"{path}/frames/1/thumbnail").mean() == 0
    assert renderable.get(f"{path}/frames/4/rendered").status == 404


def test_shows_the_middle_of_a_series_and_the_first_series_of_a_study(
    renderable: RenderableInstances,
) -> None:
    for path in (renderable.series("slice1"), renderable.study("slice1")):
        reply = renderable.get(path + "/rendered", "image/png")
        middle = f"{renderable.server.url}{renderable.root}{renderable.instance('slice3')}/frames/1/rendered"
        assert reply.headers["content-location"] == middle
        assert np.array_equal(
            imagecodecs.png_decode(reply.body),
            renderable.picture(renderable.instance("slice3") + "/rendered"),
        )


def test_windows_cuts_scales_and_mirrors(renderable: RenderableInstances) -> None:
    path = renderable.instance("slice1") + "/rendered"
    found = renderable.picture(path + "?window=0,100,linear-exact")
    expected = np.floor((pixels(renderable.files["slice1"]) + 50).clip(0, 100) * 255 / 100 + 0.5)
    assert np.abs(found - expected).max() <= 1
    whole = renderable.picture(path)
    assert np.array_equal(renderable.picture(path + "?viewport=16,16,8,4,-16,16"), whole[4:20, 8:24][:, ::-1])
    assert renderable.picture(path + "?viewport=32,100").shape == (32, 32)
    assert renderable.picture(renderable.instance("wide") + "/rendered?viewport=100,100").shape == (50, 100)


def test_shows_palettes_and_frames_that_were_kept(renderable: RenderableInstances) -> None:
    found = renderable.picture(renderable.instance("palette") + "/rendered")
    assert found.ndim == 3 and found.std() > 10
    (coded,) = generate_frames(renderable.files["jpeg"].PixelData, number_of_frames=1)
    expected = imagecodecs.jpeg8_decode(coded)
    found = renderable.picture(renderable.instance("jpeg") + "/rendered")
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_draws_overlays(renderable: RenderableInstances) -> None:
    found = renderable.picture(renderable.instance("drawn") + "/rendered")
    assert np.argwhere(found).tolist() == [[10, 20]]


def test_gives_a_pdf_as_it_is(renderable: RenderableInstances) -> None:
    for path in (renderable.instance("pdf"), renderable.study("pdf")):
        reply = renderable.get(path + "/rendered", "application/pdf, */*;q=0.1")
        assert (reply.status, reply.headers["content-type"], reply.body) == (200, "application/pdf", PDF)
    assert (
        renderable.get(renderable.instance("pdf") + "/rendered").headers["content-type"] == "application/pdf"
    )


def test_warns_of_what_it_does_not_do(renderable: RenderableInstances) -> None:
    reply = renderable.get(renderable.instance("slice1") + "/rendered?annotation=patient&unknown=1")
    assert reply.status == 200
    assert reply.headers["warning"].startswith("299 ")
    assert "annotation values are not supported: patient" in reply.headers["warning"]


def test_tells_a_client_that_it_has_a_picture(renderable: RenderableInstances) -> None:
    path = renderable.instance("slice1") + "/rendered"
    tag = renderable.get(path).headers["etag"]
    again = renderable.get(path, if_none_match=f'"x", {tag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert renderable.get(path + "?quality=50", if_none_match=tag).status == 200
    assert renderable.get(renderable.instance("slice2") + "/rendered", if_none_match=tag).status == 200


def test_makes_small_pictures_once(renderable: RenderableInstances) -> None:
    for path in (renderable.instance("slice1"), renderable.instance("slice1") + "/frames/1"):
        first, second = (renderable.get(path + "/thumbnail") for _ in range(2))
        assert first.headers["content-type"] == "image/jpeg" and first.body == second.body
        assert imagecodecs.jpeg8_decode(first.body).shape == (128, 128)
    small = renderable.get(path + "/thumbnail?viewport=20,30", "image/png")
    assert imagecodecs.png_decode(small.body).shape == (20, 20)
    wide = renderable.get(renderable.series("wide") + "/thumbnail")
    assert imagecodecs.jpeg8_decode(wide.body).shape == (64, 128)
    documents = renderable.server.data / "documents"
    assert documents.exists() and any("thumbnail" in p.name for p in documents.rglob("*"))


def test_shows_what_an_update_changed(renderable: RenderableInstances) -> None:
    path = renderable.instance("inverse")
    before = renderable.get(path + "/thumbnail")
    client = renderable.server.client()
    (found,) = client.search_image_sets(
        datastoreId=renderable.datastore,
        searchCriteria={
            "filters": [
                {
                    "values": [{"DICOMSeriesInstanceUID": renderable.files["inverse"].SeriesInstanceUID}],
                    "operator": "EQUAL",
                }
            ]
        },
    )["imageSetsMetadataSummaries"]
    uid = renderable.files["inverse"].SOPInstanceUID
    series = renderable.files["inverse"].SeriesInstanceUID
    edits = {"Instances": {uid: {"DICOM": {"RescaleIntercept": 5000}}}}
    changes = {"SchemaVersion": "1.1", "Study": {"Series": {series: edits}}}
    client.update_image_set_metadata(
        datastoreId=renderable.datastore,
        imageSetId=found["imageSetId"],
        latestVersionId="1",
        updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": json.dumps(changes).encode()}},
    )
    after = renderable.get(path + "/thumbnail")
    assert after.headers["etag"] != before.headers["etag"]
    assert imagecodecs.jpeg8_decode(after.body).max() == 0


def test_serves_the_python_client(renderable: RenderableInstances) -> None:
    with requests.Session() as session:
        session.auth = Signed(renderable.server)
        client = DICOMwebClient(renderable.server.url + renderable.root, session=session)
        data = renderable.files["frames"]
        uids = (data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID)
        png = ("image/png",)
        found = client.retrieve_instance_frames_rendered(*uids, [3], media_types=png)
        assert imagecodecs.png_decode(found).mean() == 255
        parameters = {"viewport": "8,8", "window": "40,2,linear"}
        found = client.retrieve_instance_rendered(*uids, media_types=png, params=parameters)
        assert imagecodecs.png_decode(found).shape == (8, 8)
        found = client.retrieve_series_rendered(
            *uids[:2], media_types=("image/jpeg",), params={"quality": 80}
        )
        assert found.startswith(b"\xff\xd8")
        pdf = renderable.files["pdf"]
        uids = (pdf.StudyInstanceUID, pdf.SeriesInstanceUID, pdf.SOPInstanceUID)
        assert client.retrieve_instance_rendered(*uids, media_types=("application/pdf",)) == PDF
        for types in (None, ("image/jpeg", "image/png")):
            assert client.retrieve_instance_rendered(*uids, media_types=types) == PDF


_OCTETS = 'multipart/related; type="application/octet-stream"'
_SLIDES = ", ".join(
    f'multipart/related; type="{kind}"; transfer-syntax={syntax}'
    for kind, syntax in (
        ("image/jls", "1.2.840.10008.1.2.4.80"),
        ("image/jls", "1.2.840.10008.1.2.4.81"),
        ("image/jp2", "1.2.840.10008.1.2.4.90"),
        ("image/jp2", "1.2.840.10008.1.2.4.91"),
        ("image/jpx", "1.2.840.10008.1.2.4.92"),
        ("image/jpx", "1.2.840.10008.1.2.4.93"),
        ("application/octet-stream", "*"),
        ("image/jpeg", "1.2.840.10008.1.2.4.50"),
    )
)


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("slice1/thumbnail?accept=image%2Fjpeg", _OCTETS, "image/jpeg"),
        ("slice1/frames/1", _OCTETS + '; transfer-syntax="*"', "image/jphc"),
        ("jpeg/frames/1", _OCTETS + '; transfer-syntax="*"', "image/jpeg"),
        ("jpeg/frames/1", _SLIDES, "image/jpeg"),
        ("report", 'multipart/related; type="application/dicom"', "application/dicom"),
    ],
)
def test_answers_what_ohif_was_seen_to_ask(
    renderable: RenderableInstances, path: str, accept: str, kind: str
) -> None:
    """OHIF 3.13.2 in Chromium: `docs/howto/ohif.md`."""
    name, _, rest = path.partition("/")
    reply = renderable.get(f"{renderable.instance(name)}/{rest}".rstrip("/"), accept)
    assert reply.status == 200, reply.body
    assert kind in reply.headers["content-type"]
