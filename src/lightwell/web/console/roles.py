"""``roles``: what they may do and who may assume them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lightwell.auth.policies.actions import (
    CREATE_ROLE,
    DELETE_ROLE,
    GET_ROLE,
    LIST_ROLES,
    PUT_ROLE_POLICY,
    PUT_TRUST_POLICY,
    AuthorizationRequest,
)
from lightwell.auth.roles import LONGEST_SESSION, rights_of
from lightwell.errors import ConfigurationError, ValidationError
from lightwell.web.console.route import Answer, Body, Call, Route, iso, next_page, on_iam, place


class RoleShown(Answer):
    """A role; policies are JSON texts, null where the caller may not read them (``iam:GetRole``).

    ``revision`` is another number after each change. ``emergency``: it is taken with a reason only, and each
    use of it is flagged on record.
    """

    name: str
    arn: str
    created_at: str
    updated_at: str
    revision: int
    max_session_seconds: int
    emergency: bool
    trust_policy: str | None
    policies: list[str] | None


class RolesShown(Answer):
    roles: list[RoleShown]
    next_token: str | None


class RolePolicies(Body):
    """JSON texts. ``revision``: refused with 409 unless the role has this one, 0 for a role that is not there
    yet; without it, whatever is there is replaced. ``max_session_seconds``: how long a session of it may
    last; ``emergency``: whether it is for emergencies; null leaves either as it is."""

    trust_policy: str
    policies: list[str]
    revision: int | None = None
    max_session_seconds: int | None = None
    emergency: bool | None = None


class PutRole(Answer):
    arn: str
    warnings: list[str]


def list_roles(call: Call) -> RolesShown:
    """The roles by name, policies of those that the caller may read."""
    after, limit = place(call, str), call.page()
    found = call.state.administration.roles(None if after is None else after[0], limit + 1)
    return RolesShown(
        roles=[_shown(call, role) for role in found[:limit]],
        next_token=next_page(found, limit, lambda role: (role.name,)),
    )


def _shown(call: Call, role: Any) -> RoleShown:
    required = call.state.access_control.actions.iam(GET_ROLE, f"role/{role.name}")
    may_read = call.allows(required)
    return RoleShown(
        name=role.name,
        arn=required[0].resource,
        created_at=iso(role.created_at),
        updated_at=iso(role.updated_at),
        revision=role.updated_at,
        max_session_seconds=role.max_session_seconds or LONGEST_SESSION,
        emergency=role.is_for_emergencies,
        trust_policy=role.trust_policy if may_read else None,
        policies=list(role.policies) if may_read else None,
    )


def put_role(call: Call) -> PutRole:
    """Create a role, or replace its policies, for running sessions, too."""
    asked: RolePolicies = call.body
    name = call.params["roleName"]
    before = call.state.administration.role(name)
    try:
        warnings = call.state.administration.put_role(
            name,
            asked.trust_policy,
            asked.policies,
            call.now,
            seen=asked.revision,
            max_session=asked.max_session_seconds,
            emergency=asked.emergency,
        )
    except ConfigurationError as error:
        raise ValidationError(f"{str(error).rstrip('.')}.") from None
    after = call.state.administration.role(name)
    call.request.noted.changed(f"role {name}", rights_of(before), rights_of(after))
    arn = call.state.access_control.actions.iam_arn(f"role/{name}")
    return PutRole(arn=arn, warnings=warnings)


def _required_to_put(call: Call) -> Sequence[AuthorizationRequest]:
    name = call.params["roleName"]
    is_new = call.state.administration.role(name) is None
    actions = (CREATE_ROLE if is_new else PUT_TRUST_POLICY, PUT_ROLE_POLICY)
    return [
        each for action in actions for each in call.state.access_control.actions.iam(action, f"role/{name}")
    ]


def delete_role(call: Call) -> None:
    """Delete a role; its sessions end within seconds."""
    name = call.params["roleName"]
    before = call.state.administration.role(name)
    call.state.administration.delete_role(name)
    call.request.noted.changed(f"role {name}", rights_of(before))


ROUTES = (
    Route(
        "ConsoleListRoles",
        "GET",
        "roles",
        list_roles,
        on_iam(LIST_ROLES, "role/*"),
        query=("maxResults", "nextToken"),
        action="`iam:ListRoles` on `role/*`; a role's policies `iam:GetRole` on `role/NAME`, too",
        says="The roles, by name.",
    ),
    Route(
        "ConsolePutRole",
        "PUT",
        "roles/{roleName}",
        put_role,
        _required_to_put,
        body=msgspec.json.Decoder(RolePolicies),
        action="on `role/NAME` `iam:PutRolePolicy` and, if it is new, `iam:CreateRole`, else "
        "`iam:UpdateAssumeRolePolicy`",
        says="Make a role, or replace its policies; running sessions get the new ones within two seconds. As "
        "on AWS, whoever may do this can give a role any right: allow it to administrators only.",
    ),
    Route(
        "ConsoleDeleteRole",
        "DELETE",
        "roles/{roleName}",
        delete_role,
        on_iam(DELETE_ROLE, "role/{roleName}"),
        action="`iam:DeleteRole` on `role/NAME`",
        says="Delete a role; its sessions end within seconds.",
    ),
)
