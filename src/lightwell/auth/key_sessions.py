"""Temporary credentials that stand for an access key: GetSessionToken, and one-time links to the console.

Source: AWS STS API Reference, GetSessionToken. They have the key's principal and policies, whatever these
are at the time of a request, and end with the key. Two things differ from AWS: sessions of the root key last
as long as others, and what IAM and STS do is not closed to them, since here no other device vouches for the
key's owner.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lightwell.auth.principals import Credentials, Principal, new_credentials
from lightwell.auth.secret_box import SecretBox
from lightwell.auth.sessions import KEPT_MS, check_room
from lightwell.errors import AccessDeniedError, ValidationError
from lightwell.stores.account import principals as table
from lightwell.stores.account.principals import AccessKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from lightwell.stores.db.database import Database

SHORTEST, DEFAULT_DURATION, LONGEST = 900, 43_200, 129_600
LINK_SECONDS = 600
"""How long a link may be used."""
LINKED_SECONDS = 43_200
"""How long the session lasts that a link gives."""
CONSOLE = "console link"
"""The name of a session from a link, as lists of keys show it; no user can have it."""
SessionKind = Literal["link", "key", "role", "token"]
"""How it began: by a *link* to the console, for a *key*, by taking a *role*, or with a *token* for one."""

_NEVER = 2**63 - 1
_PURPOSE = "lightwell link to the console"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NONCE, _TIME, _MAC = 16, 6, 32
_ANOTHER = "Run `lightwell console` where the server's data folder is: it prints another."


@dataclass(frozen=True, slots=True)
class KeySession:
    """Temporary credentials; ``expires_at`` is milliseconds since the epoch."""

    credentials: Credentials
    session_token: str
    expires_at: int


def kind_of(key: AccessKey) -> SessionKind:
    """How the session began whose credentials these are."""
    if key.role is not None:
        return "role" if key.provider is None else "token"
    return "link" if key.name == CONSOLE else "key"


class InvalidLinkError(AccessDeniedError):
    """What is given for a link's token was not made with this secret key."""


