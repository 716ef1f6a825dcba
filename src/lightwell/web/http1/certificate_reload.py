"""Reading the certificate again: on SIGHUP, and when its files change, which they do every few weeks."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from lightwell.auth import certificate
from lightwell.errors import ConfigurationError
from lightwell.observe.logs import event

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0

_FileStates: TypeAlias = tuple[tuple[int, ...] | None, ...]


class CertificateReload:
    """Hands a new TLS context to ``apply``, for connections that begin from then on.

    A pair of files that is no certificate with its key, such as one of which half is written, changes nothing
    but the log. A thread of its own looks at them: no request waits for a disk that does not answer.
    """

    def __init__(self, cert: Path, key: Path, apply: Callable[[ssl.SSLContext], None]) -> None:
        self._cert = cert
        self._key = key
        self._apply = apply
        self._requested = threading.Event()

    def start(self) -> None:
        """Read them, and from now on when they change. On an event loop, on which ``apply`` is called."""
        loop = asyncio.get_running_loop()
        # A daemon: one that waits for a file does not hold up the end of the process.
        threading.Thread(target=self._run, args=(loop,), name="renewal", daemon=True).start()

    def read(self) -> None:
        """Read them now, whether they look changed or not."""
        self._requested.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        last_states: _FileStates | None = None
        is_requested = False
        while not loop.is_closed():
            # Before they are read: what is written meanwhile is a change that the next look finds.
            state = self._file_states()
            if is_requested or state != last_states:
                last_states = state
                self._read(loop)
            if is_requested := self._requested.wait(_POLL_SECONDS):
                self._requested.clear()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            context = certificate.load(self._cert, self._key)
        except ConfigurationError as error:
            event(log, logging.ERROR, "new certificate not taken, the old one stays", reason=str(error))
            return
        except Exception:
            # The next change is looked for all the same.
            log.exception("reading the certificate failed, the old one stays")
            return
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._apply, context)
        event(log, logging.INFO, "certificate read", file=str(self._cert))

    def _file_states(self) -> _FileStates:
        return tuple(map(_file_state, (self._cert, self._key)))


def _file_state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
