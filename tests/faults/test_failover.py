"""PostgreSQL's primary is killed, its standby promoted: nothing that was answered is lost or done twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import psycopg
from botocore.exceptions import ClientError

from tests.support import services
from tests.support.server import Server, running, until

# Answers that a client must get while there is no primary.
AWAY = 503


def postmaster(url: str) -> int:
    """The process that all backends of a server on this machine are children of."""
    with psycopg.connect(url) as connection:
        backend = connection.info.backend_pid
        return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for_synchronous(primary: str) -> None:
    """Let the primary confirm commits only once its standby has them."""
    with psycopg.connect(primary, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        standby = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        until(lambda: connection.execute(standby).fetchone() is not None)


def search(server: Server) -> None:
    """What is read without a transaction, on connections of its own."""
    client = server.client()
    store = client.list_datastores(maxResults=1)["datastoreSummaries"][0]["datastoreId"]
    assert client.search_image_sets(datastoreId=store)["imageSetsMetadataSummaries"] == []
    found = server.send(server.signed("GET", f"/datastore/{store}/studies?PatientID=P"))
    assert (found.status, json.loads(found.body or b"[]")) in ((200, []), (204, []))


class Client(threading.Thread):
    """Makes data stores, each with a token of its own, which it repeats until it is answered."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(name=name)
        self.client = server.client()
        self.answered: dict[str, str] = {}
        self.statuses: list[int] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            token = f"{self.name}-{number}"
            with contextlib.suppress(ClientError):
                answer = self._make(token)
                self.answered[token] = answer
                number += 1

    def _make(self, token: str) -> str:
        try:
            made: str = self.client.create_datastore(datastoreName=token, clientToken=token)["datastoreId"]
        except ClientError as error:
            self.statuses.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
            time.sleep(0.05)
            raise
        return made


def test_loses_nothing_and_does_nothing_twice_when_the_standby_is_promoted(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(services.wanted(services.postgres()))
        standby = stack.enter_context(services.postgres_standby(primary))
        wait_for_synchronous(primary)
        hosts = ",".join(url.rpartition("@")[2].partition("/")[0] for url in (primary, standby))
        user = primary.rpartition("@")[0]
        url = f"{user}@{hosts}/postgres?target_session_attrs=read-write"
        with running(tmp_path / "data", database_url=url, workers=2) as server:
            clients = [Client(server, f"client{number}") for number in range(3)]
            for client in clients:
                client.start()
            until(lambda: all(len(client.answered) > 5 for client in clients))
            search(server)
            os.kill(postmaster(primary), signal.SIGKILL)
            until(lambda: all(AWAY in client.statuses for client in clients))
            before = {client.name: len(client.answered) for client in clients}
            with psycopg.connect(standby, autocommit=True) as connection:
                assert connection.execute("SELECT pg_promote(true, 30)").fetchone() == (True,)
            until(lambda: all(len(client.answered) > before[client.name] + 5 for client in clients))
            search(server)
            for client in clients:
                client.stopping.set()
            for client in clients:
                client.join(60)
            assert {status for client in clients for status in client.statuses} == {AWAY}
            pages = server.client().get_paginator("list_datastores").paginate()
            found = [(each["datastoreName"], each["datastoreId"]) for page in pages
                     for each in page["datastoreSummaries"]]  # fmt: skip
            names = [name for name, _ in found]
            assert len(names) == len(set(names))  # none was made twice
            answered = {token: id for client in clients for token, id in client.answered.items()}
            assert dict(found).items() >= answered.items()  # none that was answered is lost
            # At most the one that each client was about to make when it ended is there besides.
            assert len(found) <= len(answered) + len(clients)
