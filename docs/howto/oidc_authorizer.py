"""A Lambda authorizer for OpenID Connect: is a token genuine, and which role does its scope give?

It runs as it is in lightwell (``python:oidc_authorizer:handler``) and in AWS Lambda, and needs ``joserfc``.
It is told in the environment:

``OIDC_ISSUER``    the provider, as tokens name it in ``iss``
``OIDC_AUDIENCE``  whom tokens must be meant for: ``aud`` must have it
``OIDC_ROLES``     a JSON object from scopes to the ARNs of roles; the first that the token has counts
``OIDC_JWKS_URI``  where the keys are, if not where the provider's discovery document says
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

ISSUER = os.environ["OIDC_ISSUER"]
AUDIENCE = os.environ["OIDC_AUDIENCE"]
ROLES: dict[str, str] = json.loads(os.environ["OIDC_ROLES"])
# Never what the token itself asks for: "none" and keys that both sides share must not be among them.
ALGORITHMS = ["RS256", "PS256", "ES256"]

KEYS_SECONDS = 3600
FETCH_AGAIN_SECONDS = 60
DECISION_SECONDS = 60
MOST_DECISIONS = 10_000
REFUSED = {"isTokenValid": False, "roleArn": ""}

_registry = jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": AUDIENCE},
    exp={"essential": True},
)
_keys: tuple[float, KeySet] | None = None
_decisions: dict[str, tuple[float, dict[str, Any]]] = {}


def handler(event: dict[str, str], context: object) -> dict[str, Any]:
    """What the image store asks before each request. Raises where the provider's keys cannot be had."""
    token, now = event["bearerToken"], time.time()
    known = _decisions.get(token)
    if known is not None and now < known[0]:
        return known[1]
    try:
        claims = verify(token, now)
    except (JoseError, ValueError):
        return REFUSED
    decision = {"isTokenValid": True, "roleArn": role_of(claims)}
    if len(_decisions) >= MOST_DECISIONS:
        _decisions.clear()
    _decisions[token] = (min(now + DECISION_SECONDS, claims["exp"]), decision)
    return decision


def verify(token: str, now: float) -> dict[str, Any]:
    """The claims of a token with a good signature, of our issuer, for us, that has not expired."""
    keys = provider_keys(now)
    try:
        decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
    except (JoseError, ValueError):
        # The provider may have begun to use another key.
        if provider_keys(now, FETCH_AGAIN_SECONDS) is keys:
            raise
        decoded = jwt.decode(token, provider_keys(now), algorithms=ALGORITHMS)
    _registry.validate(decoded.claims)
    return decoded.claims


def role_of(claims: dict[str, Any]) -> str:
    """The role that a scope of the token gives; empty, which denies, without one."""
    scopes = str(claims.get("scope", "")).split()
    return next((role for scope, role in ROLES.items() if scope in scopes), "")


def provider_keys(now: float, greatest_age: float = KEYS_SECONDS) -> KeySet:
    """The provider's public keys, not older than so many seconds."""
    global _keys
    if _keys is None or now - _keys[0] > greatest_age:
        address = os.environ.get("OIDC_JWKS_URI")
        if address is None:
            address = fetch(ISSUER.rstrip("/") + "/.well-known/openid-configuration")["jwks_uri"]
        _keys = (now, KeySet.import_key_set(fetch(address)))
    return _keys[1]


def fetch(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=2) as answer:  # noqa: S310 — an address of the administrator's
        return json.load(answer)
