"""Servers and workers that are killed while they work, and started again as a service manager would do it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from tests.many.deployment import Deployment, Worker
from tests.support.server import Server, until, wait_until_ready
from tests.support.services import free_ports


class Fleet:
    """Process trees by name, each started again in its own data folder when its first process is gone.

    A server keeps its port. ``count`` says how often any was started again.
    """

    def __init__(self, deployment: Deployment, servers: list[str], workers: list[str]) -> None:
        self.deployment = deployment
        self.count = 0
        ports = free_ports(len(servers))
        self._start: dict[str, Callable[[], Server | Worker]] = {}
        for name, port in zip(servers, ports, strict=True):
            flags = ("--port", str(port))
            self._start[name] = lambda n=name, f=flags: deployment.launch_server(n, *f)  # type: ignore[misc]
        for name in workers:
            self._start[name] = lambda n=name: deployment.launch_worker(n)  # type: ignore[misc]
        self.running = {name: start() for name, start in self._start.items()}
        for each in self.running.values():
            wait_until_ready(each) if isinstance(each, Server) else each.wait_until_ready()
        self._servers = list(servers)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def server(self, name: str) -> Server:
        found = self.running[name]
        assert isinstance(found, Server)
        return found

    @property
    def servers(self) -> list[Server]:
        return [self.server(name) for name in self._servers]

    def _keep(self) -> None:
        while not self._over.wait(0.1):
            for name in self._start:
                with self._lock:
                    gone = self.running[name]
                    if gone.process.poll() is None or self._over.is_set():
                        continue
                    self.count += 1
                    self._forget(gone)
                    self.running[name] = self._start[name]()
                    if isinstance(gone, Server):
                        self._keep_address(gone, self.server(name))

    def _forget(self, gone: Server | Worker) -> None:
        among: list[Any] = self.deployment.servers if isinstance(gone, Server) else self.deployment.workers
        among.remove(gone)

    def _keep_address(self, gone: Server, new: Server) -> None:
        new.url = gone.url
        # Reads what it prints, so that it never waits for a reader.
        threading.Thread(target=lambda: _read(new), daemon=True).start()

    def processes(self) -> list[psutil.Process]:
        """Every process of every tree."""
        found: list[psutil.Process] = []
        with self._lock:
            for each in self.running.values():
                with contextlib.suppress(psutil.NoSuchProcess):
                    first = psutil.Process(each.process.pid)
                    found += [first, *first.children(recursive=True)]
        return found

    def close(self) -> None:
        """Start nothing again from now on."""
        self._over.set()
        self._keeper.join()

    def wait_until_ready(self) -> None:
        """Wait until every server answers and every worker works again."""
        for name in self._start:
            until(lambda n=name: self._is_ready(n))  # type: ignore[misc]

    def _is_ready(self, name: str) -> bool:
        found = self.running[name]
        if isinstance(found, Worker):
            return found.process.poll() is None and found.data.with_suffix(".ready").exists()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return found.call("GET", "/readyz").status == 200
        return False


def _read(server: Server) -> None:
    with contextlib.suppress(AssertionError):
        wait_until_ready(server)


def patient(fleet: Fleet, datastore: str, job: str, seconds: float) -> dict[str, Any]:
    """Ask the servers in turn for a job until it has ended, however often one of them is away."""
    end = time.monotonic() + seconds
    clients = [server.client(connect_timeout=2, read_timeout=10) for server in fleet.servers]
    last: object = None
    for number in itertools.count():
        assert time.monotonic() < end, f"the import did not end: {last}"
        time.sleep(0.1)
        try:
            answer = clients[number % len(clients)].get_dicom_import_job(datastoreId=datastore, jobId=job)
        except (BotoCoreError, ClientError) as error:
            last = error
            if isinstance(error, ClientError):
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 503), error
            continue
        last = found = answer["jobProperties"]
        if found["jobStatus"] in ("COMPLETED", "FAILED"):
            return dict(found)
    raise AssertionError


class Killer(threading.Thread):
    """kill -9 of a random process of a fleet every so many seconds, at ``most`` so often."""

    def __init__(self, fleet: Fleet, seconds: float, chance: Random, most: int = 1_000_000) -> None:
        super().__init__(daemon=True)
        self._fleet = fleet
        self._seconds = seconds
        self._chance = chance
        self._most = most
        self._over = threading.Event()
        self._begun = time.monotonic()
        self.killed: list[str] = []
        """What was killed, in words."""

    def run(self) -> None:
        while len(self.killed) < self._most and not self._over.wait(self._seconds):
            processes = self._fleet.processes()
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, IndexError):
                doomed = self._chance.choice(processes)
                name = f"{time.monotonic() - self._begun:.1f} s: {doomed.pid} {doomed.name()} {doomed.ppid()}"
                os.kill(doomed.pid, signal.SIGKILL)
                self.killed.append(name)

    def stop(self) -> None:
        self._over.set()
        if self.is_alive():
            self.join()
