"""Imports for tests: a data folder with buckets, jobs, and an engine that works until they are done."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom

from lightwell.auth.data_access_role import open_data_access_roles
from lightwell.clock import Clock, Ids
from lightwell.documents.part10_files import write_instance
from lightwell.domain.imports.jobs import Job
from lightwell.domain.imports.units import Token
from lightwell.domain.states import JobPhase
from lightwell.observe.audit.trail import AuditTrail
from lightwell.operations import datastores, import_jobs
from lightwell.operations.context import Caller, Context
from lightwell.settings import Settings
from lightwell.stores import Stores, open_stores
from lightwell.stores.account import datastores as store_rows
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.jobs import import_jobs as job_rows
from lightwell.wire import shapes
from lightwell.work.engine import Engine, EngineOptions

ROLE = "arn:aws:iam::000000000000:role/import"
IN, OUT = "in-bucket", "out-bucket"


@dataclass(slots=True)
class Importing:
    """A server without its HTTP side; ``collects``: its engine removes what nothing refers to, by itself."""

    settings: Settings
    stores: Stores
    context: Context
    datastore: str
    collects: bool = False
    trail: AuditTrail | None = None
    _engine: Engine | None = None
    _thread: threading.Thread | None = None

    @property
    def input(self) -> Path:
        return self.settings.buckets / IN

    @property
    def output(self) -> Path:
        return self.settings.buckets / OUT

    def start(self, prefix: str = "", *, output: str = f"s3://{OUT}/res", **more: Any) -> Job:
        """Start a job on the input bucket."""
        answer = import_jobs.start_dicom_import_job(
            self.context,
            shapes.StartDICOMImportJobRequest(
                datastore_id=self.datastore,
                data_access_role_arn=more.pop("role_arn", ROLE),
                client_token=more.pop("client_token", Ids().id()),
                input_s3_uri=more.pop("input_uri", f"s3://{IN}/{prefix}"),
                output_s3_uri=output,
                **more,
            ),
        )
        return self.job(answer.job_id)

    def job(self, id: str) -> Job:
        with self.stores.db.read() as conn:
            found = [j for j in _all(conn) if j.id == id]
        return found[0]

    def unfinished(self) -> int:
        with self.stores.db.read() as conn:
            return len(job_rows.unfinished(conn))

    def engine(self) -> Engine:
        """An engine that is not running yet."""
        # Else a slow test would find that its engine has collected before it.
        settings = self.settings if self.collects else replace(self.settings, collect_interval=86_400)
        roles = open_data_access_roles(self.stores.db, settings.region, settings.account_id, None)
        alone = self.stores.db.dialect == "sqlite"
        options = EngineOptions(alone=alone, data_access=roles, trail=self.trail)
        return Engine(self.stores, settings, options=options)

    def work(self) -> None:
        """Work until every job is done. The engine stays, its workers warm, until `close`."""
        if self._engine is None:
            self._engine = self.engine()
            self._thread = threading.Thread(target=self._engine.run)
            self._thread.start()
        self._engine.wake()
        while self.unfinished():
            time.sleep(0.01)

    def close_engine(self) -> None:
        """End the engine; the next call of `work` starts a new one with nothing in memory."""
        if self._engine is not None and self._thread is not None:
            self._engine.stop()
            self._thread.join()
            self._engine = None

    def close(self) -> None:
        self.close_engine()
        self.stores.close()

    def run(self, prefix: str = "", **more: Any) -> Report:
        """Start a job, work, and read its report."""
        job = self.start(prefix, **more)
        self.work()
        return self.report(job.id)

    def report(self, id: str) -> Report:
        job = self.job(id)
        bucket, _, folder = job.output_uri.removeprefix("s3://").partition("/")
        place = self.settings.buckets / bucket / folder
        if job.status != "COMPLETED":
            return Report(job, {}, [], [], [])
        manifest = json.loads((place / "job-output-manifest.json").read_bytes())["jobSummary"]

        def lines(name: str) -> list[Any]:
            return [json.loads(line) for line in (place / name).read_bytes().splitlines()]

        return Report(
            job,
            manifest,
            lines("SUCCESS/success.ndjson"),
            lines("FAILURE/failure.ndjson"),
            lines("WARNING/warning.ndjson"),
        )


def taken(engine: Engine, phase: JobPhase) -> Token:
    """The next unit of a phase, taken by an engine that does not run, once it may be."""
    end = time.monotonic() + 240
    while (token := engine._dispatch.take((phase,))) is None:
        assert time.monotonic() < end, "there is no unit"
        time.sleep(0.02)
    return token


@dataclass(slots=True)
class Report:
    """What a job left in its output folder."""

    job: Job
    manifest: dict[str, Any]
    success: list[Any]
    failure: list[Any]
    warning: list[Any]

    def messages(self) -> dict[str, str]:
        """Why each file failed, by its key."""
        return {line["inputFile"]: line["exception"]["message"] for line in self.failure}


def _all(conn: Any) -> list[Job]:
    from sqlalchemy import select

    from lightwell.stores.db.tables import import_job

    keys = conn.execute(select(import_job.c.key)).scalars().all()
    return [found for key in keys if (found := job_rows.get(conn, key)) is not None]


def importing(folder: Path, database_url: str, **settings: Any) -> Importing:
    """A data store in a migrated database, an input and an output bucket."""
    made = Settings(data=folder, database_url=database_url, **{"codec_workers": 1, **settings})
    stores = open_stores(made)
    caller = Caller("000000000000", "arn:aws:iam::000000000000:root", "AK")
    context = Context(stores, made, Clock(), Ids(), caller)
    for name in (IN, OUT):
        (made.buckets / name).mkdir(parents=True, exist_ok=True)
    answer = datastores.create_datastore(context, shapes.CreateDatastoreRequest(client_token="t"))
    return Importing(made, stores, context, answer.datastore_id, "collect_interval" in settings)


Make = Callable[..., Importing]


def exported(server: Importing, id: str) -> dict[str, pydicom.FileDataset]:
    """What `lightwell export` writes of an image set, by SOPInstanceUID."""
    with server.stores.db.read() as conn:
        store = store_rows.get(conn, server.datastore)
        assert store is not None
        (found,) = part10_instances.readable_sets(conn, store.key, id)
        instances = part10_instances.instances(conn, found.key, found.version)
    files = {}
    for instance in instances:
        out = io.BytesIO()
        write_instance(server.stores, instance, out)
        out.seek(0)
        files[instance.sop_instance_uid] = pydicom.dcmread(out)
    return files
