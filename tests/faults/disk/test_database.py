"""SQLite on a disk that fails: the process goes on once the disk does, and keeps what it had committed."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from lightwell.stores.db.database import Database
from tests.faults.disk.faulty_disk import CHANGES, GROWS, Call, Fault, FaultyDisk, Kind
from tests.support.server import environment

# Each line is a statement; the answer is what came of it.
_WRITER = """
import sys
from sqlalchemy import text
from lightwell.errors import StorageError
from lightwell.stores.db.database import Database
db = Database(sys.argv[1])
for line in sys.stdin:
    try:
        if line.startswith("SELECT"):
            with db.read() as conn:
                print(*conn.execute(text(line)).scalars(), flush=True)
            continue
        db.write(lambda conn: conn.execute(text(line)))
        print("done", flush=True)
    except StorageError as error:
        print(type(error).__name__, error, flush=True)
"""


@contextmanager
def _writer(url: str, disk: FaultyDisk) -> Iterator[Callable[[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(disk.environment),
    )
    assert process.stdin and process.stdout
    pipes = process.stdin, process.stdout

    def ask(sql: str) -> str:
        pipes[0].write(f"{sql}\n")
        pipes[0].flush()
        return pipes[1].readline()

    with process:
        yield ask
        pipes[0].close()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(Kind.FAIL, GROWS, errno.ENOSPC), "the disk is full: make room"),
        (Fault(Kind.TEAR, GROWS, errno.ENOSPC, first=2), "the disk is full: make room"),
        (Fault(Kind.DROP, Call.SYNC, errno.EIO), "the disk failed"),
        (Fault(Kind.DROP, Call.SYNC, errno.EIO, last=0), "the disk failed"),
    ],
)
def test_keeps_what_it_had_committed(tmp_path: Path, fault: Fault, said: str) -> None:
    folder = tmp_path / "disk"
    disk = FaultyDisk(folder, tmp_path / "scratch")
    url = f"sqlite:///{folder / 'a.db'}"
    with _writer(url, disk) as ask:
        assert ask("CREATE TABLE t (n INTEGER, filler BLOB)") == "done\n"
        for number in range(5):
            assert ask(f"INSERT INTO t VALUES ({2 * number}, randomblob(9000))") == "done\n"
            with disk.fault(fault):
                answer = ask(f"INSERT INTO t VALUES ({2 * number + 1}, randomblob(20000))")
            assert disk.hits and answer.startswith("StorageUnavailableError"), answer
            assert said in answer
        assert ask("INSERT INTO t VALUES (100, NULL)") == "done\n"
    assert _rows(url) == [0, 2, 4, 6, 8, 100]


def test_writes_again_when_a_disk_is_no_longer_read_only(tmp_path: Path) -> None:
    """Even by a process that has opened the database meanwhile, for reading only, since it could not else."""
    folder = tmp_path / "disk"
    disk = FaultyDisk(folder, tmp_path / "scratch")
    url = f"sqlite:///{folder / 'a.db'}"
    with _writer(url, disk) as ask:
        assert ask("CREATE TABLE t (n INTEGER)") == "done\n"
        with disk.fault(Fault(Kind.FAIL, CHANGES, errno.EROFS)), _writer(url, disk) as late:
            assert late("SELECT n FROM t").startswith("StorageUnavailableError")
            assert late("INSERT INTO t VALUES (1)").startswith("StorageUnavailableError")
            disk.mend()
            assert late("INSERT INTO t VALUES (2)") == "done\n"
            for number in range(3, 6):
                assert ask(f"INSERT INTO t VALUES ({number})") == "done\n"
                assert late("SELECT max(n) FROM t") == f"{number}\n"
    assert _rows(url) == [2, 3, 4, 5]


def _rows(url: str) -> list[int]:
    with closing(Database(url)) as db, db.read() as conn:
        assert conn.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        return list(conn.execute(text("SELECT n FROM t ORDER BY n")).scalars())
