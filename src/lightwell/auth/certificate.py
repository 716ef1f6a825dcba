"""The server's TLS certificate and its key: loading them, and what may be wrong with them.

OpenSSL says of most faults no more than "PEM lib"; what a person can do is told here before it is asked.
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
# A chain with the longest keys has some 10 KB.
_MOST_BYTES = 1 << 20
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate holds: milliseconds since the epoch."""

    begins: int
    ends: int

    def fault(self, now: int) -> str | None:
        """Why it does not hold now, None if it does."""
        if now < self.begins:
            return f"is valid only from {_date(self.begins)} on: check it, and the clock"
        if now > self.ends:
            return f"has expired on {_date(self.ends)}: put a new one in its place"
        return None

    def until(self) -> str:
        return _date(self.ends)


def load(cert: Path, key: Path) -> ssl.SSLContext:
    """What a listener needs of a certificate chain and its key, PEM files.

    Raises `ConfigurationError` if they are none, are swapped or do not belong together.
    """
    chain, secret = _read(cert), _read(key)
    if _CERTIFICATE not in chain:
        if _KEY in chain and _CERTIFICATE in secret:
            raise ConfigurationError(
                f"tls_cert and tls_key are swapped: {cert} holds a private key and {key} a certificate"
            )
        raise ConfigurationError(f"{cert} holds no certificate; tls_cert takes a chain of them as PEM")
    if _KEY not in secret:
        raise ConfigurationError(f"{key} holds no private key; tls_key takes one as PEM")
    if any(mark in secret for mark in _ENCRYPTED):
        raise ConfigurationError(
            f"{key} is encrypted, and nobody is there to type a passphrase at a start: write it without one "
            f"by `openssl pkey -in {key} -out FILE`, readable for the server's user alone"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # What was looked at, not what lies there by now: OpenSSL would wait for a pipe's writer. With a
        # password of our own it asks nobody on the terminal for one.
        with _as_file(chain) as chain_file, _as_file(secret) as secret_file:
            context.load_cert_chain(chain_file, secret_file, password="")
    except (ssl.SSLError, OSError) as error:
        if isinstance(error, ssl.SSLError) and "MISMATCH" in (error.reason or ""):
            raise ConfigurationError(
                f"{key} is not the key of the certificate in {cert}; where that is a chain, the server's own "
                "comes first"
            ) from None
        raise ConfigurationError(f"{cert} and {key} are no certificate with its key: {error}") from None
    return context


def validity(cert: Path) -> Validity:
    """When the first certificate of a chain holds, the server's own. Raises `ConfigurationError`."""
    from cryptography import x509

    try:
        own = x509.load_pem_x509_certificates(_read(cert))[0]
    except ValueError as error:
        raise ConfigurationError(f"{cert} holds no certificate that can be read: {error}") from None
    return Validity(_milliseconds(own.not_valid_before_utc), _milliseconds(own.not_valid_after_utc))


def _read(path: Path) -> bytes:
    try:
        # A pipe would be waited for, and a device may have no end.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
            data = stream.read(_MOST_BYTES + 1) if is_file else b""
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist; tls_cert and tls_key take PEM files") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read by the user who runs this: {error.strerror}; tls_cert and tls_key take "
            "PEM files"
        ) from None
    if not is_file or len(data) > _MOST_BYTES:
        raise ConfigurationError(f"{path} is no file of at most 1 MiB; tls_cert and tls_key take PEM files")
    return data


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """The path of a file with these bytes, which OpenSSL takes from files only; nobody else can open it.

    Only in memory where the system can do that, so that no disk ever gets a copy of a private key.
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
