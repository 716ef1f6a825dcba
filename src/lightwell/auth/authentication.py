"""Authentication: every request must be signed with an access key that is valid.

In three steps, so that a request without a signature costs neither a look-up nor the reading of its body, and
so that the look-up, which may block, can run in a thread: `read_signature`, then `cached_principal` or
`load_principal`, then `verify`. Errors are those of AWS's Common Errors page, all 403.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from lightwell.auth import sigv4
from lightwell.auth.principals import Principal, Principals
from lightwell.auth.sigv4 import Signature, SignedRequest
from lightwell.errors import AuthenticationError, WrongCredentialsError

__all__ = ["Authenticator", "Signature", "SignedRequest"]

_UNKNOWN_KEY = "The security token included in the request is invalid."


class Authenticator:
    """Finds out who signed a request. One per process."""

    def __init__(
        self,
        principals: Principals,
        note_use: Callable[[str, str | None, int], None] = lambda key, client, now: None,
    ) -> None:
        """``note_use`` gets the ID of a key that somebody has proved to have, their address, and now."""
        self._principals = principals
        self._note_use = note_use

    def read_signature(self, request: SignedRequest) -> Signature:
        """The signature of a request, not verified yet.

        Raises `AuthenticationError` if it is missing or malformed.
        """
        return sigv4.read_signature(request)

    def cached_principal(self, signature: Signature, now: int) -> Principal | None:
        """The owner of the access key, if it was looked up recently; if None, call `load_principal`.

        Raises `AuthenticationError` if there is no such key.
        """
        is_known, principal = self._principals.cached(signature.access_key_id, now)
        if is_known and principal is None:
            raise WrongCredentialsError("UnrecognizedClientException", _UNKNOWN_KEY)
        return principal

    def load_principal(self, signature: Signature, now: int) -> Principal:
        """The owner of the access key, from the database. Blocks.

        Raises `AuthenticationError` if there is no such key.
        """
        principal = self._principals.load(signature.access_key_id, now)
        if principal is None:
            raise WrongCredentialsError("UnrecognizedClientException", _UNKNOWN_KEY)
        return principal

    def forget(self, access_key_id: str) -> None:
        """Look the access key up again before its next use: it has ended."""
        self._principals.forget(access_key_id)

    def check_body(self, signature: Signature, digest: str) -> None:
        """Compare the SHA-256 of the body, in lower-case hex, with the hash that the client states.

        For a signature that was verified with that hash before the body had arrived. Raises
        `AuthenticationError`.
        """
        sigv4.check_payload(signature.payload_hash, digest)

    def verify(
        self,
        signature: Signature,
        request: SignedRequest,
        principal: Principal,
        digest: str,
        now: int,
        service: str = "medical-imaging",
    ) -> bytes:
        """Verify the signature with the key's secret; ``now`` is milliseconds since the epoch.

        Returns the query string as it was signed, which is the one to parse (see `sigv4.verify`).

        ``digest`` is the SHA-256 of the body in lower-case hex.

        Raises `AuthenticationError`: InvalidSignatureException if the signature is wrong or its time is too
        far off, UnrecognizedClientException if the session token does not belong to the key,
        ExpiredTokenException if the session has ended.
        """
        query = sigv4.verify(signature, request, principal.secret, digest, now / 1000, service)
        given, expected = signature.session_token or "", principal.session_token or ""
        if (given or expected) and not hmac.compare_digest(given.encode(), expected.encode()):
            raise WrongCredentialsError("UnrecognizedClientException", _UNKNOWN_KEY)
        if principal.expires_at is not None and now >= principal.expires_at:
            raise AuthenticationError(
                "ExpiredTokenException", "The security token included in the request is expired."
            )
        self._note_use(principal.access_key_id, request.client, now)
        if principal.parent is not None:
            self._note_use(principal.parent, request.client, now)
        return query

    def was_used(self, principal: Principal, client: str | None, now: int) -> None:
        """Note that a key was used from this address, and so was the key that it is a session of."""
        self._note_use(principal.access_key_id, client, now)
        if principal.parent is not None:
            self._note_use(principal.parent, client, now)
