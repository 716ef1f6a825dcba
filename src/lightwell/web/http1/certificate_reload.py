"""Reloads the certificate on SIGHUP and when its files change, which they do every few weeks."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from lightwell.errors import ConfigurationError
from lightwell.observe.logs import event
from lightwell.web.http1.tls import TlsFiles

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0

_FileStates: TypeAlias = tuple[tuple[int, ...] | None, ...]


class CertificateReload:
    """Passes a new TLS context to ``apply``, for connections accepted from then on.

    If the files do not belong together, because only one has been written yet, say, that is logged and the
    old certificate stays. A separate thread watches them, so no request waits for a disk that does not
    respond.
    """

    def __init__(self, files: TlsFiles, apply: Callable[[ssl.SSLContext], None]) -> None:
        self._files = files
        self._apply = apply
        self._requested = threading.Event()

    def start(self) -> None:
        """Load them now and whenever they change. Call it on the event loop that ``apply`` is to be called
        on.
        """
        loop = asyncio.get_running_loop()
        # A daemon, so that one that is stuck on a file does not keep the process from ending.
        threading.Thread(target=self._run, args=(loop,), name="certificate-reload", daemon=True).start()

    def read(self) -> None:
        """Load them now, even if they do not look changed."""
        self._requested.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        last_states: _FileStates | None = None
        is_requested = False
        while not loop.is_closed():
            # Taken before loading them: what is written meanwhile is a change to be found next time.
            state = self._file_states()
            if is_requested or state != last_states:
                last_states = state
                self._read(loop)
            if is_requested := self._requested.wait(_POLL_SECONDS):
                self._requested.clear()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            context = self._files.load()
        except ConfigurationError as error:
            event(log, logging.ERROR, "new certificate refused, the old one stays", reason=str(error))
            return
        except Exception:
            # Keep watching for changes all the same.
            log.exception("loading the certificate failed, the old one stays")
            return
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(self._apply, context)
        event(log, logging.INFO, "certificate read", file=str(self._files.cert))

    def _file_states(self) -> _FileStates:
        return tuple(map(_file_state, self._files.all))


def _file_state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
