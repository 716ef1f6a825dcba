"""Access keys and the principals they belong to: creation, and look-up through a short-lived cache."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from lightwell.auth.policies.policy import Permissions, permissions
from lightwell.auth.principal_context import root_context, session_context, user_context
from lightwell.auth.secret_box import SecretBox, create_secret_key, open_secret_box
from lightwell.domain import arn
from lightwell.domain.recent import Recent
from lightwell.errors import ConfigurationError
from lightwell.stores.account import principals as table
from lightwell.stores.account import roles
from lightwell.stores.account.principals import AccessKey
from lightwell.stores.account.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection

    from lightwell.stores.db.database import Database

_MOST_KNOWN = 4_096
_MOST_UNKNOWN = 1_024

_ID = re.compile(r"\w{16,128}", re.ASCII)
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
ROOT = "root"


class Identity(NamedTuple):
    """The ARN that an access key stands for and what it may do; None for ``policies`` means everything."""

    arn: str
    policies: Permissions | None


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of an access key, or of an assumed role without a key. Times are milliseconds.

    ``policies`` is what it may do; None means everything. ``role`` is the name of the role, None for users
    and root; ``issued_at`` is when temporary credentials were issued. ``parent`` is the access key that
    temporary credentials without a role stand for. ``subject`` is who took the role with a token of an OpenID
    provider, as the provider calls that person; ``provider`` is its issuer. ``taken_by`` is the `owner` of
    who took the role with other credentials. ``emergency``: the role is one for emergencies, or was when the
    session was taken, or whoever took it had a session of which that holds.
    """

    access_key_id: str
    arn: str
    secret: str
    session_token: str | None
    expires_at: int | None
    policies: Permissions | None = None
    role: str | None = None
    issued_at: int | None = None
    parent: str | None = None
    subject: str | None = None
    provider: str | None = None
    taken_by: str | None = None
    emergency: bool = False

    @property
    def owner(self) -> str:
        """Whose something is that nobody else may have.

        Not the ARN of a session of a role: its name was its own choice, so two people may have the same.
        """
        if self.provider is not None and self.subject is not None:
            return f"{self.provider}#{self.subject}"
        return self.taken_by or self.arn

    def identity(self, account: str) -> str:
        """The ARN of the IAM identity: that of the role for a session, else its own."""
        return self.arn if self.role is None else arn.role_arn(account, self.role)


def kind_and_name(principal: Principal) -> tuple[str, str]:
    """What a principal is, ``root``, ``user`` or ``role``, and its name: ``ROLE/SESSION`` of a role."""
    kind, _, name = principal.arn.rpartition(":")[2].partition("/")
    return ("role" if kind == "assumed-role" else kind), name or kind


def principal_context(principal: Principal, account: str, region: str) -> Mapping[str, str]:
    """The condition keys that are the same for all requests of the principal."""
    if principal.policies is not None:
        return principal.policies.principal_context
    if principal.arn == arn.root_arn(account):
        return root_context(account, region)
    return user_context(account, region, principal.arn.rpartition("/")[2])


class Principals:
    """Look-up by access key id, cached for `recent.FRESH_MS`; safe to use from several threads."""

    def __init__(self, db: Database, secret_box: SecretBox, account: str, region: str) -> None:
        self._db = db
        self._secret_box = secret_box
        self._account = account
        self._region = region
        # Apart, so that a flood of guessed ids does not push out those that are in use.
        self._known: Recent[str, Principal] = Recent(_MOST_KNOWN)
        self._unknown: Recent[str, bool] = Recent(_MOST_UNKNOWN)

    def cached(self, access_key_id: str, now: int) -> tuple[bool, Principal | None]:
        """``(True, who or None)`` if that was looked up not long ago, else ``(False, None)``."""
        principal = self._known.get(access_key_id, now)
        if principal is not None:
            return True, principal
        if self._unknown.get(access_key_id, now):
            return True, None
        return not _ID.fullmatch(access_key_id), None

    def load(self, access_key_id: str, now: int) -> Principal | None:
        """Look up the key in the database and cache the result; None if no such key is valid. Blocks."""
        with self._db.read() as conn:
            found = _read(conn, access_key_id)
        principal = None if found is None else self._principal(found)
        if principal is None:
            self._known.drop(access_key_id)
            self._unknown.put(access_key_id, True, now)
            return None
        self._known.put(access_key_id, principal, now)
        return principal

    def forget(self, access_key_id: str) -> None:
        """Look the key up again before its next use."""
        self._known.drop(access_key_id)

    def _principal(self, found: _Found) -> Principal | None:
        """The owner of the key; None if the key, its parent or its session's role is gone, or disabled."""
        key, identity = found.key, _identity(found, self._account, self._region)
        if identity is None:
            return None
        has_role = key.role is not None and key.session_name is not None
        return Principal(
            key.id,
            identity.arn,
            self._secret_box.decrypt(key.secret),
            None if key.session_token is None else self._secret_box.decrypt(key.session_token),
            _end(key, found.parent),
            identity.policies,
            key.role if has_role else None,
            None if key.session_token is None else key.created_at,
            key.parent,
            key.subject,
            key.provider,
            key.taken_by,
            # As it was taken, too: who has the session may take other roles, or change this one.
            bool(key.emergency) or (has_role and found.role is not None and found.role.is_for_emergencies),
        )


