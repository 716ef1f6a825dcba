"""A process tree: a supervisor without threads that forks its children and starts again what dies.

Children are forked, not spawned, so that they share what the supervisor has imported. They die with it,
however it dies.
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

from lightwell.observe.logs import event
from lightwell.process_death import die_with_parent

log = logging.getLogger("lightwell.serve")

# Children finish what they are at within the first; what is left is killed before the contract's 30 seconds.
GRACE_SECONDS = 25.0
# Who stops last has at least so much of that.
_LAST_SECONDS = 4.0
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0
_STEADY_SECONDS = 30.0  # who lived so long starts its back-off anew
_TRIES_BEFORE_READY = 3


@dataclass(slots=True)
class Child:
    """One process of the tree. ``main`` gets what to call once it is ready, and answers the exit code.

    ``stops_last``: the others need it to finish what they are at.
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
    """Runs children until a signal says stop.

    ``on_ready`` is called once, when all that must are ready; ``on_stop`` when the end begins.
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
        self._stops = 0
        self._stop_by = 0.0
        self._is_last = False  # also who stops last has been told
        self._status = 0
        self._wake, self._wake_end = os.pipe()
        self._ready, self._ready_end = os.pipe()
        for end in (self._wake, self._wake_end, self._ready):
            os.set_blocking(end, False)

    def run(self) -> int:
        """Run to the end; answers the exit code: 0 after a signal, 1 if the children could not start."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        # What is there now is there for good: collecting it would only unshare its pages.
        gc.collect()
        gc.freeze()
        gc.enable()
        while True:
            now = monotonic()
            self._reap(now)
            if self._stops:
                if not any(child.pid for child in self._children):
                    return self._status
                if now >= self._stop_by or self._stops > 1:
                    self._kill(signal.SIGKILL)
                elif not self._is_last and self._is_time_for_last(now):
                    self._is_last = True
                    self._kill(signal.SIGTERM)
            else:
                self._start_due(now)
            self._wait(now)

    def _wait(self, now: float) -> None:
        waits = [child.start_at - now for child in self._children if not child.pid and not self._stops]
        if self._stops:
            end = self._stop_by if self._is_last else self._stop_by - _LAST_SECONDS
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
        # A child that was forked a moment ago and still has these handlers stops nobody.
        if os.getpid() != self._pid:
            return
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(status=0)
        elif number == signal.SIGHUP:
            # Whoever has something to read again does; the others ignore it.
            self._kill(signal.SIGHUP)

    def _stop(self, status: int) -> None:
        self._stops += 1
        if self._stops == 1:
            self._status = status
            self._stop_by = monotonic() + GRACE_SECONDS
            self._on_stop()
            self._kill(signal.SIGTERM)

    def _is_time_for_last(self, now: float) -> bool:
        first = (child for child in self._children if not child.stops_last)
        return now >= self._stop_by - _LAST_SECONDS or not any(child.pid for child in first)

    def _kill(self, number: int) -> None:
        for child in self._children:
            if child.pid and (self._is_last or not child.stops_last or number == signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)

    def _start_due(self, now: float) -> None:
        for place, child in enumerate(self._children):
            if not child.pid and child.start_at <= now:
                child.started = now
                child.pid = self._fork(place, child)
        # A signal that came in between has not seen the new pids.
        if self._stops:
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
                self._mourn(child, os.waitstatus_to_exitcode(status), now)

    def _mourn(self, child: Child, code: int, now: float) -> None:
        pid, child.pid = child.pid, 0
        if self._stops:
            return
        child.failures = 1 if now - child.started > _STEADY_SECONDS else child.failures + 1
        child.start_at = now + min(_FIRST_DELAY * 2 ** (child.failures - 1), _LONGEST_DELAY)
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
            # Not sys.exit: nothing of the supervisor's may run in a child.
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _become_child(self, parent: int) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # Ctrl-C and a terminal that is closed reach the whole group; the supervisor alone says how to end.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        die_with_parent(parent, signal.SIGTERM)
        for end in (self._wake, self._wake_end, self._ready, *self._close_in_child):
            os.close(end)

    def _say_ready(self, place: int) -> None:
        os.write(self._ready_end, bytes([place]))


def run_apart(work: Callable[[], int]) -> int:
    """Run ``work`` in a process of its own and wait; answers its exit code.

    What it imports and opens is gone with it.
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
