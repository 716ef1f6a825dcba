"""Waiting for the server of a data folder that is starting, or may be about to start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic, sleep

from lightwell.cli.running_server import RunningServer, find
from lightwell.errors import LightwellError
from lightwell.settings import Settings

_LOOK_SECONDS = 0.05
# From the start of a server's process until it has locked its data folder.
_BEGIN_SECONDS = 2.0
# A server that migrates a large database takes long, but a command had better say so than hang.
_READY_SECONDS = 60.0
_SILENT_SECONDS = 1.0


def wait_until_ready(settings: Settings, seconds: float) -> RunningServer:
    """The server of the data folder, once it answers requests.

    Raises `LightwellError` if that takes longer than ``seconds``, or if the server ends before.
    """
    until = monotonic() + seconds
    seen: RunningServer | None = None
    while True:
        server = find(settings)
        if server is not None and server.is_ready:
            return server
        if server is None and seen is not None:
            raise LightwellError(
                f"The server has ended without being ready ({seen}): see what it has printed"
            )
        if monotonic() >= until:
            if server is not None:
                raise LightwellError(
                    f"After {seconds:g} seconds {server} is not ready yet: see what it has printed, or give "
                    "it more time with --timeout"
                )
            raise LightwellError(
                f"No server has come up on the data folder {settings.data} within {seconds:g} seconds: start "
                "`lightwell serve`, or check --data"
            )
        seen = server
        sleep(_LOOK_SECONDS)


def wait_while_starting(settings: Settings, is_usable: Callable[[], bool]) -> None:
    """Wait until ``is_usable``, for as long as a server is starting or may be about to start.

    Returns in any case after a while; the caller then says what is missing.
    """
    began = monotonic()
    has_begun = is_told = False
    while not is_usable():
        server, waited = find(settings), monotonic() - began
        if server is None and (has_begun or waited > _BEGIN_SECONDS):
            return
        if (server is not None and server.is_ready) or waited > _READY_SECONDS:
            return
        has_begun = server is not None
        if waited > _SILENT_SECONDS and not is_told:
            is_told = True
            whom = server or f"a server that may be starting on {settings.data}"
            print(f"lightwell: waiting for {whom}", file=sys.stderr)
        sleep(_LOOK_SECONDS)
