"""``link``, ``oidc/roles``, ``sign-out`` and ``sessions``: how sessions begin, which there are, how they end.

The other ways in are STS's own: GetSessionToken with an access key, and AssumeRoleWithWebIdentity.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from lightwell.auth.bearer_token import session_name
from lightwell.auth.key_sessions import CONSOLE, kind_of
from lightwell.auth.policies.actions import DELETE_ACCESS_KEY, LIST_ACCESS_KEYS, AuthorizationRequest
from lightwell.auth.principals import ROOT
from lightwell.auth.roles import WebIdentity
from lightwell.auth.sessions import LONGEST
from lightwell.errors import NotFoundError
from lightwell.observe.logs import event
from lightwell.web.console.route import Answer, Body, Call, Route, iso, next_page, on_iam, place
from lightwell.web.requests.authorization import request_context

if TYPE_CHECKING:
    from lightwell.stores.account.principals import AccessKey

log = logging.getLogger(__name__)

MOST_ROLES = 100
_BODY_LIMIT = 64 << 10
_LONGEST_NAME = 64
_USERS = "user/*"
# The claims that name a person, the best first: OpenID Connect Core 1.0 §5.1.
_NAMING = ("preferred_username", "email")
_NOT_IN_NAMES = re.compile(r"[^\w+=,.@-]+", re.ASCII)


class TokenBody(Body):
    token: str


class SessionAnswer(Answer):
    """Temporary credentials; ``expiration`` is when they end."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: str


class RoleChoice(Answer):
    """``max_session_seconds``: how long a session of it may last."""

    arn: str
    name: str
    max_session_seconds: int


class RolesAnswer(Answer):
    """The roles that a token may take. ``session_name`` is the one to give AssumeRoleWithWebIdentity.

    ``name`` is what to call the person, ``subject`` what the provider does. ``is_truncated``: there are more
    roles.
    """

    roles: list[RoleChoice]
    session_name: str
    subject: str
    name: str | None
    is_truncated: bool


def link(call: Call) -> SessionAnswer:
    """A session of the root key for the token of a link, which is good once."""
    body: TokenBody = call.body
    made = call.state.key_sessions.of_link(body.token, call.now)
    call.request.noted.changed(f"session {made.credentials.access_key_id} of root")
    call.request.named = f"console link, {made.credentials.access_key_id}"
    return SessionAnswer(
        access_key_id=made.credentials.access_key_id,
        secret_access_key=made.credentials.secret_access_key,
        session_token=made.session_token,
        expiration=iso(made.expires_at),
    )


async def roles(call: Call) -> RolesAnswer:
    """The roles whose trust policies let the bearer of an OpenID token take them."""
    body: TokenBody = call.body
    identity = await call.state.federation.verify(body.token, call.now)
    call.request.subject, call.request.issuer = identity.subject, identity.issuer
    session, context = _session_name(identity), request_context(call.request, call.now)
    found = await call.state.in_thread(call.state.sessions.roles_for, identity, session, context)
    call.request.noted.found = len(found)
    arn = call.state.sessions.role_arn
    return RolesAnswer(
        roles=[
            RoleChoice(
                arn=arn(role.name),
                name=role.name,
                max_session_seconds=role.max_session_seconds or LONGEST,
            )
            for role in found[:MOST_ROLES]
        ],
        session_name=session,
        subject=identity.subject,
        name=_text(identity, "name") or _text(identity, *_NAMING),
        is_truncated=len(found) > MOST_ROLES,
    )


def sign_out(call: Call) -> None:
    """End the session whose credentials signed the request."""
    call.state.key_sessions.end(call.principal, call.now)
    call.state.authenticator.forget(call.principal.access_key_id)


class Session(Answer):
    """One session. ``kind``: link (to the console), key (GetSessionToken), role, or token (of a provider).

    ``name`` is that of the user, or ``ROLE/SESSION``; ``subject`` is whom ``provider`` vouches for.
    """

    access_key_id: str
    kind: str
    name: str
    provider: str | None
    subject: str | None
    is_own: bool
    created_at: str
    expires_at: str
    last_used_at: str | None
    last_used_from: str | None


class Sessions(Answer):
    sessions: list[Session]
    next_token: str | None


