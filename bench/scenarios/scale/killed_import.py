"""Import of 4,000 small MR instances from S3 by two servers and two workers on PostgreSQL, of which a random
process is killed every five seconds: how much longer it takes, and how soon others take up what a worker had
when its machine went.

Afterwards every file has to be in exactly one image set, once, with the pixels that were sent.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

import psycopg
from tests.many.deployment import Deployment, deployed, kill_tree
from tests.many.fleet import Fleet, Killer, patient
from tests.many.proof import Sent, assert_reported, assert_stored, assert_whole, sent

from bench.inputs import small_mr
from bench.results import Options, Outcome, spread
from bench.servers import services

COUNT = 4_000
_EVERY = 5.0
_PATIENCE = 3600
_BARS = ("killed-import", "killed-retaken")
_CLAIMED = "SELECT job, phase, number, tries FROM unit WHERE state = 'claimed'"


def run(options: Options) -> list[Outcome]:
    count = COUNT // 4 if options.quick else COUNT
    files = small_mr.instances(count)
    with ExitStack() as stack:
        try:
            postgres, s3 = stack.enter_context(services.postgresql()), stack.enter_context(services.s3())
        except services.Unavailable as reason:
            return [Outcome(bar, skipped=str(reason)) for bar in _BARS]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lightwell-killed-")))
        own = stack.enter_context(deployed(folder, postgres, s3))
        named = {f"in/{number:06}.dcm": path for number, path in enumerate(files.paths)}
        bucket, expected = own.input_bucket(named), sent(files.paths)
        fleet = Fleet(own, ["a", "b"], ["w1", "w2"])
        stack.callback(fleet.close)
        rounds = []
        for number in range(min(options.rounds, 2)):
            found = {
                "alone": _import(own, fleet, bucket, expected, None),
                "killed": _import(own, fleet, bucket, expected, Killer(fleet, _EVERY, Random(number))),
            }
            found["retaken"] = _retaken(own, fleet, bucket)
            rounds.append(found)
            print(
                f"  round {number + 1}  " + "  ".join(f"{key} {value:.1f} s" for key, value in found.items())
            )
    detail = f"{count:,} files; alone {spread(rounds, 'alone')} s, with kills {spread(rounds, 'killed')} s"
    times = [found["killed"] / found["alone"] for found in rounds]
    return [
        Outcome(_BARS[0], times, detail, rounds=rounds),
        Outcome(_BARS[1], [found["retaken"] for found in rounds], "of all units that it had", rounds=rounds),
    ]


def _import(
    own: Deployment, fleet: Fleet, bucket: str, expected: dict[str, Sent], killer: Killer | None
) -> float:
    """Seconds of one job into a new data store, whose content is compared with what was sent."""
    fleet.wait_until_ready()
    datastore = own.datastore(fleet.servers[0])
    begun = time.monotonic()
    job = own.start_import(datastore, bucket, fleet.servers[0])
    if killer is not None:
        killer.start()
    ended = patient(fleet, datastore, job, _PATIENCE)
    took = time.monotonic() - begun
    if killer is not None:
        killer.stop()
        print(f"  {len(killer.killed)} processes were killed, {fleet.count} trees started again so far")
        fleet.wait_until_ready()
    assert_reported(own, bucket, ended, (f"in/{number:06}.dcm" for number in range(len(expected))))
    assert_stored(fleet.servers, datastore, expected)
    assert_whole(own)
    return took


def _retaken(own: Deployment, fleet: Fleet, bucket: str) -> float:
    """Seconds until the last unit that a worker had when its machine lost power was taken again."""
    fleet.wait_until_ready()
    datastore = own.datastore(fleet.servers[0])
    job = own.start_import(datastore, bucket, fleet.servers[0])
    with psycopg.connect(own.database_url, autocommit=True) as connection:
        while not connection.execute("SELECT 1 FROM staged LIMIT 1").fetchone():
            time.sleep(0.05)
        last = 0.0
        while not last:
            last = _kill_and_wait(connection, fleet)
    patient(fleet, datastore, job, _PATIENCE)
    return last


def _kill_and_wait(connection: psycopg.Connection, fleet: Fleet) -> float:
    """Zero if the worker had nothing."""
    held = {row[:3]: row[3] for row in connection.execute(_CLAIMED)}
    begun = time.monotonic()
    kill_tree(fleet.running["w1"].process.pid)
    held.update({row[:3]: row[3] for row in connection.execute(_CLAIMED)})
    last = 0.0
    while held:
        now = {
            row[:3]: row[3:]
            for row in connection.execute("SELECT job, phase, number, tries, state FROM unit")
        }
        for key, tries in list(held.items()):
            found = now.get(key)
            if found is not None and found[0] > tries:
                last = time.monotonic() - begun
            if found is None or found[0] > tries or found[1] == "done":
                del held[key]
        time.sleep(0.02)
    return last
