"""The keys that seal the audit trail of one data folder, and what of them one chain uses.

Whoever has the key can write another trail that verifies. It is no key of the database, so that a worker
without that one can seal, and so that either can be replaced without the other.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

from lightwell.errors import ConfigurationError

SIZE = 32


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """The newest key comes first, and seals; the others verify what they have sealed."""

    keys: tuple[bytes, ...] = field(repr=False)

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        return key_id(self.keys[0])

    def seal_key(self, id: str, node: str, writer: str) -> bytes | None:
        """The key of one chain, derived from the one with this id; None if that is not here."""
        for key in self.keys:
            if key_id(key) == id:
                return _hkdf(key, b"\0".join((b"chain", node.encode(), writer.encode())))
        return None

    def index_key(self, id: str) -> bytes | None:
        """The key of indexes beside segments, derived from the one with this id; None if it is not here."""
        for key in self.keys:
            if key_id(key) == id:
                return _hkdf(key, b"index")
        return None


def read_keys(text: str, place: str) -> AuditKeys:
    """The keys that a file holds: one a line, 64 hex digits, the newest first; ``#`` starts a remark.

    Raises `ConfigurationError`, which names the ``place``.
    """
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    keys = []
    for number, line in enumerate(lines, 1):
        if line:
            try:
                keys.append(bytes.fromhex(line))
            except ValueError:
                keys.append(b"")
            if len(keys[-1]) != SIZE:
                raise ConfigurationError(
                    f"{place}: line {number} is no key of the audit trail, which is {2 * SIZE} hex digits. "
                    "Put back the file from a copy: what it sealed can be verified with it only."
                )
    if not keys:
        raise ConfigurationError(
            f"{place} holds no key. Put back the file from a copy; where there is none, remove it, and a new "
            "key is made, which cannot verify what the old one sealed."
        )
    return AuditKeys(tuple(keys))


def key_id(key: bytes) -> str:
    """What names a key in public."""
    return _hkdf(key, b"id").hex()[:16]


def _hkdf(key: bytes, info: bytes) -> bytes:
    """32 bytes by HKDF with SHA-256 (RFC 5869), without salt beyond a name of its own."""
    secret = hmac.digest(b"lightwell audit trail", key, sha256)
    return hmac.digest(secret, info + b"\1", sha256)
