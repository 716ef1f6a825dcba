"""One HTTP worker: uvicorn on a socket that has been bound elsewhere."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
import uvloop  # noqa: F401 — imported before the fork, for its pages to be shared

from lightwell.auth import certificate
from lightwell.web.cache_sweep import sweep_cache
from lightwell.web.gateway import Gateway
from lightwell.web.http1.acceptor import Acceptor
from lightwell.web.http1.certificate_reload import CertificateReload
from lightwell.web.http1.connections import Connections, connection_limit
from lightwell.web.http1.protocol import SILENT_SECONDS, Protocol
from lightwell.web.http1.tls import tls_files
from lightwell.web.requests.proxies import Proxies

if TYPE_CHECKING:
    from lightwell.settings import Settings

log = logging.getLogger(__name__)

GRACE_SECONDS = 20
"""How long requests in progress get to finish."""
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """Reports when it is ready, and exits with code 0 after SIGTERM."""

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: Gateway,
        on_ready: Callable[[], None],
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(config)
        self._settings = gateway.state.settings
        self._tls = tls
        self._recorder = gateway.state.recorder
        self._state = gateway.state
        self._bearer_authentication = gateway.state.bearer_authentication
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Like uvicorn's, except for how connections are accepted."""
        assert sockets is not None
        self._state.stores.objects.use_loop(asyncio.get_running_loop())
        self._sweep = asyncio.create_task(sweep_cache(self._state))
        listener = sockets[0]

        def make_protocol(on_made: Callable[[Protocol], None], on_lost: Callable[[], None]) -> Protocol:
            return Protocol(self.config, self.server_state, {}, on_made=on_made, on_lost=on_lost)

        proxies = Proxies(self._settings.proxies)
        connections = Connections(connection_limit(), proxies.trusts, self._recorder.connections)
        acceptor = Acceptor(listener, make_protocol, self._recorder, connections, self._tls)
        if (files := tls_files(self._settings)) is not None:
            reload = CertificateReload(files, acceptor.use_certificate)
            reload.start()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.read)
        acceptor.start(self.config.backlog)
        self.servers = [acceptor]  # type: ignore[list-item]
        self.started = True
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Like uvicorn's; then stop the authorizers, too."""
        self._sweep.cancel()
        await super().shutdown(sockets)
        await self._bearer_authentication.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        signal.signal(signal.SIGTERM, self.handle_exit)
        yield


def serve(
    gateway: Gateway, listener: socket.socket, on_ready: Callable[[], None], tls: ssl.SSLContext | None
) -> None:
    """Serve requests on ``listener`` until SIGTERM, then finish those in progress.

    ``tls`` is the result of `check_tls`; newer certificates in the same files are loaded for new connections.
    """
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
        # On every response, including those that `Protocol` sends without the gateway.
        headers=[("x-content-type-options", "nosniff")],
        backlog=_BACKLOG,
        timeout_keep_alive=int(SILENT_SECONDS),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _Server(config, gateway, on_ready, tls).run(sockets=[listener])


def check_tls(settings: Settings, now: int) -> ssl.SSLContext | None:
    """A TLS context with the certificate and its key; None if the settings name none.

    Raises `ConfigurationError` if they cannot be used. A certificate that has expired, or is not valid yet,
    is only logged: it is up to each client whether to accept it.
    """
    files = tls_files(settings)
    if files is None:
        return None
    context = files.load()
    fault = certificate.validity(files.cert).fault(now)
    if fault is not None:
        log.warning("the certificate in %s %s", files.cert, fault)
    return context
