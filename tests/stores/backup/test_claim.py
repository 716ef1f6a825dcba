"""One backup at a time, which ends by itself where its process is gone, and by whoever erases at once."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from lightwell.errors import LightwellError
from lightwell.stores.backup import claim
from lightwell.stores.db.database import Database
from lightwell.stores.db.server_tables import installation


def held(db: Database) -> bool:
    with db.read() as conn:
        return claim.is_held(conn)


def let_pass(db: Database) -> None:
    """Let the time pass after which a claim ends."""

    def age(conn: object) -> None:
        conn.execute(  # type: ignore[attr-defined]
            update(installation).where(installation.c.name == "backup").values(value="1000 a holds")
        )

    db.write(age)


def test_holds_packs_once_it_says_so_and_until_it_is_released(database: Database) -> None:
    database.write(lambda conn: claim.take(conn, "a"))
    assert not held(database)
    assert database.write(lambda conn: claim.renew(conn, "a", holds=True))
    assert held(database)
    database.write(lambda conn: claim.release(conn, "b"))
    assert held(database)
    database.write(lambda conn: claim.release(conn, "a"))
    assert not held(database)
    assert not database.write(lambda conn: claim.renew(conn, "a", holds=True))


def test_refuses_a_second_backup_until_the_first_has_ended(database: Database) -> None:
    database.write(lambda conn: claim.take(conn, "a"))
    with pytest.raises(LightwellError, match=r"Another backup .* in (8\d|9[01]) seconds"):
        database.write(lambda conn: claim.take(conn, "b"))
    database.write(lambda conn: claim.take(conn, "a"))
    let_pass(database)
    assert not held(database)
    assert not database.write(lambda conn: claim.renew(conn, "a", holds=True)), "it was over meanwhile"
    database.write(lambda conn: claim.take(conn, "b"))
    assert not database.write(lambda conn: claim.renew(conn, "a", holds=True))
    assert database.write(lambda conn: claim.renew(conn, "b", holds=True))


def test_is_ended_only_while_it_holds_packs(database: Database) -> None:
    database.write(lambda conn: claim.take(conn, "a"))
    database.write(claim.cancel_hold)
    assert database.write(lambda conn: claim.renew(conn, "a", holds=True))
    database.write(claim.cancel_hold)
    assert not held(database)
    assert not database.write(lambda conn: claim.renew(conn, "a", holds=True))