def identity_of_key(db: Database, access_key_id: str, account: str, region: str) -> Identity | None:
    """The identity of an access key, None if no such key is valid.

    Decrypts nothing, so it works even if the secret key is lost.
    """
    with db.read() as conn:
        found = _read(conn, access_key_id)
    return None if found is None else _identity(found, account, region)


class _Found(NamedTuple):
    """A key, with the role of its session or the key that it stands for, as far as there are such."""

    key: AccessKey
    role: Role | None
    parent: AccessKey | None


def _read(conn: Connection, access_key_id: str) -> _Found | None:
    key = table.get(conn, access_key_id)
    if key is None:
        return None
    return _Found(
        key,
        None if key.role is None else roles.get(conn, key.role),
        None if key.parent is None else table.get(conn, key.parent),
    )


def _identity(found: _Found, account: str, region: str) -> Identity | None:
    key, role, parent = found
    if key.revoked_at is not None or key.disabled_at is not None:
        return None
    if key.parent is not None:
        # A key of the same id that was put later, or is a session itself, is another one.
        is_same = parent is not None and parent.session_token is None and parent.created_at <= key.created_at
        return _identity(_Found(parent, None, None), account, region) if parent and is_same else None
    if key.role is None or key.session_name is None:
        if key.is_root or key.policies is None:
            return Identity(_arn(account, key), None)
        return Identity(
            _arn(account, key), permissions(key.policies, user_context(account, region, key.name))
        )
    # A role of the same name created later is a different role.
    if role is None or role.created_at > key.created_at or key.session_token is None:
        return None
    context = session_context(account, region, key.role, key.session_name, key.provider)
    return Identity(
        arn.session_arn(account, f"{key.role}/{key.session_name}"),
        permissions(role.policies, context, key.policies),
    )


def _end(key: AccessKey, parent: AccessKey | None) -> int | None:
    """When it ends, with the key that it is a session of at the latest."""
    ends = [each.expires_at for each in (key, parent) if each is not None and each.expires_at is not None]
    return min(ends, default=None)


def _arn(account: str, key: AccessKey) -> str:
    if key.is_root:
        return arn.root_arn(account)
    if key.session_token is not None:
        return arn.session_arn(account, key.name)
    return arn.user_arn(account, key.name)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key as given to its owner."""

    access_key_id: str
    secret_access_key: str


def new_credentials(*, temporary: bool = False) -> Credentials:
    """A new access key, as long as AWS's; its prefix keeps secret scanners from mistaking it for one."""
    return Credentials(
        ("ASLW" if temporary else "AKLW") + "".join(secrets.choice(_ID_LETTERS) for _ in range(16)),
        "".join(secrets.choice(_LETTERS) for _ in range(40)),
    )


def is_made_here(access_key_id: str) -> bool:
    """Whether it looks like a key of `new_credentials`, and not like one that somebody put into settings."""
    return re.fullmatch(r"AKLW[A-Z2-7]{16}", access_key_id) is not None


def ensure_secret_box(db: Database, secret_key: str | None, data: Path) -> SecretBox:
    """The secret box of a database; creates the secret key if it is missing and there are no access keys.

    Raises `ConfigurationError` if it is missing although there are valid access keys, or if it is not the one
    that they are encrypted under.
    """
    with db.read() as conn:
        key = table.holding(conn)
    if key is None and secret_key is None:
        create_secret_key(data)
    secret_box = open_secret_box(secret_key, data)
    if key is not None:
        secret_box.decrypt(key.secret)
    return secret_box


