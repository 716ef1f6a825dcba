"""Roles: who may take one, and who one is that has.

Sources: IAM User Guide, "IAM roles", "AWS JSON policy elements: Principal"; `trust` reads the trust policy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.auth.policies.policy import permissions
from lightwell.auth.policies.trust import AssumingPrincipal, trusts
from lightwell.auth.principal_context import session_subject
from lightwell.auth.principals import FRESH_MS, Principal, subject_of
from lightwell.domain import arn as arns
from lightwell.errors import ConfigurationError, LightwellError
from lightwell.stores.account import roles as table
from lightwell.stores.account.roles import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightwell.auth.policies.condition_keys import Context, Value
    from lightwell.stores.db.database import Database

_MOST_KNOWN = 1_024
# One spelling only, so that a policy about a role cannot be written around: no path, no other partition.
_ARN = re.compile(r"arn:aws:iam::([0-9]{12}):role/([\w+=,.@-]{1,64})", re.ASCII)
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)

MISSING, TRUST, FOREIGN = "missing", "trust", "foreign"


def check_name(name: str) -> None:
    """Raises `ConfigurationError` unless a role may have this name."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"The name {name!r} will not do: it takes 1 to 64 letters, digits or _+=,.@-"
        )


class RoleError(LightwellError):
    """A role cannot be taken. ``kind`` is "missing" (no role of this name, or no ARN of one), "trust" (its
    trust policy does not let this one) or "foreign" (of another account).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class _Entry:
    at: int
    role: Role | None


class Roles:
    """The roles of the account, cached for `FRESH_MS`; safe to use from several threads."""

    def __init__(self, db: Database, account: str, region: str) -> None:
        self._db = db
        self._account = account
        self._region = region
        self._known: dict[str, _Entry] = {}

    def assume(
        self,
        arn: str,
        *,
        session: str,
        now: int,
        service: str | None = None,
        principal: Principal | None = None,
        source_arn: str | None = None,
        context: Context | None = None,
        session_policies: Sequence[str] | None = None,
    ) -> Principal:
        """Who ``service`` (such as ``medical-imaging.amazonaws.com``) or ``principal`` is with the role.

        The answer has no access key and cannot sign; its ``arn`` is that of the session. ``now`` is
        milliseconds since the epoch, ``source_arn`` the resource on whose behalf a service comes,
        ``context`` what else the trust policy may ask of the request, ``session_policies`` narrow what the
        role may do. Blocks unless the role is `fresh`. Raises `RoleError`.
        """
        name = self.name_of(arn)
        role = self.get(name, now)
        if role is None:
            raise RoleError(MISSING, f"There is no role {arn}; `lightwell role list` shows those that are.")
        asked: dict[str, Value] = {**(context or {}), "sts:rolesessionname": session}
        if principal is not None:
            asked.update(subject_of(principal, self._account, self._region))
        else:
            asked.update({"aws:principalisawsservice": "true", "aws:sourceaccount": self._account})
            if source_arn is not None:
                asked["aws:sourcearn"] = source_arn
        if not trusts(role.trust_policy, self._taker(service, principal), asked, now):
            who = service if principal is None else principal.arn
            raise RoleError(TRUST, f"The trust policy of {arn} does not let {who} assume it.")
        return self.session(role, session, now, session_policies)

    def session(
        self, role: Role, session: str, now: int, session_policies: Sequence[str] | None = None
    ) -> Principal:
        """Who has taken the role, without an access key."""
        subject = session_subject(self._account, self._region, role.name, session)
        return Principal(
            access_key_id="",
            arn=arns.session_arn(self._account, f"{role.name}/{session}"),
            secret="",
            session_token=None,
            expires_at=None,
            policies=permissions(role.policies, subject, session_policies),
            role=role.name,
            issued_at=now,
        )

    def name_of(self, arn: str) -> str:
        """The name in the ARN of a role of this account. Raises `RoleError`."""
        match = _ARN.fullmatch(arn)
        if match is None:
            raise RoleError(MISSING, f"{arn[:200]!r} is not the ARN of a role.")
        if match[1] != self._account:
            raise RoleError(FOREIGN, f"The role {arn} is of another account than {self._account}.")
        return match[2]

    def fresh(self, arn: str, now: int) -> bool:
        """Whether `assume` would answer, or refuse, without asking the database."""
        try:
            entry = self._known.get(self.name_of(arn))
        except RoleError:
            return True
        return entry is not None and 0 <= now - entry.at < FRESH_MS

    def get(self, name: str, now: int) -> Role | None:
        """The role, as it was not longer than `FRESH_MS` ago."""
        entry = self._known.get(name)
        if entry is None or not 0 <= now - entry.at < FRESH_MS:
            with self._db.read() as conn:
                entry = _Entry(now, table.get(conn, name))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[name] = entry
        return entry.role

    def _taker(self, service: str | None, principal: Principal | None) -> AssumingPrincipal:
        if principal is None:
            assert service is not None, "a role is taken by a service or by a principal"
            regional = service.replace(".amazonaws.com", f".{self._region}.amazonaws.com")
            return AssumingPrincipal(services=frozenset({service, regional}))
        return AssumingPrincipal(
            arns=frozenset({principal.arn, principal.identity(self._account)}), account=self._account
        )
