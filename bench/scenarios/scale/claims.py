"""Claims of chunks a second on PostgreSQL: 1, 4, 16, 48 processes take chunks of one job and commit nothing.

Each claimant is a process with a connection of its own, as if it were a machine of its own. It does by the
engine's own code (`work.imports.leases`) what an engine does of each chunk but the reading: take a unit, look
up its files, open a pack, and commit what was read, which is nothing. PostgreSQL flushes nothing to the disk.
Units that were claimed and not ended in the time that is measured do not count.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from bench.results import Options, Outcome
from bench.scenarios.scale.contestants import engines
from bench.servers import services
from lightwell.clock import Clock, Ids
from lightwell.domain.datastore import DataStore
from lightwell.domain.imports.jobs import InputFile, Job
from lightwell.domain.states import DatastoreStatus, JobPhase, JobStatus, StorageFormat
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.account import datastores
from lightwell.stores.db.schema import migrate
from lightwell.stores.jobs import chunks, import_jobs, transitions
from lightwell.stores.jobs.units import Enqueue
from lightwell.work.imports.leases import Leases
from lightwell.work.imports.pauses import Pauses

CLAIMANTS = (1, 4, 16, 48)
_WARM_SECONDS = 1.0
_BEFORE = 10
_FILES = 64
# 48 processes would take a minute to import them.
_PRELOADED = [__name__, "lightwell.work.engines.pgqueuer_dispatch", "pgqueuer.queries", "psycopg"]


def run(options: Options) -> list[Outcome]:
    names = list(engines())
    seconds = min(options.seconds, 3.0)
    try:
        with services.postgresql() as server:
            found = {
                (engine, count): [
                    _claims_a_second(server, engine, count, seconds) for _ in range(min(options.rounds, 3))
                ]
                for engine in names
                for count in CLAIMANTS
            }
    except services.Unavailable as reason:
        return [Outcome(f"claims-{count}", skipped=str(reason)) for count in (16, 48)]
    outcomes = []
    for engine in names:
        medians = {count: sorted(found[engine, count])[len(found[engine, count]) // 2] for count in CLAIMANTS}
        shown = ", ".join(f"{count}: {value:.0f}" for count, value in medians.items())
        print(f"  {engine}: chunks a second by claimants: {shown}")
        suffix = "" if engine == names[0] else f"-{engine}"
        outcomes += [
            Outcome(f"claims-{count}{suffix}", found[engine, count], f"by number of claimants: {shown}")
            for count in (16, 48)
        ]
    return outcomes


def _claims_a_second(server: str, engine: str, claimants: int, seconds: float) -> float:
    folder = Path(tempfile.mkdtemp(prefix="lightwell-claims-"))
    with services.new_database(server) as url:
        compared = engines()[engine]
        settings = Settings(data=folder, database_url=url, database_pool=2, engine=compared.setting)
        stores = open_stores(settings)
        migrate(stores.db)
        compared.prepare(stores)
        add_job(
            stores, compared.enqueue(stores), int(1500 * (seconds + _WARM_SECONDS)) + 2 * _BEFORE * claimants
        )
        stores.close()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        barrier, results = context.Barrier(claimants), context.SimpleQueue()
        processes = [
            context.Process(target=_claimant, args=(folder, url, engine, number, barrier, results, seconds))
            for number in range(claimants)
        ]
        try:
            for process in processes:
                process.start()
            done = sum(int(results.get()) for _ in processes)
        finally:
            for process in processes:
                process.join(30)
            shutil.rmtree(folder, ignore_errors=True)
    return done / seconds


def add_job(stores: Stores, enqueue: Enqueue, count: int) -> None:
    """A job that is being read, in so many chunks."""
    job = Job(
        key=Ids().key(),
        id=Ids().id(),
        datastore=1,
        name=None,
        status=JobStatus.IN_PROGRESS,
        phase=JobPhase.READ,
        message=None,
        role_arn="arn",
        input_uri="s3://in/",
        output_uri="s3://out/",
        input_owner=None,
        configuration=None,
        source=None,
        caller="arn",
        submitted_at=1,
        ended_at=None,
        scanned=count * _FILES,
        read=0,
    )
    store = DataStore(
        key=job.datastore,
        id="0" * 32,
        name="claims",
        status=DatastoreStatus.ACTIVE,
        storage_format=StorageFormat.HTJ2K,
        kms_key_arn=None,
        lambda_authorizer_arn=None,
        created_at=1,
        updated_at=1,
    )
    files = [InputFile(number, f"some/folder/IM{number:05}.dcm", None, 1) for number in range(_FILES)]
    packed = chunks.compress_files(files)

    def work(conn: Connection) -> None:
        datastores.insert(conn, store)
        import_jobs.add(conn, job)
        rows = [(number, number * _FILES, _FILES, packed) for number in range(count)]
        chunks.add(conn, transitions.queued(job, JobPhase.READ), rows, enqueue)

    stores.db.write(work)


def _claimant(
    folder: Path, url: str, engine: str, number: int, barrier: Barrier, results: Any, seconds: float
) -> None:
    compared = engines()[engine]
    settings = Settings(data=folder, database_url=url, database_pool=2, engine=compared.setting)
    stores = open_stores(settings)
    dispatch = compared.make(stores, f"claimant-{number}")
    dispatch.open()
    clock = Clock()
    leases = Leases(stores, clock, Ids(), dispatch, Pauses(clock), lambda job: None)

    def one() -> bool:
        leased = leases.take()
        if leased is None:
            dispatch.wait(0.5)
            return False
        leases.commit(leased)
        return True

    # Connections are opened and statements made before, as in a worker that has run for a while.
    for _ in range(_BEFORE):
        one()
    barrier.wait()
    begun = time.monotonic()
    done = 0
    while (now := time.monotonic()) < begun + _WARM_SECONDS + seconds:
        done += one() and now >= begun + _WARM_SECONDS
    results.put(done)
    dispatch.close()
    stores.close()
