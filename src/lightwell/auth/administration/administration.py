"""What administrators do: access keys, roles, and the question which policy decides.

Nothing here asks whether the caller may do it; whoever calls has done so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightwell.auth import principals
from lightwell.auth.administration import key_changes, key_rotation
from lightwell.auth.policies.condition_keys import RESOURCE_TAG, tag_context, time_context
from lightwell.auth.policies.policy import permissions
from lightwell.auth.policies.validation import check_trust_policy, checked_policies
from lightwell.auth.principal_context import user_context
from lightwell.auth.principals import Credentials, Identity
from lightwell.auth.roles import Roles, check_max_session, check_name
from lightwell.domain import arn as arns
from lightwell.errors import ConfigurationError, ConflictError, NotFoundError
from lightwell.stores.account import principals as keys_table
from lightwell.stores.account import roles as roles_table
from lightwell.stores.account import tags

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.auth.administration.key_rotation import Ends, Rotated
    from lightwell.auth.policies.condition_keys import Value
    from lightwell.auth.principals import Principal
    from lightwell.auth.secret_box import SecretBox
    from lightwell.stores.account.principals import AccessKey
    from lightwell.stores.account.roles import Role
    from lightwell.stores.db.database import Database


class Administration:
    """The keys and roles of one account. Everything blocks; safe to use from several threads."""

    def __init__(self, db: Database, secret_box: SecretBox, region: str, account: str) -> None:
        self._db = db
        self._secret_box = secret_box
        self._region = region
        self._account = account

    # Keys -------------------------------------------------------------------------------------------------

    def keys(self, after: tuple[int, str] | None, limit: int) -> Sequence[AccessKey]:
        """At most ``limit`` keys that are not revoked, newest first, after (created_at, id); no sessions."""
        with self._db.read() as conn:
            return keys_table.newest(conn, after, limit)

    def key(self, id: str) -> AccessKey | None:
        """The key that has this id and is not revoked; None for a session's, too."""
        with self._db.read() as conn:
            key = keys_table.get(conn, id)
        return None if key is None or key.revoked_at is not None or key.session_token is not None else key

    def has_user(self, name: str) -> bool:
        """Whether a key that is not revoked bears this user name."""
        with self._db.read() as conn:
            return keys_table.has_name(conn, name)

    def create_key(
        self,
        name: str,
        now: int,
        policies: Sequence[str] | None,
        expires_at: int | None,
        *,
        emergency: bool = False,
    ) -> tuple[Credentials, list[str]]:
        """Create a key for the user ``name``, and return it with warnings about its policies.

        ``policies`` are JSON texts, None for a key that may do everything; ``emergency``: a session for an
        emergency asks for it. Raises `ConfigurationError`.
        """
        checked = None if policies is None else checked_policies(policies)
        texts = None if checked is None else [text for text, _ in checked]
        db, box = self._db, self._secret_box
        made = principals.create_key(db, box, name, now, texts, expires_at, emergency=emergency)
        return made, [warning for _, warnings in checked or () for warning in warnings]

    def revoke_key(self, id: str, now: int) -> None:
        """Revoke a key for good. Raises `NotFoundError`, and `ConflictError` for root's."""
        key = self.key(id)
        if key is None:
            raise NotFoundError(f"There is no valid access key {id[:128]}.")
        if key.is_root:
            raise ConflictError(
                f"{id} is the root key and cannot be revoked here. To replace it, change "
                "LIGHTWELL_ROOT_ACCESS_KEY_ID and LIGHTWELL_ROOT_SECRET_ACCESS_KEY, and restart the server."
            )
        if not self._db.write(lambda conn: keys_table.revoke(conn, id, now)):
            raise NotFoundError(f"There is no valid access key {id[:128]}.")

    def set_key_enabled(self, id: str, now: int, *, is_enabled: bool, asking: Principal) -> None:
        """Disable or enable a key (`key_changes.set_enabled`)."""
        own = (asking.access_key_id, asking.parent)
        key_changes.set_enabled(self._db, id, now, is_enabled=is_enabled, asking=own)

    def put_key_policies(
        self, id: str, policies: Sequence[str] | None, now: int, *, seen: int | None = None
    ) -> list[str]:
        """Replace a key's policies, None for everything, and return warnings (`key_changes.put_policies`)."""
        checked = None if policies is None else checked_policies(policies)
        texts = None if checked is None else [text for text, _ in checked]
        key_changes.put_policies(self._db, id, texts, now, seen=seen)
        return [warning for _, warnings in checked or () for warning in warnings]

    def rotate_key(self, id: str, now: int, ends: Ends, *, emergency: bool = False) -> Rotated:
        """Make a second key like this one (`key_rotation.rotate`). Not root's."""
        return key_rotation.rotate(self._db, self._secret_box, id, now, ends, emergency=emergency)

    # Roles ------------------------------------------------------------------------------------------------

    def roles(self, after: str | None, limit: int) -> Sequence[Role]:
        """At most ``limit`` roles by name, those after this name."""
        with self._db.read() as conn:
            return roles_table.following(conn, after, limit)

    def role(self, name: str) -> Role | None:
        with self._db.read() as conn:
            return roles_table.get(conn, name)

    def put_role(
        self,
        name: str,
        trust_policy: str,
        policies: Sequence[str],
        now: int,
        *,
        seen: int | None = None,
        max_session: int | None = None,
        emergency: bool | None = None,
    ) -> list[str]:
        """Create a role or replace its policies; returns warnings.

        ``max_session``: how many seconds a session of it may last; ``emergency``: whether it is for
        emergencies; None leaves either as it is. ``seen``: only
        if this is when it was last changed, 0 if there was no such role. Raises `ConfigurationError`, and
        `ConflictError` if it is not as it was seen.
        """
        check_name(name)
        check_max_session(max_session)
        try:
            trust = check_trust_policy(trust_policy)
        except ConfigurationError as error:
            raise ConfigurationError(f"The trust policy is not valid: {error}") from None
        checked = checked_policies(policies)
        if not checked:
            raise ConfigurationError("A role needs a policy that says what it may do.")
        texts = [text for text, _ in checked]

        def work(conn: Connection) -> None:
            # What is not there yet cannot be locked: of two who create it at once, one finds the other's row.
            if seen == 0 and roles_table.create(
                conn, name, trust.text, texts, now, max_session=max_session, emergency=emergency
            ):
                return
            _check_seen(name, roles_table.get(conn, name, lock=True), seen)
            roles_table.put(conn, name, trust.text, texts, now, max_session=max_session, emergency=emergency)

        self._db.write(work)
        return [*trust.warnings, *(warning for _, warnings in checked for warning in warnings)]

    def delete_role(self, name: str) -> None:
        """Delete a role; its sessions end within seconds. Raises `NotFoundError`."""
        if not self._db.write(lambda conn: roles_table.remove(conn, name)):
            raise NotFoundError(f"There is no role {name[:64]}.")

    # Decisions --------------------------------------------------------------------------------------------

    def of_key(self, id: str) -> Identity:
        """The owner of a key. Raises `NotFoundError`."""
        found = principals.identity_of_key(self._db, id, self._account, self._region)
        if found is None:
            raise NotFoundError(f"There is no valid access key {id[:128]}.")
        return found

    def of_role(self, name: str, now: int) -> Identity:
        """A session of a role. Raises `NotFoundError`."""
        roles = Roles(self._db, self._account, self._region)
        role = roles.get(name, now)
        if role is None:
            raise NotFoundError(f"There is no role {name[:64]}.")
        session = roles.session(role, "explained", now)
        return Identity(session.arn, session.policies)

    def of_policies(self, policies: Sequence[str]) -> Identity:
        """A user who has these policies. Raises `ConfigurationError`."""
        texts = [text for text, _ in checked_policies(policies)]
        subject = user_context(self._account, self._region, "explained")
        return Identity(arns.user_arn(self._account, "explained"), permissions(texts, subject))

    def context_of(self, resource: str, now: int, *, with_tags: bool) -> dict[str, Value]:
        """The condition keys of a request at this time: the time, and the tags that the resource has."""
        context: dict[str, Value] = {**time_context(now)}
        found = arns.parse(resource)
        if with_tags and found is not None and (found.region, found.account) == (self._region, self._account):
            with self._db.read() as conn:
                context |= tag_context(RESOURCE_TAG, tags.get(conn, found))
        return context


def _check_seen(name: str, now: Role | None, seen: int | None) -> None:
    """That a role is still as somebody has seen it before they replace it."""
    if seen is None or seen == (0 if now is None else now.updated_at):
        return
    if seen == 0:
        raise ConflictError(f"There is a role {name} already. Change that one, or choose another name.")
    if now is None:
        raise ConflictError(f"The role {name} has been deleted meanwhile.")
    raise ConflictError(f"The role {name} has been changed meanwhile. Look at it again, then decide anew.")
