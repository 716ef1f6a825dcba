"""Units of work: what one worker does of an import job at a time, and what it holds meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightwell.domain.states import JobPhase


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of one phase of an import job: the identity of a row of ``unit``.

    Of *list* and *report* there is one, number 0. Of *read* there is one a chunk, with the chunk's number. Of
    *commit* there is one for some whole studies of the job.
    """

    job: int
    phase: JobPhase
    number: int


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """What whoever queues units needs to know of their job.

    ``node``: the only server that may work on these units, None for any. ``priority``: higher comes first.
    """

    key: int
    phase: JobPhase
    datastore: int
    node: str | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """A delivery of a unit to one worker.

    ``claim`` is a name that no other delivery of the unit has; the unit's row bears it for as long as the
    unit is this worker's. ``tries`` counts the deliveries, this one included. ``begun`` is what
    `work.dispatch.Begin` has returned for it. ``receipt`` is for the engine that made the token, and nobody
    else looks at it.
    """

    unit: Unit
    claim: str
    tries: int = 1
    begun: object = field(default=None, compare=False, repr=False)
    receipt: object = field(default=None, compare=False, repr=False)
