"""kill -9 of a random process of servers and workers every few seconds, while they import."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import pytest
from bench.inputs import small_mr

from tests.many.deployment import Deployment
from tests.many.fleet import Fleet, Killer, patient
from tests.many.proof import assert_reported, assert_stored, assert_whole, sent
from tests.support.ct_files import ct, write


def survives(
    own: Deployment, files: Mapping[str, bytes | Path], killer: Callable[[Fleet], Killer], least: int
) -> None:
    """Import while processes are killed, at ``least`` so many; everything that must hold afterwards does."""
    bucket = own.input_bucket(files)
    fleet = Fleet(own, ["a", "b"], ["w1", "w2"])
    killing = killer(fleet)
    try:
        datastore = own.datastore(fleet.servers[0])
        job = own.start_import(datastore, bucket, fleet.servers[0])
        killing.start()
        ended = patient(fleet, datastore, job, 800 if least < 10 else 1200)
        killing.stop()
        fleet.wait_until_ready()
        assert_reported(own, bucket, ended, files)
        assert_stored(fleet.servers, datastore, sent(files.values()))
        assert_whole(own)
        assert len(killing.killed) >= least, killing.killed
    except BaseException:
        print("killed:", *killing.killed, sep="\n  ")
        raise
    finally:
        killing.stop()
        fleet.close()


@pytest.mark.timeout(1200)
def test_loses_nothing_when_any_process_is_killed(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {}
    for number in range(300):
        series, place = divmod(number, 25)
        path = tmp_path / "in" / f"{number:03}.dcm"
        files[f"in/{path.name}"] = write(path, ct(place + 1, series=str(series + 1), size=256))
    survives(deploy(), files, lambda fleet: Killer(fleet, 1.5, Random(), most=3), least=1)


@pytest.mark.endurance
@pytest.mark.timeout(2400)
def test_loses_none_of_20000_small_instances_when_a_process_is_killed_every_5_s(
    deploy: Callable[..., Deployment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_WORK", str(tmp_path / "work"))
    made = small_mr.instances(20_000)
    files = {f"in/{number:06}.dcm": path for number, path in enumerate(made.paths)}
    try:
        survives(deploy(), files, lambda fleet: Killer(fleet, 5, Random()), least=20)
    finally:
        shutil.rmtree(tmp_path / "work")  # 2.6 GB
