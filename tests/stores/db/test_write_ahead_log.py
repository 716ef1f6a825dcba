"""SQLite's log after a crash: a changed bit in front of what was committed is never taken for its end."""

from __future__ import annotations

import random
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from lightwell.errors import DamagedError
from lightwell.stores.db.database import Database
from lightwell.stores.page_checksums import write_ahead_log
from lightwell.stores.page_checksums.frame_judge import FrameJudge
from lightwell.stores.page_checksums.frame_sums import FrameSums, plain_sum
from lightwell.stores.page_checksums.write_ahead_log import damaged_frame, what_is_lost
from lightwell.work.verifying import database_pages

HEAD, FRAME = 32, 24 + 4096
WORD = st.integers(0, 2**32 - 1)
ENDINGS = ("", "-wal", "-shm")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is writing here who would have to be waited for."""
    monkeypatch.setattr(write_ahead_log, "_PAUSE_SECONDS", 0)


@pytest.fixture
def seed() -> int:
    return random.randrange(2**32)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to an open database, whose log is emptied by nobody."""
    with closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("PRAGMA wal_autocheckpoint=0")
        conn.execute("CREATE TABLE t (number INTEGER PRIMARY KEY, value BLOB)")
        yield conn


def add(conn: sqlite3.Connection, count: int) -> None:
    for _ in range(count):
        conn.execute("INSERT INTO t (value) VALUES (randomblob(6000))")


def killed(conn: sqlite3.Connection, name: str = "killed.db", *, shm: bool = True) -> Path:
    """The files as a killed process leaves them; as a power failure does without ``-shm``."""
    (_, _, live) = conn.execute("PRAGMA database_list").fetchone()
    made = Path(live).with_name(name)
    for ending in ENDINGS:
        Path(f"{made}{ending}").unlink(missing_ok=True)
        if (shm or ending != "-shm") and Path(f"{live}{ending}").exists():
            shutil.copy(f"{live}{ending}", f"{made}{ending}")
    return made


def log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def commits(path: Path) -> list[int]:
    """Where in the log the frame of each commit ends."""
    data = log(path).read_bytes()
    frames = range(HEAD, len(data), FRAME)
    return [start + FRAME for start in frames if struct.unpack_from(">I", data, start + 4)[0]]


def flip(path: Path, place: int, bit: int) -> None:
    data = bytearray(log(path).read_bytes())
    data[place] ^= 1 << bit
    log(path).write_bytes(data)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as conn:
        return int(conn.execute("SELECT count(*) FROM t").fetchone()[0])


def test_notices_every_flipped_bit_in_what_a_kill_has_left(live: sqlite3.Connection, seed: int) -> None:
    random_ = random.Random(seed)
    add(live, 6)
    whole = killed(live)
    assert what_is_lost(whole) is None
    size = log(whole).stat().st_size
    places = [*range(HEAD), *(random_.randrange(size) for _ in range(50)), size - 1]
    for place in places:
        path = killed(live)
        flip(path, place, random_.randrange(8))
        assert what_is_lost(path), f"seed {seed}: byte {place}"
    # What SQLite itself makes of the last one.
    assert rows(path) == 5
    assert rows(killed(live)) == 6


def test_notices_what_lies_behind_a_flipped_bit_without_the_index(
    live: sqlite3.Connection, seed: int
) -> None:
    """Each transaction but the last proves itself, unless its frame no longer says that it is a commit."""
    random_ = random.Random(seed)
    add(live, 6)
    ends = commits(killed(live, shm=False))
    for place in [*range(24), *(random_.randrange(ends[-3]) for _ in range(50))]:
        path = killed(live, shm=False)
        flip(path, place, random_.randrange(8))
        assert what_is_lost(path), f"seed {seed}: byte {place}"
    path = killed(live, shm=False)
    flip(path, ends[-1] - 5, 0)
    assert what_is_lost(path) is None, "it may never have been written whole"


def test_takes_no_torn_end_for_damage(live: sqlite3.Connection, seed: int) -> None:
    """A power failure takes the index, and any sectors of what was not on the disk yet; twice in one log."""
    random_ = random.Random(seed)
    add(live, 4)
    path = killed(live, "torn.db", shm=False)
    before = 4
    for _ in range(6):
        assert what_is_lost(path) is None
        with closing(sqlite3.connect(path, isolation_level=None)) as conn:
            conn.execute("PRAGMA wal_autocheckpoint=0")
            assert conn.execute("SELECT count(*) FROM t").fetchone()[0] == before
            conn.execute("PRAGMA cache_size=2")
            conn.execute("BEGIN")
            conn.execute("INSERT INTO t (value) SELECT randomblob(6000) FROM t LIMIT 3")
            conn.execute("ROLLBACK")  # which leaves frames, too
            conn.execute("INSERT INTO t (value) VALUES (randomblob(20000))")
            kept = path.with_name("kept.db")
            for ending in ("", "-wal"):
                shutil.copy(f"{path}{ending}", f"{kept}{ending}")
        for ending in ENDINGS:
            Path(f"{path}{ending}").unlink(missing_ok=True)
        for ending in ("", "-wal"):
            Path(f"{kept}{ending}").rename(f"{path}{ending}")
        torn = bytearray(log(path).read_bytes())
        start = commits(path)[-2]
        for place in range(start, len(torn) - 511, 512):
            if random_.random() < 0.5:
                torn[place : place + 512] = bytes(512)
        log(path).write_bytes(torn)
        assert what_is_lost(path) is None, f"seed {seed}"
        before = rows_of_copy(path)


def rows_of_copy(path: Path) -> int:
    copy = path.with_name("copy.db")
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    return rows(copy)


