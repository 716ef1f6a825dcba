"""TLS as a client of what takes audit records."""

from __future__ import annotations

import ssl
from pathlib import Path

from lightwell.work.audit_forwarding.target import ForwardingError


def client_tls(ca: Path | None, certificate: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and 1.3; the server's certificate and name are checked, by ``ca`` or what the system trusts.

    ``certificate`` has the client's own certificate and its key. Raises `ForwardingError` if a file cannot
    be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise ForwardingError(f"{ca} cannot be used as a list of authorities: {error}") from None
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, password=_refuse)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ForwardingError(
                f"{certificate} cannot be used: it must have a certificate and its key, without a password, "
                f"as PEM: {error}"
            ) from None
    return context


def _refuse() -> str:
    raise ValueError("the key has a password")
