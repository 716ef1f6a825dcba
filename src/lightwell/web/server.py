"""One HTTP worker: uvicorn on a socket that was bound elsewhere."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop  # noqa: F401 — imported before the fork, for its pages to be shared

from lightwell.errors import ConfigurationError
from lightwell.web.acceptor import Acceptor
from lightwell.web.gateway import Gateway
from lightwell.web.protocol import SILENT_SECONDS, Protocol

if TYPE_CHECKING:
    from lightwell.settings import Settings

# Requests in flight get so long to finish.
GRACE_SECONDS = 20
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """Says when it accepts, and ends with exit code 0 after SIGTERM."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._recorder = gateway.state.recorder
        self._federation = gateway.state.federation
        self._say_ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, but for how connections are taken."""
        assert sockets is not None
        listener = sockets[0]

        def make() -> Protocol:
            return Protocol(self.config, self.server_state, {}, on_count=acceptor.count)

        acceptor = Acceptor(listener, make, self._recorder, self.config.ssl)
        acceptor.start(self.config.backlog)
        self.servers = [acceptor]  # type: ignore[list-item]
        self.started = True
        self._say_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own; then what requests have started ends, too."""
        await super().shutdown(sockets)
        await self._federation.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield


def serve(gateway: Gateway, listener: socket.socket, settings: Settings, ready: Callable[[], None]) -> None:
    """Answer requests on ``listener`` until SIGTERM, then finish those in flight."""
    tls: dict[str, Any] = {}
    if settings.tls_cert is not None:
        tls = {"ssl_certfile": str(settings.tls_cert), "ssl_keyfile": str(settings.tls_key)}
    config = uvicorn.Config(
        gateway,
        interface="asgi3",
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # On every answer, those that `Protocol` gives without asking the gateway included.
        headers=[("x-content-type-options", "nosniff")],
        backlog=_BACKLOG,
        timeout_keep_alive=int(SILENT_SECONDS),
        timeout_graceful_shutdown=GRACE_SECONDS,
        **tls,
    )
    _Server(config, gateway, ready).run(sockets=[listener])


def check_tls(settings: Settings) -> None:
    """Raises `ConfigurationError` if the certificate and its key cannot be used."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return
    for path in (cert, key):
        if not Path(path).is_file():
            raise ConfigurationError(f"{path} does not exist; tls_cert and tls_key take PEM files")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"{cert} and {key} are no certificate with its key: {error}") from None
