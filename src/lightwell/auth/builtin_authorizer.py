"""The authorizer that is part of the server: it trusts only the tokens that `lightwell token` mints.

A token is a JWT, signed with HMAC-SHA-256 under a key that is derived from the secret key, which all servers
of a database share (`secret_box`). It is good for one data store, and only for reading unless it says
otherwise. It carries the data store's revision, so that setting the data store's authorizer once more, or to
another, withdraws every token minted before.

Sources: RFC 7519 (the claims), RFC 8725 §3.1 and §3.9 (one algorithm, and an audience that is checked).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from lightwell.auth.bearer_token import GREATEST_AGE, Token, invalid_token
from lightwell.auth.policies.policy import permissions
from lightwell.auth.principal_context import federated_context
from lightwell.auth.principals import Principal
from lightwell.auth.secret_box import SecretBox
from lightwell.auth.signed_token import SignedTokens
from lightwell.domain.arn import builtin_authorizer_arn, datastore_arn, federated_user_arn
from lightwell.errors import ConfigurationError

LONGEST_SECONDS = GREATEST_AGE
"""How long a token may live: older ones are refused anyway (devguide/dicomweb-oidc-requirements)."""

_PURPOSE = "lightwell built-in authorizer"
_READ = ("medical-imaging:GetDICOM*", "medical-imaging:SearchDICOM*")
_STORE = ("medical-imaging:StoreDICOM*",)
READ, STORE = "read", "store"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a token is minted for; ``revision`` is that of the data store, ``now`` epoch milliseconds."""

    datastore_id: str
    revision: int
    subject: str
    seconds: int
    may_store: bool
    now: int


class BuiltinAuthorizer:
    """Mints and verifies the tokens of one account and Region; safe to use from several threads."""

    def __init__(self, secret_box: SecretBox, region: str, account: str) -> None:
        self._tokens = SignedTokens(secret_box, _PURPOSE)
        self._region = region
        self._account = account
        self._issuer = builtin_authorizer_arn(region, account)

    def mint(self, request: TokenRequest) -> str:
        """A new token. Raises `ConfigurationError` for a life that no server would accept."""
        if not 1 <= request.seconds <= LONGEST_SECONDS:
            raise ConfigurationError(
                f"A token can live for 1 second to {LONGEST_SECONDS // 3600} hours: older ones are refused"
            )
        issued = request.now // 1000
        claims = {
            "iss": self._issuer,
            "aud": datastore_arn(self._region, self._account, request.datastore_id),
            "sub": request.subject,
            "iat": issued,
            "nbf": issued,
            "exp": issued + request.seconds,
            "scope": f"{READ} {STORE}" if request.may_store else READ,
            "revision": request.revision,
        }
        return self._tokens.encode("JWT", claims)

    def principal(self, token: Token, datastore: str, revision: int, now: int) -> Principal:
        """Who bears the token, for the data store with this ARN and revision; ``now`` in milliseconds.

        `bearer_token.read_token` has checked its times. Raises `AccessDeniedError` unless this server signed
        it for this data store since the data store last got its authorizer.
        """
        _, claims = self._tokens.decode(token.text)
        if (claims.get("iss"), claims.get("aud"), claims.get("revision")) != (
            self._issuer,
            datastore,
            revision,
        ):
            raise invalid_token()
        scopes = str(claims.get("scope", "")).split()
        actions = (_READ if READ in scopes else ()) + (_STORE if STORE in scopes else ())
        if not actions:
            raise invalid_token()
        name = token.session
        return Principal(
            access_key_id="",
            arn=federated_user_arn(self._account, name),
            secret="",
            session_token=None,
            expires_at=None,
            policies=permissions(
                (_policy(actions, datastore),), federated_context(self._account, self._region, name)
            ),
            issued_at=now,
        )


def _policy(actions: tuple[str, ...], datastore: str) -> str:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": [datastore, f"{datastore}/*"]}
    return json.dumps({"Version": "2012-10-17", "Statement": statement})
