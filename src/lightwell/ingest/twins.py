"""Files that several imports have brought at the same time: the same bytes, read before any was committed.

A file that equals what an image set has makes no version. `ingest.duplicates` compares a file with what is
there when it is read; what two imports have read at once neither has found. Whichever is committed second
meets the other's record, under the lock of the study, and if the rows of both say the same, their bytes are
compared here: outside the transaction, which then begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from lightwell.domain.keys import RecordKey
from lightwell.errors import StorageError, StorageUnavailableError
from lightwell.ingest.merge import TwinsMet
from lightwell.stores.db.database import Database
from lightwell.stores.image_sets.existing_instances import PackRange, Twins, Verdicts
from lightwell.stores.objects.interface import PackObjects
from lightwell.stores.objects.pack_objects import pack_name

T = TypeVar("T")

_PIECE = 4 << 20


def write(db: Database, objects: PackObjects, work: Callable[[Connection, Verdicts], T]) -> T:
    """Run ``work`` in one transaction (`Database.write`), anew whenever it raises `TwinsMet`.

    Records never change, so a verdict stays true, and each round has more of them: a round that is not the
    last needs a file that another import has committed since the one before.
    """
    verdicts: dict[tuple[RecordKey, RecordKey], bool] = {}
    while True:
        try:
            return db.write(lambda conn: work(conn, verdicts))
        except TwinsMet as met:
            verdicts.update((twins.pair, are_equal(objects, twins)) for twins in met.twins)


def are_equal(objects: PackObjects, twins: Twins) -> bool:
    """Whether the stored bytes of both records are the same; those that are damaged or gone equal nothing.

    Raises `StorageUnavailableError`.
    """
    try:
        return all(_is_equal(objects, *pair) for pair in twins.ranges)
    except StorageUnavailableError:
        raise
    except StorageError:
        return False


def _is_equal(objects: PackObjects, one: PackRange, other: PackRange) -> bool:
    for start in range(0, one.length, _PIECE):
        length = min(_PIECE, one.length - start)
        # Past every cache: one of both is about to be dropped, so the other has to be in the storage itself.
        ours, theirs = (
            objects.read_again(pack_name(each.pack), each.offset + start, length) for each in (one, other)
        )
        if ours != theirs:
            return False
    return True
