"""An engine in a process of its own, which tests kill, and wait for."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

import psutil

from tests.faults import engine_main
from tests.support.imports import Importing

# Forked from a process that has imported what an engine needs, which takes longer than most of them live.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([engine_main.__name__])


def _run(output: Connection, engine: str, arguments: list[str]) -> None:
    engine_main.run(engine, output.fileno(), arguments)


class EngineProcess:
    """A running engine, in a process group of its own."""

    def __init__(
        self, server: Importing, workers: int = 1, kill_at: int = 0, when: str = "", how: str = ""
    ) -> None:
        ours, theirs = _FORKS.Pipe(duplex=False)
        arguments = [str(server.settings.data), server.stores.db.url, str(workers), str(kill_at), when, how]
        self.process = _FORKS.Process(target=_run, args=(theirs, server.settings.engine, arguments))
        self.process.start()
        theirs.close()
        with ours:
            self._output = os.fdopen(os.dup(ours.fileno()))

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """Of a signal its number, negative; None while it runs."""
        return self.process.exitcode

    def await_start(self) -> None:
        self._output.readline()

    def workers(self) -> list[int]:
        """The process ids of its codec workers."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children()]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> list[int]:
        """kill -9 the engine alone; returns its workers, which have to end by themselves."""
        children = self.workers()
        self.process.kill()
        self.process.join()
        self._output.close()
        return children

    def output(self, timeout: float = 240) -> str:
        """What it has printed, once it has ended."""
        self.process.join(timeout)
        if self.process.is_alive():
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"the engine has not ended within {timeout} seconds")
        with self._output:
            return self._output.read()

    def finish(self) -> None:
        output = self.output()
        assert output.endswith("done\n"), output
