"""Whose a signed request claims to be, and the proof: the one way from a signature to a caller.

A signature covers the SHA-256 of the body. If the client states that hash (``x-amz-content-sha256``), the
signature is verified before any of the body is read, and the body is compared with the hash afterwards.
Otherwise the body must be read first, of a caller who may be anybody that has seen an access key ID: such a
body gets little time and little room (`web.requests.request`).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from lightwell.errors import ApiError, WrongCredentialsError
from lightwell.web.requests.request import BODY_LIMIT, Request

if TYPE_CHECKING:
    from lightwell.auth.authentication import Signature, SignedRequest
    from lightwell.auth.principals import Principal
    from lightwell.web.requests.responses import Receive
    from lightwell.web.requests.state import AppState

NATIVE = "medical-imaging"
_OF_NOTHING = sha256(b"").hexdigest()


@dataclass(slots=True)
class Claim:
    """The signature of a request; ``principal`` owns the key that it names, and may not have sent it.

    Nothing changes it. It is not frozen because each request makes one, which would take thrice as long.
    """

    state: AppState
    request: Request
    signed: SignedRequest
    signature: Signature
    principal: Principal
    now: int
    service: str

    @property
    def stated(self) -> str | None:
        """The hash of the body as the client states it, or a literal such as ``UNSIGNED-PAYLOAD``."""
        return self.signature.payload_hash

    def prove(self, digest: str) -> None:
        """Verify the signature; ``digest`` is the SHA-256 of the body in lower-case hex.

        From now on the request has a caller, and its query is the one that was signed. Raises
        `AuthenticationError`, or `ThrottlingError` for one of many.
        """
        request, state = self.request, self.state
        try:
            request.query = state.authenticator.verify(
                self.signature, self.signed, self.principal, digest, self.now, self.service
            )
        except WrongCredentialsError as error:
            raise _refusal(state, request, error) from None
        request.principal = self.principal
        request.prove()
        if state.limits_callers:
            state.limit_caller(self.principal)

    def prove_head(self) -> bool:
        """Verify everything but the body itself, if the client states its hash; otherwise return False.

        Whoever reads the body then compares it with that hash. Raises `AuthenticationError`.
        """
        if self.stated is None:
            return False
        self.prove(self.stated.lower())
        return True

    async def body(self, receive: Receive, limit: int = BODY_LIMIT) -> bytes:
        """The whole body, proved to be the caller's. Raises what `prove` and `Request.body` do."""
        is_proved = self.signature.payload_hash is not None and self.prove_head()
        body = await self.request.body(receive, limit) if self.request.has_body else b""
        digest = sha256(body).hexdigest() if body else _OF_NOTHING
        if is_proved:
            self.state.authenticator.check_body(self.signature, digest)
        else:
            self.prove(digest)
        return body


def _refusal(state: AppState, request: Request, error: WrongCredentialsError) -> ApiError:
    return state.failed_proofs.refusal(error, "signature", request.client, request.claimed_key)


async def read_claim(state: AppState, request: Request, now: int, service: str = NATIVE) -> Claim:
    """Who signed the request, as it says itself. Of an unsigned one nothing is looked up and nothing read.

    Raises `AuthenticationError` if it is not signed, or not with a key that there is, and `ThrottlingError`
    for one of many of those.
    """
    signed = request.signed()
    try:
        signature = state.authenticator.read_signature(signed)
        request.claimed_key = signature.access_key_id
        principal = state.authenticator.cached_principal(signature, now)
        if principal is None:
            principal = await state.load_principal(signature, now)
    except WrongCredentialsError as error:
        raise _refusal(state, request, error) from None
    return Claim(state, request, signed, signature, principal, now, service)
