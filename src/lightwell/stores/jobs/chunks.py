"""Rows of ``chunk``: which files of a job are read together, and which of them killed workers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import zstandard
from sqlalchemy import Connection, bindparam, insert, select, update

from lightwell.domain.imports import jobs as domain
from lightwell.domain.imports.jobs import Chunk, InputFile
from lightwell.domain.imports.units import QueuedJob, Unit
from lightwell.stores.db.tables import chunk
from lightwell.stores.jobs import units
from lightwell.stores.jobs.units import Enqueue, NewUnit
from lightwell.stores.keys import job_values


def add(
    conn: Connection,
    job: QueuedJob,
    rows: Iterable[tuple[int, int, int, bytes]],
    enqueue: Enqueue = units.announce,
) -> None:
    """Chunks as (number, first file, file count, `compress_files`), and their units of *read*."""
    values, new = [], []
    sealer = job_values.sealer(conn, job.key)
    for number, first, count, files_z in rows:
        values.append(
            {
                "job": job.key,
                "number": number,
                "first_file": first,
                "file_count": count,
                "files_z": job_values.seal(sealer, job_values.FILES, job.key, number, files_z),
            }
        )
        new.append(NewUnit(number, count))
    if values:
        conn.execute(insert(chunk), values)
        units.add(conn, job, new, enqueue)


def compress_files(files: list[InputFile]) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(domain.pack_files(files))


_OF_JOB = select(chunk.c.number, chunk.c.first_file, chunk.c.files_z, chunk.c.deaths).where(
    chunk.c.job == bindparam("of_job"), chunk.c.number.in_(bindparam("numbers", expanding=True))
)


def get(conn: Connection, job: int, numbers: Sequence[int]) -> dict[int, Chunk]:
    """The chunks of units of *read*, by number; without those that are gone."""
    rows = conn.execute(_OF_JOB, {"of_job": job, "numbers": list(numbers)})
    return {
        number: Chunk(
            job,
            number,
            unpack(conn, job, number, first, files_z),
            json.loads(job_values.opened(conn, job_values.DEATHS, job, number, deaths)) if deaths else {},
        )
        for number, first, files_z, deaths in rows
    }


def unpack(conn: Connection, job: int, number: int, first: int, files_z: bytes) -> tuple[InputFile, ...]:
    """The files of a row. Raises `StorageError` where its key is not to be had."""
    packed = job_values.opened(conn, job_values.FILES, job, number, files_z)
    return domain.unpack_files(zstandard.ZstdDecompressor().decompress(packed), first)


def record_deaths(conn: Connection, one: Unit, deaths: dict[str, list[str]]) -> None:
    """Note which files of a chunk killed workers, and what else has failed."""
    value = json.dumps(deaths, separators=(",", ":")).encode() if deaths else None
    sealed = job_values.seal(job_values.sealer(conn, one.job), job_values.DEATHS, one.job, one.number, value)
    conn.execute(
        update(chunk).where(chunk.c.job == one.job, chunk.c.number == one.number).values(deaths=sealed)
    )
