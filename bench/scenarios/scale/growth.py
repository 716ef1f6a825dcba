"""How PostgreSQL grows with instances: bytes of tables and indexes, pages that a look-up touches, its p50.

Real imports are cloned (`bench.inputs.cloned_store`) to ten thousand, a hundred thousand and a million
instances; at each size the same look-ups are made. There is no bar. What is printed is what docs/scale.md
says, and reckoned from it what a thousand times the largest size would take: a B-tree has one level more
whenever its leaves outgrow the fan-out of its inner pages, which is measured, too.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.clients.import_jobs import ImportJob
from bench.inputs import small_mr
from bench.inputs.cloned_store import BY_INSTANCE, BY_SERIES, add_clones, set_templates_aside
from bench.results import Options, Outcome
from bench.servers import lightwell_server, postgresql
from bench.servers.lightwell_server import Server
from bench.servers.postgresql import Postgresql
from lightwell.stores.image_sets.lookups import FRAME_LOOK_UP
from lightwell.stores.image_sets.native_instances import FRAME_LOCATION_LOOK_UP

if TYPE_CHECKING:
    import psycopg

SIZES = (10_000, 100_000, 1_000_000)
TARGET = 1_000_000_000
ROW = "growth"
_TEMPLATES = 2 * small_mr.SERIES
_PART = 100_000  # instances in a transaction
_SAMPLES = 300
LOOK_UPS = {
    "may the frame be read": FRAME_LOOK_UP.postgresql,
    "where the frame lies": FRAME_LOCATION_LOOK_UP.postgresql,
    "instance by UID": "SELECT record FROM primary_instance WHERE listed_in = %s AND sop_instance_uid = %s",
    "series by UID": "SELECT image_set FROM primary_series WHERE listed_in = %s AND series_instance_uid = %s",
    "instances of a series": "SELECT count(record) FROM primary_instance WHERE image_set = %s",
}


@dataclass(frozen=True, slots=True)
class Index:
    """A B-tree: its bytes, its height in pages from root to leaf, how many keys an inner page has."""

    name: str
    size: int
    height: int
    fan_out: float


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing() or postgresql.missing():
        return [Outcome(ROW, skipped=reason)]
    sizes = SIZES[:2] if options.quick else SIZES
    server = Postgresql("growth", settings={"shared_buffers": "1GB", "synchronous_commit": "off"})
    try:
        url = server.create("growth")
        _import(url)
        import psycopg

        with psycopg.connect(url, autocommit=True) as db:
            db.execute("CREATE EXTENSION pageinspect")
            set_templates_aside(db)
            cloned = 0
            for size in sizes:
                begun = time.monotonic()
                wanted = size // _TEMPLATES - 1
                while cloned < wanted:
                    part = min(_PART // _TEMPLATES, wanted - cloned)
                    with db.transaction():
                        add_clones(db, cloned + 1, part)
                    cloned += part
                db.execute("VACUUM ANALYZE")
                _show(db, size, time.monotonic() - begun)
    finally:
        server.stop()
    return [Outcome(ROW, detail=f"PostgreSQL with {sizes[-1]:,} instances; see what was printed")]


def _import(url: str) -> None:
    """What is cloned: two series of MR by a real import."""
    subject = Server("growth", settings={"LIGHTWELL_DATABASE_URL": url})
    try:
        ImportJob(subject, subject.datastore("growth"), small_mr.instances(_TEMPLATES).uri).wait()
    finally:
        subject.stop()


def _show(db: psycopg.Connection, size: int, seconds: float) -> None:
    print(f"\n  {size:,} instances in {size // small_mr.SERIES:,} series; filled in {seconds:.0f} s more")
    sizes = [(name, *_bytes(db, name)) for name in (*BY_INSTANCE, *BY_SERIES)]
    print("  bytes an instance: heap, compressed documents (TOAST), indexes")
    for name, *parts in sizes:
        print(f"    {name:18}" + "".join(f"{part / size:9.1f}" for part in parts))
    total = sum(sum(parts) for _, *parts in sizes)
    print(f"    {'all':18}{total / size:9.1f}; {TARGET:,} instances: {total / size * TARGET / 1e12:.2f} TB")
    found = _indexes(db)
    print("  indexes of more than 1 % of that: MB, levels here, keys an inner page, levels at the target")
    for index in sorted(found, key=lambda index: -index.size):
        if index.size > total / 100:
            later = _height_at(index, TARGET / size)
            print(f"    {index.name:28}{index.size / 1e6:8.1f}{index.height:4}{index.fan_out:8.0f}{later:4}")
    print("  look-ups: p50 in ms, pages touched")
    for name, statement in LOOK_UPS.items():
        taken, pages = _look_up(db, statement, _arguments(db, name))
        print(f"    {name:24}{taken:8.3f}{pages:8.1f}", flush=True)


def _bytes(db: psycopg.Connection, table: str) -> tuple[int, int, int]:
    return _row(
        db,
        "SELECT pg_relation_size(c.oid),"
        " COALESCE(pg_total_relation_size(NULLIF(c.reltoastrelid, 0)), 0)::bigint,"
        " pg_indexes_size(c.oid) FROM pg_class c WHERE c.oid = %s::regclass",
        table,
    )


def _indexes(db: psycopg.Connection) -> list[Index]:
    rows = db.execute(
        "SELECT i.relname, pg_relation_size(i.oid), m.level + 1"
        " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid"
        " JOIN pg_am a ON a.oid = i.relam CROSS JOIN LATERAL bt_metap(i.relname::text) m"
        " WHERE a.amname = 'btree' AND t.relname = ANY(%s)",
        ([*BY_INSTANCE, *BY_SERIES],),
    ).fetchall()
    return [Index(name, size, height, _fan_out(db, name, height)) for name, size, height in rows]


def _fan_out(db: psycopg.Connection, index: str, height: int) -> float:
    """Children of the inner pages above the leaves, on average; that of the root where there is no other."""
    if height < 2:
        return math.nan
    (pages,) = _row(db, "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int", index)
    step = max(1, pages // 20_000)
    counts = db.execute(
        "SELECT (bt_page_stats(%s, n)).type, (bt_page_stats(%s, n)).live_items"
        " FROM generate_series(1, %s, %s) n",
        (index, index, pages - 1, step),
    ).fetchall()
    inner = [items for kind, items in counts if kind == "i"] or [i for kind, i in counts if kind == "r"]
    return statistics.mean(inner) if inner else math.nan


def _height_at(index: Index, times: float) -> int:
    """Pages from root to leaf with ``times`` as many leaves."""
    if math.isnan(index.fan_out) or index.fan_out < 2:
        return index.height
    leaves = max(1.0, index.size / 8192 * times)
    return 1 + math.ceil(math.log(leaves, index.fan_out))


def _arguments(db: psycopg.Connection, name: str) -> list[tuple[Any, ...]]:
    """`_SAMPLES` times the parameters of a look-up, of rows anywhere."""
    few = random.Random(name)
    starts = [few.getrandbits(63) for _ in range(_SAMPLES)]
    (store, identity) = _row(db, "SELECT key, id FROM datastore")
    found: list[tuple[Any, ...]] = []
    for start in starts:
        if name == "may the frame be read":
            one = _row(
                db,
                "SELECT s.id, %s::text, m.instance, m.pixels, m.pixels FROM image_set s JOIN member m"
                " ON m.image_set = s.key WHERE s.key >= (SELECT min(key) FROM image_set WHERE key >= %s"
                " OR key = (SELECT max(key) FROM image_set)) ORDER BY s.key LIMIT 1",
                identity,
                start,
            )
        elif name == "where the frame lies":
            one = (*_at(db, "pixels", "key", "key", start), 0)
        elif name == "instance by UID":
            one = (store, *_at(db, "record", "sop_instance_uid", "key", start))
        elif name == "series by UID":
            one = (store, *_at(db, "primary_series", "series_instance_uid", "image_set", start))
        else:
            one = _at(db, "primary_series", "image_set", "image_set", start)
        found.append(one)
    return found


def _at(db: psycopg.Connection, table: str, column: str, key: str, start: int) -> tuple[Any, ...]:
    """``column`` of the first row from ``start`` on, of the last one if there is none."""
    statement = f"SELECT {column} FROM {table} WHERE {key} >= %s ORDER BY {key} LIMIT 1"
    row = db.execute(statement, (start,)).fetchone()
    return row or _row(db, f"SELECT {column} FROM {table} ORDER BY {key} DESC LIMIT 1")


def _look_up(db: psycopg.Connection, statement: str, arguments: list[tuple[Any, ...]]) -> tuple[float, float]:
    """(p50 in milliseconds, pages that were looked at on average, planning left out)."""
    times, pages = [], []
    for one in arguments:
        db.execute(statement, one, prepare=True).fetchall()
    for one in arguments:
        begun = time.perf_counter()
        rows = db.execute(statement, one, prepare=True).fetchall()
        times.append(1000 * (time.perf_counter() - begun))
        if not rows:
            raise RuntimeError(f"{statement} finds nothing")
    for one in arguments[:50]:
        (plan,) = _row(db, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *one)
        top = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
        pages.append(top["Shared Hit Blocks"] + top["Shared Read Blocks"])
    return statistics.median(times), statistics.mean(pages)


def _row(db: psycopg.Connection, statement: str, *parameters: object) -> tuple[Any, ...]:
    row = db.execute(statement, parameters).fetchone()
    if row is None:
        raise RuntimeError(f"no row: {statement}")
    return row
