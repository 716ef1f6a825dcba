"""``authorizers``: what answers for the Lambda functions that data stores name for bearer tokens."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lightwell.auth.lambda_authorizer import parse_target
from lightwell.auth.policies.actions import (
    DELETE_FUNCTION,
    LIST_FUNCTIONS,
    UPDATE_FUNCTION,
    AuthorizationRequest,
)
from lightwell.auth.policies.policy import digest
from lightwell.errors import ConfigurationError, ValidationError
from lightwell.operations.console import authorizers
from lightwell.web.authorizers.target_hosts import check_target
from lightwell.web.console.route import Answer, Body, Call, Required, Route, iso, on_any

_LONGEST_ARN = 400


class NamedStore(Answer):
    datastore_id: str
    name: str


class Authorizer(Answer):
    """``kind``: builtin, http, python, or missing where a data store names it and nothing answers."""

    arn: str
    kind: str
    target: str | None
    created_at: str | None
    updated_at: str | None
    datastores: list[NamedStore]


class Authorizers(Answer):
    authorizers: list[Authorizer]


class NewTarget(Body):
    """``is_new``: refused with 409 if the function has a target."""

    arn: str
    target: str
    is_new: bool = False


class OldTarget(Body):
    arn: str


def list_authorizers(call: Call) -> Authorizers:
    """The functions that have a target or that data stores name, by ARN."""
    return Authorizers(
        authorizers=[
            Authorizer(
                arn=each.arn,
                kind="missing"
                if each.target is None
                else each.target.partition(":")[0].replace("https", "http"),
                target=each.target,
                created_at=iso(each.created_at) if each.created_at else None,
                updated_at=iso(each.updated_at) if each.updated_at else None,
                datastores=[NamedStore(datastore_id=id, name=name) for id, name in each.datastores],
            )
            for each in authorizers.list_authorizers(call.ctx)
        ]
    )


def put_authorizer(call: Call) -> None:
    """Set the target of a function."""
    asked: NewTarget = call.body
    try:
        check_target(call.state.settings.authorizer_hosts, parse_target(asked.target))
    except ConfigurationError as error:
        raise ValidationError(f"{error}.") from None
    before = authorizers.put_authorizer(call.ctx, asked.arn, asked.target, is_new=asked.is_new)
    call.request.noted.changed(f"authorizer {asked.arn}", before and digest(before), digest(asked.target))


def delete_authorizer(call: Call) -> None:
    """Remove the target of a function."""
    before = authorizers.delete_authorizer(call.ctx, call.body.arn)
    call.request.noted.changed(f"authorizer {call.body.arn}", digest(before))


def _on_function(action: str) -> Required:
    def required(call: Call) -> Sequence[AuthorizationRequest]:
        arn = call.body.arn[:_LONGEST_ARN]
        # On record whether it is allowed or not.
        call.request.noted.asked_for(arn)
        return [AuthorizationRequest((action,), arn or "*")]

    return required


ROUTES = (
    Route(
        "ConsoleListAuthorizers",
        "GET",
        "authorizers",
        list_authorizers,
        on_any(LIST_FUNCTIONS),
        action="`lambda:ListFunctions` on `*`",
        says="The functions that authorize bearer tokens, by ARN: those with a target, and those that data "
        "stores name; at most 1,000 data stores are shown.",
    ),
    Route(
        "ConsolePutAuthorizer",
        "POST",
        "authorizers",
        put_authorizer,
        _on_function(UPDATE_FUNCTION),
        body=msgspec.json.Decoder(NewTarget),
        action="`lambda:UpdateFunctionCode` on the function",
        says="Set the `http(s)://` target of a function: the Lambda Invoke API of what decides. A target "
        "`python:…` is named with `lightwell authorizer put`; given again here, its code is loaded anew.",
    ),
    Route(
        "ConsoleDeleteAuthorizer",
        "POST",
        "authorizers/delete",
        delete_authorizer,
        _on_function(DELETE_FUNCTION),
        body=msgspec.json.Decoder(OldTarget),
        action="`lambda:DeleteFunction` on the function",
        says="Remove the target of a function: bearer tokens for its data stores are refused from then on.",
    ),
)
