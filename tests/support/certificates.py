"""Certificates and their keys, as PEM files: self-signed, and of authorities that revoke some."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Secret: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def certificate(
    folder: Path,
    name: str = "localhost",
    *,
    begins: int = -1,
    ends: int = 365,
    secret: Secret | None = None,
) -> tuple[Path, Path]:
    """A new certificate and its key; it holds from ``begins`` to ``ends`` in days from now."""
    secret = secret or ec.generate_private_key(ec.SECP256R1())
    made = _builder(_name(name), _name(name), secret, begins, ends).sign(secret, hashes.SHA256())
    return _written(folder, name, made, secret)


class Authority:
    """An authority for certificates of clients; ``cert`` has its own, and what it has revoked."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = _name(name)
        self._secret = ec.generate_private_key(ec.SECP256R1())
        self._revoked: list[x509.RevokedCertificate] = []
        made = (
            _builder(self._name, self._name, self._secret, -1, 365)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._secret, hashes.SHA256())
        )
        self.cert, _ = _written(folder, name, made, self._secret)

    def issue(self, name: str, *, ends: int = 30, hosts: Sequence[str] = ()) -> tuple[Path, Path]:
        """A certificate and its key: of a client, or of a server with these names or addresses."""
        secret = ec.generate_private_key(ec.SECP256R1())
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Radiology")
        subject = x509.Name([organization, *_name(name)])
        builder = _builder(subject, self._name, secret, -2, ends)
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        made = builder.sign(self._secret, hashes.SHA256())
        return _written(self._folder, name, made, secret)

    def revoke(self, cert: Path) -> None:
        """From now on ``self.cert`` says that this one is not to be trusted."""
        serial, now = x509.load_pem_x509_certificate(cert.read_bytes()).serial_number, datetime.now(UTC)
        self._revoked.append(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        )
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now - timedelta(days=1)).next_update(now + timedelta(days=30))
        for each in self._revoked:
            builder = builder.add_revoked_certificate(each)
        listed = builder.sign(self._secret, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        own = self.cert.read_bytes().partition(b"-----BEGIN X509 CRL")[0]
        self.cert.write_bytes(own + listed)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, secret: Secret, begins: int, ends: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
    )


def _written(folder: Path, name: str, made: x509.Certificate, secret: Secret) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(key_text(secret))
    key.chmod(0o600)
    return cert, key


def key_text(secret: Secret, password: bytes | None = None) -> bytes:
    """A private key as PEM, encrypted where there is a password."""
    return secret.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password),
    )
