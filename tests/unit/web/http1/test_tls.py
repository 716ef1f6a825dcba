"""What a listener offers: handshakes in memory with clients that ask for one thing only."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from lightwell.errors import ConfigurationError
from lightwell.web.http1.tls import TlsFiles, offered, subject
from tests.support.certificates import Authority, certificate


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after a handshake. Raises `ssl.SSLError` if there is none."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(back, there, server_hostname="localhost"),
        server.wrap_bio(there, back, server_side=True),
    )
    done: set[int] = set()
    for _ in range(10):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                pass
        if len(done) == 2:
            with suppress(ssl.SSLWantReadError):
                ends[0].read(1)  # what a server of TLS 1.3 thinks of a certificate arrives afterwards
            return ends
    raise AssertionError("it came to no end")


def client(
    ciphers: str | None = None, version: ssl.TLSVersion | None = None, shows: tuple[Path, Path] | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(f"{ciphers or 'ALL'}:@SECLEVEL=0")
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if ciphers is not None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if shows is not None:
        context.load_cert_chain(*shows)
    return context


@pytest.fixture(params=["ecdsa", "rsa"])
def files(tmp_path: Path, request: pytest.FixtureRequest) -> TlsFiles:
    secret = rsa.generate_private_key(65537, 2048) if request.param == "rsa" else None
    return TlsFiles(*certificate(tmp_path, secret=secret))


@pytest.mark.parametrize(
    "refused",
    [
        "AES128-SHA",
        "AES256-GCM-SHA384",
        "DHE",
        "ECDHE+AES128+SHA",
        "ECDHE+AES256+SHA384",
        "PSK",
        "NULL",
        "aNULL",
    ],
)
def test_offers_no_weak_cipher(files: TlsFiles, refused: str) -> None:
    """Without forward secrecy, without authentication, or in a mode that has been attacked (CBC)."""
    try:
        weak = client(refused)
    except ssl.SSLError:
        pytest.skip("this OpenSSL has none of these itself")
    with pytest.raises(ssl.SSLError):
        handshake(files.load(), weak)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_offers_no_old_version(files: TlsFiles, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(files.load(), client(version=version))


def test_offers_what_is_recommended(files: TlsFiles) -> None:
    for ciphers in ("ECDHE+AESGCM", "ECDHE+CHACHA20"):
        name, version, _ = handshake(files.load(), client(ciphers))[0].cipher() or ("", "", 0)
        assert name.startswith("ECDHE-") and version == "TLSv1.2"
    asking = client()
    asking.set_alpn_protocols(["h2", "http/1.1"])
    one, _ = handshake(files.load(), asking)
    assert (one.version(), one.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    assert offered(files) == "TLS 1.2 and 1.3, 9 ciphers, all with forward secrecy"
    newest = replace(files, minimum="1.3")
    assert offered(newest).startswith("TLS 1.3, 3 ciphers")
    with pytest.raises(ssl.SSLError):
        handshake(newest.load(), client("ECDHE+AESGCM"))


# Client certificates ----------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "hospital")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_asks_for_certificates_of_an_authority(
    tmp_path: Path, authority: Authority, version: ssl.TLSVersion
) -> None:
    own = certificate(tmp_path, "server")
    required = TlsFiles(*own, client_ca=authority.cert, client_certs="required")
    optional = replace(required, client_certs="optional")
    known = authority.issue("ct-scanner")
    stranger = Authority(tmp_path, "elsewhere").issue("stranger")
    for files in (required, optional):
        one = handshake(files.load(), client(version=version, shows=known))[1]
        assert subject(one.getpeercert()) == "CN=ct-scanner,O=Radiology"
        with pytest.raises(ssl.SSLError):
            handshake(files.load(), client(version=version, shows=stranger))
        with pytest.raises(ssl.SSLError):
            handshake(files.load(), client(version=version, shows=authority.issue("late", ends=-1)))
    with pytest.raises(ssl.SSLError):
        handshake(required.load(), client(version=version))
    assert subject(handshake(optional.load(), client(version=version))[1].getpeercert()) is None
    assert offered(required).endswith("; client certificates are required")


def test_refuses_certificates_that_were_revoked(tmp_path: Path, authority: Authority) -> None:
    files = TlsFiles(*certificate(tmp_path, "server"), client_ca=authority.cert, client_certs="required")
    lost, kept = authority.issue("lost"), authority.issue("kept")
    handshake(files.load(), client(shows=lost))
    authority.revoke(lost[0])
    with pytest.raises(ssl.SSLError):
        handshake(files.load(), client(shows=lost))
    handshake(files.load(), client(shows=kept))


def empty(authority: Authority) -> None:
    authority.cert.write_bytes(b"")


def torn(authority: Authority) -> None:
    authority.cert.write_text(authority.cert.read_text()[:200])


def gone(authority: Authority) -> None:
    authority.cert.unlink()


@pytest.mark.parametrize("spoil", [empty, torn, gone])
def test_refuses_a_file_without_authorities(
    tmp_path: Path, authority: Authority, spoil: Callable[[Authority], None]
) -> None:
    spoil(authority)
    files = TlsFiles(*certificate(tmp_path, "server"), client_ca=authority.cert, client_certs="required")
    with pytest.raises(ConfigurationError, match="tls_client_ca must be a PEM file"):
        files.load()


def test_writes_subjects_so_that_they_cannot_be_mistaken() -> None:
    forged: dict[str, Any] = {"subject": ((("commonName", "a,CN=root\nx"),),)}
    assert subject(forged) == "CN=a\\,CN\\=root?x"
    assert subject(None) is None and subject({}) is None
