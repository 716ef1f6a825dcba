"""What a DICOMweb client takes, as real clients say it."""

from __future__ import annotations

import pytest

from lightwell.errors import NotAcceptableError, ValidationError
from lightwell.settings import Settings
from lightwell.web.dicomweb import media
from lightwell.web.requests.negotiation import MediaRange
from lightwell.web.requests.request import Request

FRAME = "multipart/related"
OCTETS = "application/octet-stream"


def request(*accept: str, query: str = "", **more: str) -> Request:
    headers = [(b"accept", value.encode()) for value in accept]
    headers += [(name.encode(), value.encode()) for name, value in more.items()]
    scope = {
        "method": "GET",
        "raw_path": b"/datastore/" + b"a" * 32 + b"/studies",
        "query_string": query.encode(),
        "headers": headers,
        "scheme": "http",
        "server": ("::1", 8085),
    }
    return Request(scope, "id")


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ("*/*", [MediaRange("*/*")]),
        (
            'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
            [MediaRange(FRAME, OCTETS, "*")],
        ),
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
            [MediaRange(FRAME, OCTETS, "1.2.840.10008.1.2.1")],
        ),
        (
            'Multipart/Related;Type="application/octet-stream";transfer-syntax=1.2.3;transfer-syntax=*',
            [MediaRange(FRAME, OCTETS, "1.2.3")],
        ),
        ('multipart/related; type="*/*"', [MediaRange(FRAME, "*/*")]),
        (
            "multipart/related; type=image/jphc; transfer-syntax=1.2.840.10008.1.2.4.202, "
            "multipart/related; type=image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90",
            [
                MediaRange(FRAME, "image/jphc", "1.2.840.10008.1.2.4.202"),
                MediaRange(FRAME, "image/jp2", "1.2.840.10008.1.2.4.90"),
            ],
        ),
        ("a/b;q=0.5, c/d, e/f;q=0, g/h;q=x", [MediaRange("c/d"), MediaRange("a/b", q=0.5)]),
        ('multipart/related; type="a,b;c/d"; boundary="x\\"y"', [MediaRange(FRAME, "a,b;c/d")]),
        ('multipart/related; type="open', [MediaRange(FRAME, "open")]),
        (" , ;, ", []),
    ],
)
def test_reads_what_clients_send(accept: str, found: list[MediaRange]) -> None:
    assert list(media.accepted_media_ranges(request(accept))) == found


def test_reads_several_headers_as_one() -> None:
    assert [each.type for each in media.accepted_media_ranges(request("a/b;q=0.1", "c/d"))] == ["c/d", "a/b"]


def test_takes_the_query_parameter_before_the_header() -> None:
    found = media.accepted_media_ranges(
        request("a/b", query="x=1&accept=application%2Fdicom%2Bjson;q=0.5,image/jpeg")
    )
    assert [each.type for each in found] == ["image/jpeg", "application/dicom+json"]
    assert (
        media.accepted_media_ranges(request("a/b", query="accept=application/dicom+json"))[0].type
        == media.DICOM_JSON
    )


def test_accepts_anything_if_the_client_states_nothing() -> None:
    assert media.accepted_media_ranges(request()) == ()


@pytest.mark.parametrize("accept", ["*/*;q=0", "a/b; q=0.0, c/d;q=0", "a/b;q=x", "a/b;q=1.5"])
def test_refuses_a_client_that_accepts_nothing(accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        media.accepted_media_ranges(request(accept))


def test_refuses_an_endless_accept_header() -> None:
    with pytest.raises(ValidationError):
        media.accepted_media_ranges(request("a/b," * 3000))


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ([], media.DICOM_JSON),
        (["*/*"], media.DICOM_JSON),
        (["application/*"], media.DICOM_JSON),
        (["application/dicom+json, application/json"], media.DICOM_JSON),
        (["application/json"], media.JSON),
        (["*/*, application/dicom+json;q=0"], media.JSON),
        (["application/*, application/json;q=0", "application/dicom+json;q=0.0"], media.DICOM_XML),
        (["application/json;q=0.1, application/dicom+json"], media.DICOM_JSON),
        (['multipart/related; type="application/dicom+xml"'], media.DICOM_XML),
        (["application/dicom+xml"], media.DICOM_XML),
        (['multipart/related; type="application/dicom+json"'], media.DICOM_JSON),
        # OHIF's concatenation of two headers
        (
            ['application/dicom+json, multipart/related; type="application/octet-stream"; transfer-syntax=*'],
            media.DICOM_JSON,
        ),
        (
            ['multipart/related; type="application/octet-stream"; transfer-syntax=*', "application/json"],
            media.JSON,
        ),
    ],
)
def test_chooses_between_json_types(accept: list[str], found: str) -> None:
    assert media.json_type(request(*accept)) == found


@pytest.mark.parametrize("accept", ["image/jpeg", 'multipart/related; type="application/dicom"', "text/*"])
def test_refuses_metadata_in_other_media_types(accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        media.json_type(request(accept))


def test_decodes_the_query_as_a_form() -> None:
    assert media.query_parameters(request(query="a=b+c&d=%C3%BC%2B&&e")) == [
        ("a", "b c"),
        ("d", "ü+"),
        ("e", ""),
    ]
    with pytest.raises(ValidationError):
        media.query_parameters(request(query="a=%ff"))


def test_refuses_a_repeated_parameter() -> None:
    assert media.query_parameter(request(query="imageSetId=a"), "imageSetId") == "a"
    assert media.query_parameter(request(query="b=a"), "imageSetId") is None
    with pytest.raises(ValidationError):
        media.query_parameter(request(query="imageSetId=a&imageSetId=b"), "imageSetId")


@pytest.mark.parametrize(
    ("host", "public", "found"),
    [
        ("images.example:8443", None, "http://images.example:8443"),
        ("[::1]:1", None, "http://[::1]:1"),
        ("bad host/<script>", None, "http://[::1]:8085"),
        ("images.example", "https://pacs.example/dicom/", "https://pacs.example/dicom"),
    ],
)
def test_builds_the_url_of_a_data_store(host: str, public: str | None, found: str) -> None:
    settings = Settings(public_url=public)
    assert media.base_url(request(host=host), settings) == f"{found}/datastore/{'a' * 32}"
