"""`data verify --repair`: makes anew what image sets are found by, from what they show.

What a set shows comes of its records, and these have been compared with their originals by the same run.
Where anything of that is wrong, too, the set is left as it is: it cannot be told what should be found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightwell.clock import Clock
from lightwell.domain.integrity import FaultKind, Problem
from lightwell.stores import Stores
from lightwell.stores.collector import rebuilding
from lightwell.work.timing.database_clock import DatabaseClock
from lightwell.work.verifying.repair import Repairs


def is_of_rows(problem: Problem) -> bool:
    """Whether a problem is one of the rows of an image set, rather than of what they lead to."""
    if problem.image_set_id is None or problem.kind is not FaultKind.DAMAGED:
        return False
    return problem.pack is None and problem.sop_instance_uid is None


def rebuild_rows(
    stores: Stores, problems: Sequence[Problem], done: Repairs, tell: Callable[[str], None] = lambda id: None
) -> None:
    """Make anew what is wrong with the rows of image sets, each in a transaction of its own.

    ``done`` gets their ids. ``tell`` is called with each as soon as it is done. Raises `StorageError` if the
    database fails.
    """
    clock = DatabaseClock(Clock(), stores.db)
    of_instances = {problem.image_set_id for problem in problems if problem.sop_instance_uid is not None}
    of_sets = {(problem.datastore_id, problem.image_set_id) for problem in problems if is_of_rows(problem)}
    for datastore_id, id in sorted(
        (store, id) for store, id in of_sets if store is not None and id is not None
    ):
        if id in of_instances:
            done.failed[id] = "some of its instances are damaged, too, so nothing proves what is right"
            continue
        now = clock.now()
        try:
            is_done = stores.db.write(lambda conn: rebuilding.rebuild(conn, datastore_id, id, now))  # noqa: B023
        except rebuilding.NotRebuilt as error:
            done.failed[id] = str(error)
            continue
        if is_done:
            done.rebuilt.append(id)
            tell(id)
