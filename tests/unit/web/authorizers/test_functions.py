"""Functions as an event loop holds them: behind HTTP, and in processes of their own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lightwell.auth.lambda_authorizer import AuthorizerFailure, HttpTarget, PythonTarget
from lightwell.settings import Settings
from lightwell.web.authorizers import function_process, http_function, python_function
from lightwell.web.authorizers.http_function import HttpFunction
from lightwell.web.authorizers.python_function import PythonFunction

ARN = "arn:aws:lambda:us-east-1:000000000000:function:tested"


async def kind_of(call: Awaitable[bytes]) -> str:
    with pytest.raises(AuthorizerFailure) as failure:
        await call
    return failure.value.kind


class Endpoint:
    """An HTTP server that says what it is told to, a text a request; None closes the connection instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(size))
                answer = self.answers.pop(0) if self.answers else b""
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer or (b"content-length" not in answer and answer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def push(self, data: bytes) -> None:
        """Send what nobody asked for, on every open connection."""
        for writer in self._writers:
            writer.write(data)

    async def run(self, use: Callable[[HttpFunction], Awaitable[None]], path: str = "/f?x=1") -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        function = HttpFunction(HttpTarget(False, "127.0.0.1", port, f"127.0.0.1:{port}", path))
        try:
            await use(function)
        finally:
            function.close()
            await function.closed()
            server.close()
            for writer in list(self._writers):
                writer.close()
            await server.wait_closed()
            while self.open:
                await asyncio.sleep(0.005)


def said(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (status, more, len(body), body)


def test_posts_the_event_and_keeps_the_connection() -> None:
    endpoint = Endpoint(said(b"1"), said(b"2"), said(b"3", more=b"connection: close\r\n"), said(b"4"))

    async def use(function: HttpFunction) -> None:
        assert [await function.call(b"{}", "id") for _ in range(4)] == [b"1", b"2", b"3", b"4"]

    asyncio.run(endpoint.run(use))
    assert endpoint.connections == 2
    assert endpoint.requests[0].startswith(b"POST /f?x=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert endpoint.requests[0].endswith(b"content-length: 2\r\n\r\n{}")


def test_calls_again_if_an_idle_connection_was_closed() -> None:
    endpoint = Endpoint(said(b"1"), None, said(b"2"), None)

    async def use(function: HttpFunction) -> None:
        assert await function.call(b"{}", "id") == b"1"
        assert await function.call(b"{}", "id") == b"2"
        # On a new connection it is not tried twice.
        function.close()
        assert await kind_of(function.call(b"{}", "id")) == "failed"

    asyncio.run(endpoint.run(use))
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (said(b"{}", b"404 Not Found"), "misconfigured"),
        (said(b"{}", b"403 Forbidden"), "misconfigured"),
        (said(b"{}", b"429 Too Many Requests"), "failed"),
        (said(b"{}", b"500 Internal Server Error"), "failed"),
        (said(b"{}", b"302 Found", b"location: http://127.0.0.1/\r\n"), "failed"),
        (said(b"{}", more=b"X-Amz-Function-Error: Unhandled\r\n"), "failed"),
        (said(b"x" * (http_function.MAX_RESPONSE + 1)), "misconfigured"),
        (b"no HTTP\r\n\r\n", "failed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nshort", "failed"),
        (
            b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\ncontent-length: 0\r\n\r\n",
            "failed",
        ),
        (None, "failed"),
    ],
)
def test_fails_as_the_invoke_api_says(answer: bytes | None, kind: str) -> None:
    async def use(function: HttpFunction) -> None:
        assert await kind_of(function.call(b"{}", "id")) == kind

    asyncio.run(Endpoint(answer).run(use))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: content-length\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + said(b"[1]"),
    ],
)
def test_reads_a_body_however_its_length_is_given(answer: bytes) -> None:
    async def use(function: HttpFunction) -> None:
        assert await function.call(b"{}", "id") == b"[1]"

    asyncio.run(Endpoint(answer).run(use))


STRAY = said(b"stray")


