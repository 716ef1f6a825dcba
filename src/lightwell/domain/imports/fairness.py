"""Whose turn it is: in which order jobs are given workers.

Jobs of a higher priority come first. Otherwise data stores have equal shares of the workers: the one with the
fewest units under way is next, and of several that have as many the one that was given the fewest. So one
with many jobs, however short, delays another by a unit at a time. Of the jobs of a data store the one with
the fewest units under way is next; of several that have as many the smallest is, since it is over soonest,
then the oldest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lightwell.domain.states import JobPhase


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that is not done. ``ready``: the phases with units to take now; ``claimed``: how many are taken.

    ``size`` is how many files are known of it. ``ended``: some claim has ended without its unit being done.
    ``waiting``: about how many units of *read* are ready.
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


class Shares:
    """How many units data stores were given while they had jobs, by this process."""

    def __init__(self) -> None:
        self._given: dict[int, int] = {}

    def of(self, datastores: Collection[int]) -> dict[int, int]:
        """By data store, of those that have jobs now; what the others were given is forgotten.

        Whoever comes anew is as far as the one that was given the fewest: nothing is saved up.
        """
        known = {each: self._given[each] for each in datastores if each in self._given}
        least = min(known.values(), default=0)
        self._given = {each: known.get(each, least) for each in datastores}
        return dict(self._given)

    def give(self, job: OpenJob) -> None:
        """A unit of this job is taken."""
        self._given[job.datastore] = self._given.get(job.datastore, 0) + 1


def in_turn(
    jobs: Iterable[OpenJob], more: Mapping[int, int] | None = None, given: Mapping[int, int] | None = None
) -> list[OpenJob]:
    """The jobs, whose turn it is first. ``more`` units are under way than the jobs say, by job.

    ``given``: as `Shares.of` has it. Jobs that wait for nothing count, too, since what they have is a part of
    their data store's share.
    """
    every, claimed, shares = list(jobs), Counter(more or {}), given or {}
    of_store: Counter[int] = Counter()
    for job in every:
        claimed[job.key] += job.claimed
        of_store[job.datastore] += claimed[job.key]

    def turn(job: OpenJob) -> tuple[float, ...]:
        return (
            -job.priority,
            of_store[job.datastore],
            shares.get(job.datastore, 0),
            claimed[job.key],
            job.size,
            job.submitted_at,
            job.key,
        )

    return sorted(every, key=turn)
