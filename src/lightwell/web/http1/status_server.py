"""The status routes of a process that serves nothing else: ``lightwell worker``."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import uvicorn

from lightwell.web.http1.protocol import Protocol
from lightwell.web.requests.responses import plain
from lightwell.web.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightwell.observe.metrics import Meter
    from lightwell.web.requests.state import ReadinessCheck

Message = MutableMapping[str, Any]

# Probes are few; whoever opens more connections is refused.
_MOST_CONNECTIONS = 64
_BACKLOG = 64
_STOP_SECONDS = 2.0


class StatusServer:
    """Answers on a bound ``listener`` from a thread of its own. `begin` and `end` once each."""

    def __init__(self, listener: socket.socket, meter: Meter, checks: Sequence[ReadinessCheck]) -> None:
        self._listener = listener
        self._status = Status(meter, checks)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._respond,
                interface="asgi3",
                loop="asyncio",
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                headers=[("x-content-type-options", "nosniff"), ("cache-control", "no-store")],
                backlog=_BACKLOG,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="status", daemon=True
        )

    def begin(self) -> None:
        """From now on connections are accepted; they are answered soon."""
        self._listener.listen(_BACKLOG)
        self._thread.start()

    def end(self) -> None:
        """Stop answering."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._status.close()

    async def _respond(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        route = self._status.route(scope["method"], scope["raw_path"])
        if route is None:
            response = plain(404, b'{"message":"A worker answers /healthz, /readyz, /metrics and /version."}')
        else:
            response = await route()
        body = b"" if scope["method"] == "HEAD" else response.body
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": body})