@pytest.mark.parametrize(
    ("at_once", "later"),
    [(STRAY, b""), (b"", STRAY), (b"", STRAY[:-3]), (STRAY[:9], STRAY[9:])],
    ids=["at-once", "later", "half-later", "in-two"],
)
def test_never_takes_a_stray_response_for_the_next_one(at_once: bytes, later: bytes) -> None:
    endpoint = Endpoint(*(said(b"%d" % n) + at_once for n in range(3)))

    async def use(function: HttpFunction) -> None:
        for n in range(3):
            assert await function.call(b"{}", "id") == b"%d" % n
            endpoint.push(later)
            await asyncio.sleep(0.05)

    asyncio.run(endpoint.run(use))
    assert endpoint.connections == 3


def test_fails_if_nobody_listens() -> None:
    async def use() -> None:
        function = HttpFunction(HttpTarget(False, "127.0.0.1", 1, "127.0.0.1:1", "/"))
        assert await kind_of(function.call(b"{}", "id")) == "failed"

    asyncio.run(use())


def test_calls_in_turns_of_the_addresses_that_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address has sent all it may; who comes later from another is next."""
    monkeypatch.setattr(http_function, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(http_function, "MAX_WAITING", 40)
    endpoint = Endpoint()
    order: list[str] = []

    async def use(function: HttpFunction) -> None:
        async def one(client: str) -> None:
            await function.call(b"{}", "id", client)
            order.append(client)

        calls = [asyncio.create_task(one("greedy")) for _ in range(11)]
        while len(endpoint.requests) < 1:
            await asyncio.sleep(0.005)
        assert await kind_of(function.call(b"{}", "id", "greedy")) == "busy"
        calls.append(asyncio.create_task(one("other")))
        await asyncio.sleep(0)
        endpoint.push(said(b"1"))
        endpoint.answers = [said(b"1")] * 11
        await asyncio.gather(*calls)
        assert order.index("other") <= 2

    asyncio.run(endpoint.run(use))


def test_cleans_up_after_cancelled_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_function, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(http_function, "MAX_WAITING", 3)
    endpoint = Endpoint()

    async def use(function: HttpFunction) -> None:
        calls = [asyncio.create_task(function.call(b"{}", "id")) for _ in range(7)]
        while len(endpoint.requests) < 4:
            await asyncio.sleep(0.005)
        assert await kind_of(function.call(b"{}", "id")) == "busy"
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        while endpoint.open:
            await asyncio.sleep(0.005)
        endpoint.answers = [said(b"1")]
        assert await function.call(b"{}", "id") == b"1"

    asyncio.run(endpoint.run(use))
    assert endpoint.connections == 5


# In processes -----------------------------------------------------------------------------------------------

MODULE = """
import json, os, sys, time
def handler(event, context):
    match event.get("do"):
        case "raise": raise ValueError("no")
        case "exit": os._exit(3)
        case "hang": time.sleep(600)
        case "sleep": time.sleep(event["pause"])
        case "until":
            while not os.path.exists(event["file"]): time.sleep(0.005)
        case "print":
            print("on stdout"); print("on stderr", file=sys.stderr)
        case "environment": return sorted(os.environ)
        case "long": return "x" * (2 << 20)
    return [event.get("n"), os.getpid(), context.aws_request_id, context.invoked_function_arn]
"""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no process is killed for what takes it long."""
    monkeypatch.setattr(function_process, "START_SECONDS", 120)
    monkeypatch.setattr(function_process, "CALL_SECONDS", 120)


def children() -> set[int]:
    """The process ids of this process's children, dead ones that nobody has waited for too."""
    return {child.pid for child in psutil.Process().children()}


def in_processes(
    folder: Path, use: Callable[[PythonFunction], Awaitable[None]], name: str = "handler", most: int = 4
) -> None:
    (folder / "tested.py").write_text(MODULE)
    settings = Settings(data=folder, authorizers_dir=folder, authorizer_processes=most)

    async def main() -> None:
        function = PythonFunction(PythonTarget("tested", name), ARN, settings)
        try:
            await use(function)
        finally:
            function.close()
            await function.closed()

    threads, processes = set(threading.enumerate()), children()
    asyncio.run(main())
    assert set(threading.enumerate()) <= threads
    assert children() <= processes


