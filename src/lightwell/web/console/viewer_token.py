"""``datastores/{datastoreId}/viewer-token``: a session handed to a viewer, such as OHIF at ``/ohif/``."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from lightwell.auth.bearer_token import is_bearer, is_viewer_token
from lightwell.errors import AccessDeniedError, ValidationError
from lightwell.web.console.route import Answer, Body, Call, Route, iso
from lightwell.web.requests.authorization import request_context

if TYPE_CHECKING:
    from lightwell.auth.principals import Principal

_ID = re.compile(r"[0-9a-z]{32}")
_ANY_READING = "SearchDICOMStudies"


class TokenAnswer(Answer):
    """A bearer token for DICOMweb on one data store. ``may_store``: its bearer may store instances, too."""

    token: str
    expires_at: str
    may_store: bool


async def mint(call: Call) -> TokenAnswer:
    """A token for a viewer that acts for the caller's session."""
    return await _mint(call, call.principal)


async def renew(call: Call) -> TokenAnswer:
    """Another token in place of one that has not expired yet."""
    authorization = call.request.head.get(b"authorization", b"")
    if not is_bearer(authorization) or not is_viewer_token(authorization):
        raise AccessDeniedError("Send the token that is to be renewed: Authorization: Bearer.")
    viewers = call.state.bearer_authentication.viewers
    principal = await viewers.principal(
        call.request.headers, call.params["datastoreId"], _ANY_READING, call.now
    )
    call.request.principal = principal
    began = await viewers.began(call.request.headers, call.params["datastoreId"], call.now)
    return await _mint(call, principal, began)


async def _mint(call: Call, principal: Principal, began: int | None = None) -> TokenAnswer:
    state, id = call.state, call.params["datastoreId"]
    if not _ID.fullmatch(id):
        raise ValidationError(
            f"{id[:64]!r} is not a data store ID: it must be 32 digits and lower-case letters."
        )
    required = state.access_control.actions.dicomweb("StoreDICOM", "StoreDICOM", id, {})
    allows = partial(
        state.access_control.allows, principal, required, request_context(call.request, call.now)
    )
    may_store = principal.policies is None or await state.in_thread(allows)
    tokens = await state.bearer_authentication.viewers.tokens()
    made = tokens.mint(principal, id, call.now, may_store=may_store, began=began)
    return TokenAnswer(token=made.text, expires_at=iso(made.expires_at), may_store=may_store)


_NOTHING = msgspec.json.Decoder(Body)

ROUTES = (
    Route(
        "ConsoleMakeViewerToken",
        "POST",
        "datastores/{datastoreId}/viewer-token",
        mint,
        None,
        body=_NOTHING,
        where="loop",
        says="A bearer token for DICOMweb on one data store, good for 15 minutes. It stands for the caller's "
        "session: the same policies decide, and it ends with the session. It can read, search and store, but "
        "delete nothing. The data store needs no authorizer. `/ohif/#token=TOKEN` opens OHIF with it, and "
        "`/ohif/#token=TOKEN&study=UID` a study.",
    ),
    Route(
        "ConsoleRenewViewerToken",
        "POST",
        "datastores/{datastoreId}/viewer-token/renewal",
        renew,
        None,
        body=_NOTHING,
        where="loop",
        is_signed=False,
        says="Another one in place of a token that is still good, sent as `Authorization: Bearer TOKEN`: so "
        "a viewer stays signed in for as long as the session lasts, and for 12 hours at most.",
    ),
)