def test_finds_nothing_wrong_while_or_after_it_is_copied_into_the_file(live: sqlite3.Connection) -> None:
    for number in range(3):
        add(live, 3)
        assert what_is_lost(killed(live)) is None
        reader = sqlite3.connect(killed(live).with_name("live.db"), isolation_level=None)
        with closing(reader):
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM t").fetchone()
            add(live, 2)
            live.execute("PRAGMA wal_checkpoint(PASSIVE)")  # as far as the reader lets it
            assert what_is_lost(killed(live)) is None
        live.execute(f"PRAGMA wal_checkpoint({('PASSIVE', 'RESTART', 'TRUNCATE')[number]})")
        assert what_is_lost(killed(live)) is None
        add(live, 1)
        assert what_is_lost(killed(live)) is None
    path = killed(live)
    log(path).unlink()
    reason = what_is_lost(path)
    assert reason and "are gone" in reason


@given(
    size=st.sampled_from((512, 4096, 65536)),
    order=st.sampled_from("<>"),
    content=st.randoms(use_true_random=False),
    seeds=st.lists(st.tuples(WORD, WORD), max_size=3),
)
def test_sums_frames_as_sqlite_does(
    size: int, order: str, content: random.Random, seeds: list[tuple[int, int]]
) -> None:
    frame = content.choice((content.randbytes(24 + size), b"\xff" * (24 + size)))
    plain = [plain_sum(frame[24:], *plain_sum(frame[:8], *seed, order), order) for seed in seeds]
    assert FrameSums(size, order).of(frame, seeds) == plain


@settings(max_examples=40)
@given(
    size=st.sampled_from((512, 4096, 65536)),
    order=st.sampled_from("<>"),
    content=st.randoms(use_true_random=False),
    seed=st.tuples(WORD, WORD),
)
def test_judges_frames_as_sqlite_does(
    size: int, order: str, content: random.Random, seed: tuple[int, int]
) -> None:
    frame = content.choice((content.randbytes(24 + size), b"\xff" * (24 + size)))
    right = plain_sum(frame[24:], *plain_sum(frame[:8], *seed, order), order)
    place = content.choice([*range(8), content.randrange(24, 24 + size)])
    flipped = bytearray(frame)
    flipped[place] ^= 1 << content.randrange(8)
    with closing(FrameJudge(size, order)) as judge:
        assert judge.continues(frame, seed, right)
        assert not judge.continues(bytes(flipped), seed, right)
        assert not judge.continues(frame, seed, (right[0], right[1] ^ 1))


def test_sums_no_frame_of_an_earlier_log_and_each_other_once(
    live: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a server would not start for minutes after a crash with a big log."""
    summed: list[int] = []
    of = FrameSums.of

    def counted(self: FrameSums, frame: bytes, seeds: list[tuple[int, int]]) -> list[tuple[int, int]]:
        summed.append(len(seeds))
        return of(self, frame, seeds)

    monkeypatch.setattr(FrameSums, "of", counted)
    add(live, 60)
    frames = (log(killed(live)).stat().st_size - HEAD) // FRAME
    live.execute("PRAGMA wal_checkpoint(RESTART)")
    add(live, 2)
    path = killed(live)
    assert what_is_lost(path) is None and len(summed) < 20 < frames
    summed.clear()
    add(live, 60)
    path = killed(live, shm=False)
    data = bytearray(log(path).read_bytes())
    for start in range(HEAD + FRAME, len(data), FRAME):
        data[start + 16 : start + 24] = bytes(8)  # what each ends with
    log(path).write_bytes(data)
    what_is_lost(path)
    assert len(summed) > 50 and max(summed) < 20


def test_is_not_opened(live: sqlite3.Connection) -> None:
    add(live, 6)
    path = killed(live)
    flip(path, HEAD + FRAME + 1000, 3)
    before = [Path(f"{path}{ending}").read_bytes() for ending in ENDINGS]
    db = Database(f"sqlite:///{path}")
    for call in (lambda: db.read().__enter__(), lambda: db.write(lambda conn: None), db.raw):
        with pytest.raises(DamagedError, match=r"killed\.db-wal of the database is damaged"):
            call()
    db.close()
    assert before == [Path(f"{path}{ending}").read_bytes() for ending in ENDINGS]
    # What the guide says, for whoever accepts the loss: the file alone, as it was last emptied.
    log(path).rename(path.with_name("aside"))
    Path(f"{path}-shm").unlink()
    with closing(Database(f"sqlite:///{path}")) as without, without.read() as conn:
        assert conn.execute(text("PRAGMA integrity_check")).scalar() == "ok"


def test_data_verify_looks_at_a_log_in_use(migrated_sqlite_url: str) -> None:
    with closing(Database(migrated_sqlite_url)) as db:
        many = "WITH n(x) AS (SELECT 1 UNION SELECT x + 1 FROM n LIMIT 60)"
        insert = f"INSERT INTO dictionary {many} SELECT x, randomblob(900) FROM n"
        db.write(lambda conn: conn.execute(text(insert)))
        path = Path(migrated_sqlite_url.removeprefix("sqlite:///"))
        assert damaged_frame(path) is None and what_is_lost(path) is None
        flip(path, HEAD + FRAME + 1000, 3)
        assert damaged_frame(path) is not None
        assert what_is_lost(path) is None, "whoever has it open has found all of it"
        part = database_pages.check(db, database_pages.START)
        assert part is not None and [fault.place for fault in part.found] == [f"database log {path.name}-wal"]
        flip(path, HEAD + FRAME + 1000, 3)