def check_secret_key(conn: Connection, secret_box: SecretBox) -> None:
    """Raises `ConfigurationError` if the database has valid keys encrypted under another secret key."""
    kept = table.holding(conn)
    if kept is not None:
        secret_box.decrypt(kept.secret)


def create_key(
    db: Database,
    secret_box: SecretBox,
    name: str,
    now: int,
    policies: Sequence[str] | None = None,
    expires_at: int | None = None,
    *,
    emergency: bool = False,
) -> Credentials:
    """Create an access key whose owner is ``user/NAME``. Several keys may have the same name.

    ``policies`` are validated identity policies in JSON; None means that the key may do everything.
    ``expires_at`` is milliseconds since the epoch, None for never. ``emergency``: a session for an emergency
    makes it, so that each use of it is flagged as the session's. Raises `ConfigurationError` if the
    existing keys are encrypted under another secret key.
    """
    if not _NAME.fullmatch(name) or name == ROOT:
        raise ConfigurationError(
            f"{name!r} is not a valid name: use 1 to 64 letters, digits or any of _+=,.@-, but not {ROOT}"
        )
    made = new_credentials()
    encrypted = replace(
        encrypted_key(secret_box, made, name, is_root=False, now=now),
        policies=None if policies is None else tuple(policies),
        expires_at=expires_at,
        emergency=emergency,
    )

    def work(conn: Connection) -> None:
        table.lock_all(conn)
        check_secret_key(conn, secret_box)
        table.insert(conn, encrypted)

    db.write(work)
    return made


def ensure_root(
    db: Database,
    secret_box: SecretBox,
    given: Credentials | None,
    now: int,
    enter: Callable[[Connection, str, bool], None] = lambda conn, root, changes: None,
) -> tuple[Credentials, bool]:
    """The root key: ``given`` by the settings, the existing one, or a new one (then the second is True).

    Any number of processes may call this at once and get the same key. Any root key other than the given one
    is revoked. ``enter`` is called in the transaction with the ID of the root key and whether it replaces
    another; it may raise an error to prevent that.
    """
    made = new_credentials()

    def work(conn: Connection) -> tuple[Credentials, bool]:
        table.lock_all(conn)
        kept = table.root(conn, now)
        if given is not None:
            enter(conn, given.access_key_id, kept is not None and _differs(secret_box, kept, given))
            return _put_root(conn, secret_box, given, now), False
        if kept is not None:
            enter(conn, kept.id, False)
            return Credentials(kept.id, secret_box.decrypt(kept.secret)), False
        check_secret_key(conn, secret_box)
        enter(conn, made.access_key_id, False)
        table.insert(conn, encrypted_key(secret_box, made, ROOT, is_root=True, now=now))
        return made, True

    return db.write(work)


def _differs(secret_box: SecretBox, kept: AccessKey, given: Credentials) -> bool:
    return kept.id != given.access_key_id or secret_box.decrypt(kept.secret) != given.secret_access_key


def _put_root(conn: Connection, secret_box: SecretBox, given: Credentials, now: int) -> Credentials:
    kept = table.get(conn, given.access_key_id)
    if kept is not None and not kept.is_root:
        raise ConfigurationError(
            f"root_access_key_id {given.access_key_id} is the access key of user {kept.name}; choose another"
        )
    is_valid = kept is not None and kept.revoked_at is None
    if not (is_valid and kept is not None and secret_box.decrypt(kept.secret) == given.secret_access_key):
        check_secret_key(conn, secret_box)
        table.put(conn, encrypted_key(secret_box, given, ROOT, is_root=True, now=now))
    table.revoke_other_roots(conn, given.access_key_id, now)
    return given


def encrypted_key(
    secret_box: SecretBox, key: Credentials, name: str, *, is_root: bool, now: int
) -> AccessKey:
    """The row of a key that may do everything and never ends."""
    return AccessKey(
        id=key.access_key_id,
        name=name,
        secret=secret_box.encrypt(key.secret_access_key),
        session_token=None,
        is_root=is_root,
        created_at=now,
        expires_at=None,
        revoked_at=None,
    )
