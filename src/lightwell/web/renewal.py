"""Reading the certificate again: on SIGHUP, and when its files change, which they do every few weeks."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from lightwell.auth import certificate
from lightwell.errors import ConfigurationError
from lightwell.observe.logs import event

log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0

_State: TypeAlias = tuple[tuple[int, ...] | None, ...]


class Renewal:
    """Hands a new TLS context to ``apply``, for connections that begin from then on.

    A pair of files that is no certificate with its key, such as one of which half is written, changes nothing
    but the log.
    """

    def __init__(self, cert: Path, key: Path, apply: Callable[[ssl.SSLContext], None]) -> None:
        self._cert = cert
        self._key = key
        self._apply = apply
        self._seen: _State | None = None

    def start(self) -> None:
        """Read them, and from now on when they change. On an event loop."""
        self._poll()

    def read(self) -> None:
        """Read them now."""
        # Before they are read: what is written meanwhile is a change that the next look finds.
        self._seen = self._state()
        try:
            context = certificate.load(self._cert, self._key)
        except ConfigurationError as error:
            event(log, logging.ERROR, "new certificate not taken, the old one stays", reason=str(error))
            return
        self._apply(context)
        event(log, logging.INFO, "certificate read", file=str(self._cert))

    def _poll(self) -> None:
        asyncio.get_running_loop().call_later(_POLL_SECONDS, self._poll)
        if self._state() != self._seen:
            self.read()

    def _state(self) -> _State:
        return tuple(map(_state_of, (self._cert, self._key)))


def _state_of(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
