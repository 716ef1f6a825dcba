"""Rows of ``chunk``: which files of a job are read together, by whom, and who died of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable

import zstandard
from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports.jobs import Chunk, InputFile
from lightwell.stores.db.tables import chunk, import_job, outcome


def add(conn: Connection, job: int, rows: Iterable[tuple[int, int, int, bytes]]) -> None:
    """Chunks as (number, first file, file count, `domain.imports.jobs.pack_files` compressed)."""
    values = [
        {
            "job": job,
            "number": number,
            "state": "ready",
            "first_file": first,
            "file_count": count,
            "files_z": files_z,
        }
        for number, first, count, files_z in rows
    ]
    if values:
        conn.execute(insert(chunk), values)


def compress_files(files: list[InputFile]) -> bytes:
    return zstandard.ZstdCompressor().compress(domain.pack_files(files))


def clear(conn: Connection, job: int) -> None:
    """Forget a listing that was not finished."""
    conn.execute(delete(chunk).where(chunk.c.job == job))
    conn.execute(delete(outcome).where(outcome.c.job == job))
    conn.execute(update(import_job).where(import_job.c.key == job).values(scanned=0, read=0))


def any_waiting(conn: Connection, now: int, node: str | None = None, skip: Collection[int] = ()) -> bool:
    """Whether `claim` would find a chunk."""
    return bool(_candidates(conn, now, node, skip))


def _candidates(
    conn: Connection, now: int, node: str | None, skip: Collection[int]
) -> list[tuple[int, int | None, str | None]]:
    """(job, number or None for its first ready one, claim that has ended), the best first.

    The job with the fewest chunks in work comes first, so that a big job does not starve a small one.
    """
    jobs = conn.execute(
        select(import_job.c.key, import_job.c.input_node)
        .where(import_job.c.phase == domain.READ)
        .order_by(import_job.c.submitted_at, import_job.c.key)
    )
    reading = [
        key
        for key, input_node in jobs
        if key not in skip and (node is None or domain.belongs(domain.READ, node, input_node, None))
    ]
    if not reading:
        return []
    busy: Counter[int] = Counter()
    ended: dict[int, tuple[int, str]] = {}
    claimed = select(chunk.c.job, chunk.c.number, chunk.c.claim, chunk.c.claimed_until).where(
        chunk.c.state == "claimed"
    )
    for job, number, claim, until in conn.execute(claimed):
        if until < now:
            ended[job] = (number, claim)
        else:
            busy[job] += 1
    found: list[tuple[int, int | None, str | None]] = []
    for job in sorted(reading, key=lambda key: busy[key]):
        if job in ended:
            found.append((job, *ended[job]))
            continue
        number = conn.execute(
            select(func.min(chunk.c.number)).where(
                chunk.c.state == "ready",
                chunk.c.job == job,
                or_(chunk.c.claimed_until.is_(None), chunk.c.claimed_until <= now),
            )
        ).scalar()
        if number is not None:
            found.append((job, number, None))
    return found


def claim(
    conn: Connection,
    name: str,
    now: int,
    until: int,
    node: str | None = None,
    skip: Collection[int] = (),
) -> Chunk | None:
    """Take a chunk of a job in its phase *read*: a ready one, or one whose claim has ended.

    Only of jobs that ``node`` may read, None for all, and none of the jobs to ``skip``.
    """
    for job, number, old in _candidates(conn, now, node, skip):
        before = (
            and_(chunk.c.state == "claimed", chunk.c.claim == old, chunk.c.claimed_until < now)
            if old is not None
            else chunk.c.state == "ready"
        )
        done = conn.execute(
            update(chunk)
            .where(chunk.c.job == job, chunk.c.number == number, before)
            .values(state="claimed", claim=name, claimed_until=until)
        )
        if done.rowcount != 1:
            continue  # another engine was faster
        row = conn.execute(
            select(chunk.c.first_file, chunk.c.files_z, chunk.c.deaths).where(
                chunk.c.job == job, chunk.c.number == number
            )
        ).one()
        files = domain.unpack_files(zstandard.ZstdDecompressor().decompress(row.files_z), row.first_file)
        return Chunk(job, int(number or 0), files, json.loads(row.deaths) if row.deaths else {})
    return None


def renew_claims(conn: Connection, names: Iterable[str], until: int) -> set[str]:
    """Hold claims for longer; returns those that are still held."""
    kept = set()
    for name in names:
        done = conn.execute(
            update(chunk).where(chunk.c.state == "claimed", chunk.c.claim == name).values(claimed_until=until)
        )
        if done.rowcount:
            kept.add(name)
    return kept


def finish(conn: Connection, job: int, number: int, name: str) -> bool:
    """Mark a chunk as done; False if the claim ``name`` does not hold it any more."""
    done = conn.execute(
        update(chunk)
        .where(
            chunk.c.job == job,
            chunk.c.number == number,
            chunk.c.state == "claimed",
            chunk.c.claim == name,
        )
        .values(state="done", claim=None, claimed_until=None, deaths=None)
    )
    return done.rowcount == 1


def release(
    conn: Connection,
    job: int,
    number: int,
    name: str,
    deaths: dict[str, list[str]],
    not_before: int | None = None,
) -> bool:
    """Make a claimed chunk ready again, with what is known of its deaths."""
    done = conn.execute(
        update(chunk)
        .where(
            chunk.c.job == job,
            chunk.c.number == number,
            chunk.c.state == "claimed",
            chunk.c.claim == name,
        )
        .values(
            state="ready",
            claim=None,
            claimed_until=not_before,
            deaths=json.dumps(deaths, separators=(",", ":")).encode() if deaths else None,
        )
    )
    return done.rowcount == 1
