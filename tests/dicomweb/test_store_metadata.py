"""Storing metadata with bulk data: what was retrieved comes back the same; what is amiss is refused."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest

from lightwell.domain.imports.store_response import CANNOT_UNDERSTAND
from tests.dicomweb.support.sample_datastore import EXPLICIT, SampleDatastore, parts
from tests.dicomweb.support.uploads import BOUNDARY, Report, Store, new
from tests.support.ct_files import ct
from tests.support.server import Reply

_OCTETS = "application/octet-stream"


@pytest.fixture(scope="module")
def store(sample: SampleDatastore) -> Store:
    """Another data store of the server."""
    return new(sample.server)


def _related(*found: tuple[dict[str, str], bytes]) -> bytes:
    delimiter = b"--" + BOUNDARY.encode()
    pieces = []
    for headers, body in found:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        pieces.append(delimiter + b"\r\n" + lines.encode() + b"\r\n" + body + b"\r\n")
    return b"".join(pieces) + delimiter + b"--\r\n"


def _post(
    store: Store, documents: list[bytes], bulk: dict[str, tuple[str, bytes]], kind: str = "json", **more: str
) -> tuple[Reply, Report]:
    found: list[tuple[dict[str, str], bytes]] = [
        ({"Content-Type": f"application/dicom+{kind}"}, document) for document in documents
    ]
    found += [
        ({"content-type": media, "content-location": place}, body) for place, (media, body) in bulk.items()
    ]
    related = f'multipart/related; type="application/dicom+{kind}"; boundary={BOUNDARY}'
    body = _related(*found)
    return store.post(gzip.compress(body) if "content_encoding" in more else body, related, **more)


def _get(store: Store | SampleDatastore, path: str, accept: str) -> Reply:
    at = f"/datastore/{store.datastore}{path}"
    reply = store.server.send(store.server.signed("GET", at, headers={"accept": accept}))
    assert reply.status == 200, reply.body
    return reply


def _path(data: pydicom.Dataset) -> str:
    series = f"/studies/{data.StudyInstanceUID}/series/{data.SeriesInstanceUID}"
    return f"{series}/instances/{data.SOPInstanceUID}"


def _bulk(sample: SampleDatastore, dataset: dict[str, Any]) -> dict[str, tuple[str, bytes]]:
    found = {}
    for element in dataset.values():
        if uri := element.get("BulkDataURI"):
            found[uri] = (_OCTETS, _get(sample, uri[uri.index("/studies") :], _OCTETS).body)
    return found


def _frames(sample: SampleDatastore, data: pydicom.Dataset, accept: str) -> dict[str, tuple[str, bytes]]:
    numbers = ",".join(str(n) for n in range(1, int(data.get("NumberOfFrames", 1)) + 1))
    found = parts(_get(sample, f"{_path(data)}/frames/{numbers}", accept))
    return {
        f"pixels/frames/{n}": (each.headers["content-type"], each.body) for n, each in enumerate(found, 1)
    }


def _without_server(dataset: dict[str, Any]) -> dict[str, Any]:
    """Metadata without what the server adds: addresses, transfer syntaxes, file meta."""
    left_out = ("00083002", "00081190", "7FE00010")
    return {
        key: {"vr": element["vr"]} if "BulkDataURI" in element else element
        for key, element in dataset.items()
        if key not in left_out and not key.startswith("0002")
    }


_NATIVE = f'multipart/related; type="{_OCTETS}"; transfer-syntax={EXPLICIT}'
_KEPT = 'multipart/related; type="*/*"; transfer-syntax=*'


@pytest.mark.parametrize("kind", ["json", "xml"])
@pytest.mark.parametrize(
    ("name", "accept"),
    [
        ("ct1", _NATIVE),
        ("ct1", _KEPT),
        ("frames", _NATIVE),
        ("frames", _KEPT),
        ("colour", _NATIVE),
        ("jpeg", _KEPT),
        ("report", ""),
        ("large", _NATIVE),
    ],
)
def test_stores_what_was_retrieved_as_it_was(
    sample: SampleDatastore, store: Store, name: str, accept: str, kind: str
) -> None:
    data = sample.files[name]
    (dataset,) = json.loads(_get(sample, f"{_path(data)}/metadata", "application/dicom+json").body)
    bulk = _bulk(sample, dataset)
    if kind == "json":
        if accept:
            dataset["7FE00010"] = {"vr": "OW", "BulkDataURI": "pixels"}
        document = json.dumps([dataset]).encode()
    else:
        related = 'multipart/related; type="application/dicom+xml"'
        (document,) = (each.body for each in parts(_get(sample, f"{_path(data)}/metadata", related)))
        pixels = b'<DicomAttribute tag="7FE00010" vr="OW"><BulkData uri="pixels"/></DicomAttribute>'
        if accept:
            document = document.replace(b"</NativeDicomModel>", pixels + b"</NativeDicomModel>")
    frames = _frames(sample, data, accept) if accept else {}
    target = new(sample.server)
    reply, report = _post(target, [document], bulk | frames, kind)
    assert reply.status == 200 and len(report.stored) == 1, reply.body
    (again,) = json.loads(_get(target, f"{_path(data)}/metadata", "application/dicom+json").body)
    assert _without_server(again) == _without_server(dataset)
    assert _bulk_bodies(target, again) == [body for _, body in bulk.values()]
    if accept:
        for wanted in (_NATIVE, _KEPT) if name != "jpeg" else (_KEPT,):
            kept = [body for _, body in _frames(sample, data, wanted).values()]
            assert [each.body for each in _parts_of(target, data, wanted)] == kept


def _bulk_bodies(store: Store, dataset: dict[str, Any]) -> list[bytes]:
    uris = [element["BulkDataURI"] for element in dataset.values() if "BulkDataURI" in element]
    return [_get(store, uri[uri.index("/studies") :], _OCTETS).body for uri in uris]


def _parts_of(store: Store, data: pydicom.Dataset, accept: str) -> list[Any]:
    numbers = ",".join(str(n) for n in range(1, int(data.get("NumberOfFrames", 1)) + 1))
    return parts(_get(store, f"{_path(data)}/frames/{numbers}", accept))


def _model(number: int = 1, **attributes: Any) -> dict[str, Any]:
    """The metadata of a CT slice, without its pixels."""
    data = ct(number, **attributes)
    del data.PixelData
    found: dict[str, Any] = data.to_json_dict()
    return found


def _with_pixels(number: int = 1, **attributes: Any) -> tuple[dict[str, Any], bytes]:
    data = ct(number, **attributes)
    found = _model(number, **attributes)
    found["7FE00010"] = {"vr": "OW", "BulkDataURI": f"pixels{number}"}
    return found, data.PixelData


def test_stores_several_instances_in_utf8_with_the_reasons_of_those_that_fail(store: Store) -> None:
    first, first_pixels = _with_pixels(1, series="21", PatientName="Jäger^Änne")
    second, second_pixels = _with_pixels(2, series="21")
    third = _model(3, series="21")
    third["00280010"]["Value"] = [70_000]
    fourth = _model(4, series="21")
    fourth["7FE00010"] = {"vr": "OW", "InlineBinary": base64.b64encode(ct(4).PixelData).decode()}
    del fourth["00080018"]
    bulk = {"pixels1": (_OCTETS, first_pixels), "pixels2": ("", second_pixels[:-2])}
    reply, report = _post(store, [json.dumps([first, second, third, fourth]).encode()], bulk)
    assert reply.status == 202
    assert [each["00081155"] for each in report.stored] == [first["00080018"]["Value"][0]]
    assert [each["00081197"] for each in report.failed] == [CANNOT_UNDERSTAND] * 2
    assert "510 bytes" in report.failed[0]["0040A160"] and "US" in report.failed[1]["00000902"]
    assert "SOPInstanceUID" in report.others[0]["00000902"]
    (found,) = json.loads(_get(store, f"{_path(ct(1, series='21'))}/metadata", "application/json").body)
    assert found["00100010"]["Value"] == [{"Alphabetic": "Jäger^Änne"}]
    assert found["00080005"]["Value"] == ["ISO_IR 192"]


def test_stores_a_document_by_itself_and_gzipped(store: Store) -> None:
    body = json.dumps(_model(1, series="22", Modality="SR")).encode()
    assert store.post(body, "application/dicom+json")[0].status == 200
    zipped = gzip.compress(body.replace(b".22.1", b".22.2"))
    assert store.post(zipped, "application/dicom+json", content_encoding="gzip")[0].status == 200
    dataset, pixels = _with_pixels(3, series="22")
    bulk = {"pixels3": (_OCTETS, pixels)}
    reply, _ = _post(store, [json.dumps([dataset]).encode()], bulk, content_encoding="gzip")
    assert reply.status == 200
    reply, _ = _post(store, [json.dumps([dataset]).encode()], bulk, accept="application/dicom+xml")
    assert reply.status == 200 and ElementTree.fromstring(reply.body).tag.endswith("NativeDicomModel")


@pytest.mark.parametrize(
    ("uri", "bulk", "words"),
    [
        ("pixels1", {}, "fetches nothing"),
        ("http://169.254.169.254/latest/meta-data", {"pixels1": (_OCTETS, b"12")}, "fetches nothing"),
        ("file:///etc/passwd", {}, "fetches nothing"),
        ("pixels1", {"pixels1": (_OCTETS, b"12"), "other": (_OCTETS, b"12")}, "names the part 'other'"),
        ("pixels1", {"": (_OCTETS, b"12")}, "Content-Location"),
    ],
)
def test_refuses_parts_and_metadata_that_do_not_belong_together(
    store: Store, uri: str, bulk: dict[str, tuple[str, bytes]], words: str
) -> None:
    dataset = _model(1, series="23")
    dataset["7FE00010"] = {"vr": "OW", "BulkDataURI": uri}
    reply, _ = _post(store, [json.dumps([dataset]).encode()], bulk)
    assert reply.status == 400 and words in json.loads(reply.body)["message"]


@pytest.mark.parametrize(
    "media", ["image/jp2", "image/jpeg; transfer-syntax=1.2.840.10008.1.2.5", "text/html"]
)
def test_keeps_no_pixels_that_are_not_what_their_part_says(store: Store, media: str) -> None:
    dataset, pixels = _with_pixels(1, series="24")
    reply, report = _post(store, [json.dumps([dataset]).encode()], {"pixels1": (media, pixels)})
    if media == "image/jp2":
        # As for a file like this: it is kept as it is, with a warning that it has no frames.
        assert reply.status == 200 and report.stored[0]["00081196"] >= 0xB100
    else:
        assert reply.status == 409 and len(report.failed) == 1


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 20_000,
        b'[{"00080018":' * 20_000,
        b"{}]",
        b"[{}]",
        b"null",
        b"\xff\xfe\x00",
        b'[{"00280010":{"vr":"US","Value":[' + b"9" * 100_000 + b"]}}]",
    ],
)
def test_survives_hostile_metadata(store: Store, document: bytes) -> None:
    reply, report = _post(store, [document], {})
    assert reply.status in (400, 409) and not report.stored
    assert _post(store, [document], {}, "xml")[0].status == 400
    one = json.dumps([_model(1, series="25")]).encode()
    assert _post(store, [one], {})[0].status == 200


def test_refuses_a_request_without_metadata_and_headers_given_twice(store: Store) -> None:
    related = f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'
    body = _related(({"Content-Type": _OCTETS, "Content-Location": "x"}, b"12"))
    reply, _ = store.post(body, related)
    assert reply.status == 400 and b"application/dicom+json" in reply.body
    body = _related(({"Content-Type": "application/dicom+json", "content-type": _OCTETS}, b"[]"))
    assert store.post(body, related)[0].status == 400


def test_warns_of_a_study_date_that_no_search_finds(store: Store) -> None:
    found = []
    for number, date in enumerate(("20240230", "2024", "20240102", None), 1):
        dataset = _model(number, series="26", study="26")
        dataset["00080020"]["Value"] = [date]
        found.append(_post(store, [json.dumps([dataset]).encode()], {})[1].stored[0])
    assert [each.get("00081196") for each in found] == [0xB007, 0xB007, None, None]
    assert "searches by date" in found[0]["0040A160"]
