"""kill -9 and SIGTERM of any process of the server at any moment of a random life: what was answered holds,
all else is whole or not there. In one of the runs it is encrypted.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.encryption import everywhere
from tests.lifecycle.crashing import CrashingService, Killer
from tests.lifecycle.steps import RandomWalk

_STEPS = 40


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=pytest.mark.endurance) for n in (2, 3))])
def test_goes_on_after_every_kill(tmp_path: Path, seed: int) -> None:
    said: list[str] = []
    service = CrashingService(tmp_path / "data", env=everywhere.always(None) if seed % 2 else None)
    killer = Killer(service, Random(-seed))
    try:
        run, chance = RandomWalk(service, said.append), Random(seed)
        killer.start()
        try:
            while run.steps < _STEPS or service.restarts < 2 or killer.kills < 5:
                run.step(chance)
        finally:
            killer.stop()
        service.call("ListDatastores")
        run.finish()
    except BaseException:
        print("\n".join(said))
        raise
    finally:
        service.close()
