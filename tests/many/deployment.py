"""Servers without work and workers on one PostgreSQL database and one S3 storage, as on several machines.

Each process tree has a data folder of its own, as if it were alone on its machine. docs/howto/scale-out.md
describes the same arrangement.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import services
from tests.support.server import STOP_SECONDS, Server, ended_job, environment, launch, wait_until_ready

SECRET_KEY = "m" * 43 + "="
READY_SECONDS = 240.0


@dataclass(slots=True)
class Worker:
    """A running ``lightwell worker``; what it prints goes to ``log``."""

    process: subprocess.Popen[bytes]
    data: Path
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_ready(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while not (self.data.with_suffix(".ready")).exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            kill_tree(self.process.pid)
            raise


@dataclass(slots=True)
class Deployment:
    """What all processes are told, and those that run. ``folder`` has a data folder for each, by its name."""

    folder: Path
    database_url: str
    s3: services.S3
    storage: str  # the bucket of the objects
    servers: list[Server] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every process of the deployment is given."""
        return {
            **self.s3.environment,
            "LIGHTWELL_DATABASE_URL": self.database_url,
            "LIGHTWELL_STORAGE_URL": f"s3://{self.storage}/objects",
            "LIGHTWELL_STORAGE_ENDPOINT_URL": self.s3.url,
            "LIGHTWELL_S3_ENDPOINT_URL": self.s3.url,
            "LIGHTWELL_SECRET_KEY": SECRET_KEY,
            "LIGHTWELL_COLLECT_INTERVAL": "2",
            **self.settings,
        }

    def server(self, name: str, *flags: str, **variables: str) -> Server:
        """Start a server without work, and wait until it is ready; the flags ``--work on`` give it work."""
        made = self.launch_server(name, *flags, **variables)
        wait_until_ready(made)
        return made

    def launch_server(self, name: str, *flags: str, **variables: str) -> Server:
        made = launch(
            self.folder / name,
            *("--no-work", "--codec-workers", "1", *flags),
            database_url=self.database_url,
            env={**self.environment, **variables},
        )
        self.servers.append(made)
        return made

    def worker(self, name: str, *flags: str, **variables: str) -> Worker:
        """Start a worker, and wait until it is ready."""
        made = self.launch_worker(name, *flags, **variables)
        made.wait_until_ready()
        return made

    def launch_worker(self, name: str, *flags: str, **variables: str) -> Worker:
        data = self.folder / name
        data.with_suffix(".ready").unlink(missing_ok=True)
        log = data.with_suffix(".log")
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "error", "-m", "lightwell", "worker", "--data", str(data)),
                    *("--ready-file", str(data.with_suffix(".ready")), "--codec-workers", "1", *flags),
                ],
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env=environment({**self.environment, **variables}),
                cwd=self.folder,
            )
        made = Worker(process, data, log)
        self.workers.append(made)
        return made

    def wait_until_ready(self) -> None:
        """Wait for servers and workers that were launched."""
        for server in self.servers:
            if not server.url:
                wait_until_ready(server)
        for worker in self.workers:
            worker.wait_until_ready()

    def input_bucket(self, files: Mapping[str, bytes | Path]) -> str:
        """A new bucket with these objects; its name."""
        name = services.new_bucket(self.s3)
        client = services.boto3_client(self.s3)

        def put(key: str) -> None:
            data = files[key]
            client.put_object(
                Bucket=name, Key=key, Body=data if isinstance(data, bytes) else data.read_bytes()
            )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put, files))
        client.close()
        return name

    def datastore(self, server: Server | None = None) -> str:
        """A new data store; its id."""
        client = (server or self.servers[0]).client()
        made: str = client.create_datastore(datastoreName=f"d{uuid.uuid4().hex[:8]}")["datastoreId"]
        return made

    def start_import(self, datastore: str, bucket: str, server: Server | None = None) -> str:
        """Submit a job on all of an S3 bucket, whose report goes there, too, below ``out/``; its id."""
        client = (server or self.servers[0]).client()
        job: str = client.start_dicom_import_job(
            datastoreId=datastore,
            clientToken=uuid.uuid4().hex,
            dataAccessRoleArn="arn:aws:iam::000000000000:role/import",
            inputS3Uri=f"s3://{bucket}/in/",
            outputS3Uri=f"s3://{bucket}/out",
        )["jobId"]
        return job

    def ended(self, datastore: str, job: str, server: Server | None = None) -> dict[str, Any]:
        """Wait for the end of a job; its properties."""
        return ended_job((server or self.servers[0]).client(), datastore, job)

    def close(self) -> None:
        """Stop everything that runs still."""
        running: list[Worker | Server] = [*self.workers, *self.servers]
        for each in running:
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGTERM)
        for each in running:
            each.stop()


def kill_tree(pid: int) -> None:
    """Kill a process and all below it at once, as when its machine loses power."""
    pids = [pid]
    for each in pids:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                rest = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(rest[1]) == each:
                pids.append(int(stat.parent.name))
    for each in pids:
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            continue


@contextmanager
def deployed(folder: Path, postgres: str, s3: services.S3, **settings: str) -> Iterator[Deployment]:
    """A new database on a PostgreSQL server and a new bucket for the objects; nothing runs yet."""
    with services.new_database(postgres) as url:
        made = Deployment(folder, url, s3, services.new_bucket(s3), settings=settings)
        try:
            yield made
        finally:
            made.close()
