from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select

from lightwell.observe.audit.chain import Chain
from lightwell.observe.audit.heads import ANCHOR, Head, durable_heads
from lightwell.observe.audit.record import AuditRecord
from lightwell.observe.audit.segments import segments
from lightwell.observe.audit.trail import AuditTrail
from lightwell.observe.audit.verification import verify
from lightwell.stores.background import audit_heads
from lightwell.stores.data_folder.audit_folder import AuditFolder
from lightwell.stores.db.database import Database
from lightwell.stores.db.tables import audit_head
from lightwell.work.audit_upkeep import AuditUpkeep


def head(number: int, mac: bytes, *, key: str = "k", writer: str = "http-0", node: str = "n") -> Head:
    return Head(node, writer, key, number, mac * 32)


def test_notes_how_far_a_chain_has_come_and_never_less(database: Database) -> None:
    for heads in ([head(3, b"c"), head(7, b"d", writer="work")], [head(5, b"e")], [head(4, b"f")]):
        database.write(lambda conn, heads=heads: audit_heads.note(conn, heads, 17))  # type: ignore[misc]
    database.write(
        lambda conn: audit_heads.note(conn, [head(1, b"g", key="another"), head(9, b"h", node="m")], 18)
    )
    with database.read() as conn:
        assert audit_heads.of_nodes(conn, ["n"]) == [
            head(1, b"g", key="another"),
            head(5, b"e"),
            head(7, b"d", writer="work"),
        ]


def test_upkeep_notes_what_has_moved_in_database_and_own_chain(database: Database, tmp_path: Path) -> None:
    folder = AuditFolder(tmp_path, None)

    def append(writer: str) -> None:
        chain = Chain(folder.chain(writer, lambda: 17))
        chain.append([AuditRecord(via="api")])
        chain.close()

    own = Chain(folder.chain("work", lambda: 17))
    trail = AuditTrail(lambda: own, lambda: 17)
    trail.begin()
    upkeep = AuditUpkeep(folder, database, trail, "work", lambda: 17)

    def noted() -> list[tuple[str, int]]:
        with database.read() as conn:
            return [(each.writer, each.number) for each in audit_heads.of_nodes(conn, [node])]

    append("http-0")
    node = next(durable_heads(folder.root)).node
    upkeep.note(anchors=False)
    assert noted() == [("http-0", 1)]
    upkeep.note(anchors=True)
    upkeep.note(anchors=True)
    trail.flush()
    append("http-0")
    upkeep.note(anchors=True)
    trail.close()
    upkeep.note(anchors=True)
    assert noted() == [("http-0", 2), ("work", 2)]
    (path,) = (folder.root / "work").glob("*.jsonl")
    assert path.read_text().count(f'"do":"{ANCHOR}"') == 2
    with database.read() as conn:
        assert conn.execute(select(func.count()).select_from(audit_head)).scalar() == 2


def test_upkeep_compresses_what_is_complete(database: Database, tmp_path: Path) -> None:
    folder = AuditFolder(tmp_path, None)
    chain = Chain(folder.chain("http-0", lambda: 17, 1))
    for _ in range(3):
        chain.append([AuditRecord(via="api")])
    upkeep = AuditUpkeep(folder, database, AuditTrail(lambda: chain, lambda: 17), "work", lambda: 17)
    found = segments(folder.root / "http-0")
    plain = [segment.read() for segment in found]
    assert [upkeep.compress_one() for _ in range(3)] == [True, True, False]
    assert [segment.is_compressed for segment in segments(folder.root / "http-0")] == [True, True, False]
    assert [segment.read() for segment in found] == plain, "also by whoever had found them before"
    chain.append([AuditRecord(via="api")])
    chain.close()
    (report,) = verify(folder.root, folder.keys(), {})
    assert (report.records, report.findings) == (4, [])
