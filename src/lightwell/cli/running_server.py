"""The server that holds a data folder: what it writes into its lock, and how commands find it.

``DATA/serve.lock`` is locked for as long as the server lives, and the system unlocks it however the server
ends. What stands in the file is believed only while it is locked. It contains no secret.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

from lightwell import setting_urls
from lightwell.errors import ConfigurationError, LightwellError, StorageError
from lightwell.settings import Settings

LOCK = "serve.lock"
# Commands that look whether a server runs hold the lock for an instant.
_GLANCE_SECONDS = 1.0
_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server as it describes itself.

    ``url`` is where clients on its machine call it, ``local_url`` where it listens; both are "" if it has
    not bound its port yet, or if it is of a version that did not say. ``is_ready``: it answers requests.
    ``works``: it does background work, too. ``host`` is the name of its machine, ``database`` says where its
    database is, without user and password.
    """

    pid: int
    url: str = ""
    local_url: str = ""
    is_ready: bool = False
    works: bool = True
    host: str = ""
    database: str = ""
    region: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine; a folder may be shared over a network."""
        return self.host in ("", socket.gethostname())

    def __str__(self) -> str:
        where = "" if self.is_here else f" on {self.host}"
        return f"the server at {self.url} (process {self.pid}{where})" if self.url else self._nameless(where)

    def _nameless(self, where: str) -> str:
        return f"the server that is process {self.pid}{where}" if self.pid else "a server"


class ServerLock:
    """The lock of a data folder, held by its one server until the process ends.

    The file descriptor ``handle`` must be closed in child processes, or these would hold the lock, too.
    Raises `LightwellError` if another server holds it, `StorageError` if there can be no lock.
    """

    def __init__(self, settings: Settings) -> None:
        path = settings.data / LOCK
        try:
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unusable(settings, error) from error
        until = monotonic() + _GLANCE_SECONDS
        while True:
            try:
                fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > until:
                    owner = _described(self.handle)
                    raise LightwellError(
                        f"The data folder {settings.data} is in use by {owner or 'another server'}: stop "
                        "that server, or use another folder with --data"
                    ) from None
                sleep(0.02)
        self.server = RunningServer(
            pid=os.getpid(),
            works=settings.work == "on",
            host=socket.gethostname(),
            database=database_place(settings),
            region=settings.region,
        )
        try:
            os.ftruncate(self.handle, 0)
            self._write()
        except OSError as error:
            raise _unusable(settings, error) from error

    def describe(self, settings: Settings, port: int, *, is_ready: bool) -> None:
        """Write down where the server is reached, and whether it answers."""
        self.server = dataclasses.replace(
            self.server,
            url=clients_url(settings, port),
            local_url=local_url(settings, port),
            is_ready=is_ready,
        )
        with suppress(OSError):
            self._write()

    def _write(self) -> None:
        # Always of one size: what replaces it needs no space on a disk that is full. Whoever reads a mixture
        # of the old and the new reads again.
        text = json.dumps(dataclasses.asdict(self.server)).encode()
        os.pwrite(self.handle, text.ljust(_BYTES - 1) + b"\n", 0)

    def clear(self) -> None:
        """Remove the description, for a server that has stopped."""
        with suppress(OSError):
            os.ftruncate(self.handle, 0)


def find(settings: Settings) -> RunningServer | None:
    """The server that holds the data folder, starting or ready; None if there is none.

    None as well if that cannot be determined, as where the lock is another user's file.
    """
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(settings.data / LOCK, flags)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(handle)
        # Whoever can write to the file says where clients send what they have.
        trusted = os.geteuid() in (0, status.st_uid) or status.st_uid == 0 or settings.allow_other_user
        if not stat.S_ISREG(status.st_mode) or not trusted:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _described(handle) or RunningServer(pid=0)
        return None
    except OSError:
        return None
    finally:
        os.close(handle)


def local_url(settings: Settings, port: int | None = None) -> str:
    """The URL at which a client on this machine reaches a server with these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port if port is None else port}"


def clients_url(settings: Settings, port: int | None = None) -> str:
    """The URL that clients on this machine are given.

    With TLS that is ``public_url``, since its name is in the certificate, unless it has a path, which a proxy
    in front would take away although the client has signed it.
    """
    public = urlsplit(settings.public_url or "")
    if settings.tls_cert is not None and public.scheme == "https" and public.path.strip("/") == "":
        return f"https://{public.netloc}"
    return local_url(settings, port)


def database_place(settings: Settings) -> str:
    """Where the database is, without user, password and options: to tell one from another."""
    url = settings.database
    if url.startswith("sqlite:///"):
        return f"sqlite:///{Path(url.removeprefix('sqlite:///')).absolute()}"
    return setting_urls.database_place(url)


def is_another_database(server: RunningServer, settings: Settings) -> bool:
    """Whether a server certainly works on another database than these settings name.

    One PostgreSQL database has many addresses, so there it is the name of the database that counts.
    """
    if not server.database:
        return False
    mine = database_place(settings)
    theirs = server.database
    if mine.startswith("sqlite:") or theirs.startswith("sqlite:"):
        return mine != theirs
    return mine.rpartition("/")[2] != theirs.rpartition("/")[2]


def check_folder(settings: Settings) -> None:
    """Raises `ConfigurationError` if the data folder, or something above it, is a file."""
    for path in (settings.data, *settings.data.absolute().parents):
        if _is_other_than_folder(path):
            raise ConfigurationError(f"{path} is a file, not a folder: give a data folder with --data")


def check_database(settings: Settings) -> RunningServer | None:
    """The server that holds the data folder, if any.

    Raises `ConfigurationError` if it works on another database: what a command does in the database that
    these settings name, that server would never see.
    """
    server = find(settings)
    if server is not None and is_another_database(server, settings):
        raise ConfigurationError(other_database(server, settings))
    return server


def other_database(server: RunningServer, settings: Settings) -> str:
    """A sentence about a server whose database is not the one that the settings name."""
    return (
        f"{_capitalized(str(server))} has the data folder {settings.data} in use, but works on the database "
        f"{server.database}, not on {database_place(settings)}: give the --database-url or "
        "LIGHTWELL_DATABASE_URL that it was started with"
    )


def _is_other_than_folder(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False  # missing, or closed to this user; opening it will say more


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def _described(handle: int) -> RunningServer | None:
    """What stands in a lock that is held; None if nothing does yet."""
    types = {field.name: field.type for field in dataclasses.fields(RunningServer)}
    for _ in range(50):
        try:
            found = json.loads(os.pread(handle, 2 * _BYTES, 0))
            if isinstance(found, int):  # of a version that wrote only its process ID
                return RunningServer(pid=found, is_ready=True)
            known = {name: value for name, value in found.items() if name in types}
            if all(type(value).__name__ == types[name] for name, value in known.items()):
                return RunningServer(**known)
            return None
        except (ValueError, TypeError, AttributeError):
            sleep(0.01)  # it is being written
    return None


def _unusable(settings: Settings, error: OSError) -> StorageError:
    return StorageError(
        f"The data folder {settings.data} cannot be created or written to: {error.strerror}; check "
        "--data, the owner of the folder and the free space on its disk"
    )
