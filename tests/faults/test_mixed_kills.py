"""kill -9, and SIGTERM, at random of any process of a server, of all of them, or of a command, during a mixed
load: import, STOW, update, revert, copy, promote, delete, collect, verify and backup.

LIGHTWELL_KILLS says how often: `LIGHTWELL_KILLS=1000 make test-endurance
ARGS=tests/faults/test_mixed_kills.py` prints a line for each database, encrypted or not, that says how it
ended.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from random import Random

import pytest

from tests.encryption import everywhere
from tests.faults.mixed_load import MixedLoad
from tests.lifecycle.crashing import Killer

_KILLS = int(os.environ.get("LIGHTWELL_KILLS", "200"))


class Beside(threading.Thread):
    """Stores, verifies and makes backups, while others do other things."""

    def __init__(self, load: MixedLoad, chance: Random) -> None:
        super().__init__()
        self._load = load
        self._chance = chance
        self.over = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                (name,) = self._chance.choices(("store", "verify", "back_up"), (4, 1, 1))
                self._load.step(name, self._chance)
        except BaseException as error:
            self.error = error


@pytest.mark.endurance
@pytest.mark.timeout(12 * 3600)
@pytest.mark.parametrize("encryption", ["off", "always"])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_loses_nothing_and_shows_no_half(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    encryption: str,
) -> None:
    url = request.getfixturevalue("migrated_postgres_url") if kind == "postgresql" else None
    begun = time.monotonic()
    load = MixedLoad(tmp_path, url, everywhere.always(url) if encryption == "always" else None)
    killer = Killer(load.service, Random(kind), lambda: load.command, of_all=0.15)
    beside = Beside(load, Random(1))
    with load.told():
        chance = Random(2)
        killer.start()
        beside.start()
        try:
            while killer.kills < _KILLS:
                load.walk.step(chance)
                assert beside.error is None, beside.error
        finally:
            killer.stop()
            beside.over.set()
            beside.join()
        assert beside.error is None, beside.error
        load.check()
    done = ", ".join(f"{count} {name}" for name, count in sorted(load.done.items()))
    with capsys.disabled():
        print(
            f"\n{kind}, encryption {encryption}: {killer.kills} kills ({killer.terms} by SIGTERM, "
            f"{killer.of_all} of all processes, {killer.of_commands} of a command) "
            f"in {time.monotonic() - begun:.0f} s; "
            f"{load.walk.steps} steps, {done}; {load.service.lost} answers lost, "
            f"{load.service.restarts} restarts; 0 lost, 0 half-visible"
        )
