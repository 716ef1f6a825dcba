"""``lightwell env`` prints a name that old AWS clients may put a prefix before, where it resolves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from lightwell.cli import prefixed_names
from lightwell.cli.main import main
from lightwell.cli.prefixed_names import NAMES, hosts_line, named_url
from tests.support.server import running

Hosts = Callable[[Mapping[str, list[str]]], None]
LOOPBACK = ["127.0.0.1"]
BOTH = ["::1", "127.0.0.1"]
WRONG = ["127.0.0.1", "192.0.2.1"]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Replaces what names resolve to, as a hosts file would."""
    real = socket.getaddrinfo
    monkeypatch.setattr(prefixed_names, "_SECONDS", 60.0)

    def use(table: Mapping[str, list[str]]) -> None:
        def look_up(host: Any, port: Any, *more: Any, **options: Any) -> Any:
            if host not in (*NAMES, "localhost"):
                return real(host, port, *more, **options)
            if not table.get(host):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [answer for address in table[host] for answer in real(address, port, *more, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return use


@pytest.mark.parametrize(
    ("table", "url", "named"),
    [
        (dict.fromkeys(NAMES, LOOPBACK), "http://127.0.0.1:80", "http://lightwell.localhost:80"),
        (dict.fromkeys(NAMES, BOTH), "http://[::1]:80", "http://lightwell.localhost:80"),
        # systemd-resolved answers with both; a server that listens on one of them is found.
        (dict.fromkeys(NAMES, BOTH), "http://127.0.0.1:80", "http://lightwell.localhost:80"),
        (dict.fromkeys(NAMES, LOOPBACK), "http://[::1]:80", None),
        (dict.fromkeys(NAMES, LOOPBACK), "http://127.0.0.2:80", None),
        (dict.fromkeys(NAMES[:2], LOOPBACK), "http://127.0.0.1:80", None),
        ({}, "http://127.0.0.1:80", None),
        # A resolver that answers every name with an address of its own.
        (dict.fromkeys(NAMES, WRONG), "http://127.0.0.1:80", None),
        (dict.fromkeys((*NAMES, "localhost"), LOOPBACK), "http://localhost:80", NAMES[0]),
        ({**dict.fromkeys(NAMES, LOOPBACK), "localhost": ["::1"]}, "http://localhost:80", None),
        (dict.fromkeys(NAMES, LOOPBACK), "https://127.0.0.1:80", "https://127.0.0.1:80"),
        (dict.fromkeys(NAMES, LOOPBACK), "http://192.0.2.1:80", "http://192.0.2.1:80"),
        (dict.fromkeys(NAMES, LOOPBACK), "http://images.example.org:80", "http://images.example.org:80"),
    ],
)
def test_uses_the_names_only_where_they_all_mean_the_address_of_the_server(
    hosts: Hosts, table: Mapping[str, list[str]], url: str, named: str | None
) -> None:
    hosts(table)
    expected = f"http://{named}:80" if named == NAMES[0] else named
    assert named_url(url) == expected


def test_tells_what_the_hosts_file_needs(hosts: Hosts) -> None:
    hosts({"localhost": ["::1"]})
    names = "lightwell.localhost runtime-lightwell.localhost dicom-lightwell.localhost"
    assert hosts_line("http://127.0.0.1:8085") == f"127.0.0.1 {names}"
    assert hosts_line("http://[::1]:8085") == f"::1 {names}"
    assert hosts_line("http://localhost:8085") == f"::1 {names}"


def test_does_not_wait_for_a_name_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        is_over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(prefixed_names, "_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert named_url("http://127.0.0.1:8085") is None
    is_over.set()


def test_lets_a_client_that_insists_on_prefixes_call_every_operation(
    hosts: Hosts, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "data") as server:
        hosts({})
        assert main(["env", "--data", str(server.data)]) == 0
        said = capsys.readouterr()
        assert f"export AWS_ENDPOINT_URL_MEDICAL_IMAGING={server.url}\n" in said.out
        assert f"`127.0.0.1 {' '.join(NAMES)}` to /etc/hosts" in said.err
        hosts(dict.fromkeys(NAMES, LOOPBACK))
        assert main(["env", "--data", str(server.data)]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        for line in said.out.splitlines():
            monkeypatch.setenv(*line.removeprefix("export ").split("=", 1))
        assert boto3.client("medical-imaging").meta.endpoint_url == f"http://{NAMES[0]}:{server.address[1]}"
        # What a client that does not know the variable does.
        monkeypatch.delenv("AWS_DISABLE_HOST_PREFIX_INJECTION")
        client = boto3.client("medical-imaging")
        store = client.create_datastore(datastoreName="named")["datastoreId"]
        found = client.search_image_sets(datastoreId=store, searchCriteria={})
        assert found["imageSetsMetadataSummaries"] == []
        assert boto3.client("sts").get_caller_identity()["Account"] == "000000000000"
