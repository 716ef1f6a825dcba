"""A real lightwell server in processes of its own, and the ways to talk to it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from lightwell.auth.credentials import read_credentials
from lightwell.settings import load
from lightwell.stores.db.database import Database
from tests.encryption import everywhere

REGION = "us-east-1"
# However busy the machine is; all of these return early.
START_SECONDS = 240
STOP_SECONDS = 180
UNTIL_SECONDS = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """A response as received; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Server:
    """A running server. ``out`` and ``err`` are the lines that it has written so far."""

    process: subprocess.Popen[str]
    data: Path
    database_url: str
    url: str = ""
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname and parts.port
        return parts.hostname, parts.port

    @property
    def root_pair(self) -> tuple[str, str]:
        return self.root.access_key, self.root.secret_key

    @property
    def root(self) -> Credentials:
        key = read_credentials(self.data)
        assert key is not None
        return Credentials(key.access_key_id, key.secret_access_key)

    def client(self, credentials: Credentials | None = None, **more: Any) -> Any:
        """A boto3 client that never retries."""
        key = credentials or self.root
        config = Config(inject_host_prefix=False, retries={"total_max_attempts": 1}, read_timeout=120)
        return boto3.client(
            "medical-imaging",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key.access_key,
            aws_secret_access_key=key.secret_key,
            aws_session_token=key.token,
            config=config.merge(Config(**more)),
        )

    def signed(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        credentials: Credentials | None = None,
        headers: Mapping[str, str] | None = None,
        query_expires: int | None = None,
    ) -> AWSRequest:
        """A request signed by botocore's own signer; presigned where ``query_expires`` is given."""
        request = AWSRequest(method, self.url + path, data=body, headers=dict(headers or {}))
        key = credentials or self.root
        if query_expires is None:
            SigV4Auth(key, "medical-imaging", REGION).add_auth(request)
        else:
            SigV4QueryAuth(key, "medical-imaging", REGION, expires=query_expires).add_auth(request)
        return request

    def send(self, request: AWSRequest) -> Reply:
        prepared = request.prepare()
        return self.call(
            prepared.method, prepared.url.removeprefix(self.url), prepared.body or b"", dict(prepared.headers)
        )

    def call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request as it is."""
        connection = http.client.HTTPConnection(*self.address, timeout=120)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()

    def raw(self, data: bytes, *, end: bool = True) -> bytes:
        """Send bytes as they are, and read until the server closes.

        With ``end`` nothing follows them, which may close the connection before an answer that takes longer.
        """
        with socket.create_connection(self.address, timeout=120) as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def raw_in_pieces(self, data: bytes, size: int) -> bytes:
        """Send bytes as they are, so many at a time, and read until the server closes."""
        with socket.create_connection(self.address, timeout=120) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(data), size):
                connection.sendall(data[start : start + size])
            return b"".join(iter(lambda: connection.recv(65536), b""))

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The server's database, opened directly."""
        db = Database(self.database_url)
        try:
            yield db
        finally:
            db.close()

    def children(self) -> dict[int, str]:
        """The processes of the tree below the supervisor: pid → state letter of the system."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                rest = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(rest[1]) == self.process.pid:
                found[int(stat.parent.name)] = rest[0]
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the server; answers its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        for thread in self.threads:
            thread.join(5)
        return status


def environment(more: Mapping[str, str] | None = None, database: str | None = None) -> dict[str, str]:
    """This process's environment without what would reach lightwell or an AWS client by accident.

    ``database``: its URL, or flags with it, where no variable of ``more`` has it.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LIGHTWELL_", "AWS_"))}
    more = more or {}
    return {**kept, **everywhere.variables(database or more.get("LIGHTWELL_DATABASE_URL")), **more}


def launch(
    data: Path,
    *flags: str,
    database_url: str | None = None,
    env: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
    workers: int = 1,
    files: int | None = None,
) -> Server:
    """Start ``lightwell serve`` on a free port; does not wait for it. Warnings are errors in it.

    ``files`` is how many files each of its processes may have open, if not as many as this one.
    """
    arguments = ["--data", str(data), "--host", host, "--port", "0", "--workers", str(workers), *flags]
    if database_url is not None:
        arguments += ["--database-url", database_url]
    command = [sys.executable, "-W", "error", "-m", "lightwell", "serve", *arguments]
    if files is not None:
        command = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(files), *command]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(env, database_url),
        cwd=data.parent,
    )
    url = load({"data": data, "database_url": database_url}, environ={}, file=None).database
    return Server(process, data, url)


def wait_until_ready(server: Server) -> None:
    """Wait for the line on stdout; fails with what is on stderr if the process ends before."""
    assert server.process.stdout is not None and server.process.stderr is not None
    ready = threading.Event()

    def read(stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))
                match = re.fullmatch(r"lightwell listening on (\S+)\n", line)
                if match is not None and stream is server.process.stdout:
                    server.url = match[1]
                    ready.set()
        ready.set()

    for stream, lines in ((server.process.stdout, server.out), (server.process.stderr, server.err)):
        thread = threading.Thread(target=read, args=(stream, lines), daemon=True)
        thread.start()
        server.threads.append(thread)
    if not ready.wait(START_SECONDS) or not server.url:
        server.process.kill()
        server.process.wait()
        raise AssertionError("the server did not start:\n" + "\n".join(server.err))


@contextmanager
def running(data: Path, *flags: str, **more: Any) -> Iterator[Server]:
    """A server that is ready, and is stopped at the end."""
    server = launch(data, *flags, **more)
    wait_until_ready(server)
    try:
        yield server
    finally:
        server.stop()


def until(true: Callable[[], bool]) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + UNTIL_SECONDS
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def ended_job(client: Any, datastore: str, job: str, *, seconds: float = 240) -> dict[str, Any]:
    """Wait for the end of an import job; its properties."""
    end = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = client.get_dicom_import_job(datastoreId=datastore, jobId=job)["jobProperties"]
        if found["jobStatus"] in ("COMPLETED", "FAILED"):
            return found
        assert time.monotonic() < end, f"the import did not end: {found}"
        time.sleep(0.05)


def trusting() -> ssl.SSLContext:
    """A TLS context that takes any certificate: what it proves is not under test."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
