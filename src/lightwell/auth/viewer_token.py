"""Tokens that the console hands to a viewer: its own session, for one data store's DICOMweb and a short time.

A token is a JWT, signed with HMAC-SHA-256 under a key derived from the secret key, which all servers of a
database share (`secret_box`). It names the access key of the session that asked for it; whoever bears it is
that session's principal, as long as the session lasts. It may read, search and store as far as the session's
policies let it, and delete nothing.

Sources: RFC 7519 (the claims), RFC 8725 §3.1 and §3.9 (one algorithm, and an audience that is checked), §3.11
(a type of its own, so that no other token of this server passes for one).
"""

from __future__ import annotations

from dataclasses import dataclass

from lightwell.auth.bearer_token import VIEWER_TYPE, Token, invalid_token
from lightwell.auth.principals import Principal
from lightwell.auth.secret_box import SecretBox
from lightwell.auth.signed_token import SignedTokens
from lightwell.domain.arn import datastore_arn

SECONDS = 900
"""How long a token lives; the viewer asks for another in time."""
RENEWED_SECONDS = 12 * 3600
"""For how long it may be replaced by others; then whoever has the session must hand on a new one."""

_PURPOSE = "lightwell viewer token"
_ALLOWED = ("GetDICOM", "SearchDICOM", "StoreDICOM")
READ, STORE = "read", "store"


@dataclass(frozen=True, slots=True)
class ViewerToken:
    """A token as given to a viewer; ``expires_at`` is milliseconds since the epoch."""

    text: str
    expires_at: int


class ViewerTokens:
    """Mints and reads the tokens of one account and Region; safe to use from several threads."""

    def __init__(self, secret_box: SecretBox, region: str, account: str) -> None:
        self._tokens = SignedTokens(secret_box, _PURPOSE)
        self._region = region
        self._account = account

    def mint(
        self,
        principal: Principal,
        datastore_id: str,
        now: int,
        *,
        may_store: bool,
        began: int | None = None,
    ) -> ViewerToken:
        """A new token for a session, or for whoever has a key. ``may_store`` only tells the viewer.

        ``began`` is when the first of the tokens was made that this one replaces, in epoch seconds.
        """
        issued = now // 1000
        began = issued if began is None else began
        expires = min(issued + SECONDS, began + RENEWED_SECONDS)
        if principal.expires_at is not None:
            expires = min(expires, principal.expires_at // 1000)
        claims = {
            "aud": datastore_arn(self._region, self._account, datastore_id),
            "sub": principal.arn,
            "key": principal.access_key_id,
            "iat": issued,
            "exp": expires,
            "began": began,
            "scope": f"{READ} {STORE}" if may_store else READ,
        }
        text = self._tokens.encode(VIEWER_TYPE, claims)
        return ViewerToken(text, expires * 1000)

    def access_key_id(self, token: Token, datastore_id: str) -> str:
        """The access key that the token stands for; `bearer_token.read_token` has checked its times.

        Raises `AccessDeniedError` unless this server signed it for this data store.
        """
        return self._read(token, datastore_id)[0]

    def began(self, token: Token, datastore_id: str) -> int:
        """When the first token was made, in epoch seconds, which this one has replaced. Raises the same."""
        return self._read(token, datastore_id)[1]

    def _read(self, token: Token, datastore_id: str) -> tuple[str, int]:
        header, claims = self._tokens.decode(token.text)
        key = claims.get("key")
        audience = datastore_arn(self._region, self._account, datastore_id)
        if header.get("typ") != VIEWER_TYPE or claims.get("aud") != audience:
            raise invalid_token()
        began = claims.get("began", claims.get("iat"))
        if not isinstance(key, str) or not isinstance(began, int):
            raise invalid_token()
        return key, began


def may_use(operation: str) -> bool:
    """Whether a viewer may do that at all; the session's policies decide whether it may."""
    return operation.startswith(_ALLOWED)
