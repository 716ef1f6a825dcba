"""Loading a certificate and its key while somebody replaces them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from lightwell.auth import certificate
from tests.support import certificates
from tests.support.server import trusting


class Hooked(type(Path())):  # type: ignore[misc]
    """A path on which something happens before it is opened."""

    before: Callable[[], None]

    def __fspath__(self) -> str:
        self.before()
        return str(self)


def a_pipe(file: Path) -> None:
    os.mkfifo(file)


def no_certificate(file: Path) -> None:
    file.write_text("-----BEGIN CERTIFICATE-----\n")


@pytest.mark.parametrize("put_there", [a_pipe, no_certificate])
def test_loads_what_it_has_looked_at(put_there: Callable[[Path], None], tmp_path: Path) -> None:
    """Files are replaced at any moment, also between the look and the use: nothing waits for a pipe."""
    cert, key = certificates.certificate(tmp_path)
    pem = cert.read_text()

    def replace() -> None:
        cert.unlink()
        put_there(cert)

    hooked = Hooked(key)
    hooked.before = replace
    context = certificate.load(cert, hooked)
    assert shown(context) == pem


def shown(context: ssl.SSLContext) -> str:
    """The certificate that a client of a server with this context is given."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting().wrap_bio(to_client, to_server)
    while True:
        done = True
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                done = False
        if done:
            der = client.getpeercert(binary_form=True)
            assert der is not None
            return ssl.DER_cert_to_PEM_cert(der)