def list_sessions(call: Call) -> Sessions:
    """The sessions that are neither over nor ended, newest first."""
    after, limit = place(call, int, str), call.page()
    found = call.state.key_sessions.page(call.now, limit + 1, None if after is None else (after[0], after[1]))
    return Sessions(
        sessions=[_session(call, key) for key in found[:limit]],
        next_token=next_page(found, limit, lambda key: (key.created_at, key.id)),
    )


def _session(call: Call, key: AccessKey) -> Session:
    return Session(
        access_key_id=key.id,
        kind=kind_of(key),
        name="root" if kind_of(key) == "link" else key.name,
        provider=key.provider,
        subject=key.subject,
        is_own=key.id == call.principal.access_key_id,
        created_at=iso(key.created_at),
        expires_at=iso(key.expires_at or 0),
        last_used_at=None if key.last_used_at is None else iso(key.last_used_at),
        last_used_from=key.last_used_from,
    )


def _of_session(call: Call) -> Sequence[AuthorizationRequest]:
    """What ending a session requires, on its own user, root or role: a policy may deny just that one."""
    iam = call.state.access_control.actions.iam
    key = call.state.key_sessions.find(call.params["accessKeyId"])
    if key is None:
        return iam(DELETE_ACCESS_KEY, _USERS)
    if key.role is not None:
        return iam(DELETE_ACCESS_KEY, f"role/{key.role}")
    return iam(DELETE_ACCESS_KEY, "root" if key.name in (CONSOLE, ROOT) else f"user/{key.name}")


def end_session(call: Call) -> None:
    """End a session at once; its key, if it has one, remains."""
    id = call.params["accessKeyId"]
    if not call.state.key_sessions.end_other(id, call.now):
        raise NotFoundError(f"There is no session {id[:128]} that could be ended.")
    call.state.authenticator.forget(id)
    call.request.noted.changed(f"session ended: {id}")
    event(log, logging.INFO, "session ended", request=call.request.id, caller=call.principal.arn, key=id)


def _session_name(identity: WebIdentity) -> str:
    """What logs call the person: a name that the token has, as far as a session may have it.

    No two people have one name because of what a session may not have.
    """
    given = _text(identity, *_NAMING)
    name = "" if given is None else _NOT_IN_NAMES.sub("-", given)[:_LONGEST_NAME]
    if len(name) < 2:
        return session_name(identity.subject)
    if name == given:
        return name
    mark = sha256(identity.subject.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{name[: _LONGEST_NAME - 13]}-{mark}"


def _text(identity: WebIdentity, *claims: str) -> str | None:
    found = (identity.claims.get(claim) for claim in claims)
    return next((text[:200] for text in found if isinstance(text, str) and text), None)


_TOKEN = msgspec.json.Decoder(TokenBody)

ROUTES = (
    Route(
        "ConsoleLink",
        "POST",
        "link",
        link,
        None,
        body=_TOKEN,
        is_signed=False,
        body_limit=_BODY_LIMIT,
        says="Exchanges the token of a one-time link for a session of the root user, 12 hours long. Needs no "
        "signature. The link is good for 10 minutes, and once among all servers of the installation.",
    ),
    Route(
        "ConsoleListRolesOfToken",
        "POST",
        "oidc/roles",
        roles,
        None,
        body=_TOKEN,
        where="loop",
        is_signed=False,
        body_limit=_BODY_LIMIT,
        says="The roles that the bearer of an OpenID token may take with `sts:AssumeRoleWithWebIdentity`, at "
        "most 100. Needs no signature: the token stands for itself.",
    ),
    Route(
        "ConsoleSignOut",
        "POST",
        "sign-out",
        sign_out,
        None,
        body=msgspec.json.Decoder(Body),
        says="Ends the session whose temporary credentials sign the request.",
    ),
    Route(
        "ConsoleListSessions",
        "GET",
        "sessions",
        list_sessions,
        on_iam(LIST_ACCESS_KEYS, _USERS),
        query=("maxResults", "nextToken"),
        action="`iam:ListAccessKeys` on `user/*`",
        says="Temporary credentials that are good now, newest first: who is signed in to the console, "
        "and who took a role.",
    ),
    Route(
        "ConsoleEndSession",
        "DELETE",
        "sessions/{accessKeyId}",
        end_session,
        _of_session,
        action="`iam:DeleteAccessKey` on the session's `user/NAME`, `root` or `role/NAME`",
        says="End a session at once, within a second on every server. The key that it stands for remains.",
    ),
)
