"""The secret key replaced: under which of its keys secrets lie, and putting all under the newest.

The steps, which docs/howto/keys.md tells an operator, need no time in which nothing is served. At each of
them whatever a server encrypts or signs can be read by all others:

1. the new key is made known to all servers, as the second: none uses it yet;
2. it becomes the first, on one server after the other: what it encrypts, all can decrypt;
3. `reencrypt` puts under it what lies under the old one;
4. the old one is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightwell.stores.account import principals as table
from lightwell.stores.account.principals import Sealed

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from lightwell.auth.secret_box import SecretBox
    from lightwell.stores.db.database import Database

BATCH = 500


@dataclass(slots=True)
class Counts:
    """How many keys and sessions are encrypted under which key of the box, 0 for the newest.

    ``unreadable`` are the IDs of keys under none of them that are not revoked, ``lost`` how many others are.
    """

    by_key: Counter[int] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    lost: int = 0

    @property
    def old(self) -> int:
        """How many are not under the newest key, but could be."""
        return sum(count for place, count in self.by_key.items() if place > 0)


def count(
    conn: Connection, secret_box: SecretBox, batch: int = BATCH, *, with_sessions: bool = True
) -> Counts:
    """Look at all keys, revoked ones, too, and unless told otherwise at all sessions, which may be many."""
    counts, after = Counts(), ""
    while found := table.sealed(conn, after, batch, with_sessions=with_sessions):
        for each in found:
            place = _place(secret_box, each)
            if place is not None:
                counts.by_key[place] += 1
            elif each.is_key:
                counts.unreadable.append(each.id)
            else:
                counts.lost += 1
        after = found[-1].id
    return counts


def reencrypt(db: Database, secret_box: SecretBox, batch: int = BATCH) -> int:
    """Put under the newest key what lies under another of the box; returns of how many keys and sessions.

    Each batch is one transaction, and its rows are locked for no longer. What is interrupted anywhere has
    changed whole rows, each of which some key of the box opens; to do it again does the rest. What no key
    opens stays as it is.
    """
    changed, after = 0, ""

    def work(conn: Connection) -> tuple[int, str | None]:
        found = table.sealed(conn, after, batch, lock=True)
        renewed = [_renewed(secret_box, each) for each in found if (_place(secret_box, each) or 0) > 0]
        if renewed:
            table.set_sealed(conn, renewed)
        return len(renewed), found[-1].id if found else None

    while True:
        done, last = db.write(work)
        changed += done
        if last is None:
            return changed
        after = last


def _place(secret_box: SecretBox, sealed: Sealed) -> int | None:
    """The oldest key that something of a row is under; None if something is under none."""
    parts = [sealed.secret] if sealed.session_token is None else [sealed.secret, sealed.session_token]
    places = [secret_box.key_of(part) for part in parts]
    known = [place for place in places if place is not None]
    return max(known) if len(known) == len(places) else None


def _renewed(secret_box: SecretBox, sealed: Sealed) -> Sealed:
    token = sealed.session_token
    return Sealed(
        sealed.id,
        secret_box.renewed(sealed.secret),
        None if token is None else secret_box.renewed(token),
        sealed.is_key,
    )
