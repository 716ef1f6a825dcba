"""The gate: every request is signed, or it goes no further.

In three steps, so that a request without a signature costs neither a look-up nor its body, and the look-up,
which may block, can run in a thread: `read`, `known` or `load`, `admit`. Errors as AWS's Common Errors page
names them, all 403.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from lightwell.auth.principals import Principal, Principals
from lightwell.auth.sigv4 import Signature, SignedRequest, read_signature, verify
from lightwell.errors import AuthenticationError

__all__ = ["Authenticator", "Signature", "SignedRequest"]

_UNKNOWN_KEY = "The security token included in the request is invalid."


class Authenticator:
    """Tells who signed a request; made once a process."""

    def __init__(self, principals: Principals) -> None:
        self._principals = principals

    def read(self, request: SignedRequest) -> Signature:
        """What the request says of its signature. Raises `AuthenticationError` without a sound one."""
        return read_signature(request)

    def known(self, signature: Signature, now: int) -> Principal | None:
        """Whose key it is, if that was looked up not long ago; None: `load` must be asked.

        Raises `AuthenticationError` if there is no such key.
        """
        is_known, principal = self._principals.cached(signature.access_key_id, now)
        if is_known and principal is None:
            raise AuthenticationError("UnrecognizedClientException", _UNKNOWN_KEY)
        return principal

    def load(self, signature: Signature, now: int) -> Principal:
        """Whose key it is, by the database; blocks. Raises `AuthenticationError` if there is no such key."""
        principal = self._principals.load(signature.access_key_id, now)
        if principal is None:
            raise AuthenticationError("UnrecognizedClientException", _UNKNOWN_KEY)
        return principal

    def admit(
        self,
        signature: Signature,
        request: SignedRequest,
        principal: Principal,
        digest: Callable[[], str],
        now: int,
        service: str = "medical-imaging",
    ) -> bytes:
        """Verify the signature with the key's secret; ``now`` is milliseconds since the epoch.

        Returns the query as it was signed, which is the one to read (`verify`).

        ``digest`` gives the SHA-256 of the body in lower-case hex; it is asked for where it is needed only.

        Raises `AuthenticationError`: InvalidSignatureException for a wrong or skewed one,
        UnrecognizedClientException where the session token is not the key's, ExpiredTokenException after the
        end of a session.
        """
        query = verify(
            signature,
            request,
            principal.secret,
            digest,
            now / 1000,
            service,
        )
        given, kept = signature.session_token or "", principal.session_token or ""
        if not hmac.compare_digest(given.encode(), kept.encode()):
            raise AuthenticationError("UnrecognizedClientException", _UNKNOWN_KEY)
        if principal.expires_at is not None and now >= principal.expires_at:
            raise AuthenticationError(
                "ExpiredTokenException", "The security token included in the request is expired."
            )
        return query