class ConsoleLinks:
    """Makes and checks the tokens of one-time links, with nothing but the secret key."""

    def __init__(self, secret_box: SecretBox) -> None:
        self._keys = secret_box.derive_all(_PURPOSE)

    def make(self, now: int) -> str:
        """A new token; ``now`` is milliseconds since the epoch."""
        body = secrets.token_urlsafe(12).encode() + (now // 1000 + LINK_SECONDS).to_bytes(_TIME, "big")
        return base64.urlsafe_b64encode(body + _mac(self._keys[0], body)).rstrip(b"=").decode()

    def access_key_id(self, token: str, now: int) -> str:
        """The ID of the access key that the token stands for: always the same one, so it can be made once.

        Raises `AccessDeniedError` if the token is not of this secret key, or too old.
        """
        body = self._body(token)
        if body is None:
            raise InvalidLinkError(f"This is not a link of this server. {_ANOTHER}")
        if now // 1000 >= int.from_bytes(body[_NONCE:], "big"):
            raise AccessDeniedError(
                f"This link has expired: it was good for {LINK_SECONDS // 60} minutes. {_ANOTHER}"
            )
        digest = hashlib.sha256(b"id" + body).digest()
        return "ASLW" + "".join(_LETTERS[byte & 31] for byte in digest[:16])

    def _body(self, token: str) -> bytes | None:
        try:
            whole = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        body = whole[:-_MAC]
        if len(whole) != _NONCE + _TIME + _MAC:
            return None
        macs = (_mac(key, body) for key in self._keys)
        return body if any(hmac.compare_digest(whole[-_MAC:], mac) for mac in macs) else None


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")


class KeySessions:
    """Issues and ends sessions of access keys."""

    def __init__(self, db: Database, secret_box: SecretBox) -> None:
        self._db = db
        self._secret_box = secret_box
        self._links = ConsoleLinks(secret_box)

    def of_key(self, caller: Principal, now: int, duration: int = DEFAULT_DURATION) -> KeySession:
        """A session of the caller's key, for ``duration`` seconds. Blocks.

        Raises `ValidationError` or `AccessDeniedError`.
        """
        if caller.session_token is not None or not caller.access_key_id:
            raise AccessDeniedError("Cannot call GetSessionToken with session credentials")
        if not SHORTEST <= duration <= LONGEST:
            raise ValidationError(
                f"1 validation error detected: Value '{duration}' at 'durationSeconds' failed to satisfy "
                f"constraint: Member must have value between {SHORTEST} and {LONGEST}"
            )
        made, token = new_credentials(temporary=True), secrets.token_urlsafe(96)

        def work(conn: Connection) -> KeySession:
            parent = table.get(conn, caller.access_key_id)
            if parent is None or parent.revoked_at is not None:
                raise AccessDeniedError("The access key was revoked")
            if parent.disabled_at is not None:
                raise AccessDeniedError("The access key is disabled")
            table.remove_ended(conn, now - KEPT_MS)
            key = self._row(made, token, parent, now, duration)
            check_room(conn, key, now)
            table.insert(conn, key)
            assert key.expires_at is not None
            return KeySession(made, token, key.expires_at)

        return self._db.write(work)

    def of_link(self, link: str, now: int) -> KeySession:
        """A session of the root key for the token of a link, which is used up by that. Blocks.

        Raises `AccessDeniedError`.
        """
        id = self._links.access_key_id(link, now)
        made = Credentials(id, new_credentials(temporary=True).secret_access_key)
        token = secrets.token_urlsafe(96)

        def work(conn: Connection) -> KeySession:
            parent = table.root(conn, now)
            if parent is None:
                raise AccessDeniedError("This server has no root key: start it once with `lightwell serve`.")
            key = self._row(made, token, parent, now, LINKED_SECONDS, name=CONSOLE)
            if not table.insert_once(conn, key):
                raise AccessDeniedError(f"This link was used already; each is good once. {_ANOTHER}")
            return KeySession(made, token, now + LINKED_SECONDS * 1000)

        return self._db.write(work)

    def end(self, caller: Principal, now: int) -> None:
        """End the session that the caller's credentials are those of. Blocks.

        Raises `ValidationError` for a key that is not temporary.
        """
        if caller.session_token is None:
            raise ValidationError(
                "Only temporary credentials can be signed out. `lightwell key revoke` ends an access key."
            )
        self._db.write(lambda conn: table.revoke(conn, caller.access_key_id, now))

    def page(self, now: int, limit: int, after: tuple[int, str] | None) -> Sequence[AccessKey]:
        """At most ``limit`` sessions of any kind that are good now, newest first, after (created_at, id).

        Blocks.
        """
        with self._db.read() as conn:
            return table.sessions(conn, now, limit, after)

    def find(self, access_key_id: str) -> AccessKey | None:
        """The session of any kind with this id, ended ones too. Blocks."""
        with self._db.read() as conn:
            key = table.get(conn, access_key_id)
        return None if key is None or key.session_token is None else key

    def end_other(self, access_key_id: str, now: int) -> bool:
        """End a session, of a key or of a role; False if there is none with this id. Blocks."""

        def work(conn: Connection) -> bool:
            key = table.get(conn, access_key_id)
            if key is None or key.session_token is None:
                return False
            return table.revoke(conn, access_key_id, now)

        return self._db.write(work)

    def _row(
        self,
        made: Credentials,
        token: str,
        parent: AccessKey,
        now: int,
        duration: int,
        name: str | None = None,
    ) -> AccessKey:
        return AccessKey(
            id=made.access_key_id,
            name=name or parent.name,
            secret=self._secret_box.encrypt(made.secret_access_key),
            session_token=self._secret_box.encrypt(token),
            is_root=False,
            # Never before its key, whatever the clocks of two servers say: it would not be one of that key.
            created_at=max(now, parent.created_at),
            expires_at=min(now + duration * 1000, parent.expires_at or _NEVER),
            revoked_at=None,
            # For servers of a version that does not know `parent`: there it may do what its key might.
            policies=parent.policies or (),
            parent=parent.id,
            emergency=parent.emergency,
        )
