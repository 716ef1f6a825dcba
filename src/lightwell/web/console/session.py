"""``config``, ``me`` and ``allowed``: what a page asks first."""

from __future__ import annotations

import re
from dataclasses import asdict

import msgspec

from lightwell import __version__
from lightwell.auth.policies.actions import PASS_ROLE, SERVICE, AuthorizationRequest
from lightwell.auth.principals import kind_and_name
from lightwell.errors import ValidationError
from lightwell.web.console.route import Answer, Body, Call, Route, iso

MOST_CHECKS = 200
_ACTION = re.compile(r"[a-z0-9-]{1,60}:[A-Za-z0-9]{1,128}")
_LONGEST_RESOURCE = 2048
_SOME = "/*", ":*"


class Provider(Answer):
    """The OpenID provider to sign in at; without endpoints ``message`` says why there are none now."""

    issuer: str
    client_id: str
    scope: str
    redirect_path: str
    authorization_endpoint: str | None
    token_endpoint: str | None
    end_session_endpoint: str | None
    message: str | None


class Config(Answer):
    """What the sign-in page needs before anybody has signed in."""

    name: str
    version: str
    region: str
    account_id: str
    service: str
    ohif: bool
    oidc: Provider | None


class Me(Answer):
    """Who the caller is. ``kind``: root, user (an access key) or role (temporary credentials)."""

    arn: str
    kind: str
    name: str
    access_key_id: str
    expiration: str | None
    account_id: str
    region: str


class Check(Body):
    action: str
    resource: str = "*"


class Checks(Body):
    checks: list[Check]


class Allowed(Answer):
    allowed: list[bool]


async def config(call: Call) -> Config:
    """What anybody may know."""
    settings, provider = call.state.settings, await call.state.federation.console()
    return Config(
        name="lightwell",
        version=__version__,
        region=settings.region,
        account_id=settings.account_id,
        service="medical-imaging",
        ohif=(settings.ohif_folder / "index.html").is_file(),
        oidc=None if provider is None else Provider(**asdict(provider)),
    )


def me(call: Call) -> Me:
    """The principal that signed the request."""
    principal, settings = call.principal, call.state.settings
    kind, name = kind_and_name(principal)
    return Me(
        arn=principal.arn,
        kind=kind,
        name=name,
        access_key_id=principal.access_key_id,
        expiration=None if principal.expires_at is None else iso(principal.expires_at),
        account_id=settings.account_id,
        region=settings.region,
    )


def allowed(call: Call) -> Allowed:
    """Whether the caller's policies allow each of these.

    What depends on more of a request than that is answered for a request that has nothing more. A resource
    that ends in ``/*`` asks whether it may be allowed on some of those.
    """
    body: Checks = call.body
    if len(body.checks) > MOST_CHECKS:
        raise ValidationError(f"Ask for at most {MOST_CHECKS} checks at a time.")
    for check in body.checks:
        if not _ACTION.fullmatch(check.action):
            raise ValidationError(f"{check.action[:80]!r} is not the name of an action, as in iam:ListRoles.")
        if not 0 < len(check.resource) <= _LONGEST_RESOURCE:
            raise ValidationError("A resource is an ARN, or *.")
    if call.principal.policies is None:
        return Allowed(allowed=[True] * len(body.checks))
    return Allowed(allowed=[_is_allowed(call, check) for check in body.checks])


def _is_allowed(call: Call, check: Check) -> bool:
    if check.resource.endswith(_SOME):
        assert call.request_context is not None
        return call.state.access_control.may_some(
            call.principal, check.action, check.resource.removesuffix("*"), call.request_context
        )
    return call.allows(_required(call, check))


def _required(call: Call, check: Check) -> list[AuthorizationRequest]:
    if check.action == PASS_ROLE:
        context = {"iam:passedtoservice": SERVICE}
        return [AuthorizationRequest((check.action,), check.resource, None, context)]
    return call.state.access_control.actions.named(check.action, check.resource)


ROUTES = (
    Route(
        "ConsoleConfig",
        "GET",
        "config",
        config,
        None,
        where="loop",
        is_signed=False,
        says="What the sign-in page needs. Needs no signature.",
    ),
    Route("ConsoleMe", "GET", "me", me, None, says="Who the caller is."),
    Route(
        "ConsoleAllowed",
        "POST",
        "allowed",
        allowed,
        None,
        body=msgspec.json.Decoder(Checks),
        says="Whether the caller's policies allow each of up to 200 pairs of action and resource. A "
        "resource that ends in `/*` or `:*` asks whether it may be allowed on some of what begins so.",
    ),
)
