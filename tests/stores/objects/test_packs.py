"""The rows of packs: nobody commits a pack that the collector has taken."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, select

from lightwell.domain.states import PackState
from lightwell.errors import StorageError
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import dictionary, pack
from lightwell.stores.objects.packs import insert_open, lock_live, make_live


def doom(db: Database, key: int) -> None:
    db.write(lambda conn: conn.execute(pack.update().where(pack.c.key == key).values(state=PackState.DOOMED)))


def states(conn: Connection, keys: list[int]) -> dict[int, str]:
    rows = conn.execute(select(pack.c.key, pack.c.state).where(pack.c.key.in_(keys)))
    return {row.key: row.state for row in rows}


def test_makes_an_open_pack_live_and_a_live_one_again(database: Database) -> None:
    database.write(lambda conn: insert_open(conn, [1, 2], datastore=9, now=1000))
    for _ in range(2):
        database.write(lambda conn: make_live(conn, {2: (10, 0xFFFFFFFF)}))
    with database.read() as conn:
        assert states(conn, [1, 2, 3]) == {1: "open", 2: "live"}
        row = conn.execute(select(pack).where(pack.c.key == 2)).one()
    assert (row.size, row.checksum, row.created_at, row.datastore) == (10, 0xFFFFFFFF, 1000, 9)


@pytest.mark.parametrize("fate", ["doomed", "gone"])
def test_undoes_the_whole_transaction_if_a_pack_is_lost(database: Database, fate: str) -> None:
    database.write(lambda conn: insert_open(conn, [1, 2], datastore=9, now=1000))
    if fate == "doomed":
        doom(database, 2)
    else:
        database.write(lambda conn: conn.execute(pack.delete().where(pack.c.key == 2)))

    def commit(conn: Connection) -> None:
        conn.execute(dictionary.insert(), [{"key": 5, "bytes": b"x"}])
        make_live(conn, {1: (1, 1), 2: (1, 1)})

    with pytest.raises(StorageError, match="to be done again"):
        database.write(commit)
    with pytest.raises(StorageError, match="collected"):
        database.write(lambda conn: lock_live(conn, [1, 2]))
    with database.read() as conn:
        assert states(conn, [1])[1] == "open"
        assert conn.execute(select(dictionary)).first() is None
    database.write(lambda conn: lock_live(conn, [1]))
