"""Random lives of image sets beside a model of them: hypothesis chooses the steps, and shortens what fails.

A run is up to 50 steps in an empty data store, which is encrypted in some of them. After each step the
versions that it touched are compared, at the end of the run all versions of all sets, and the invariants of
the tables hold all the time. What fails is shown with all its steps; with LIGHTWELL_SHRINK=1 it is shortened
first, which may take minutes.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.encryption import everywhere
from tests.lifecycle.clients import InProcessService, ServedService, Service
from tests.lifecycle.steps import RandomWalk

_STEPS = 50


class ImageSetLifecycle(RuleBasedStateMachine):
    """One run. ``service`` is that of the whole test; what it has done is counted."""

    service: ClassVar[Service]
    steps: ClassVar[int]
    encrypted: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.walk: RandomWalk | None = None
        self.broken = False

    @rule(seed=st.integers(0, 2**64 - 1))
    def step(self, seed: int) -> None:
        # Hypothesis would choose odd numbers rather than evenly, and most requests were refused.
        self.broken = True
        if self.walk is None:
            self.walk = self._begin(Random(seed).random() < 0.5)
        self.walk.step(Random(seed))
        self.broken = False

    def _begin(self, encrypted: bool) -> RandomWalk:
        note("encrypted" if encrypted else "not encrypted")
        self.service.empty(encrypted)
        type(self).encrypted += encrypted
        return RandomWalk(self.service, note)

    def teardown(self) -> None:
        if self.walk is not None and not self.broken:
            self.walk.finish()
            type(self).steps += self.walk.steps


def _walk(service: Service, runs: int) -> int:
    """Make ``runs`` runs; how many steps they were."""
    counts = {"steps": 0, "encrypted": 0}
    machine = type("ImageSetLifecycle", (ImageSetLifecycle,), {"service": service, **counts})
    chosen = settings(
        max_examples=runs,
        stateful_step_count=_STEPS,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink] if os.environ.get("LIGHTWELL_SHRINK") else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)
    assert 0 < machine.encrypted < runs  # type: ignore[attr-defined]
    return machine.steps  # type: ignore[attr-defined, no-any-return]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("runs", "least"), [(10, 250), pytest.param(80, 2600, marks=pytest.mark.endurance)])
def test_behaves_as_the_model_does(in_process: InProcessService, runs: int, least: int) -> None:
    steps = _walk(in_process, runs)
    assert steps >= least


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("runs", "least"), [(3, 60), pytest.param(10, 300, marks=pytest.mark.endurance)])
def test_behaves_on_postgresql_as_the_model_does(
    tmp_path: Path, migrated_postgres_url: str, runs: int, least: int
) -> None:
    key = everywhere.KEY_FILE
    service = InProcessService(tmp_path / "data", migrated_postgres_url, encryption_key_file=key)
    try:
        steps = _walk(service, runs)
    finally:
        service.close()
    assert steps >= least


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("runs", "least"), [(4, 90), pytest.param(16, 500, marks=pytest.mark.endurance)])
def test_behaves_through_boto3_as_the_model_does(served: ServedService, runs: int, least: int) -> None:
    steps = _walk(served, runs)
    assert steps >= least
