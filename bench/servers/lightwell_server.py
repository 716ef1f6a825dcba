"""A lightwell server under test."""

from __future__ import annotations

import configparser
import http.client
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bench.servers.process_tree import ProcessTree, ServerFailed
from bench.workspace import buckets_folder, free_port, new_folder


def missing() -> str | None:
    """Why lightwell cannot be started, None if it can."""
    try:
        command()
    except ServerFailed as error:
        return str(error)
    return None


def command(python: str | None = None, starter: str | None = None) -> list[str]:
    """How to call lightwell with this Python, or with the Python of another checkout.

    ``starter`` is the file of a program that is called as lightwell is.
    """
    if starter is not None:
        return [python or sys.executable, starter]
    if python is not None:
        return [python, "-m", "lightwell"]
    if importlib.util.find_spec("lightwell.__main__"):
        return [sys.executable, "-m", "lightwell"]
    script = Path(sys.executable).with_name("lightwell")
    if script.exists():
        return [str(script)]
    if importlib.util.find_spec("lightwell.cli.main"):
        return [sys.executable, "-c", "import sys; from lightwell.cli.main import main; sys.exit(main())"]
    raise ServerFailed("lightwell is not installed for this Python: pip install -e .")


class Server:
    """`lightwell serve` on a free port, started at once and stopped by `stop`.

    ``data`` is its data folder: a new one that `stop` removes again, unless the caller names one to keep.
    Its environment holds no LIGHTWELL_ or AWS_ variable but those of ``settings`` and the buckets folder.
    ``python`` is the interpreter of another checkout, where that is to be measured, ``starter`` what is run
    instead of the command.
    """

    def __init__(
        self,
        name: str,
        *,
        data: Path | None = None,
        workers: int = 2,
        settings: Mapping[str, str] | None = None,
        python: str | None = None,
        starter: str | None = None,
    ) -> None:
        self.name = name
        self._keep = data is not None
        self._folder = new_folder("lightwell")
        self.data = data or self._folder / "data"
        self.address = ("127.0.0.1", free_port())
        host, port = self.address
        env = {key: value for key, value in os.environ.items() if not key.startswith(("LIGHTWELL_", "AWS_"))}
        env |= {"LIGHTWELL_BUCKETS_DIR": str(buckets_folder()), **(settings or {})}
        options = ["--host", host, "--port", str(port), "--workers", str(workers)]
        self.tree = ProcessTree(
            name,
            [*command(python, starter), "serve", "--data", str(self.data), *options],
            log=self._folder / "output.log",
            env=env,
        )
        try:
            for _ in self.tree.wait_for("listening line", 60):
                if b"lightwell listening on http://" in self.tree.log.read_bytes():
                    break
            for _ in self.tree.wait_for("200 from /readyz", 30):
                if self.status("/readyz") == 200:
                    break
        except ServerFailed:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - self.tree.begun
        """From the spawn of the command until /readyz said 200."""

    def status(self, path: str) -> int:
        """The HTTP status of an unsigned GET."""
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def client(self) -> Any:
        """A boto3 client of the service ``medical-imaging`` with the server's root key."""
        credentials = configparser.ConfigParser()
        credentials.read(self.data / "credentials")
        profile = credentials["lightwell"]
        return boto3.client(
            "medical-imaging",
            region_name="us-east-1",
            endpoint_url="http://{}:{}".format(*self.address),
            aws_access_key_id=profile["aws_access_key_id"],
            aws_secret_access_key=profile["aws_secret_access_key"],
            config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}, read_timeout=600),
        )

    def datastore(self, name: str) -> str:
        """Makes a data store and waits until it is ACTIVE; its id."""
        client = self.client()
        identity: str = client.create_datastore(datastoreName=name)["datastoreId"]
        for _ in range(200):
            status = client.get_datastore(datastoreId=identity)["datastoreProperties"]["datastoreStatus"]
            if status == "ACTIVE":
                return identity
            time.sleep(0.05)
        raise ServerFailed(f"{self.name}: data store {name} stays {status}")

    def stop(self) -> None:
        self.tree.stop()
        if not self._keep:
            shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)