async def call(function: PythonFunction, **event: object) -> list[object]:
    found: list[object] = json.loads(await function.call(json.dumps(event).encode(), "the-id"))
    return found


async def late(function: PythonFunction, seconds: float, **event: object) -> None:
    """A call that is given up."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(function, **event), seconds)


def test_keeps_a_process_warm(tmp_path: Path) -> None:
    async def use(function: PythonFunction) -> None:
        first = await call(function, n=1)
        assert first == [1, first[1], "the-id", ARN]
        for n in range(20):
            assert await call(function, n=n) == [n, *first[1:]]

    in_processes(tmp_path, use)


def test_goes_on_after_an_exception_and_after_a_death(tmp_path: Path) -> None:
    async def use(function: PythonFunction) -> None:
        _, process, *_ = await call(function)
        assert await kind_of(function.call(b'{"do":"raise"}', "id")) == "failed"
        assert (await call(function))[1] == process
        assert await kind_of(function.call(b'{"do":"exit"}', "id")) == "failed"
        assert (await call(function))[1] != process
        assert await kind_of(function.call(b'{"do":"long"}', "id")) == "failed"
        await call(function)

    in_processes(tmp_path, use)


def test_drops_late_results_and_kills_hanging_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = tmp_path / "over"

    async def use(function: PythonFunction) -> None:
        _, process, *_ = await call(function)
        await late(function, 0.05, do="until", file=str(over))
        over.touch()
        assert (await call(function, n=2))[:2] == [2, process]
        with monkeypatch.context() as impatient:
            impatient.setattr(function_process, "CALL_SECONDS", 0.5)
            await late(function, 0.05, do="hang")
        assert (await call(function, n=3))[1] != process

    in_processes(tmp_path, use, most=1)


def test_starts_more_processes_for_a_burst_up_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(python_function, "SCALE_UP_SECONDS", 0.001)
    monkeypatch.setattr(python_function, "MAX_WAITING", 12)

    async def use(function: PythonFunction) -> None:
        await call(function)
        calls = [asyncio.create_task(call(function, do="sleep", pause=0.05, n=n)) for n in range(13)]
        await asyncio.sleep(0)
        assert await kind_of(function.call(b"{}", "id")) == "busy"
        found = await asyncio.gather(*calls)
        assert [one[0] for one in found] == list(range(13))
        assert 1 <= len({one[1] for one in found}) <= 2

    in_processes(tmp_path, use, most=2)


def test_cancels_a_waiting_call(tmp_path: Path) -> None:
    over = tmp_path / "over"

    async def use(function: PythonFunction) -> None:
        _, process, *_ = await call(function)
        hanging = asyncio.create_task(call(function, do="until", file=str(over)))
        await asyncio.sleep(0)
        for _ in range(50):
            await late(function, 0.001, do="raise")
        over.touch()
        await hanging
        assert (await call(function, n=1))[:2] == [1, process]

    in_processes(tmp_path, use, most=1)


def test_reports_a_missing_function(tmp_path: Path) -> None:
    async def use(function: PythonFunction) -> None:
        calls = [kind_of(function.call(b"{}", "id")) for _ in range(5)]
        assert await asyncio.gather(*calls) == ["misconfigured"] * 5
        # Not tried again at once.
        assert await kind_of(function.call(b"{}", "id")) == "misconfigured"

    in_processes(tmp_path, use, name="missing")


def test_logs_what_a_function_prints(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def use(function: PythonFunction) -> None:
        await call(function, do="print")

    with caplog.at_level("INFO", logger="lightwell"):
        in_processes(tmp_path, use)
    lines = [record.fields["line"] for record in caplog.records if record.msg == "authorizer output"]  # type: ignore[attr-defined]
    assert sorted(lines) == ["on stderr", "on stdout"]


def test_keeps_the_servers_secrets_from_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTWELL_SECRET_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("OIDC_ISSUER", "told")

    async def use(function: PythonFunction) -> None:
        names = await call(function, do="environment")
        assert "OIDC_ISSUER" in names
        assert not [name for name in names if str(name).startswith(("LIGHTWELL_", "AWS_"))]

    in_processes(tmp_path, use)
