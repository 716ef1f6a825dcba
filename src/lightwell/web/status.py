"""/healthz, /readyz, /metrics and /version: for machines that watch the server, without a signature."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

import msgspec

from lightwell import __version__
from lightwell.errors import LightwellError
from lightwell.observe.logs import event
from lightwell.web.requests.responses import Response, plain
from lightwell.web.requests.state import AppState, Check, Fault

log = logging.getLogger(__name__)

# A readiness check writes to the storage; however often anybody asks, it runs once in this time a process.
_FRESH = 1.0
_PATIENCE = 10.0
# Probes come every second or so, and for days: what is wrong is logged when it changes, and then so often.
_REMINDER = 300.0
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


class Status:
    """The status routes of one process."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._routes: dict[bytes, Callable[[], Awaitable[Response]]] = {
            b"/healthz": self._alive,
            b"/readyz": self._ready,
            b"/metrics": self._metrics,
            b"/version": self._version,
        }
        self._asked: tuple[float, asyncio.Task[dict[str, str]]] | None = None
        self._logged: dict[str, str] = {}  # the codes of what was not ready then
        self._logged_at = 0.0

    def route(self, method: str, path: bytes) -> Callable[[], Awaitable[Response]] | None:
        """What answers this path; None if it is none of ours."""
        found = self._routes.get(path)
        if found is None or method in ("GET", "HEAD"):
            return found
        return self._not_allowed

    async def _alive(self) -> Response:
        return plain(200, b'{"status":"ok"}')

    async def _version(self) -> Response:
        return plain(200, msgspec.json.encode({"name": "lightwell", "version": __version__}))

    async def _metrics(self) -> Response:
        return plain(200, self._state.recorder.meter.render([("version", __version__)]), _TEXT)

    async def _ready(self) -> Response:
        """What is not ready by a code alone: anybody may ask, and reasons name paths, hosts and users."""
        found = await asyncio.shield(self._checks())
        is_ready = all(code == "ok" for code in found.values())
        body = msgspec.json.encode({"status": "ready" if is_ready else "not ready", "checks": found})
        return plain(200 if is_ready else 503, body)

    async def _not_allowed(self) -> Response:
        answer = plain(405, b'{"message":"GET or HEAD only."}')
        answer.headers += [(b"allow", b"GET, HEAD"), (b"x-amzn-errortype", b"MethodNotAllowedException")]
        answer.error = "MethodNotAllowedException"
        return answer

    def _checks(self) -> asyncio.Task[dict[str, str]]:
        """The checks that run, or ran just now; all who ask meanwhile share them."""
        now = monotonic()
        if self._asked is None or (self._asked[1].done() and now - self._asked[0] > _FRESH):
            self._asked = now, asyncio.create_task(self._run_checks())
        return self._asked[1]

    async def _run_checks(self) -> dict[str, str]:
        """Each check's code, ``ok`` where nothing is wrong; the reasons go to the log."""
        faults = {check.name: await self._run(check) for check in self._state.checks}
        bad = {name: fault for name, fault in faults.items() if fault is not None}
        self._log(bad)
        return {name: "ok" if fault is None else fault.code for name, fault in faults.items()}

    async def _run(self, check: Check) -> Fault | None:
        loop = asyncio.get_running_loop()
        try:
            asked: asyncio.Future[Fault | None] = loop.run_in_executor(self._state.threads, check.ask)
            return await asyncio.wait_for(asked, _PATIENCE)
        except TimeoutError:
            return Fault("timeout", f"no answer within {_PATIENCE:.0f} seconds")
        except LightwellError as error:
            return Fault("unavailable", str(error))
        except Exception as error:
            return Fault("failed", f"{type(error).__name__}: {error}")

    def _log(self, bad: dict[str, Fault]) -> None:
        codes, now = {name: fault.code for name, fault in bad.items()}, monotonic()
        if codes == self._logged and (not bad or now - self._logged_at < _REMINDER):
            return
        self._logged, self._logged_at = codes, now
        if bad:
            event(log, logging.WARNING, "not ready", **{name: fault.reason for name, fault in bad.items()})
        else:
            event(log, logging.INFO, "ready again")
