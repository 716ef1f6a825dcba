"""One process of a ``python:`` authorizer, as the event loop sees it: start it, call it, kill it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol, cast

from lightwell.auth.lambda_authorizer import SECONDS, AuthorizerFailure, PythonTarget
from lightwell.auth.python_authorizer_main import MISSING, READY, RESULT
from lightwell.framing import MessageBuffer, MessageTooLongError, frame
from lightwell.observe.logs import event
from lightwell.settings import function_environment

log = logging.getLogger(__name__)

START_SECONDS = 10.0
"""A process that is not ready by then is killed, just as Lambda ends a function that takes longer to load."""
CALL_SECONDS = 3.0
"""A longer call kills its process. Its caller waited `SECONDS`; a slow first call may still finish."""

_MAX_RESULT = 1 << 20
_LONGEST_LINE = 2_000


class ProcessOwner(Protocol):
    """Is notified of what becomes of a process."""

    def process_idle(self, process: FunctionProcess) -> None:
        """It can take a call now."""

    def process_ended(self, process: FunctionProcess, failure: AuthorizerFailure | None) -> None:
        """It has ended; ``failure`` says why if it never became ready."""


class FunctionProcess(asyncio.Protocol):
    """A process that has loaded a function and handles one call at a time."""

    def __init__(self, owner: ProcessOwner, target: PythonTarget, arn: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_ready = False
        self.idle_since = 0.0
        self._owner = owner
        self._target = target
        self._arn = arn
        self._popen: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._output: asyncio.BaseTransport | None = None
        self._received = MessageBuffer(_MAX_RESULT)
        self._pending: asyncio.Future[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failure: AuthorizerFailure | None = None
        self._is_ended = False
        self._start_failure: AuthorizerFailure | None = None

    def start(self, folder: Path) -> None:
        """Start it; modules are looked up in ``folder`` first. Raises `OSError`."""
        ours, theirs = socket.socketpair()
        output, output_end = os.pipe()
        target = self._target
        try:
            arguments = [theirs.fileno(), os.getpid(), folder, target.module, target.function, self._arn]
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "lightwell.auth.python_authorizer_main", *map(str, arguments)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                env=function_environment(),
            )
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            theirs.close()
            os.close(output_end)
        self._timer = self.loop.call_later(START_SECONDS, self.kill, "it was not ready in time")
        self._connecting = self.loop.create_task(self._connect(ours, output))

    async def _connect(self, channel: socket.socket, output: int) -> None:
        reader = os.fdopen(output, "rb", 0)
        self._output, _ = await self.loop.connect_read_pipe(lambda: _Output(self._target), reader)
        await self.loop.create_unix_connection(lambda: self, sock=channel)

    async def call(self, payload: bytes, request: str) -> bytes:
        """The JSON of what the function returns for the JSON ``payload``. Raises `AuthorizerFailure`.

        Call it only while the process is idle. It is idle again once the function has returned, whether or
        not anyone still waits for the result.
        """
        assert self._transport is not None
        pending: asyncio.Future[bytes] = self.loop.create_future()
        self._pending = pending
        message = b'[%s,"%s",%d]' % (payload, request.encode(), SECONDS * 1000)
        self._transport.write(frame(message))
        self._timer = self.loop.call_later(CALL_SECONDS, self.kill, "its call took too long")
        return await pending

    def kill(self, why: str) -> None:
        """Kill it, whatever it is doing."""
        self._failure = self._failure or AuthorizerFailure("failed", why)
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
        if self._transport is not None:
            self._transport.abort()

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an instance of asyncio.Transport under uvloop.
        self._transport = cast(asyncio.Transport, transport)
        if self._failure is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received.feed(data)
        try:
            while (message := self._received.next()) is not None:
                self._on_message(message[:1], message[1:])
        except MessageTooLongError:
            self.kill("its answer was too long")

    def connection_lost(self, error: Exception | None) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._stop_timer()
        failure = self._failure or AuthorizerFailure("failed", "the function's process ended")
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():
            pending.set_exception(failure)
        self._start_failure = None if self.is_ready else failure
        self._reap()

    def _on_message(self, kind: bytes, body: bytes) -> None:
        failure = None
        if kind not in (READY, RESULT):
            failure = AuthorizerFailure(
                "misconfigured" if kind == MISSING else "failed", body.decode("utf-8", "replace")
            )
        if not self.is_ready and failure is not None:
            # The process ends by itself, and its owner is notified then.
            self._failure = failure
            return
        self._stop_timer()
        self.is_ready = True
        pending, self._pending = self._pending, None
        if pending is not None and not pending.done():
            if failure is None:
                pending.set_result(body)
            else:
                pending.set_exception(failure)
        self._owner.process_idle(self)

    def _reap(self) -> None:
        """Its socket is closed, so the process has ended or is about to."""
        assert self._popen is not None
        if self._popen.poll() is None:
            self._popen.kill()
            self.loop.call_later(0.005, self._reap)
            return
        # Its last output has yet to be read.
        self.loop.call_later(0.02, self._finish)

    def _finish(self) -> None:
        if self._output is not None:
            # A child of the function may still hold the other end.
            self._output.close()
        self._owner.process_ended(self, self._start_failure)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Output(asyncio.Protocol):
    """Logs what the function prints, one event per line."""

    def __init__(self, target: PythonTarget) -> None:
        self._name = f"python:{target.module}:{target.function}"
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._log(line)

    def connection_lost(self, error: Exception | None) -> None:
        self._log(self._rest)

    def _log(self, line: bytes) -> None:
        text = line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip()
        if text:
            event(log, logging.INFO, "authorizer output", authorizer=self._name, line=text)
