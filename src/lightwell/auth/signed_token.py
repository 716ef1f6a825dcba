"""JWTs that this server signs itself: HMAC-SHA-256 under keys derived from the secret keys (`secret_box`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from lightwell.auth.bearer_token import invalid_token
from lightwell.auth.secret_box import SecretBox

_ALGORITHM = "HS256"


class SignedTokens:
    """The tokens for one purpose: signed with the newest key, verified with any. Safe in several threads."""

    def __init__(self, secret_box: SecretBox, purpose: str) -> None:
        self._keys = [OctKey.import_key(key) for key in secret_box.derive_all(purpose)]

    def encode(self, type: str, claims: dict[str, Any]) -> str:
        header = {"alg": _ALGORITHM, "typ": type}
        return jwt.encode(header, claims, self._keys[0], algorithms=[_ALGORITHM])

    def decode(self, text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The header and the claims. Raises `AccessDeniedError` unless one of the keys has signed them."""
        for key in self._keys:
            try:
                read = jwt.decode(text, key, algorithms=[_ALGORITHM])
            except (JoseError, ValueError, TypeError, RecursionError):
                continue
            return read.header, read.claims
        raise invalid_token()
