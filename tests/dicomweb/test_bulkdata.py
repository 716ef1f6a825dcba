"""Bulk data over HTTP: fetched as the metadata name it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.dicomweb.support.sample_datastore import SampleDatastore, parts
from tests.support.server import Reply

OCTETS = "application/octet-stream"
VALUE = bytes(range(256)) * 6144


@pytest.fixture(scope="module")
def uri(sample: SampleDatastore) -> str:
    """The path of the one bulk value, as its instance's metadata name it."""
    (found,) = json.loads(sample.get(sample.instance("large") + "/metadata").body)
    element: dict[str, Any] = found["00191001"]
    assert element["vr"] == "OB" and element.keys() == {"vr", "BulkDataURI"}
    url: str = element["BulkDataURI"]
    assert url.startswith(f"{sample.server.url}{sample.root}{sample.instance('large')}/bulkdata/")
    assert len(url.rpartition("/")[2]) == 32
    return urlsplit(url).path.removeprefix(sample.root)


def test_is_named_alike_wherever_metadata_are_read(sample: SampleDatastore, uri: str) -> None:
    for path in (sample.series("large"), sample.study("large")):
        assert uri.encode() in sample.get(path + "/metadata").body
    assert f"{uri}?imageSetId=".encode() not in sample.get(sample.series("large") + "/metadata").body


@pytest.mark.parametrize("accept", [None, "*/*", OCTETS, f"text/html, {OCTETS};q=0.5"])
def test_comes_alone(sample: SampleDatastore, uri: str, accept: str | None) -> None:
    reply = sample.get(uri, accept)
    assert (reply.status, reply.headers["content-type"]) == (200, OCTETS)
    assert reply.headers["content-length"] == str(len(VALUE))
    assert reply.body == VALUE


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="*/*"',
        f'multipart/related; type="{OCTETS}"',
        f"multipart/related; type={OCTETS}; transfer-syntax=*",
        "multipart/related",
        # OHIF 3.13, which asks for a PDF before it knows whether it is one
        f'multipart/related; type="application/pdf", multipart/related; type="{OCTETS}"',
    ],
)
def test_comes_as_a_part(sample: SampleDatastore, uri: str, accept: str) -> None:
    reply = sample.get(uri, accept)
    (part,) = parts(reply)
    assert reply.headers["content-length"] == str(len(reply.body))
    assert (part.headers["content-type"], part.body) == (OCTETS, VALUE)
    assert part.headers["content-location"] == sample.server.url + sample.root + uri


def ranged(sample: SampleDatastore, uri: str, range: str, **more: str) -> Reply:
    return sample.get(uri, OCTETS, range=f"bytes={range}", **more)


@pytest.mark.parametrize(
    ("range", "start", "end"),
    [("0-0", 0, 1), ("1048570-1048580", 1048570, 1048581), ("1572000-", 1572000, None), ("-7", -7, None)],
)
def test_comes_in_ranges(sample: SampleDatastore, uri: str, range: str, start: int, end: int | None) -> None:
    reply = ranged(sample, uri, range)
    assert (reply.status, reply.body) == (206, VALUE[start:end])
    assert reply.headers["content-range"].endswith(f"/{len(VALUE)}")


def test_knows_conditions(sample: SampleDatastore, uri: str) -> None:
    etag = sample.get(uri, OCTETS).headers["etag"]
    assert sample.get(uri, OCTETS, if_none_match=etag).status == 304
    assert ranged(sample, uri, "0-1", if_range=etag).status == 206
    assert ranged(sample, uri, "0-1", if_range='"x"').status == 200
    assert ranged(sample, uri, "9999999-").status == 416


def test_refuses_what_is_not_there(sample: SampleDatastore, uri: str) -> None:
    folder = uri.rpartition("/")[0]
    for path, status in (
        (f"{folder}/{'0' * 32}", 404),
        (f"{folder}/x", 404),
        (uri.replace("/studies/", "/studies/9"), 404),
    ):
        reply = sample.get(path, OCTETS)
        assert reply.status == status, path
    assert sample.get(uri, "image/png").status == 406


@pytest.mark.parametrize("level", ["instance", "series", "study"])
def test_comes_together(sample: SampleDatastore, uri: str, level: str) -> None:
    (part,) = parts(
        sample.get(getattr(sample, level)("large") + "/bulkdata", f'multipart/related; type="{OCTETS}"')
    )
    assert part.body == VALUE
    assert part.headers["content-location"] == sample.server.url + sample.root + uri
    assert sample.get(sample.instance("ct1") + "/bulkdata").status == 404
    assert sample.get(sample.instance("large") + "/bulkdata", OCTETS).status == 406


@pytest.mark.parametrize("name", ["ct1", "frames", "colour", "bits", "jpeg"])
def test_gives_the_bulk_data_of_an_instance_with_its_pixels(sample: SampleDatastore, name: str) -> None:
    reply = sample.get(sample.instance(name), 'multipart/related; type="application/octet-stream"')
    assert reply.status == 200, reply.body
    (found,) = parts(reply)
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["content-location"].endswith(sample.instance(name) + "/pixeldata")
    data = sample.files[name]
    if name == "colour":
        assert len(found.body) == len(data.PixelData)
    elif name != "jpeg":
        assert found.body.rstrip(b"\0") == data.PixelData.rstrip(b"\0")
    else:
        assert len(found.body) == data.Rows * data.Columns * 3


def test_gives_the_bulk_data_of_a_study(sample: SampleDatastore) -> None:
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
    reply = sample.get(sample.study("ct1"), accept)
    assert reply.status == 206 and "2 instances" in reply.headers["warning"], "video and blob"
    locations = [each.headers["content-location"] for each in parts(reply)]
    assert sum(each.endswith("/pixeldata") for each in locations) == 8
    assert sum("/bulkdata/" in each for each in locations) == 1
    report = sample.get(sample.instance("report"), accept)
    assert report.status == 404 and b"metadata" in report.body
    assert sample.get(sample.instance("video"), accept).status == 406
    assert sample.get(sample.instance("ct1"), accept.replace("1.2.1", "2.4.50")).status == 406
