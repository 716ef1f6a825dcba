"""A process tree: a single-threaded supervisor that forks its children and restarts those that die.

Children are forked, not spawned, so that they share the memory of what the supervisor has imported. They die
with it, however it dies.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from lightwell.domain.backoff import Backoff
from lightwell.observe.logs import event
from lightwell.process_death import REFUSED, die_with_parent
from lightwell.process_memory import share_one_arena

log = logging.getLogger("lightwell.serve")

# Children have this long to finish; what is left is killed, so that a stop takes less than 30 seconds.
GRACE_SECONDS = 25.0
# Of that, the child that stops last gets at least this much.
_LAST_SECONDS = 4.0
_RESTARTS = Backoff(100, 10_000)
_STEADY_SECONDS = 30.0  # a child that ran this long starts its back-off from the beginning
_TRIES_BEFORE_READY = 3


@dataclass(slots=True)
class Child:
    """One process of the tree. ``main`` gets a function to call when it is ready, and returns the exit code.

    ``stops_last``: the other children need this one in order to finish.
    """

    name: str
    main: Callable[[Callable[[], None]], int]
    must_be_ready: bool
    stops_last: bool = False
    pid: int = 0
    started: float = 0.0
    failures: int = 0
    start_at: float = 0.0
    is_ready: bool = False


class Supervisor:
    """Runs children until a signal tells it to stop.

    ``on_ready`` is called once, when every child that must be ready is; ``on_stop`` when stopping begins.
    """

    def __init__(
        self,
        children: list[Child],
        *,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        close_in_child: list[int],
    ) -> None:
        self._children = children
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._close_in_child = close_in_child
        self._was_ready = False
        self._pid = os.getpid()
        self._stop_requests = 0
        self._stop_by = 0.0
        self._has_stopped_last = False  # whether the children that stop last have been told to
        self._status = 0
        self._wake, self._wake_end = os.pipe()
        self._ready, self._ready_end = os.pipe()
        for end in (self._wake, self._wake_end, self._ready):
            os.set_blocking(end, False)

    def run(self) -> int:
        """Run until stopped; returns the exit code: 0 after a signal, 1 if the children could not start,
        2 if one was refused (`REFUSED`)."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        share_one_arena()
        # What exists now is permanent: collecting it would only unshare its memory pages.
        gc.collect()
        gc.freeze()
        gc.enable()
        while True:
            now = monotonic()
            self._reap(now)
            if self._stop_requests:
                if not any(child.pid for child in self._children):
                    return self._status
                if now >= self._stop_by or self._stop_requests > 1:
                    self._kill(signal.SIGKILL)
                elif not self._has_stopped_last and self._is_time_to_stop_last(now):
                    self._has_stopped_last = True
                    self._kill(signal.SIGTERM)
            else:
                self._start_due(now)
            self._wait(now)

    def _wait(self, now: float) -> None:
        waits = [
            child.start_at - now for child in self._children if not child.pid and not self._stop_requests
        ]
        if self._stop_requests:
            end = self._stop_by if self._has_stopped_last else self._stop_by - _LAST_SECONDS
            waits.append(max(0.05, end - now))
        timeout = max(0.0, min(waits)) if waits else None
        readable, _, _ = select.select([self._wake, self._ready], [], [], timeout)
        if self._wake in readable:
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
        if self._ready in readable:
            with suppress(BlockingIOError):
                for place in os.read(self._ready, 4096):
                    self._children[place].is_ready = True
        if not self._was_ready and all(child.is_ready or not child.must_be_ready for child in self._children):
            self._was_ready = True
            self._on_ready()

    def _on_signal(self, number: int, frame: object) -> None:
        # A child that was just forked and still has these handlers must not stop the others.
        if os.getpid() != self._pid:
            return
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(status=0)
        elif number == signal.SIGHUP:
            # Children with something to reload do so; the others ignore the signal.
            self._kill(signal.SIGHUP)

    def _stop(self, status: int) -> None:
        self._stop_requests += 1
        if self._stop_requests == 1:
            self._status = status
            self._stop_by = monotonic() + GRACE_SECONDS
            self._on_stop()
            self._kill(signal.SIGTERM)

    def _is_time_to_stop_last(self, now: float) -> bool:
        first = (child for child in self._children if not child.stops_last)
        return now >= self._stop_by - _LAST_SECONDS or not any(child.pid for child in first)

    def _kill(self, number: int) -> None:
        for child in self._children:
            if child.pid and (self._has_stopped_last or not child.stops_last or number == signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)

    def _start_due(self, now: float) -> None:
        for place, child in enumerate(self._children):
            if not child.pid and child.start_at <= now:
                child.started = now
                child.pid = self._fork(place, child)
        # A signal that arrived meanwhile did not reach the new processes.
        if self._stop_requests:
            self._kill(signal.SIGTERM)

    def _reap(self, now: float) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = next((child for child in self._children if child.pid == pid), None)
            if child is not None:
                self._schedule_restart(child, os.waitstatus_to_exitcode(status), now)

    def _schedule_restart(self, child: Child, code: int, now: float) -> None:
        pid, child.pid = child.pid, 0
        if self._stop_requests:
            return
        if code == REFUSED:
            self._stop(status=2)
            return
        child.failures = 1 if now - child.started > _STEADY_SECONDS else child.failures + 1
        child.start_at = now + _RESTARTS.delay_ms(child.failures) / 1000
        event(
            log,
            logging.ERROR,
            "process died",
            process=child.name,
            pid=pid,
            exit_code=code,
            again_in=round(child.start_at - now, 1),
        )
        if not self._was_ready and child.must_be_ready and child.failures >= _TRIES_BEFORE_READY:
            self._stop(status=1)

    def _fork(self, place: int, child: Child) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            self._become_child(parent)
            status = child.main(lambda: self._say_ready(place))
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            log.exception("process failed", extra={"fields": {"process": child.name}})
            status = 1
        finally:
            # Not sys.exit: no cleanup of the supervisor may run in a child.
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _become_child(self, parent: int) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # Ctrl-C and a closing terminal signal the whole group, but only the supervisor decides how to stop.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        die_with_parent(parent, signal.SIGTERM)
        for end in (self._wake, self._wake_end, self._ready, *self._close_in_child):
            os.close(end)

    def _say_ready(self, place: int) -> None:
        os.write(self._ready_end, bytes([place]))


def run_in_child_process(work: Callable[[], int]) -> int:
    """Run ``work`` in a child process, wait for it, and return its exit code.

    Whatever it imports and opens is gone afterwards.
    """
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        status = work()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
