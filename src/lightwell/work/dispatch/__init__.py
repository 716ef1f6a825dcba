"""The seam between import jobs and whatever queues their units of work: six methods.

`work.engines.table_dispatch` implements it with rows of the database alone, `work.engines.pgqueuer_dispatch`
with PgQueuer's queue beside them.

Who owns what:

- **The row of ``unit`` is the truth** (`stores.jobs.units`): which units there are, which are done, and whose
  a unit is. A queue only says who should look at which unit next. It may deliver a unit twice, late, or after
  it is done, and nothing goes wrong.
- **The fence is in the transaction that keeps a unit's result**: `done` is called in it, and says False where
  the row no longer bears the token's claim. Then the transaction keeps nothing. So of two workers that were
  given a unit only the one that was stamped last can finish it, and once.
- A queue must **lose** no unit. What it has lost, the row still shows as ready or claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from sqlalchemy import Connection

from lightwell.domain.imports.units import QueuedJob, Token, Unit
from lightwell.domain.states import JobPhase

__all__ = ["Begin", "Dispatch", "QueuedJob", "Token", "Unit"]

Begin = Callable[[Connection, Sequence[Token]], Sequence[object]]
"""Looks up what workers need for units of one phase of one job; a thing for each, which its token bears."""


class Dispatch(Protocol):
    """Gives units of work to this process's workers. For all its threads.

    Every method but `enqueue` and `done`, which run in the caller's transaction, raises `StorageError` where
    the queue fails, `StorageUnavailableError` where it is only away.
    """

    def enqueue(self, conn: Connection, job: QueuedJob, numbers: Sequence[int]) -> None:
        """Queue units of one phase of a job, in the transaction that has written their rows.

        They may be delivered once it is committed, never if it is rolled back.
        """

    def take(
        self, phases: Collection[JobPhase], leave_out: Collection[int] = (), begin: Begin | None = None
    ) -> Token | None:
        """The next unit of one of ``phases``; None if there is none now. Does not wait.

        When this returns, the unit's row bears the token's claim. ``begin`` is called in the transaction that
        writes it there, perhaps for several units, which this and later calls return; what it raises undoes
        the delivery, and is raised. So all callers for a phase must pass the same. ``leave_out`` are the keys
        of jobs that this process has paused. Until the token ends, the queue keeps the unit from others for
        as long as this process lives, and delivers it again within 15 seconds if the process dies.
        """

    def done(self, conn: Connection, token: Token, *, dead: str | None = None) -> bool:
        """End the unit in the transaction that keeps its result; False if it is not this token's any more.

        ``dead`` says why the unit was given up; its row is then kept for people to see. If the transaction is
        rolled back, the token has not ended: call `done` again in another one, or `retry`.
        """

    def more(self, conn: Connection, job: int, phase: JobPhase) -> bool:
        """Whether some unit of a phase waits for a worker; if not, one may still be under way.

        For the transaction that ends another one: where it says True, somebody else will end the phase.
        """

    def retry(
        self, token: Token, delay_ms: int = 0, also: Callable[[Connection], None] | None = None
    ) -> bool:
        """Give the unit back, to be delivered again after ``delay_ms``; False if it was not the token's.

        ``also`` is called in the same transaction if it was. The token has ended even if this raises: then
        the unit comes back as that of a dead process does.
        """

    def wait(self, seconds: float) -> None:
        """Wait until `take` may find something that it did not before, at most so long.

        Returns early, too, for a unit that was enqueued in this process or in another one.
        """
