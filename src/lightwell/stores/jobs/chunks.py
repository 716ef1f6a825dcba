"""Rows of ``chunk``: which files of a job are read together, by whom, and which of them killed workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import zstandard
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports.jobs import Chunk, InputFile
from lightwell.domain.states import ChunkState, JobPhase
from lightwell.stores.db.tables import chunk, import_job, outcome


def add(conn: Connection, job: int, rows: Iterable[tuple[int, int, int, bytes]]) -> None:
    """Chunks as (number, first file, file count, `domain.imports.jobs.pack_files` compressed)."""
    values = [
        {
            "job": job,
            "number": number,
            "state": ChunkState.READY,
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
    """Delete an unfinished listing."""
    conn.execute(delete(chunk).where(chunk.c.job == job))
    conn.execute(delete(outcome).where(outcome.c.job == job))
    conn.execute(update(import_job).where(import_job.c.key == job).values(scanned=0, read=0))


def any_waiting(conn: Connection, now: int, node: str | None = None, skip: Collection[int] = ()) -> bool:
    """Whether `claim` would find a chunk."""
    return bool(_candidates(conn, now, node, skip))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A chunk that can be claimed; ``ended_claim`` is the ended claim on it, None if it is ready."""

    job: int
    number: int
    ended_claim: str | None


def _candidates(conn: Connection, now: int, node: str | None, skip: Collection[int]) -> list[_Candidate]:
    """The chunks that can be claimed, best first.

    The job with the fewest claimed chunks comes first, so that a big job does not starve a small one.
    """
    jobs = conn.execute(
        select(import_job.c.key, import_job.c.input_node)
        .where(import_job.c.phase == JobPhase.READ)
        .order_by(import_job.c.submitted_at, import_job.c.key)
    )
    reading = [
        key
        for key, input_node in jobs
        if key not in skip
        and (node is None or domain.may_work_at_phase(JobPhase.READ, node, input_node, None))
    ]
    if not reading:
        return []
    busy: Counter[int] = Counter()
    ended: dict[int, tuple[int, str]] = {}
    claimed = select(chunk.c.job, chunk.c.number, chunk.c.claim, chunk.c.claimed_until).where(
        chunk.c.state == ChunkState.CLAIMED
    )
    for job, number, claim, until in conn.execute(claimed):
        if until < now:
            ended[job] = (number, claim)
        else:
            busy[job] += 1
    found: list[_Candidate] = []
    for job in sorted(reading, key=lambda key: busy[key]):
        if job in ended:
            found.append(_Candidate(job, *ended[job]))
            continue
        number = conn.execute(
            select(func.min(chunk.c.number)).where(
                chunk.c.state == ChunkState.READY,
                chunk.c.job == job,
                or_(chunk.c.claimed_until.is_(None), chunk.c.claimed_until <= now),
            )
        ).scalar()
        if number is not None:
            found.append(_Candidate(job, number, None))
    return found


def claim(
    conn: Connection,
    name: str,
    now: int,
    until: int,
    node: str | None = None,
    skip: Collection[int] = (),
) -> Chunk | None:
    """Claim a chunk of a job in its phase *read*: a ready one, or one whose claim has ended.

    Only of jobs that ``node`` may read (None for all), and of none of the jobs in ``skip``.
    """
    for candidate in _candidates(conn, now, node, skip):
        job, number, ended_claim = candidate.job, candidate.number, candidate.ended_claim
        before = (
            chunk.c.state == ChunkState.READY
            if ended_claim is None
            else and_(
                chunk.c.state == ChunkState.CLAIMED, chunk.c.claim == ended_claim, chunk.c.claimed_until < now
            )
        )
        done = conn.execute(
            update(chunk)
            .where(chunk.c.job == job, chunk.c.number == number, before)
            .values(state=ChunkState.CLAIMED, claim=name, claimed_until=until)
        )
        if done.rowcount != 1:
            continue  # another engine was faster
        row = conn.execute(
            select(chunk.c.first_file, chunk.c.files_z, chunk.c.deaths).where(
                chunk.c.job == job, chunk.c.number == number
            )
        ).one()
        files = domain.unpack_files(zstandard.ZstdDecompressor().decompress(row.files_z), row.first_file)
        return Chunk(job, number, files, json.loads(row.deaths) if row.deaths else {})
    return None


def renew_claims(conn: Connection, names: Iterable[str], until: int) -> set[str]:
    """Extend claims; returns those that are still held."""
    kept = set()
    for name in names:
        done = conn.execute(update(chunk).where(_is_claimed_as(name)).values(claimed_until=until))
        if done.rowcount:
            kept.add(name)
    return kept


def finish(conn: Connection, job: int, number: int, name: str) -> bool:
    """Mark a chunk as done; False if ``name`` no longer holds its claim."""
    done = conn.execute(
        update(chunk)
        .where(chunk.c.job == job, chunk.c.number == number, _is_claimed_as(name))
        .values(state=ChunkState.DONE, claim=None, claimed_until=None, deaths=None)
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
    """Make a claimed chunk ready again, recording which files killed workers."""
    done = conn.execute(
        update(chunk)
        .where(chunk.c.job == job, chunk.c.number == number, _is_claimed_as(name))
        .values(
            state=ChunkState.READY,
            claim=None,
            claimed_until=not_before,
            deaths=json.dumps(deaths, separators=(",", ":")).encode() if deaths else None,
        )
    )
    return done.rowcount == 1


def _is_claimed_as(name: str) -> ColumnElement[bool]:
    """That a chunk is still held under this claim."""
    return and_(chunk.c.state == ChunkState.CLAIMED, chunk.c.claim == name)
