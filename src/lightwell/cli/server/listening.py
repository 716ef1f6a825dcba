"""The socket that a server listens on, bound before it forks."""

from __future__ import annotations

import errno
import resource
import socket
from contextlib import suppress
from time import monotonic, sleep

from lightwell.cli.server.network_exposure import listen_addresses
from lightwell.errors import LightwellError

# A server that was just killed may still hold the port.
_BIND_TIMEOUT_SECONDS = 2.0


def bind(host: str, port: int, flag: str = "--port", host_flag: str = "--host") -> socket.socket:
    """The bound socket; whoever answers on it starts to listen once it can.

    The flags name what to change. Raises `LightwellError` if it cannot be bound.
    """
    family, kind, protocol, address = listen_addresses(host, port, host_flag)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    free = ", or 0 for any free port" if flag == "--port" else ""
    until = monotonic() + _BIND_TIMEOUT_SECONDS
    while True:
        try:
            listener.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and monotonic() < until:
                sleep(0.05)
                continue
            listener.close()
            advice = {
                errno.EADDRINUSE: f"the port is in use; choose another with {flag}{free}",
                errno.EACCES: f"ports below 1024 need extra privileges; choose another with {flag}",
                errno.EADDRNOTAVAIL: f"this machine has no such address; check {host_flag}",
            }.get(error.errno or 0, error.strerror)
            raise LightwellError(f"Cannot listen on {host}:{port}: {advice}") from None
        listener.set_inheritable(True)
        return listener


def raise_file_limit() -> None:
    """Allow as many open connections, packs and database files as the system lets this user have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
