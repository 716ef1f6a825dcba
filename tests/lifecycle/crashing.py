"""A server whose processes are killed while it works, and a client that goes on all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import psutil
from botocore.exceptions import ConnectionError as NotReached
from botocore.exceptions import HTTPClientError, IncompleteReadError
from sqlalchemy import select

from lightwell.settings import load
from lightwell.stores import open_stores
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from tests.lifecycle.clients import Refused, ServedService
from tests.support.server import Server, launch, wait_until_ready

_WRITES = {"UpdateImageSetMetadata", "CopyImageSet", "DeleteImageSet"}
LOST = (HTTPClientError, NotReached, IncompleteReadError)
_PASSING = ("500", "502", "503", "InternalServerException", "ServiceUnavailableException")
_PATIENCE = 90


class CrashingService(ServedService):
    """Through boto3, one call after the other, while `Killer` is at work.

    Where an answer is lost, the tables tell whether the call took effect: if so its answer is made up from
    them, if not it is made again. There is no third way: that is what the run proves.
    """

    def __init__(
        self, data: Path, database_url: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self.database_url = database_url
        self.env = env
        self.restarts = 0
        self.lost = 0
        self.pace = 1.0
        """How many times as long as on a quiet machine things take here: a server starts within a second."""
        self.alive = threading.Lock()
        """Held while the server is started: nothing is killed then."""
        server = self._start()
        given = {"data": data, "database_url": database_url}
        told = {name: text for name, text in (env or {}).items() if "ENCRYPTION" in name}
        settings = replace(load(given, environ=told, file=None), codec_workers=1)
        super().__init__(server, open_stores(settings), settings)

    def _start(self) -> Server:
        begun = time.monotonic()
        server = launch(self.data, workers=2, database_url=self.database_url, env=self.env)
        wait_until_ready(server)
        self.pace = max(self.pace, time.monotonic() - begun)
        self.patience = 180 * self.pace
        return server

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        before = self._versions() if operation in _WRITES else {}
        while True:
            try:
                return super().call(operation, **members)
            except LOST:
                self.lost += 1
            except Refused as error:
                if error.code not in _PASSING:
                    raise
                time.sleep(0.05)
            self.revive()
            if operation in _WRITES and (made := self._versions().items() - before.items()):
                return self._answer(operation, members, dict(made))

    def frame(self, image_set: str, frame: str) -> bytes:
        while True:
            try:
                return super().frame(image_set, frame)
            except LOST:
                self.lost += 1
                self.revive()
            except Refused as error:
                if error.code not in _PASSING:
                    raise
                time.sleep(0.05)

    def _versions(self) -> dict[str, tuple[int, str]]:
        """The latest version and state of every set, by id; others may write into other data stores."""
        t = tables.image_set.c
        with self.stores.db.read() as conn:
            store = datastores.get(conn, self.datastore)
            assert store is not None
            of_store = select(t.id, t.latest_version, t.state).where(t.datastore == store.key)
            return {id: (number, state) for id, number, state in conn.execute(of_store)}

    def _answer(
        self, operation: str, members: dict[str, Any], made: dict[str, tuple[int, str]]
    ) -> dict[str, Any]:
        """What the call would have answered that led to these versions."""
        if operation == "DeleteImageSet":
            assert made.keys() == {members["imageSetId"]}
            return {}
        if operation == "UpdateImageSetMetadata":
            id = members["imageSetId"]
            return _locked(id, made[id][0], "UPDATING")
        ((destination, (number, _)),) = made.items()
        version = members["copyImageSetInformation"]["sourceImageSet"]["latestVersionId"]
        source = _locked(members["sourceImageSetId"], version, "COPYING_WITH_READ_ONLY_ACCESS")
        return {
            "sourceImageSetProperties": source,
            "destinationImageSetProperties": _locked(destination, number, "COPYING"),
        }

    def revive(self) -> None:
        """Start the server again if it is gone, and wait until it answers."""
        end = time.monotonic() + _PATIENCE * self.pace
        while True:
            with self.alive:
                if self.server.process.poll() is not None:
                    self.restarts += 1
                    self.server.stop()
                    self.server = self._start()
                    self.connect()
            try:
                super().call("ListDatastores")
                return
            except (*LOST, Refused) as error:
                if isinstance(error, Refused) and error.code not in _PASSING:
                    raise
                assert time.monotonic() < end, "\n".join(self.server.err[-20:])
                time.sleep(0.05)

    def close(self) -> None:
        self.server.stop()
        super().close()


def _locked(id: str, number: int | str, status: str) -> dict[str, Any]:
    return {
        "imageSetId": id,
        "latestVersionId": str(number),
        "imageSetState": "LOCKED",
        "imageSetWorkflowStatus": status,
    }


class Killer(threading.Thread):
    """Ends one process of the server, all of them, or ``command``, every now and then.

    By kill -9, or a share ``of_terms`` of the times by SIGTERM, after which a whole server ends in order.
    """

    def __init__(
        self,
        service: CrashingService,
        chance: Random,
        command: Callable[[], subprocess.Popen[str] | None] = lambda: None,
        of_all: float = 0.4,
        of_terms: float = 0.35,
    ) -> None:
        super().__init__(daemon=True)
        self._command = command
        self._share = of_all
        self._share_of_terms = of_terms
        self._service = service
        self._chance = chance
        self._over = threading.Event()
        self.kills = self.of_all = self.of_commands = self.terms = 0
        self.exits: list[int] = []
        """The exit codes of servers that got SIGTERM."""

    def run(self) -> None:
        # One start that took very long says nothing of the others.
        while not self._over.wait(self._chance.uniform(0.1, 1.2) * min(self._service.pace, 10)):
            with self._service.alive:
                self._kill()

    def stop(self) -> None:
        """Begin nothing more; fails if a server that got SIGTERM did not end in order."""
        self._over.set()
        self.join()
        assert not any(self.exits), self.exits

    def _kill(self) -> None:
        command = self._command()
        number = signal.SIGKILL if self._chance.random() >= self._share_of_terms else signal.SIGTERM
        if command is not None and command.poll() is None and self._chance.random() < 0.25:
            command.send_signal(number)
            self.of_commands += 1
        else:
            with contextlib.suppress(psutil.NoSuchProcess):
                supervisor = psutil.Process(self._service.server.process.pid)
                if self._chance.random() >= self._share:
                    self._end_one(supervisor, number)
                elif number == signal.SIGKILL:
                    self._kill_all(supervisor)
                else:
                    self._stop_all()
        self.kills += 1
        self.terms += number == signal.SIGTERM

    def _end_one(self, supervisor: psutil.Process, number: signal.Signals) -> None:
        if below := supervisor.children(recursive=True):
            doomed = self._chance.choice(below)
            doomed.send_signal(number)
            psutil.wait_procs([doomed], 10)

    def _kill_all(self, supervisor: psutil.Process) -> None:
        self.of_all += 1
        # Stopped first, so that none goes on or is started anew while the others die.
        doomed = [supervisor, *supervisor.children(recursive=True)]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        doomed += [one for one in supervisor.children(recursive=True) if one not in doomed]
        for process in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(doomed, 10)

    def _stop_all(self) -> None:
        """A stop as a service manager's: what has begun is finished, within half a minute."""
        process = self._service.server.process
        if process.poll() is None:
            self.of_all += 1
            try:
                self.exits.append(self._service.server.stop(signal.SIGTERM))
            except subprocess.TimeoutExpired:
                self.exits.append(-signal.SIGKILL)
