"""Codec workers that are forked from a process which has imported all that they import.

Imports are nine tenths of a worker's start, and the tests start a thousand of them. From `worker_main.main`
on everything is what it is elsewhere: limits, confinement, messages and death. How a worker is started
otherwise is tested in tests/imports/codec_pool, and wherever a server or a command runs in its own process.

The process that they are forked from runs this file.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

_WORKER = "lightwell.codec_pool.worker_main"
_POPEN = subprocess.Popen


@contextmanager
def forked_workers() -> Iterator[None]:
    """Have codec workers of engines in this process forked."""
    import pytest

    from lightwell.codec_pool import process
    from lightwell.settings import worker_environment

    template = _Template(worker_environment())

    def start(command: list[str], **more: Any) -> Any:
        # A test that changes what workers are started with, or how, gets what it asks for.
        is_usual = subprocess.Popen is _POPEN and more["env"] == template.environment
        if not is_usual or command[1:4] != ["-P", "-m", _WORKER]:
            return subprocess.Popen(command, **more)
        return template.fork(more["pass_fds"], shows_errors=more["stderr"] is None)

    with pytest.MonkeyPatch.context() as patch:
        names = {"DEVNULL": subprocess.DEVNULL, "TimeoutExpired": subprocess.TimeoutExpired}
        patch.setattr(process, "subprocess", SimpleNamespace(Popen=start, **names))
        try:
            yield
        finally:
            template.close()


class ForkedWorker:
    """What `WorkerProcess` needs of `subprocess.Popen`. ``ended`` is where its exit code can be read."""

    def __init__(self, pid: int, ended: int) -> None:
        self.pid = pid
        self._ended = ended
        self._code: int | None = None
        self._reading = threading.Lock()

    def kill(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        if self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; minus the number of the signal that ended it.

        Raises `subprocess.TimeoutExpired` if it has none within ``timeout`` seconds.
        """
        with self._reading:
            if self._code is None:
                poll = select.poll()
                poll.register(self._ended, select.POLLIN)
                if not poll.poll(None if timeout is None else timeout * 1000):
                    raise subprocess.TimeoutExpired(_WORKER, timeout or 0)
                # Nothing is there if the process that it was forked from has ended, and it with that.
                self._code = int(os.read(self._ended, 16) or -signal.SIGKILL)
                os.close(self._ended)
            return self._code


class _Template:
    """The process that workers are forked from, in this environment; started with the first of them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._asking = threading.Lock()

    def fork(self, descriptors: list[int], *, shows_errors: bool) -> ForkedWorker:
        """A worker with two ends of sockets."""
        with self._asking:
            control = self._control or self._start()
            ended, end = os.pipe()
            errors = os.dup(2) if shows_errors else os.open(os.devnull, os.O_WRONLY)
            try:
                socket.send_fds(control, [b"fork"], [*descriptors, errors, end])
            finally:
                os.close(errors)
                os.close(end)
            return ForkedWorker(int(control.recv(16)), ended)

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # One that has threads must not be forked.
                env={**self.environment, "OPENBLAS_NUM_THREADS": "1"},
            )
        self._control = ours
        return ours

    def close(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait()


def _serve(number: int) -> None:
    """Fork a worker whenever asked to, and say how each has ended; until whoever asks is gone."""
    from lightwell.codec_pool import worker_main
    from lightwell.imaging import foreign_decoders

    foreign_decoders.keep_out()
    import lightwell.codec_pool.worker  # noqa: F401

    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake, wake_end = os.pipe()
    for end in (wake, wake_end):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    control = socket.socket(fileno=number)
    ends: dict[int, int] = {}
    while True:
        readable, _, _ = select.select([number, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            _reap(ends)
        if number not in readable:
            continue
        asked, descriptors, _, _ = socket.recv_fds(control, 16, 4)
        if not asked:
            return
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            *given, errors, end = descriptors
            os.dup2(errors, 2)
            for each in (wake, wake_end, errors, end, *ends.values()):
                os.close(each)
            _work(worker_main.main, given)
        *given, ends[pid] = descriptors
        for each in given:
            os.close(each)
        control.send(str(pid).encode())


def _reap(ends: dict[int, int]) -> None:
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        end = ends.pop(pid)
        with suppress(BrokenPipeError):
            os.write(end, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(end)


def _work(main: Callable[[list[str]], int], descriptors: list[int]) -> None:
    code = 1
    try:
        code = main([str(os.getppid()), *map(str, descriptors)])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
