"""Who an access key is: made, revoked, and looked up through a short-lived cache."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.auth.vault import Vault
from lightwell.domain import arn
from lightwell.errors import ConfigurationError
from lightwell.stores import principals as table
from lightwell.stores.principals import AccessKey

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.stores.database import Database

# A revoked key stops working everywhere within this time.
FRESH_MS = 2_000
_MOST_KNOWN = 4_096
_MOST_UNKNOWN = 1_024

_ID = re.compile(r"\w{16,128}", re.ASCII)
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
ROOT = "root"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who signs with an access key, and with what. Times are milliseconds."""

    access_key_id: str
    arn: str
    secret: str
    session_token: str | None
    expires_at: int | None


class Principals:
    """Look-up by access key id, cached for `FRESH_MS`; safe to use from several threads."""

    def __init__(self, db: Database, vault: Vault, account: str) -> None:
        self._db = db
        self._vault = vault
        self._account = account
        # Apart, so that a flood of guessed ids does not push out those that are in use.
        self._known: dict[str, tuple[int, Principal]] = {}
        self._unknown: dict[str, int] = {}

    def cached(self, access_key_id: str, now: int) -> tuple[bool, Principal | None]:
        """``(True, who or None)`` if that was looked up not long ago, else ``(False, None)``."""
        entry = self._known.get(access_key_id)
        if entry is not None and 0 <= now - entry[0] < FRESH_MS:
            return True, entry[1]
        missed = self._unknown.get(access_key_id)
        if missed is not None and 0 <= now - missed < FRESH_MS:
            return True, None
        return not _ID.fullmatch(access_key_id), None

    def load(self, access_key_id: str, now: int) -> Principal | None:
        """Look into the database, and remember; None if no such key holds. Blocks."""
        with self._db.read() as conn:
            key = table.get(conn, access_key_id)
        if key is None or key.revoked_at is not None:
            self._known.pop(access_key_id, None)
            if len(self._unknown) >= _MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[access_key_id] = now
            return None
        principal = Principal(
            key.id,
            _arn(self._account, key),
            self._vault.decrypt(key.secret),
            None if key.session_token is None else self._vault.decrypt(key.session_token),
            key.expires_at,
        )
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[access_key_id] = (now, principal)
        return principal


def _arn(account: str, key: AccessKey) -> str:
    if key.is_root:
        return arn.root_arn(account)
    if key.session_token is not None:
        return arn.session_arn(account, key.name)
    return arn.user_arn(account, key.name)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key as its owner gets it."""

    access_key_id: str
    secret_access_key: str


def new_credentials() -> Credentials:
    """Of the lengths that AWS's keys have; the prefix keeps scanners from taking them for AWS's own."""
    return Credentials(
        "AKLW" + "".join(secrets.choice(_ID_LETTERS) for _ in range(16)),
        "".join(secrets.choice(_LETTERS) for _ in range(40)),
    )


def create_key(db: Database, vault: Vault, name: str, now: int) -> Credentials:
    """Make an access key; its owner signs as ``user/NAME``. Several keys may have one name."""
    if not _NAME.fullmatch(name) or name == ROOT:
        raise ConfigurationError(
            f"The name {name!r} will not do: it takes 1 to 64 letters, digits or _+=,.@- and not {ROOT}"
        )
    made = new_credentials()
    db.write(lambda conn: table.insert(conn, _sealed(vault, made, name, is_root=False, now=now)))
    return made


def ensure_root(db: Database, vault: Vault, given: Credentials | None, now: int) -> tuple[Credentials, bool]:
    """The root key: ``given`` by the settings, or the one that holds, or a new one (then the second is True).

    Any number of processes may call it at once and agree. A root key that is not the given one is revoked.
    """
    made = new_credentials()

    def work(conn: Connection) -> tuple[Credentials, bool]:
        table.lock_all(conn)
        if given is not None:
            return _put_root(conn, vault, given, now), False
        kept = table.root(conn)
        if kept is not None:
            return Credentials(kept.id, vault.decrypt(kept.secret)), False
        other = table.any_key(conn)
        if other is not None:
            vault.decrypt(other.secret)
        table.insert(conn, _sealed(vault, made, ROOT, is_root=True, now=now))
        return made, True

    return db.write(work)


def _put_root(conn: Connection, vault: Vault, given: Credentials, now: int) -> Credentials:
    kept = table.get(conn, given.access_key_id)
    if kept is not None and not kept.is_root:
        raise ConfigurationError(
            f"root_access_key_id {given.access_key_id} is the access key of {kept.name}; choose another id"
        )
    holds = kept is not None and kept.revoked_at is None
    if not (holds and kept is not None and vault.decrypt(kept.secret) == given.secret_access_key):
        other = table.any_key(conn)
        if other is not None and other.id != given.access_key_id:
            vault.decrypt(other.secret)
        table.replace(conn, _sealed(vault, given, ROOT, is_root=True, now=now))
    table.revoke_other_roots(conn, given.access_key_id, now)
    return given


def _sealed(vault: Vault, key: Credentials, name: str, *, is_root: bool, now: int) -> AccessKey:
    return AccessKey(
        id=key.access_key_id,
        name=name,
        secret=vault.encrypt(key.secret_access_key),
        session_token=None,
        is_root=is_root,
        created_at=now,
        expires_at=None,
        revoked_at=None,
    )
