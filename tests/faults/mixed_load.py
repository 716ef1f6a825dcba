"""All that is done to a server while something is done to its processes, or to its disk; and what must hold.

Imports, updates, copies, deletes and their like are steps of `tests.lifecycle.steps.RandomWalk`, each
compared with the model. Here are those beside them: STOW-RS into another data store, `data backup`, `data
verify`. Each is repeated until it succeeds, without hands; what is not a success must be a clear refusal.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

from lightwell.stores.jobs.unit_claims import any_open_job
from tests.dicomweb.support.uploads import Store, part10, related
from tests.lifecycle.clients import collect
from tests.lifecycle.crashing import LOST, CrashingService
from tests.lifecycle.steps import RandomWalk
from tests.many.proof import assert_stored, sent
from tests.support import invariants
from tests.support.ct_files import ct
from tests.support.server import environment, until

_SERVER_FAULTS = {0x0110, 0xA700}  # processing failure, out of resources (PS3.18, table I.2-2)
_BUSY = "Another backup of this installation is running"
_PATIENCE = 240


class Walk(RandomWalk):
    """It collects only while nobody stores, and a backup that was killed may keep the collector from it."""

    def __init__(self, load: MixedLoad) -> None:
        super().__init__(load.service, load.said.append)
        self._load, self._quiet = load, load.quiet

    def collect(self, chance: Random) -> None:
        with self._quiet:
            self._load.wait_for_jobs()
            collect(self.service)
        self._over([])


class MixedLoad:
    """``folder`` is for the data folder and the destination of backups; ``env`` for all processes."""

    def __init__(
        self, folder: Path, database_url: str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.said: list[str] = []
        self.quiet = threading.Lock()
        """Held by who stores, so that nothing is collected of what is not stored yet: a day passes then."""
        self.service = CrashingService(folder / "data", database_url, env)
        self.walk = Walk(self)
        self.command: subprocess.Popen[str] | None = None
        self.done: dict[str, int] = {}
        # The key of the keys, if there is one, lies in this place, which nobody loses.
        self._back_up = ("backup", str(folder / "backup"), "--without-keys")
        self._env = environment({**(env or {}), **_database(database_url)})
        client = self.service.client
        self._datastore: str = client.create_datastore(datastoreName="uploads")["datastoreId"]
        self._sent: list[bytes] = []
        self._studies = 0

    def step(self, name: str, chance: Random) -> None:
        """A step of the walk, or one of those below."""
        act: Callable[[Random], None] | None = getattr(self, name, None)
        if act is None:
            act = getattr(self.walk, name)
        else:
            self.said.append(name)
        act(chance)
        self.done[name] = self.done.get(name, 0) + 1

    def store(self, chance: Random) -> None:
        """Store a study that is new by STOW-RS."""
        self._studies += 1
        study = f"9{self._studies}"
        files = [part10(ct(n, study=study, size=8)) for n in range(1, chance.randint(2, 4))]
        with self.quiet:
            for _ in self._tries():
                if self._is_stored(files):
                    break
                self.service.revive()
        self._sent += files

    def _is_stored(self, files: list[bytes]) -> bool:
        try:
            reply, report = Store(self.service.server, self._datastore).post(related(*files))
        except (*LOST, OSError):
            return False
        if reply.status == 200:
            assert len(report.stored) == len(files) and not report.failed
            return True
        if reply.status in (202, 409):
            # Some were stored, or none, and for each of the others there is a reason that is the server's: a
            # worker that was killed again and again while it read this file.
            assert len(report.stored) + len(report.failed) == len(files), reply
            assert {item["00081197"] for item in report.failed} <= _SERVER_FAULTS, reply
        else:
            assert reply.status in (500, 502, 503), reply
        return False

    def back_up(self, chance: Random) -> None:
        self._command(*self._back_up, "--keep", "3")

    def verify(self, chance: Random) -> None:
        self._command("verify", *(["--all"] if chance.random() < 0.3 else []))

    def _command(self, *words: str) -> None:
        """A command that may be killed, or fail for a reason that it tells; in the end it succeeds."""
        for _ in self._tries():
            status, said = self._run(*words)
            if status == 0:
                return
            assert status < 0 or (said.strip() and "Traceback" not in said), f"{words}: {said}"
            if _BUSY in said:
                time.sleep(1)  # it was killed, or could not say that it has ended: it counts for 90 seconds

    def _run(self, *words: str) -> tuple[int, str]:
        arguments = [sys.executable, "-m", "lightwell.cli.main", "data", *words]
        arguments += ["--data", str(self.service.data)]
        self.command = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self._env
        )
        try:
            said = self.command.communicate()[1]
        finally:
            self.command.kill()
        return self.command.returncode, said

    def _tries(self) -> Iterator[None]:
        end = time.monotonic() + _PATIENCE * self.service.pace
        while time.monotonic() < end:
            yield
            time.sleep(0.05)
        raise AssertionError("it does not recover: " + "\n".join(self.service.server.err[-20:]))

    def check(self) -> None:
        """All that was answered is there, bit by bit; nothing else is; no garbage is left."""
        self.service.revive()
        assert_stored([self.service.server], self._datastore, sent(self._sent), range(1, 10))
        # The claim of a backup that was killed holds the collector for 90 seconds.
        until(self._is_unclaimed)
        self.wait_for_jobs()
        # Those that a store wrote whose announced packs a collector, a day ahead, had taken already.
        collect(self.service, strays=True)
        self.walk.finish()
        self._command("verify", "--all")
        self._command(*self._back_up)
        invariants.check(self.service.stores, decode=True)

    def wait_for_jobs(self) -> None:
        """Until none is under way, also of requests whose answer was lost.

        A collector whose clock is a day ahead takes from a job what it is writing. The job notices, and is
        done again, but the file of a pack may stay until the next search for such.
        """
        until(self._has_no_job)

    def _has_no_job(self) -> bool:
        self.service.revive()
        with self.service.stores.db.read() as conn:
            return not any_open_job(conn)

    def _is_unclaimed(self) -> bool:
        return self._run(*self._back_up)[0] == 0

    @contextmanager
    def told(self) -> Iterator[None]:
        """Prints what was done if something fails, and ends the server."""
        try:
            yield
        except BaseException:
            print("\n".join(self.said[-60:]))
            print("\n".join(self.service.server.err[-60:]))
            raise
        finally:
            self.service.close()


def _database(url: str | None) -> Mapping[str, str]:
    return {} if url is None else {"LIGHTWELL_DATABASE_URL": url}
