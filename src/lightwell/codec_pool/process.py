"""One codec worker as the engine sees it: a process that is started, talked to and killed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path

from lightwell.codec_pool.messages import Channel, Configure, Configured, FromWorker, ToWorker
from lightwell.codec_pool.sandbox.grants import Grants, of_storage
from lightwell.settings import FIELDS, Settings, worker_environment

log = logging.getLogger(__name__)

_START_SECONDS = 120.0
# What is missing from the confinement of every worker is logged once.
_logged: set[str] = set()
# A URL may hold a password.
_ENDPOINTS = ("storage_endpoint_url", "s3_endpoint_url")


class WorkerDied(Exception):
    """The process has ended, and why."""


class WorkerNotStarted(WorkerDied):
    """There is no process, or it never became ready: nothing that it was to read is to blame."""


class WorkerProcess:
    """One running worker. The thread that made it has to outlive it: Linux ties the process to that thread.

    ``grants``: what it may use besides its own folders, by default only the storage. ``quiet``: what it and
    the codecs print is not shown. ``nice``: how much it yields where the cores are busy. `send` and `receive`
    raise `WorkerDied` once the process has ended.
    """

    def __init__(
        self,
        settings: Settings,
        spool: Path,
        grants: Grants | None = None,
        *,
        quiet: bool = False,
        nice: int = 0,
    ) -> None:
        self.grants = grants or of_storage(settings)
        self._spool = spool / f"worker-{os.getpid()}-{threading.get_ident()}"
        shutil.rmtree(self._spool, ignore_errors=True)
        try:
            self._spool.mkdir(mode=0o700, parents=True)
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise WorkerNotStarted(f"a codec worker could not be started: {error}") from error
        try:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "lightwell.codec_pool.worker_main",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if quiet else None,
                env=worker_environment(network=self.grants.network),
            )
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise WorkerNotStarted(f"a codec worker could not be started: {error}") from error
            raise
        finally:
            theirs.close()
        if nice:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.process.pid, nice)
        self._channel = Channel(ours)
        self._killed: str | None = None
        try:
            paths = [os.fsencode(path) for path in sorted(self.grants.paths)]
            self.send(Configure(_public(settings, self.grants), str(self._spool), self.grants.network, paths))
            configured = self.receive(_START_SECONDS)
            if not isinstance(configured, Configured):
                self.kill("it took too long")
                raise WorkerDied(self.reason())
        except WorkerDied as death:
            self.close()
            raise WorkerNotStarted(f"a codec worker could not be started: {death}") from None
        for sentence in configured.missing:
            if sentence not in _logged:
                _logged.add(sentence)
                log.warning("codec workers are confined less than they could be: %s", sentence)

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, message: ToWorker) -> None:
        try:
            self._channel.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise WorkerDied(self.reason()) from None

    def receive(self, timeout: float) -> FromWorker | None:
        """The next message, None if none comes within ``timeout`` seconds."""
        try:
            return self._channel.receive_from_worker(timeout)
        except EOFError:
            raise WorkerDied(self.reason()) from None

    def kill(self, why: str | None = None) -> None:
        """End the process at once; ``why`` becomes the reason of its death."""
        self._killed = self._killed or why
        self.process.kill()

    def reason(self) -> str:
        """Why the process ended, once it has."""
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self._killed:
            return self._killed
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            return f"its process was ended by {name}"
        return f"its process ended with code {code}"

    def close(self) -> None:
        """End the process and remove what it left."""
        self._channel.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self._spool, ignore_errors=True)


def remove_leftovers(spool: Path) -> None:
    """Remove the folders of workers whose engine is gone. Only for the one engine of a data folder."""
    for folder in spool.glob("worker-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _public(settings: Settings, grants: Grants) -> dict[str, str | int | bool | None]:
    """The settings that a worker needs; it has no database, so it gets no secret."""
    left_out = {name for name in FIELDS if name.startswith("database_")}
    if not grants.network:
        left_out.update(_ENDPOINTS)
    values: dict[str, str | int | bool | None] = {}
    for field in fields(Settings):
        if field.metadata.get("internal") or field.metadata.get("secret") or field.name in left_out:
            continue
        value = getattr(settings, field.name)
        values[field.name] = str(value.absolute()) if isinstance(value, Path) else value
    return values
