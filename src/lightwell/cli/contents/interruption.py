"""What becomes of an import's job when its command is stopped: Ctrl-C, SIGTERM, or a terminal that is closed.

On a terminal the user is asked. Elsewhere the job is cancelled, since nobody would expect it to begin again
days later; unless a server works on it, which goes on.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from lightwell.cli import question, running_server
from lightwell.errors import ConflictError, LightwellError

if TYPE_CHECKING:
    from lightwell.domain.imports.jobs import Job
    from lightwell.operations.context import Context

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(LightwellError):
    """The command was stopped; the text says what becomes of its job."""


class Interruption:
    """Remembers the first of the signals; a second one ends the process at once.

    ``is_set`` and `wait` are for the loop that works on the job, which then calls `decide` once.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._event = threading.Event()
        self._is_asking = False
        self._job: Job | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        if self.number is None:
            self.number = number
            self._event.set()
        elif self._is_asking:
            raise KeyboardInterrupt
        else:
            self._end_at_once()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    @property
    def exit_code(self) -> int:
        """As shells have it: 128 and the number of the signal."""
        return 128 + (self.number or 0)

    def wait(self, seconds: float) -> bool:
        """Wait for a signal; whether there was one."""
        return self._event.wait(seconds)

    def decide(self, ctx: Context, job: Job, *, is_check: bool, pause: Callable[[], None]) -> None:
        """Cancel the job or raise `Interrupted`, after a question if somebody can answer it.

        ``pause`` is called before the question. A job that has ended meanwhile is left as it is.
        """
        self._job = job
        server = None if is_check else running_server.find(ctx.settings)
        stop = server is None
        if not is_check and self.number == signal.SIGINT and question.is_interactive():
            pause()
            stop = self._ask(ctx, job, f"go on in {server}" if server else "go on later")
        if not stop:
            how = (
                f"goes on in {server}"
                if server
                else "goes on when `lightwell serve` or another import runs here"
            )
            raise Interrupted(f"Import job {job.id} {how}; `lightwell jobs cancel {job.id}` stops it")
        _cancel(ctx, job)
        if is_check:
            raise Interrupted("The check was stopped; nothing was imported")

    def _ask(self, ctx: Context, job: Job, otherwise: str) -> bool:
        """Whether to stop the job, which is worked on meanwhile."""
        self._is_asking = True
        try:
            while True:
                answer = question.ask(
                    f"\nImport job {job.id}: (s)top it, or let it {otherwise} (g)? [S/g] "
                ).lower()
                if answer in ("", "s", "stop", "g", "go"):
                    return not answer.startswith("g")
        except KeyboardInterrupt:
            _cancel(ctx, job)
            self._end_at_once()
        finally:
            self._is_asking = False

    def _end_at_once(self) -> NoReturn:
        """Without waiting for threads and codec workers, which end with this process."""
        known = f"; `lightwell jobs show {self._job.id}` says what became of the job" if self._job else ""
        os.write(2, f"\nlightwell: ended at once{known}\n".encode())
        os._exit(self.exit_code)


def _cancel(ctx: Context, job: Job) -> None:
    from lightwell.operations.import_jobs import cancel_import_job

    try:
        cancel_import_job(ctx, job)
    except ConflictError:
        pass  # it has just ended by itself
    except LightwellError as error:
        raise Interrupted(
            f"Import job {job.id} could not be cancelled: {error}. Try `lightwell jobs cancel {job.id}` later"
        ) from error


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Handle the signals; those that this process ignores, as with nohup, stay ignored."""
    interruption = Interruption()
    before = {
        number: signal.signal(number, interruption)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
