"""Metadata over HTTP, in the forms that clients ask for."""

from __future__ import annotations

import gzip
import json
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.dicomweb.support.sample_datastore import EXPLICIT, HTJ2K, JPEG, SampleDatastore, parts
from tests.support.consistency import by_pydicom, normal, unlike
from tests.support.server import Reply

JSON = "application/dicom+json"


def objects(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status == 200, reply.body
    body = gzip.decompress(reply.body) if "content-encoding" in reply.headers else reply.body
    found: list[dict[str, Any]] = json.loads(body, parse_constant=pytest.fail)
    return found


def metadata(sample: SampleDatastore, name: str) -> dict[str, Any]:
    (found,) = objects(sample.get(sample.instance(name) + "/metadata", JSON))
    return found


def test_shows_every_attribute_of_a_series_in_the_order_of_its_instances(sample: SampleDatastore) -> None:
    found = objects(sample.get(sample.series("ct1") + "/metadata", JSON))
    assert [each["00200013"]["Value"] for each in found] == [[1], [2], [3]]
    for number, each in enumerate(found, 1):
        assert list(each) == sorted(each)
        assert each.pop("00020010") == each.pop("00083002") == {"vr": "UI", "Value": [HTJ2K]}
        file = sample.get(sample.instance(f"ct{number}"), f"application/dicom; transfer-syntax={EXPLICIT}")
        assert not unlike(normal(each), by_pydicom(file.body))


@pytest.mark.parametrize(
    ("name", "syntax"), [("jpeg", JPEG), ("report", EXPLICIT), ("bits", EXPLICIT), ("blob", EXPLICIT)]
)
def test_tells_in_which_syntax_an_instance_is_stored(sample: SampleDatastore, name: str, syntax: str) -> None:
    assert metadata(sample, name)["00083002"]["Value"] == [syntax]
    assert metadata(sample, name)["00020010"]["Value"] == [syntax]


def test_gives_one_instance_in_an_array(sample: SampleDatastore) -> None:
    found = metadata(sample, "ct2")
    assert found["00080018"]["Value"] == [sample.files["ct2"].SOPInstanceUID]
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "DOE^JANE"}]}
    assert not any(key.startswith("7FE0") for key in found)


def test_gives_a_whole_study_series_by_series(sample: SampleDatastore) -> None:
    found = objects(sample.get(sample.study("ct1") + "/metadata", JSON))
    numbers = [each["00200011"]["Value"][0] for each in found]
    files = [file for name, file in sample.files.items() if name != "other"]
    study = sample.files["ct1"].StudyInstanceUID
    assert len(found) == sum(file.StudyInstanceUID == study for file in files)
    assert numbers == sorted(numbers)
    assert all(each["00100020"]["Value"] == ["P1"] for each in found)  # the other one is not primary
    assert sum('"BulkDataURI":"http' in json.dumps(each, separators=(",", ":")) for each in found) == 1


@pytest.mark.parametrize("path", ["instance", "series", "study"])
@pytest.mark.parametrize("name", ["ct1", "large"])
def test_gives_the_same_as_gzip(sample: SampleDatastore, path: str, name: str) -> None:
    path = getattr(sample, path)(name) + "/metadata"
    plain = sample.get(path, JSON)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "accept, accept-encoding"
    for _ in range(2):  # made, then from memory
        packed = sample.get(path, JSON, accept_encoding="gzip, br")
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["etag"] != plain.headers["etag"]


def test_says_that_nothing_has_changed(sample: SampleDatastore) -> None:
    path = sample.series("ct1") + "/metadata"
    for coding in ("identity", "gzip"):
        etag = sample.get(path, JSON, accept_encoding=coding).headers["etag"]
        again = sample.get(path, JSON, accept_encoding=coding, if_none_match=f'"x", W/{etag}')
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
        other = sample.get(path, "application/json", accept_encoding=coding, if_none_match=etag)
        assert other.status == 200


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/json", "application/json"),
        ("application/dicom+json, application/json", JSON),
        (
            'application/dicom+json, multipart/related; type="application/octet-stream"; transfer-syntax=*',
            JSON,
        ),
    ],
)
def test_takes_what_clients_send(sample: SampleDatastore, accept: str | None, kind: str) -> None:
    reply = sample.get(sample.series("ct1") + "/metadata", accept)
    assert reply.headers["content-type"] == kind
    assert len(objects(reply)) == 3


def test_refuses_other_types(sample: SampleDatastore) -> None:
    reply = sample.get(sample.series("ct1") + "/metadata", "text/html")
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (406, "NotAcceptableException")


def test_gives_xml_instance_by_instance(sample: SampleDatastore) -> None:
    reply = sample.get(sample.series("ct1") + "/metadata", 'multipart/related; type="application/dicom+xml"')
    found = parts(reply)
    assert [part.headers["content-type"] for part in found] == ["application/dicom+xml"] * 3
    root = ElementTree.fromstring(found[1].body)
    shown = {each.attrib["tag"]: each for each in root}
    assert [value.text for value in shown["00080018"]] == [sample.files["ct2"].SOPInstanceUID]
    (one,) = parts(
        sample.get(sample.instance("large") + "/metadata", 'multipart/related; type="application/dicom+xml"')
    )
    assert (
        f'<BulkData uri="{sample.server.url}{sample.root}{sample.instance("large")}/bulkdata/'.encode()
        in one.body
    )


def test_reads_sets_that_are_not_primary_by_their_id(sample: SampleDatastore) -> None:
    path = sample.series("ct1") + "/metadata"
    for coding in ("identity", "gzip", "gzip"):
        (found,) = objects(
            sample.get(f"{path}?imageSetId={sample.non_primary}", JSON, accept_encoding=coding)
        )
        assert found["00100020"]["Value"] == ["P2"]
    other = sample.get(sample.instance("other") + "/metadata", JSON)
    assert (other.status, other.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")
    named = sample.get(f"{sample.instance('other')}/metadata?imageSetId={sample.non_primary}", JSON)
    assert len(objects(named)) == 1
    assert sample.get(f"{path}?imageSetId={'a' * 32}", JSON).status == 404
    assert sample.get(f"{path}?imageSetId=x", JSON).status == 400
    assert sample.get(f"{sample.study('ct1')}/metadata?imageSetId={sample.non_primary}", JSON).status == 400


@pytest.mark.parametrize(
    "path", ["/studies/1.9", "/studies/1.9/series/1.9", "/studies/1.9/series/1.9/instances/1"]
)
def test_says_that_there_is_no_such_thing(sample: SampleDatastore, path: str) -> None:
    assert sample.get(path + "/metadata", JSON).status == 404
