"""A PostgreSQL server of the benchmarks, with Debian's defaults but for its port and its shared buffers."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.servers.process_tree import ProcessTree
from bench.workspace import free_port, new_folder

_BUFFERS = "512MB"


def missing() -> str | None:
    """Why PostgreSQL cannot be started, None if it can."""
    if _binaries() is None:
        return "PostgreSQL is not installed (Debian: postgresql)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL will not run as root, and there is no setpriv"
    return None


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _as_postgres() -> list[str]:
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


class Postgresql:
    """One server on loopback, in a new folder or in one to keep; nobody else's programs know its port.

    ``settings`` are more of PostgreSQL's own, such as ``shared_preload_libraries``.
    """

    def __init__(
        self,
        name: str = "postgresql",
        folder: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        binaries = _binaries()
        if binaries is None:
            raise FileNotFoundError(missing())
        self._keep = folder is not None
        self._folder = folder or new_folder(name)
        self._logs = new_folder(f"{name}-log")
        data, self.port = self._folder / "data", free_port()
        if not data.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(self._folder, pwd.getpwnam("postgres").pw_uid, -1)
            subprocess.run(
                [*_as_postgres(), str(binaries / "initdb"), "-D", str(data), "-U", "lightwell",
                 "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"],
                check=True, capture_output=True, cwd=self._folder,
            )  # fmt: skip
        given = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "",
            "max_connections": 200, "shared_buffers": _BUFFERS, "max_wal_size": "4GB", **(settings or {}),
        }  # fmt: skip
        options = [part for key, value in given.items() for part in ("-c", f"{key}={value}")]
        self.tree = ProcessTree(
            name,
            [*_as_postgres(), str(binaries / "postgres"), "-D", str(data), *options],
            log=self._logs / "output.log",
        )
        for _ in self.tree.wait_for("connections", 60):
            if self._answers():
                break

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://lightwell@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, *, is_new: bool = False) -> str:
        """Makes a database unless it exists, or in place of it if it is to be new; its URL."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            if is_new:
                connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
            if known is None:
                connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        self.tree.stop()
        shutil.rmtree(self._logs, ignore_errors=True)
        if not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)
