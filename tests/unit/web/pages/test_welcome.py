"""The page at ``/``: for whom it is, and what it says."""

from __future__ import annotations

import re

import pytest

from lightwell import __version__
from lightwell.web.pages.welcome import WelcomePage, is_for_people
from lightwell.web.requests.request import Request

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def request(path: str = "/", method: str = "GET", query: str = "", **headers: str) -> Request:
    scope = {
        "method": method,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    return Request(scope, "id")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (request(accept=CHROMIUM), True),
        (request(accept="*/*"), True),
        (request(), True),
        (request(method="HEAD", accept="text/html"), True),
        (request(accept="application/json"), False),
        (request(accept="application/json, text/plain, */*"), False),
        (request(accept="application/dicom+json"), False),
        (request(accept=CHROMIUM, authorization="Bearer x"), False),
        (request(method="POST", accept=CHROMIUM), False),
        (request(query="Action=GetCallerIdentity", accept=CHROMIUM), False),
        (request("/datastore", accept=CHROMIUM), False),
        (request("//", accept=CHROMIUM), False),
    ],
)
def test_is_for_browsers_alone(asked: Request, expected: bool) -> None:
    assert is_for_people(asked) is expected


@pytest.mark.parametrize("has_viewer", [True, False])
def test_names_what_there_is(has_viewer: bool) -> None:
    response = WelcomePage(has_viewer=has_viewer).respond()
    assert isinstance(response.body, bytes)
    text, headers = response.body.decode(), dict(response.headers)
    assert __version__ in text and "<h1>lightwell</h1>" in text and "{" not in text.partition("</style>")[2]
    links = set(re.findall(r'(?:href|src)="([^"]*)"', text))
    assert links == {"/healthz", "/readyz", "/metrics", "/version", *(["/ohif/"] if has_viewer else [])}
    assert b"default-src 'none'" in headers[b"content-security-policy"] and "<script" not in text
    assert int(headers[b"content-length"]) == len(response.body)
