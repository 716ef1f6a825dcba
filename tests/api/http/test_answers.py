"""What every answer says to browsers and caches, whatever kind it is; and who may ask by TLS at all."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import lightwell
from tests.dicomweb.support.uploads import part10
from tests.support.certificates import Authority, certificate
from tests.support.ct_files import ct
from tests.support.server import Reply, Server, running, trusting, until

DICOM_JSON = {"accept": "application/dicom+json"}
NAME = "images.example.org"


@dataclass(frozen=True, slots=True)
class Site:
    """A server that requires certificates of clients."""

    server: Server
    authority: Authority
    own: tuple[Path, Path]
    flags: tuple[str, ...]

    def context(self, shows: tuple[Path, Path] | None) -> ssl.SSLContext:
        context = trusting()
        if shows is not None:
            context.load_cert_chain(*shows)
        return context

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        shows: tuple[Path, Path] | None = None,
    ) -> Reply:
        context = self.context(shows or self.own)
        connection = http.client.HTTPSConnection(*self.server.address, timeout=120, context=context)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def signed(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        request = self.server.signed(method, path, body, headers=headers)
        return self.call(method, path, body, dict(request.headers.items()))

    def raw(self, data: bytes) -> bytes:
        with self.context(self.own).wrap_socket(
            socket.create_connection(self.server.address, timeout=60)
        ) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("answers")
    authority = Authority(folder, "hospital")
    (folder / "ohif").mkdir()
    (folder / "ohif" / "app-config.js").write_text("window.config = {}")
    (folder / "ohif" / "index.html").write_text("<!doctype html><title>OHIF</title>")
    cert, key = certificate(folder)
    flags = (
        *("--tls-cert", str(cert), "--tls-key", str(key), "--hsts", "3600"),
        *("--tls-client-ca", str(authority.cert), "--tls-client-certs", "required"),
    )
    more = ("--ohif", str(folder / "ohif"), "--log-format", "json")
    with running(folder / "data", *flags, *more) as server:
        yield Site(server, authority, authority.issue("workstation"), flags)


@pytest.fixture(scope="module")
def stored(site: Site) -> dict[str, str]:
    """The names of a data store, and of one image in it."""
    body = json.dumps({"datastoreName": "answers", "clientToken": "1"}).encode()
    store = json.loads(site.signed("POST", "/datastore", body).body)["datastoreId"]
    file = ct(1)
    reply = site.signed(
        "POST", f"/datastore/{store}/studies", part10(file), {"content-type": "application/dicom"}
    )
    assert reply.status == 200
    found = json.loads(site.signed("POST", f"/datastore/{store}/searchImageSets", b"{}").body)[
        "imageSetsMetadataSummaries"
    ]
    study, series = str(file.StudyInstanceUID), str(file.SeriesInstanceUID)
    return {
        "store": f"/datastore/{store}",
        "set": f"/datastore/{store}/imageSet/{found[0]['imageSetId']}",
        "study": f"/datastore/{store}/studies/{study}",
        "series": f"/datastore/{store}/studies/{study}/series/{series}",
        "instance": f"/datastore/{store}/studies/{study}/series/{series}/instances/{file.SOPInstanceUID}",
    }


# Name of the kind: method, path, headers, status, and the type that the answer has.
SIGNED: dict[str, tuple[str, str, dict[str, str], int, str]] = {
    "json": ("GET", "/datastore", {}, 200, "application/json"),
    "metadata": ("POST", "{set}/getImageSetMetadata", {}, 200, "application/json"),
    "search": ("GET", "{store}/studies", DICOM_JSON, 200, "application/dicom+json"),
    "xml": ("GET", "{study}/metadata", {"accept": 'multipart/related; type="application/dicom+xml"'}, 200,
            "multipart/related"),
    "multipart": ("GET", "{study}", {"accept": 'multipart/related; type="application/dicom"'}, 200,
                  "multipart/related"),
    "part10": ("GET", "{instance}", {"accept": "application/dicom"}, 200, "application/dicom"),
    "zip": ("GET", "{study}", {"accept": "application/zip"}, 200, "application/zip"),
    "frames": ("GET", "{instance}/frames/1", {"accept": "multipart/related"}, 200, "multipart/related"),
    "rendered": ("GET", "{instance}/rendered", {"accept": "image/png"}, 200, "image/png"),
    "thumbnail": ("GET", "{series}/thumbnail", {"accept": "image/jpeg"}, 200, "image/jpeg"),
    "console": ("GET", "/console/api/me", {}, 200, "application/json"),
    "refused query": ("GET", "{store}/studies?" + "a=b&" * 201, {}, 400, "application/json"),
    "not found": ("GET", "{store}/studies/1.2.3/metadata", DICOM_JSON, 404, "application/json"),
    "not acceptable": ("GET", "{instance}/rendered", {"accept": "text/css"}, 406, "application/json"),
    "no such operation": ("GET", "/nothing", {}, 404, "application/json"),
    "sts": ("POST", "/?Action=Nonsense", {}, 403, "text/xml"),
}  # fmt: skip
UNSIGNED: dict[str, tuple[str, str, dict[str, str], int, str]] = {
    "alive": ("GET", "/healthz", {}, 200, "application/json"),
    "ready": ("GET", "/readyz", {}, 200, "application/json"),
    "metrics": ("GET", "/metrics", {}, 200, "text/plain"),
    "version": ("GET", "/version", {}, 200, "application/json"),
    "unsigned": ("GET", "/datastore", {}, 403, "application/json"),
    "unsigned sts": ("POST", "/", {}, 403, "text/xml"),
    "page": ("GET", "/console/", {"accept": "text/html"}, 200, "text/html"),
    "viewer": ("GET", "/ohif/", {"accept": "text/html"}, 200, "text/html"),
    "viewer's page": ("GET", "/ohif/viewer?x=<script>", {"accept": "text/html"}, 200, "text/html"),
    "config": ("GET", "/console/api/config", {}, 200, "application/json"),
    "method": ("DELETE", "/healthz", {}, 405, "application/json"),
    "preflight": ("OPTIONS", "/datastore", {"origin": "https://a.example",
                  "access-control-request-method": "GET"}, 204, ""),
}  # fmt: skip
# What a browser shows as a document, in which scripts could run.
DOCUMENTS = ("text/html", "text/xml", "application/xml", "image/svg+xml", "application/pdf")


def check(reply: Reply, status: int, kind: str) -> None:
    headers = reply.headers
    assert reply.status == status, (reply.status, reply.body[:300])
    assert headers.get("content-type", "").partition(";")[0] == kind
    assert headers["x-content-type-options"] == "nosniff"
    assert re.fullmatch(r"no-store|private, no-cache|public, .*|no-cache", headers["cache-control"])
    assert "set-cookie" not in headers, "there are no cookies, and so no requests that a page could forge"
    if kind in DOCUMENTS:
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy or "default-src 'self'" in policy or "sandbox" in policy
        assert "frame-ancestors" in policy or "sandbox" in policy
    # An address, for which browsers would ignore it.
    assert "strict-transport-security" not in headers


@pytest.mark.parametrize("name", SIGNED)
def test_says_what_browsers_and_caches_need(site: Site, stored: dict[str, str], name: str) -> None:
    method, path, headers, status, kind = SIGNED[name]
    body = b"{}" if method == "POST" and "{set}" in path else b""
    reply = site.signed(method, path.format(**stored), body, headers)
    check(reply, status, kind)
    if path.startswith("{"):
        assert not reply.headers["cache-control"].startswith("public")
    if "etag" in reply.headers:
        again = site.signed(
            method, path.format(**stored), body, headers | {"if-none-match": reply.headers["etag"]}
        )
        check(again, 304, again.headers.get("content-type", "").partition(";")[0])


@pytest.mark.parametrize("name", UNSIGNED)
def test_says_so_without_a_signature_too(site: Site, name: str) -> None:
    method, path, headers, status, kind = UNSIGNED[name]
    # A cookie, whatever it says, changes nothing: nothing here reads one.
    reply = site.call(method, path, headers=headers | {"cookie": "session=root; token=1"})
    check(reply, status, kind)


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"NONSENSE\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200_000 + b"\r\n\r\n", 431)],
)
def test_says_so_when_it_refuses_a_head(site: Site, head: bytes, status: int) -> None:
    answer, _, _ = site.raw(head).partition(b"\r\n\r\n")
    first, *lines = answer.decode().split("\r\n")
    assert first.split()[1] == str(status)
    assert {"x-content-type-options: nosniff", "cache-control: no-store"} <= set(lines)


def test_reads_no_cookie_anywhere() -> None:
    source = Path(__file__).parents[3] / "src" / "lightwell"
    for file in source.rglob("*.py"):
        assert not re.search(r"""b?["'](set-)?cookie["']""", file.read_text(), re.IGNORECASE), file


# TLS --------------------------------------------------------------------------------------------------------


def test_tells_browsers_to_stay_with_tls_where_that_is_wanted(site: Site) -> None:
    for host, said in (
        (NAME, "max-age=3600"),
        (f"{NAME}:8443", "max-age=3600"),
        ("localhost:8443", None),
        ("viewer.localhost", None),
        ("192.0.2.7:8443", None),
        ("[2001:db8::1]:8443", None),
    ):
        reply = site.call("GET", "/healthz", headers={"host": host})
        assert reply.headers.get("strict-transport-security") == said, host
    page = site.call("GET", "/console/", headers={"host": NAME, "accept": "text/html"})
    assert page.headers["strict-transport-security"] == "max-age=3600"


def test_lets_in_whoever_shows_a_certificate_and_logs_whose(site: Site) -> None:
    reply = site.signed("GET", "/datastore")
    assert reply.status == 200
    id = reply.headers["x-amzn-requestid"]
    until(lambda: any(id in line for line in list(site.server.err)))
    (line,) = [json.loads(each) for each in site.server.err if id in each]
    assert line["certificate"] == "CN=workstation,O=Radiology"
    # It is no signature.
    assert site.call("GET", "/datastore").status == 403


def refused(site: Site, shows: tuple[Path, Path] | None) -> bool:
    with socket.create_connection(site.server.address, timeout=60) as plain:
        try:
            with site.context(shows).wrap_socket(plain) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return not connection.recv(4096)
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
            return True


def test_lets_nobody_in_without_one(site: Site, tmp_path: Path) -> None:
    assert refused(site, None)
    assert refused(site, certificate(tmp_path, "stranger"))
    assert not refused(site, site.own)


def test_takes_back_a_certificate_without_a_restart(site: Site) -> None:
    lost = site.authority.issue("lost")
    assert not refused(site, lost)
    site.authority.revoke(lost[0])
    os.kill(site.server.process.pid, signal.SIGHUP)
    until(lambda: refused(site, lost))
    assert not refused(site, site.own)
    # What is no list of authorities changes nothing.
    kept = site.authority.cert.read_text()
    site.authority.cert.write_text("nothing")
    until(lambda: any("refused" in line and "tls_client_ca" in line for line in list(site.server.err)))
    assert refused(site, lost) and not refused(site, site.own)
    site.authority.cert.write_text(kept)


def test_doctor_says_what_is_offered_and_required(site: Site) -> None:
    done = lightwell("doctor", "--json", *site.flags, "--port", "0", data=site.server.data)
    rows: dict[str, Any] = {row["check"]: row for row in done.json()}
    says = "offered is TLS 1.2 and 1.3, 9 ciphers, all with forward secrecy; client certificates are required"
    assert says in rows["tls"]["says"]
    assert "requires client certificates" in rows["port"]["says"] and rows["port"]["ok"]
