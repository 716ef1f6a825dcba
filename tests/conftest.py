"""What all tests share: the databases and the S3 server, each started once a session and only if wanted."""

from __future__ import annotations

import gc
import shutil
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lightwell.stores.db.database import Database
from lightwell.stores.db.schema import migrate
from lightwell.stores.transactions import outside
from tests.dicomweb.support.openid import Provider, provider
from tests.encryption import everywhere
from tests.support import services
from tests.support.workers.forked import forked_workers

# Whole files that take longest, for what they start or wait for; `make test-fast` leaves them out.
LONG = {
    "backup": ["point_in_time", "under_load"],
    "api/http": ["silent_connections", "tls"],
    "api/processes": ["file_modes", "serve", "servers"],
    "cli": ["data", "demo_doctor", "import_export", "newcomer", "owner", "secret_key"],
    "console": ["built_site"],
    "dicomweb": ["storage_away"],
    "dicomweb/auth": ["authorizer"],
    "faults": ["failover"],
    "imports": [
        *("reimport", "reimport_damaged", "directories", "outages", "roles", "sets", "concurrent_jobs"),
    ],
    "imports/codec_pool": ["hostile", "requests"],
    "imports/collector": ["collector", "verify"],
    "imports/operations": ["updates"],
    "lifecycle": ["model"],
    "many": ["access", "kills", "model", "outages", "races", "roles"],
    "repository": ["pasting", "watchdog"],
}

# No example has to be quick: how long one takes says more of the machine than of what is tested. It is loaded
# before any test is decorated.
settings.register_profile(
    "unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Let Ctrl-C through to what tests start, though a shell that runs tests in the background ignores it.

    And encrypt, if that is asked for. A test fails whose transaction waits for a key service.
    """
    outside.is_strict = True
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    everywhere.apply()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among what is collected, which stays to the end: that takes a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark the tests of the longest files, and have every process begin with some of these.

    Else one of them may be what the run ends with, while all processes but one have nothing left to do. It
    is done with what is left once `-m` and `-k` have chosen: of these each process gets an equal part.
    """
    for item in items:
        if everywhere.is_on() and item.get_closest_marker("plain"):
            item.add_marker(pytest.mark.skip("of what is stored where nothing is encrypted"))
        folder = item.path.parent.relative_to(Path(__file__).parent).as_posix()
        if item.path.stem.removeprefix("test_") in LONG.get(folder, ()):
            item.add_marker(pytest.mark.long)
    yield
    longest = {item.path for item in items if _is_of_the_longest(item)}
    others: list[pytest.Item] = []
    folders: dict[Path, list[pytest.Item]] = {}
    for item in items:
        (folders.setdefault(item.path.parent, []) if item.path in longest else others).append(item)
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = _spread(list(folders.values()), others, processes)


def _is_of_the_longest(item: pytest.Item) -> bool:
    # Not what a parameter marks: tests of several files that share it have to stay together.
    own = getattr(getattr(item, "obj", None), "pytestmark", [])
    return item.get_closest_marker("long") is not None or any(mark.name == "slow" for mark in own)


def _spread(longest: list[list[pytest.Item]], others: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """All of them in an order of which pytest-xdist gives each process an equal part, one after another."""
    parts: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for folder in longest:
        min(parts, key=len).extend(folder)
    left = sum(map(len, parts)) + len(others)
    rest = iter(others)
    for number, part in enumerate(parts):
        size = left // (processes - number)
        part.extend(islice(rest, max(0, size - len(part))))
        left -= len(part)
    return [*(item for part in parts for item in part), *rest]


@pytest.fixture(scope="session", autouse=True)
def _forked_workers() -> Iterator[None]:
    """Start codec workers in a fraction of the time."""
    with forked_workers():
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server's database ``postgres``."""
    with services.wanted(services.postgres()) as url:
        assert isinstance(url, str)
        yield url


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: str) -> Iterator[str]:
    with services.new_database(postgres_server) as url:
        db = Database(url)
        migrate(db)
        db.close()
        yield url.rpartition("/")[2]


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "lightwell.db"
    db = Database(f"sqlite:///{path}")
    migrate(db)
    db.close()
    return path


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, of this test alone."""
    with services.new_database(postgres_server) as url:
        yield url


@pytest.fixture
def migrated_postgres_url(postgres_server: str, _postgres_template: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database, of this test alone."""
    with services.new_database(postgres_server, _postgres_template) as url:
        yield url


@pytest.fixture
def migrated_sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """The URL of a migrated SQLite database, of this test alone."""
    path = tmp_path / "lightwell.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database of either kind, of this test alone."""
    name = {"sqlite": "migrated_sqlite_url", "postgresql": "migrated_postgres_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database of either kind, of this test alone."""
    db = Database(database_url)
    yield db
    db.close()


@pytest.fixture(scope="session")
def openid() -> Iterator[Provider]:
    """An OpenID provider at which anybody may sign in."""
    with services.wanted(provider()) as found:
        assert isinstance(found, Provider)
        yield found


@pytest.fixture(scope="session")
def s3_server() -> Iterator[services.S3]:
    """A SeaweedFS server of the session."""
    with services.wanted(services.seaweedfs()) as s3:
        assert isinstance(s3, services.S3)
        yield s3


@pytest.fixture
def s3_endpoint(s3_server: services.S3, monkeypatch: pytest.MonkeyPatch) -> services.S3:
    """The SeaweedFS server, its credentials in the usual ``AWS_…`` variables."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server
