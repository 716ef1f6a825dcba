"""`data verify --repair`: makes anew what image sets are found by, from what they show.

What a set shows comes of its records, and these have been compared with their originals by the same run.
Where anything of that is wrong, too, the set is left as it is: it cannot be told what should be found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightwell.clock import Clock
from lightwell.domain.integrity import FaultKind, Problem
from lightwell.stores import Stores
from lightwell.stores.collector import integrity, rebuilding
from lightwell.stores.keys.job_values import NO_KEY
from lightwell.stores.objects import pack_objects
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
    of_sets = {(problem.datastore_id, problem.image_set_id) for problem in problems if is_of_rows(problem)}
    unproved = _unproved(stores, problems) if of_sets else {}
    for datastore_id, id in sorted(
        (store, id) for store, id in of_sets if store is not None and id is not None
    ):
        if id in unproved:
            done.failed[id] = unproved[id]
            continue
        now = clock.now()
        try:
            is_done = stores.db.write(lambda conn: rebuilding.rebuild(conn, datastore_id, id, now))  # noqa: B023
        except (rebuilding.NotRebuilt, *NO_KEY) as error:
            done.failed[id] = str(error)
            continue
        if is_done:
            done.rebuilt.append(id)
            tell(id)


def _unproved(stores: Stores, problems: Sequence[Problem]) -> dict[str, str]:
    """Why the originals of image sets prove nothing, by id.

    Where a whole pack is in doubt, none of them were compared. What such a problem ``concerns`` does not
    tell, since it names the first sets only.
    """
    found: dict[str, str] = {}
    packs = {
        pack_objects.key_of(problem.pack)
        for problem in problems
        if problem.pack is not None and problem.image_set_id is None
    }
    with stores.db.read() as conn:
        held = integrity.records_in(conn, [key for key in packs if key is not None])
        for sets in integrity.sets_of(conn, [key for keys in held.values() for key in keys]).values():
            for one in sets:
                found[one.id] = (
                    "a pack with instances of it is damaged or could not be read, so they were not compared: "
                    "put that right, and run it again"
                )
    for problem in problems:
        if problem.image_set_id is not None and not is_of_rows(problem):
            found[problem.image_set_id] = (
                "some of its instances are damaged, too, so nothing proves what is right"
            )
    return found
