"""The server's TLS certificate and its key: loading them, and saying what is wrong with them.

For most faults OpenSSL says no more than "PEM lib", so the common ones are checked first and explained.
"""

from __future__ import annotations

import os
import ssl
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from lightwell.errors import ConfigurationError

_CERTIFICATE, _KEY = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"
_CRL = b"-----BEGIN X509 CRL-----"
_AUTHORITY = (
    "tls_client_ca must be a PEM file with the certificates of authorities, and their CRLs if there are any"
)
# A chain with the longest keys has some 10 KB.
_MOST_BYTES = 1 << 20
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, in milliseconds since the epoch."""

    begins: int
    ends: int

    def fault(self, now: int) -> str | None:
        """Why it is not valid now; None if it is."""
        if now < self.begins:
            return f"is not valid before {_date(self.begins)}: check the certificate and the clock"
        if now > self.ends:
            return f"expired on {_date(self.ends)}: replace it"
        return None

    def until(self) -> str:
        return _date(self.ends)


def load(cert: Path, key: Path) -> ssl.SSLContext:
    """A TLS context for a listener, from PEM files with a certificate chain and its key.

    Raises `ConfigurationError` if they are invalid, swapped or do not belong together.
    """
    chain, secret = _read(cert), _read(key)
    if _CERTIFICATE not in chain:
        if _KEY in chain and _CERTIFICATE in secret:
            raise ConfigurationError(
                f"tls_cert and tls_key are swapped: {cert} contains a private key and {key} a certificate"
            )
        raise ConfigurationError(
            f"{cert} contains no certificate; tls_cert must be a certificate chain in PEM"
        )
    if _KEY not in secret:
        raise ConfigurationError(f"{key} contains no private key; tls_key must be a private key in PEM")
    if any(mark in secret for mark in _ENCRYPTED):
        raise ConfigurationError(
            f"{key} is encrypted, but the server cannot ask for a passphrase: remove it with "
            f"`openssl pkey -in {key} -out FILE`, and make FILE readable only by the server's user"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Load the bytes that were checked, not whatever is at the path by now, which may be a pipe that
        # blocks. The empty password keeps OpenSSL from asking for one on the terminal.
        with _as_file(chain) as chain_file, _as_file(secret) as secret_file:
            context.load_cert_chain(chain_file, secret_file, password="")
    except (ssl.SSLError, OSError) as error:
        if isinstance(error, ssl.SSLError) and "MISMATCH" in (error.reason or ""):
            raise ConfigurationError(
                f"{key} does not match the certificate in {cert}; in a chain, the server's own certificate "
                "comes first"
            ) from None
        raise ConfigurationError(
            f"{cert} and {key} cannot be loaded as a certificate and its key: {error}"
        ) from None
    return context


def trust(context: ssl.SSLContext, authority: Path) -> None:
    """Trust client certificates of these authorities, from a PEM file with one or more.

    If the file has revocation lists (CRL), the client's certificate must not be on that of its authority,
    which must be there and in force. Raises `ConfigurationError` if the file is not usable.
    """
    data = _read(authority, _AUTHORITY)
    if _CERTIFICATE not in data:
        raise ConfigurationError(f"{authority} contains no certificate; {_AUTHORITY}")
    try:
        with _as_file(data) as file:
            context.load_verify_locations(file)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"{authority} cannot be loaded: {error}; {_AUTHORITY}") from None
    if _CRL in data:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def validity(cert: Path) -> Validity:
    """The validity of the first certificate in a chain, the server's own. Raises `ConfigurationError`."""
    from cryptography import x509

    try:
        own = x509.load_pem_x509_certificates(_read(cert))[0]
    except ValueError as error:
        raise ConfigurationError(f"{cert} contains no readable certificate: {error}") from None
    return Validity(_milliseconds(own.not_valid_before_utc), _milliseconds(own.not_valid_after_utc))


def _read(path: Path, advice: str = "tls_cert and tls_key must be PEM files") -> bytes:
    try:
        # Opening a pipe would block, and a device may never end.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            data = stream.read(_MOST_BYTES + 1) if is_file else b""
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist; {advice}") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read by the current user: {error.strerror}; {advice}"
        ) from None
    if not is_file or len(data) > _MOST_BYTES:
        raise ConfigurationError(f"{path} is not a file of at most 1 MiB; {advice}")
    return data


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """The path of a private file with these bytes, since OpenSSL reads only from files.

    In memory where the system supports it, so that no copy of a private key reaches a disk.
    """
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("pem"), "wb") as stream:
            stream.write(data)
            stream.flush()
            yield f"/proc/self/fd/{stream.fileno()}"
    else:
        with NamedTemporaryFile() as stream:
            stream.write(data)
            stream.flush()
            yield stream.name


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _date(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="seconds")
