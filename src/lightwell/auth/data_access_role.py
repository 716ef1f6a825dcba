"""What an import job may do in buckets with the role that it names, ``dataAccessRoleArn``.

The service takes the role, as its trust policy has to let ``medical-imaging.amazonaws.com``, and the role's
policies are asked about the very bucket and key. Sources: service model (StartDICOMImportJob), devguide on
cross-service confused deputies (``aws:SourceArn``, ``aws:SourceAccount``), Service Authorization Reference of
S3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lightwell.auth.policies.actions import GET_OBJECT, LIST_BUCKET, PUT_OBJECT, SERVICE
from lightwell.auth.policies.condition_keys import UNKNOWN
from lightwell.auth.policies.trust import moment
from lightwell.auth.roles import Roles
from lightwell.domain.arn import datastore_arn

if TYPE_CHECKING:
    from lightwell.auth.policies.condition_keys import Value
    from lightwell.auth.policies.policy import Permissions
    from lightwell.stores.db.database import Database

_ACTIONS = {action.partition(":")[2]: action for action in (GET_OBJECT, LIST_BUCKET, PUT_OBJECT)}
# Of the session that the service makes of the role.
_SESSION = "ImportJob"


class Access(Protocol):
    """See `domain.imports.bucket_rights.Access`."""

    @property
    def verb(self) -> str: ...
    @property
    def bucket(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def below(self) -> bool: ...


class DataAccess:
    """Takes the roles of import jobs; safe to use from several threads.

    ``s3_endpoint_url``: whether buckets are reached by TLS, AWS if None.
    """

    def __init__(self, roles: Roles, region: str, account: str, s3_endpoint_url: str | None) -> None:
        self._roles = roles
        self._region = region
        self._account = account
        self._is_secure = not (s3_endpoint_url or "").lower().startswith("http:")

    def take(self, role_arn: str, datastore_id: str, now: int) -> RoleRights:
        """The rights of a role for a job of the data store, ``now`` in milliseconds since the epoch.

        Blocks. Raises `RoleError` where the service cannot take it.
        """
        taken = self._roles.assume(
            role_arn,
            service=SERVICE,
            session=_SESSION,
            source_arn=datastore_arn(self._region, self._account, datastore_id),
            now=now,
        )
        assert taken.policies is not None, "a role has policies"
        context: dict[str, Value] = {
            **moment(now),
            "aws:securetransport": "true" if self._is_secure else "false",
            "aws:tokenissuetime": moment(now)["aws:currenttime"],
            # At AWS it is one of the service's own.
            "aws:sourceip": UNKNOWN,
            "s3:resourceaccount": self._account,
        }
        return RoleRights(taken.arn, taken.policies, context)


def open_data_access(db: Database, region: str, account: str, s3_endpoint_url: str | None) -> DataAccess:
    """What takes the roles of import jobs in a process that has no other use for roles."""
    return DataAccess(Roles(db, account, region), region, account, s3_endpoint_url)


class RoleRights:
    """What one role may do in buckets, as its policies were when it was taken."""

    def __init__(self, arn: str, policies: Permissions, context: dict[str, Value]) -> None:
        self._arn = arn
        self._policies = policies
        self._context = context

    def refusal(self, access: Access) -> str | None:
        """Why it may not do that, in AWS's words; None if it may."""
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
