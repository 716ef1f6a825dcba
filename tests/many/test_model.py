"""The model of tests/lifecycle beside two servers and two workers on PostgreSQL and S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.lifecycle.steps import RandomWalk
from tests.many.deployment import Deployment
from tests.many.model_service import ManyService
from tests.support.services import S3


@pytest.fixture
def service(many: Deployment, s3_endpoint: S3, tmp_path: Path) -> Iterator[ManyService]:
    made = ManyService(many, tmp_path / "data", Random(1))
    yield made
    made.close()


def live(service: ManyService, seed: int, steps: int) -> None:
    """One random life in an empty data store."""
    service.empty()
    said: list[str] = []
    walk, chance = RandomWalk(service, said.append), Random(seed)
    try:
        while walk.steps < steps:
            walk.step(chance)
        walk.finish()
    except BaseException:
        print("\n".join(said))
        raise


def test_behaves_on_two_servers_as_the_model_does(service: ManyService) -> None:
    live(service, seed=1, steps=15)


@pytest.mark.endurance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(6))
def test_behaves_on_two_servers_as_the_model_does_in_long_runs(service: ManyService, seed: int) -> None:
    live(service, seed, steps=50)
