"""Keeps a backup's claim alive for as long as it runs; see `stores.backup.claim`."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType

from lightwell.errors import StorageError
from lightwell.stores.backup import claim
from lightwell.stores.db.database import Database


class ClaimLostError(StorageError):
    """The claim has ended before the backup needed it no more."""


class ClaimKeeping:
    """A context manager: takes the claim, renews it in a thread, and releases it.

    Entering it raises `LightwellError` if another backup runs.
    """

    def __init__(self, db: Database, id: str) -> None:
        self._db = db
        self._id = id
        self._holds = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="backup-claim", daemon=True)

    def __enter__(self) -> ClaimKeeping:
        self._db.write(lambda conn: claim.take(conn, self._id))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        with suppress(StorageError):  # it ends by itself
            self._db.write(lambda conn: claim.release(conn, self._id))

    def hold(self, holds: bool) -> None:
        """Hold the packs of the storage, or let go of them. Raises `ClaimLostError` if the claim has ended.

        So packs were held throughout if both succeed.
        """
        with self._lock:
            self._holds = holds
            if not self._db.write(lambda conn: claim.renew(conn, self._id, holds=holds)):
                raise ClaimLostError(
                    "`lightwell erase --now` has removed packs that this backup had to copy yet, or the "
                    "backup was stopped for more than a minute: run it again"
                )

    def _keep(self) -> None:
        while not self._over.wait(claim.RENEW_SECONDS):
            # A claim that was lost is noticed by `hold`; a database that is away may be back in time.
            with self._lock, suppress(StorageError):
                holds = self._holds
                self._db.write(lambda conn, holds=holds: claim.renew(conn, self._id, holds=holds))  # type: ignore[misc]
