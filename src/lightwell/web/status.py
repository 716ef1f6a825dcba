"""/healthz, /readyz, /metrics and /version: for monitoring, without a signature."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import msgspec

from lightwell import __version__
from lightwell.errors import LightwellError
from lightwell.observe.logs import event
from lightwell.observe.metrics import Meter
from lightwell.web.requests.responses import Response, plain
from lightwell.web.requests.state import ReadinessCheck, ReadinessFailure

log = logging.getLogger(__name__)

# A readiness check writes to the storage, so however often it is requested, each process runs it only this
# often.
_CHECK_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0
# Probes come every second for days: failures are logged when they change, and then at this interval.
_REMINDER_SECONDS = 300.0
_TEXT = b"text/plain; version=0.0.4; charset=utf-8"


Failures = dict[str, ReadinessFailure | None]
"""Checks by their names, and why each failed."""


class Status:
    """The status routes of one process. `close` it at the end."""

    def __init__(self, meter: Meter, checks: Sequence[ReadinessCheck]) -> None:
        self._meter = meter
        self._check_list = checks
        # Of their own, one for each check: neither may what is busy or hangs elsewhere make a server seem
        # unready, nor one check another.
        self._threads = ThreadPoolExecutor(max(1, len(checks)), thread_name_prefix="lightwell-status")
        self._unfinished: dict[str, asyncio.Future[ReadinessFailure | None]] = {}
        self._routes: dict[bytes, Callable[[], Awaitable[Response]]] = {
            b"/healthz": self._alive,
            b"/readyz": self._ready,
            b"/metrics": self._metrics,
            b"/version": self._version,
        }
        self._running: tuple[float, asyncio.Task[Failures]] | None = None
        self._logged_codes: dict[str, str] = {}  # of the checks that failed
        self._logged_at = 0.0

    def route(self, method: str, path: bytes) -> Callable[[], Awaitable[Response]] | None:
        """The handler of this path; None if it is not a status route."""
        found = self._routes.get(path)
        if found is None or method in ("GET", "HEAD"):
            return found
        return self._not_allowed

    async def _alive(self) -> Response:
        return plain(200, b'{"status":"ok"}')

    async def _version(self) -> Response:
        return plain(200, msgspec.json.encode({"name": "lightwell", "version": __version__}))

    async def _metrics(self) -> Response:
        return plain(200, self.metrics(), _TEXT)

    async def _ready(self) -> Response:
        """Only codes, without reasons: anyone may ask, and reasons name paths, hosts and users."""
        failures = await self.failures()
        found = {name: "ok" if failure is None else failure.code for name, failure in failures.items()}
        is_ready = all(code == "ok" for code in found.values())
        body = msgspec.json.encode({"status": "ready" if is_ready else "not ready", "checks": found})
        return plain(200 if is_ready else 503, body)

    async def _not_allowed(self) -> Response:
        response = plain(405, b'{"message":"GET or HEAD only."}')
        response.headers += [(b"allow", b"GET, HEAD"), (b"x-amzn-errortype", b"MethodNotAllowedException")]
        response.error = "MethodNotAllowedException"
        return response

    async def failures(self) -> Failures:
        """Each check, and why it failed, None if it did not; as found a moment ago."""
        return await asyncio.shield(self._checks())

    def close(self) -> None:
        """Start no more checks; what hangs is left to itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def metrics(self) -> bytes:
        """What /metrics shows."""
        return self._meter.render([("version", __version__)])

    def _checks(self) -> asyncio.Task[Failures]:
        """The checks that are running or have just run; concurrent requests share them."""
        now = monotonic()
        if self._running is None or (self._running[1].done() and now - self._running[0] > _CHECK_SECONDS):
            self._running = now, asyncio.create_task(self._run_checks())
        return self._running[1]

    async def _run_checks(self) -> Failures:
        """Run all checks at once, and log why any failed."""
        found = await asyncio.gather(*map(self._run, self._check_list))
        failures = {check.name: failure for check, failure in zip(self._check_list, found, strict=True)}
        failed = {name: failure for name, failure in failures.items() if failure is not None}
        self._log(failed)
        return failures

    async def _run(self, check: ReadinessCheck) -> ReadinessFailure | None:
        loop = asyncio.get_running_loop()
        try:
            # One that still hangs since the last time is waited for again, not started again.
            result = self._unfinished.get(check.name)
            if result is None or result.done():
                result = self._unfinished[check.name] = loop.run_in_executor(self._threads, check.run)
                result.add_done_callback(_seen)
            return await asyncio.wait_for(asyncio.shield(result), _TIMEOUT_SECONDS)
        except TimeoutError:
            return ReadinessFailure("timeout", f"no answer within {_TIMEOUT_SECONDS:.0f} seconds")
        except LightwellError as error:
            return ReadinessFailure("unavailable", str(error))
        except Exception as error:
            return ReadinessFailure("failed", f"{type(error).__name__}: {error}")

    def _log(self, failed: dict[str, ReadinessFailure]) -> None:
        codes, now = {name: failure.code for name, failure in failed.items()}, monotonic()
        if codes == self._logged_codes and (not failed or now - self._logged_at < _REMINDER_SECONDS):
            return
        self._logged_codes, self._logged_at = codes, now
        if failed:
            event(
                log,
                logging.WARNING,
                "not ready",
                **{name: failure.reason for name, failure in failed.items()},
            )
        else:
            event(log, logging.INFO, "ready again")


def _seen(result: asyncio.Future[ReadinessFailure | None]) -> None:
    """Whatever became of a check that nobody waits for any more is no news."""
    if not result.cancelled():
        result.exception()
