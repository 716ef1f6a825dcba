"""``lightwell serve``: the process tree from its start to its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lightwell.auth.credentials import read_credentials
from tests.support.ct_files import ct, write
from tests.support.server import Server, launch, running, trusting, until, wait_until_ready

KEY = "A-KEY-OF-THE-SETTINGS".replace("-", "_")
GIVEN = {"LIGHTWELL_ROOT_ACCESS_KEY_ID": KEY, "LIGHTWELL_ROOT_SECRET_ACCESS_KEY": "given secret"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def failed(server: Server) -> tuple[int, str]:
    out, err = server.process.communicate(timeout=60)
    assert out == ""
    return server.process.returncode, err


def test_prints_one_line_when_it_listens_and_ends_with_0(data: Path) -> None:
    with running(data, workers=2) as server:
        assert server.call("GET", "/healthz").status == 200
        assert len(server.children()) == 3
        assert server.stop() == 0
    assert server.out == [f"lightwell listening on {server.url}"]


def test_ends_with_0_after_ctrl_c(data: Path) -> None:
    with running(data) as server:
        assert server.stop(signal.SIGINT) == 0


def test_makes_the_root_key_once(data: Path) -> None:
    with running(data) as server:
        first = server.root
        server.client().list_datastores()
    said = "\n".join(server.out + server.err)
    assert str(data.resolve() / "credentials") in said and re.search(r'eval "\$\((\S*/)?lightwell env ', said)
    assert first.secret_key not in said and first.access_key not in said
    assert stat.S_IMODE((data / "credentials").stat().st_mode) == 0o600
    assert stat.S_IMODE((data / "secret.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    (data / "credentials").unlink()
    with running(data) as server:
        assert server.root_pair == (first.access_key, first.secret_key)
        server.client().list_datastores()
    assert not [line for line in server.err if "credentials" in line]


def test_says_which_file_its_settings_are_from(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "lightwell.toml"
    file.write_text('log_level = "error"\n')
    file.chmod(0o644)
    with running(data, "--config", str(file)) as server:
        pass
    assert f"lightwell: settings from {file}" in server.err
    file.chmod(0o666)
    status, err = failed(launch(data, "--config", str(file)))
    assert (status, "chmod go-w" in err) == (2, True)


def test_takes_the_root_key_of_the_settings_and_revokes_the_other(data: Path) -> None:
    with running(data) as server:
        made = server.root
    with running(data, env=GIVEN) as server:
        given = Credentials(KEY, "given secret")
        server.client(given).list_datastores()
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            server.client(made).list_datastores()
    with running(data, env={**GIVEN, "LIGHTWELL_ROOT_SECRET_ACCESS_KEY": "another"}) as server:
        server.client(Credentials(KEY, "another")).list_datastores()
        with pytest.raises(ClientError, match="InvalidSignatureException"):
            server.client(given).list_datastores()
    with running(data) as server:
        assert server.root_pair == (KEY, "another")


def test_refuses_a_data_folder_whose_secret_key_is_lost(data: Path) -> None:
    with running(data) as server:
        server.client().list_datastores()
    (data / "secret.key").unlink()
    status, err = failed(launch(data))
    assert status == 2
    assert "secret" in err


def test_refuses_a_second_server_on_a_data_folder(data: Path) -> None:
    with running(data) as server:
        status, err = failed(launch(data))
        assert status == 1
        assert str(data) in err and str(server.process.pid) in err
        assert server.call("GET", "/healthz").status == 200


def test_refuses_a_port_that_is_taken(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, err = failed(launch(data, "--port", str(port)))
    assert status == 1
    assert f"127.0.0.1:{port}" in err and "--port" in err


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--tls-cert", "nowhere.pem"), "tls_key"),
        (("--tls-cert", "nowhere.pem", "--tls-key", "nowhere.key"), "nowhere.pem"),
        (("--workers", "many"), "--workers"),
        (("--database-url", "mysql://x"), "--database-url"),
        (("--host", "no.such.host.invalid"), "no.such.host"),
        (("--no-such-flag",), "no-such-flag"),
        (("--host", ""), "--insecure-http or LIGHTWELL_INSECURE_HTTP=true"),
        (("--host", "0.0.0.0"), "--insecure-http or LIGHTWELL_INSECURE_HTTP=true"),
        (("--host", "0.0.0.0", "--config", "off.toml"), "--tls-cert and --tls-key"),
        (("--host", "192.0.2.1"), "--trusted-proxies"),
        (("--trusted-proxies", "10.0.0.1/8"), "--trusted-proxies"),
        (("--trusted-proxies", "0.0.0.0/0"), "anyone"),
    ],
)
def test_refuses_wrong_usage(data: Path, flags: tuple[str, ...], word: str) -> None:
    (data.parent / "off.toml").write_text("insecure_http = false\n")
    (data.parent / "off.toml").chmod(0o600)
    status, err = failed(launch(data, *flags))
    assert status == 2
    assert word in err
    assert "Traceback" not in err


def test_says_what_is_wrong_with_the_database(data: Path) -> None:
    status, err = failed(launch(data, database_url="postgresql://nobody@127.0.0.1:1/none"))
    assert status == 1
    assert "127.0.0.1" in err and "Traceback" not in err


def test_starts_again_what_dies(data: Path) -> None:
    with running(data, workers=2) as server:
        first = set(server.children())
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(server.children()) == 3 and not set(server.children()) & first)
        until(lambda: answers(server))
        assert server.stop() == 0
    assert len([line for line in server.err if '"process died"' in line]) == 3


def answers(server: Server) -> bool:
    try:
        return server.call("GET", "/readyz").status == 200
    except OSError:
        return False


def test_leaves_no_process_and_no_lock_when_the_supervisor_is_killed(data: Path) -> None:
    with running(data, workers=2) as server:
        children = list(server.children())
        server.stop(signal.SIGKILL)
        with running(data) as second:
            assert second.call("GET", "/readyz").status == 200
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_finishes_what_is_in_flight_before_it_ends(data: Path) -> None:
    with running(data) as server:
        body = b'{"clientToken":"in-flight"}'
        request = server.signed("POST", "/datastore", body)
        lines = [f"{name}: {value}\r\n" for name, value in request.headers.items()]
        host = "{}:{}".format(*server.address)
        head = (
            f"POST /datastore HTTP/1.1\r\nHost: {host}\r\n{''.join(lines)}Content-Length: {len(body)}\r\n\r\n"
        )
        idle = socket.create_connection(server.address, timeout=30)
        with idle, socket.create_connection(server.address, timeout=30) as connection:
            connection.sendall(head.encode())
            # The server has begun with it once a later connection is answered.
            assert server.call("GET", "/healthz").status == 200
            server.process.send_signal(signal.SIGTERM)
            until(lambda: refuses(server))
            connection.sendall(body)
            assert b"200 OK" in connection.recv(65536)
            assert idle.recv(1) == b""
        assert server.stop() == 0


def test_stores_an_upload_that_is_in_flight_before_it_ends(data: Path, tmp_path: Path) -> None:
    content = write(tmp_path / "one.dcm", ct(1)).read_bytes()
    with running(data) as server:
        store = server.client().create_datastore(datastoreName="a")["datastoreId"]
        request = server.signed(
            "POST", f"/datastore/{store}/studies", content, headers={"Content-Type": "application/dicom"}
        )
        lines = [f"{name}: {value}\r\n" for name, value in request.headers.items()]
        host, more = "{}:{}".format(*server.address), f"Content-Length: {len(content)}\r\n\r\n"
        head = f"POST /datastore/{store}/studies HTTP/1.1\r\nHost: {host}\r\n{''.join(lines)}{more}"
        with socket.create_connection(server.address, timeout=30) as connection:
            connection.sendall(head.encode() + content[:1000])
            assert server.call("GET", "/healthz").status == 200
            server.process.send_signal(signal.SIGTERM)
            until(lambda: refuses(server))
            connection.sendall(content[1000:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.stop() == 0


def refuses(server: Server) -> bool:
    try:
        socket.create_connection(server.address, timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_shares_connections_among_its_workers(data: Path) -> None:
    def ask(stack: ExitStack, times: int) -> None:
        for _ in range(times):
            connection = stack.enter_context(socket.create_connection(server.address, timeout=30))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")

    def caught_up(behind: int) -> int:
        """How many of 30 connections go to the worker that stood still while the other one got 40."""
        with ExitStack() as stack:
            os.kill(behind, signal.SIGSTOP)
            try:
                ask(stack, 40)
            finally:
                os.kill(behind, signal.SIGCONT)
            # Where a connection ends is only to be seen in the file descriptors of the workers.
            before = sockets_of(behind)
            ask(stack, 30)
            return sockets_of(behind) - before

    with running(data, workers=2) as server:
        # The third process does the work, and does not listen.
        first, second = sorted(server.children(), key=sockets_of)[-2:]
        for behind in (first, second):
            # All, but for those for which the machine kept it from its turn. By chance it would be 15, and 24
            # once in a thousand times; the first to wake up might be this one, or the other, but not both.
            alone, found = sockets_of(behind), [caught_up(behind)]
            while found[-1] < 24 and len(found) < 40:
                # What was closed meanwhile must not count against what comes.
                until(lambda: sockets_of(behind) <= alone + 2)  # noqa: B023
                found.append(caught_up(behind))
            assert found[-1] >= 24, found


def sockets_of(pid: int) -> int:
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


def test_says_that_it_is_not_ready_when_the_storage_fails(data: Path) -> None:
    with running(data) as server:
        assert server.call("GET", "/readyz").status == 200
        objects = data / "objects"
        if objects.exists():
            objects.rename(data / "away")
        objects.write_text("in the way")
        until(lambda: server.call("GET", "/readyz").status == 503)
        found = json.loads(server.call("GET", "/readyz").body)
        assert found["status"] == "not ready"
        assert found["checks"]["database"] == "ok"
        assert found["checks"]["storage"] == "unavailable"
        assert server.call("GET", "/healthz").status == 200


def test_stops_when_its_storage_belongs_to_another_database(data: Path) -> None:
    with running(data, "--collect-interval", "1") as server:
        (data / "objects" / "storage.id").write_text("f" * 32)
        assert server.process.wait(60) == 2
        until(lambda: any("belongs to another database" in line for line in server.err))
    status, err = failed(launch(data))
    assert status == 2 and "storage.id is that of another database" in err
    (data / "objects" / "storage.id").unlink()  # an empty folder without an id is taken for its own
    with running(data) as server:
        assert server.call("GET", "/readyz").status == 200


def test_serves_tls(data: Path, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    with running(data, "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.url.startswith("https://")
        with urllib.request.urlopen(f"{server.url}/healthz", context=trusting()) as response:
            assert response.status == 200
        # One that speaks no TLS must not stop it.
        with socket.create_connection(server.address, timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with urllib.request.urlopen(f"{server.url}/healthz", context=trusting()) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        (("--insecure-http",), {}),
        ((), {"LIGHTWELL_INSECURE_HTTP": "true"}),
        ((), {"LIGHTWELL_TRUSTED_PROXIES": "192.0.2.1, 2001:db8::/32"}),
    ],
)
def test_listens_without_tls_for_others_if_it_is_told_to(
    data: Path, flags: tuple[str, ...], env: dict[str, str]
) -> None:
    with running(data, *flags, host="0.0.0.0", env=env) as server:
        assert server.url.startswith("http://0.0.0.0:")
        assert server.call("GET", "/healthz").status == 200


def test_listens_on_ipv6(data: Path) -> None:
    if not Path("/proc/net/if_inet6").exists() or not Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no IPv6")
    server = launch(data, host="::1")
    wait_until_ready(server)
    try:
        assert server.url.startswith("http://[::1]:")
        assert server.call("GET", "/healthz").status == 200
    finally:
        assert server.stop() == 0


def test_keeps_two_servers_on_one_database_apart(tmp_path: Path, migrated_postgres_url: str) -> None:
    storage = (tmp_path / "objects").as_uri()
    shared = {"LIGHTWELL_SECRET_KEY": "A" * 43 + "=", "LIGHTWELL_STORAGE_URL": storage}
    first_data, second_data = tmp_path / "a" / "data", tmp_path / "b" / "data"
    first_data.parent.mkdir()
    second_data.parent.mkdir()
    one = launch(first_data, database_url=migrated_postgres_url, env=shared)
    two = launch(second_data, database_url=migrated_postgres_url, env=shared)
    try:
        wait_until_ready(one)
        wait_until_ready(two)
        assert read_credentials(first_data) == read_credentials(second_data)
        id = one.client().create_datastore()["datastoreId"]
        assert (
            two.client().get_datastore(datastoreId=id)["datastoreProperties"]["datastoreStatus"] == "ACTIVE"
        )
    finally:
        one.stop()
        two.stop()
