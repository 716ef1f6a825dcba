"""A Python function in its own processes: started on demand, kept warm, and ended when idle."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from lightwell.auth.lambda_authorizer import AuthorizerFailure, PythonTarget
from lightwell.observe.logs import event
from lightwell.settings import Settings
from lightwell.web.authorizers.fair_queue import FairQueue
from lightwell.web.authorizers.function_process import FunctionProcess

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""How long a function that could not be loaded is not tried again."""
SCALE_UP_SECONDS = 0.05
"""A call that has waited this long gets another process, unless the limit is reached."""
SPARE_IDLE_SECONDS, LAST_IDLE_SECONDS = 60.0, 900.0
"""How long an idle process is kept: one of several, and the last one."""
MAX_WAITING = 1_000


class PythonFunction:
    """The processes of one function in one HTTP worker. Belongs to one event loop."""

    def __init__(self, target: PythonTarget, arn: str, settings: Settings) -> None:
        self._target = target
        self._arn = arn
        self._folder = settings.authorizers.resolve()
        self._max_processes = settings.authorizer_processes
        self._processes: set[FunctionProcess] = set()
        self._idle: list[FunctionProcess] = []
        self._waiting: FairQueue[FunctionProcess] = FairQueue(MAX_WAITING)
        self._last_failure: tuple[float, AuthorizerFailure] | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def call(self, payload: bytes, request: str, client: str | None = None) -> bytes:
        """The JSON that the function returns for the JSON ``payload``. Raises `AuthorizerFailure`.

        Cancel it when time is up; the result is then dropped. ``client`` is the address for which it is
        called: while calls wait, each address has its turn.
        """
        process = self._idle.pop() if self._idle else await self._wait(client)
        return await process.call(payload, request)

    def close(self) -> None:
        """End the processes. Calls in progress, and those waiting, fail."""
        self._is_closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for process in list(self._processes):
            process.kill("the authorizer was changed, or the server is stopping")
        self._fail(AuthorizerFailure("failed", "the authorizer was changed, or the server is stopping"))

    async def closed(self) -> None:
        """Wait, after `close`, until the processes have ended."""
        while self._processes:
            await asyncio.sleep(0.01)

    # Waiting for a process

    async def _wait(self, client: str | None) -> FunctionProcess:
        loop = asyncio.get_running_loop()
        if self._last_failure is not None and loop.time() < self._last_failure[0]:
            raise _copy_of(self._last_failure[1])
        waiter = self._waiting.join(client)
        if waiter is None:
            raise AuthorizerFailure("busy", f"{len(self._waiting)} calls already wait for the function")
        timer = None
        if self._processes:
            timer = loop.call_later(SCALE_UP_SECONDS, self._start_another, waiter)
        else:
            self._start()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.process_idle(waiter.result())
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._waiting.leave(client, waiter)

    def _start_another(self, waiter: asyncio.Future[FunctionProcess]) -> None:
        """Start one at a time: while one is starting, it is not yet known whether another is needed."""
        is_starting = any(not process.is_ready for process in self._processes)
        if not waiter.done() and not is_starting and len(self._processes) < self._max_processes:
            self._start()

    def _start(self) -> None:
        process = FunctionProcess(self, self._target, self._arn)
        try:
            process.start(self._folder)
        except OSError as error:
            self._start_failed(AuthorizerFailure("failed", f"a process cannot be started: {error}"))
            return
        self._processes.add(process)
        if self._sweep_timer is None:
            self._schedule_sweep()

    # Called by processes (`ProcessOwner`)

    def process_idle(self, process: FunctionProcess) -> None:
        """Give the process to a waiting call, if there is one."""
        if process not in self._processes:
            return
        if self._waiting.give(process):
            return
        process.idle_since = process.loop.time()
        self._idle.append(process)

    def process_ended(self, process: FunctionProcess, failure: AuthorizerFailure | None) -> None:
        """A process has ended; ``failure`` says why if it could not load the function."""
        self._processes.discard(process)
        with suppress(ValueError):
            self._idle.remove(process)
        if self._is_closed:
            return
        if failure is not None:
            self._start_failed(failure)
        elif not self._processes and self._waiting:
            self._start()

    def _start_failed(self, failure: AuthorizerFailure) -> None:
        """A process could not be started. If others are running, they carry on."""
        event(log, logging.WARNING, "authorizer not loaded", authorizer=self._arn, reason=failure.reason)
        if not any(process.is_ready for process in self._processes):
            self._last_failure = asyncio.get_running_loop().time() + RETRY_SECONDS, failure
            self._fail(failure)

    def _fail(self, failure: AuthorizerFailure) -> None:
        for waiter in self._waiting.clear():
            if not waiter.done():
                waiter.set_exception(_copy_of(failure))

    # Idle processes

    def _schedule_sweep(self) -> None:
        self._sweep_timer = asyncio.get_running_loop().call_later(SPARE_IDLE_SECONDS / 2, self._sweep)

    def _sweep(self) -> None:
        self._sweep_timer = None
        for process in list(self._idle):
            limit = SPARE_IDLE_SECONDS if len(self._processes) > 1 else LAST_IDLE_SECONDS
            if process.loop.time() - process.idle_since > limit:
                self._idle.remove(process)
                self._processes.discard(process)
                process.kill("it was idle")
        if self._processes:
            self._schedule_sweep()


def _copy_of(failure: AuthorizerFailure) -> AuthorizerFailure:
    """A copy for each caller: an exception collects a traceback wherever it is raised."""
    return AuthorizerFailure(failure.kind, failure.reason)
