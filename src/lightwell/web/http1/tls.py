"""What the listener offers over TLS, set here rather than left to how Python and OpenSSL were built.

Only what BCP 195 (RFC 9325 §4.2) recommends: TLS 1.2 with ephemeral elliptic curves (ECDHE) and authenticated
encryption (AES-GCM, ChaCha20-Poly1305), and TLS 1.3; no renegotiation, no compression. Groups and signature
algorithms are OpenSSL's. By ALPN (RFC 7301) it says that it speaks HTTP/1.1.

A client's certificate identifies a machine (IHE ATNA, ITI-19). It is asked for besides the signature of each
request, never instead of it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightwell.auth import certificate
from lightwell.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightwell.settings import Settings

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_MODES = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
# The short names of RFC 4514 §3, by OpenSSL's.
_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
}
_LONGEST_SUBJECT = 500


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files and choices that make a listener's TLS context; ``client_ca`` None: clients show none."""

    cert: Path
    key: Path
    minimum: str = "1.2"
    client_ca: Path | None = None
    client_certs: str = "off"

    @property
    def all(self) -> tuple[Path, ...]:
        """The files that are to be read again when they change."""
        return (self.cert, self.key) if self.client_ca is None else (self.cert, self.key, self.client_ca)

    def load(self) -> ssl.SSLContext:
        """The context, of what the files contain now. Raises `ConfigurationError` if they are not usable."""
        context = certificate.load(self.cert, self.key)
        context.minimum_version = _MINIMUM[self.minimum]
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        if self.client_ca is not None and self.client_certs != "off":
            certificate.trust(context, self.client_ca)
            context.verify_mode = _MODES[self.client_certs]
        return context


def tls_files(settings: Settings) -> TlsFiles | None:
    """What the settings say about TLS; None if they name no certificate."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return TlsFiles(
        settings.tls_cert,
        settings.tls_key,
        settings.tls_minimum,
        settings.tls_client_ca,
        settings.tls_client_certs,
    )


def offered(files: TlsFiles) -> str:
    """What a listener with these files offers, in words. Raises `ConfigurationError`."""
    context = files.load()
    versions = "TLS 1.3" if files.minimum == "1.3" else "TLS 1.2 and 1.3"
    asked = {
        "off": "",
        "optional": "; client certificates are asked for",
        "required": "; client certificates are required",
    }
    count = len(_ciphers(context))
    return f"{versions}, {count} ciphers, all with forward secrecy{asked[files.client_certs]}"


def _ciphers(context: ssl.SSLContext) -> Sequence[Any]:
    found = context.get_ciphers()
    if context.minimum_version >= ssl.TLSVersion.TLSv1_3:
        found = [each for each in found if each["protocol"] == "TLSv1.3"]
    weak = [each["name"] for each in found if not each["aead"]]
    if weak:
        raise ConfigurationError(f"OpenSSL offers {', '.join(weak)}, which is not asked for")
    return found


def subject(peer: dict[str, Any] | None) -> str | None:
    """The subject of a client's verified certificate, written as RFC 4514 does; None without one.

    ``peer`` is what `ssl.SSLSocket.getpeercert` returns.
    """
    if not peer or not peer.get("subject"):
        return None
    parts = []
    for names in reversed(peer["subject"]):
        parts.append("+".join(f"{_NAMES.get(name, name)}={_escaped(value)}" for name, value in names))
    return ",".join(parts)[:_LONGEST_SUBJECT]


def _escaped(value: str) -> str:
    shown = "".join(f"\\{letter}" if letter in '"+,;<>\\=' else letter for letter in value)
    return "".join(letter if letter.isprintable() else "?" for letter in shown)
