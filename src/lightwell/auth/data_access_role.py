"""What an import job may do in buckets with the role given as its ``dataAccessRoleArn``.

The service assumes the role, which its trust policy must allow for ``medical-imaging.amazonaws.com``, and
the role's policies are evaluated for each bucket and key. Sources: service model (StartDICOMImportJob),
devguide on cross-service confused deputies (``aws:SourceArn``, ``aws:SourceAccount``), Service Authorization
Reference of S3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightwell.auth.policies.actions import GET_OBJECT, LIST_BUCKET, PUT_OBJECT, SERVICE
from lightwell.auth.policies.condition_keys import UNKNOWN, time_context
from lightwell.auth.roles import Roles, ServicePrincipal
from lightwell.domain.arn import datastore_arn

if TYPE_CHECKING:
    from lightwell.auth.policies.condition_keys import Value
    from lightwell.auth.policies.policy import Permissions
    from lightwell.domain.imports.bucket_rights import Access
    from lightwell.stores.db.database import Database

_ACTIONS = {action.partition(":")[2]: action for action in (GET_OBJECT, LIST_BUCKET, PUT_OBJECT)}
# The session name of a role that the service assumes.
_SESSION = "ImportJob"


class DataAccessRoles:
    """Assumes the roles of import jobs; safe to use from several threads.

    ``s3_endpoint_url`` tells whether buckets are reached over TLS; None means AWS.
    """

    def __init__(self, roles: Roles, region: str, account: str, s3_endpoint_url: str | None) -> None:
        self._roles = roles
        self._region = region
        self._account = account
        self._is_secure = not (s3_endpoint_url or "").lower().startswith("http:")

    def assume(self, role_arn: str, datastore_id: str, now: int) -> RoleRights:
        """The rights of a role for a job of the data store; ``now`` is milliseconds since the epoch.

        Blocks. Raises `RoleError` if the service cannot assume the role.
        """
        session = self._roles.assume(
            role_arn,
            ServicePrincipal(SERVICE, datastore_arn(self._region, self._account, datastore_id)),
            session=_SESSION,
            now=now,
        ).principal
        assert session.policies is not None, "a role has policies"
        context: dict[str, Value] = {
            **time_context(now),
            "aws:securetransport": "true" if self._is_secure else "false",
            "aws:tokenissuetime": time_context(now)["aws:currenttime"],
            # On AWS this is an address of the service's own.
            "aws:sourceip": UNKNOWN,
            "s3:resourceaccount": self._account,
        }
        return RoleRights(session.arn, session.policies, context)


def open_data_access_roles(
    db: Database, region: str, account: str, s3_endpoint_url: str | None
) -> DataAccessRoles:
    """`DataAccessRoles` for a process that has no other use for roles."""
    return DataAccessRoles(Roles(db, account, region), region, account, s3_endpoint_url)


class RoleRights:
    """What one role may do in buckets, by its policies at the time it was assumed."""

    def __init__(self, arn: str, policies: Permissions, context: dict[str, Value]) -> None:
        self._arn = arn
        self._policies = policies
        self._context = context

    def refusal(self, access: Access) -> str | None:
        """Why the access is denied, in AWS's words; None if it is allowed."""
        action, context = _ACTIONS[access.verb], self._context
        resource = f"arn:aws:s3:::{access.bucket}"
        if action == LIST_BUCKET:
            context = {**context, "s3:prefix": access.key}
        else:
            resource = f"{resource}/{access.key}"
        decision = self._policies.decide(action, resource, context, below=access.below)
        if decision.allowed:
            return None
        shown = f"{resource}{'*' if access.below else ''}"
        return (
            f"User: {self._arn} is not authorized to perform: {action} on resource: {shown} "
            f"{decision.reason(action)}"
        )
