"""Whose turn it is: in which order jobs are given workers.

Jobs of a higher priority come first. Otherwise data stores have equal shares of the workers,
and so have the jobs of a data store: the one with the fewest units under way is next. Of
several that have as many, the smallest is, since it is over soonest, then the oldest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lightwell.domain.states import JobPhase


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that is not done. ``ready``: the phases with units to take now; ``claimed``: how many are taken.

    ``size`` is how many files are known of it. ``ended``: some claim has ended without its unit being done.
    ``waiting``: about how many units are ready.
    """

    key: int
    phase: JobPhase
    datastore: int
    priority: int
    input_node: str | None
    output_node: str | None
    submitted_at: int
    size: int
    ready: frozenset[JobPhase]
    claimed: int
    ended: bool = False
    waiting: int = 0


def in_turn(jobs: Iterable[OpenJob], more: Mapping[int, int] | None = None) -> list[OpenJob]:
    """The jobs, whose turn it is first. ``more`` units are under way than the jobs say, by job."""
    every, claimed = list(jobs), Counter(more or {})
    of_store: Counter[int] = Counter()
    for job in every:
        claimed[job.key] += job.claimed
        of_store[job.datastore] += claimed[job.key]

    def turn(job: OpenJob) -> tuple[float, ...]:
        return (
            -job.priority,
            of_store[job.datastore],
            claimed[job.key],
            job.size,
            job.submitted_at,
            job.key,
        )

    return sorted(every, key=turn)
