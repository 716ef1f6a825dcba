"""What a signed query means, whichever spelling of it is sent."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.dicomweb.support.searchable_studies import Archive, filled, value
from tests.support.ct_files import ct
from tests.support.server import REGION, running

PLUS, SPACE = "Last+Name^A", "Last Name^B"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A data store with one study of each name."""
    files = [ct(1, study="1", PatientName=PLUS), ct(1, study="2", PatientName=SPACE)]
    with running(tmp_path_factory.mktemp("signed") / "data") as server:
        yield filled(server, files)


def found(archive: Archive, signed: str, sent: str) -> set[str]:
    """The names that are found by ``sent`` under the signature of ``signed``."""
    path = f"/datastore/{archive.datastore}/studies"
    request = archive.server.signed("GET", f"{path}?PatientName={signed}")
    request.url = f"{archive.server.url}{path}?PatientName={sent}"
    reply = archive.server.send(request)
    assert reply.status == 200, reply.body
    return {value(result, "00100010")["Alphabetic"] for result in json.loads(reply.body)}


@pytest.mark.parametrize(
    ("signed", "sent", "name"),
    [
        ("Last%2BName%2A", "Last%2BName*", PLUS),
        ("Last%2BName%2A", "Last+Name*", PLUS),
        ("Last%20Name%2A", "Last%20Name*", SPACE),
        ("Last%20Name%2A", "Last+Name*", SPACE),
        ("Last+Name*", "Last+Name*", SPACE),
    ],
)
def test_searches_for_what_was_signed(archive: Archive, signed: str, sent: str, name: str) -> None:
    assert found(archive, signed, sent) == {name}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("written", ["Last+Name*", "Last%20Name*"])
def test_searches_for_what_curl_writes(archive: Archive, written: str) -> None:
    key = archive.server.root
    url = f"{archive.base}/studies?PatientName={written}"
    arguments = [
        "--aws-sigv4",
        f"aws:amz:{REGION}:medical-imaging",
        "--user",
        f"{key.access_key}:{key.secret_key}",
    ]
    ran = subprocess.run(["curl", "-s", "-S", *arguments, url], capture_output=True, check=True, timeout=120)
    assert [value(each, "00100010")["Alphabetic"] for each in json.loads(ran.stdout)] == [SPACE]
