"""What an import job waits for that another process works on, as far as it can be seen from here."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lightwell.cli.wording import duration, size
from lightwell.domain.states import JobPhase
from lightwell.errors import StorageUnavailableError
from lightwell.stores.objects import packs
from lightwell.stores.objects.local import LocalObjects
from lightwell.stores.objects.sealed import bare

if TYPE_CHECKING:
    from lightwell.domain.imports.jobs import Job
    from lightwell.operations.context import Context

# Without progress for so long a job waits for something; a large file takes its time, too.
_QUIET_SECONDS: Final = 8.0
_LONG_SECONDS: Final = 60.0
SCARCE: Final = 1 << 30
"""With less room on a disk than this, in bytes, that may be what a job waits for."""


class Waiting:
    """Says once that a job does not go on and why, and once that it goes on.

    ``why`` says what is away, if that is known; ``now`` are seconds that only go forward.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        why: Callable[[], str | None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._why = why
        self._now = now
        self._seen: object = None
        self._since = self._asked = now()
        self._is_told = False

    def look(self, job: Job, finished: int) -> None:
        """The job as it is now, and how many of its files are finished."""
        now = self._now()
        seen = job.phase, job.scanned, job.read, finished
        if seen != self._seen:
            self._seen, self._since = seen, now
            if self._is_told:
                self._is_told = False
                self._say("lightwell: the import job goes on")
            return
        quiet = now - self._since
        if self._is_told or quiet < _QUIET_SECONDS or now - self._asked < _QUIET_SECONDS:
            return
        self._asked = now
        why = self._why()
        if why is not None:
            why = f"perhaps because {why}; the server's log says more"
        elif job.phase == JobPhase.LIST or quiet >= _LONG_SECONDS:
            why = "the server's log says if it waits, and for what"
        else:
            return
        self._is_told = True
        self._say(f"lightwell: the import job has not gone on for {duration(quiet)}: {why}")


def what_is_away(ctx: Context) -> str | None:
    """What this process finds missing that imports need: room on a disk, or the folder of packs."""
    folders = [ctx.settings.data]
    try:
        packs.check_mounted(ctx.stores.db, ctx.stores.objects)
        if isinstance(objects := bare(ctx.stores.objects), LocalObjects):
            folders.append(objects.root)
        for folder in folders:
            if (free := shutil.disk_usage(folder).free) < SCARCE:
                return f"only {size(free)} are free at {folder}"
    except StorageUnavailableError as error:
        return str(error).rstrip(".")
    except OSError as error:
        return f"{folder} cannot be looked at ({error.strerror})"
    return None
