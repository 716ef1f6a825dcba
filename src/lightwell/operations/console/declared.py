"""Whether an upload stays within the files and bytes that it was to have."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightwell.domain.imports.uploads import Upload
from lightwell.stores.jobs import uploads

if TYPE_CHECKING:
    from sqlalchemy import Connection

_MOST_KNOWN = 1000
# What other processes add is found when this one has added such a part of the whole.
_PARTS = 32


@dataclass(slots=True)
class _Known:
    """What is there of an upload, and what this process has added since it was last counted."""

    files: int
    size: int
    files_since: int = 0
    size_since: int = 0


class Declared:
    """Counts what arrives in this process, since to count all rows for each file would take ever longer."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def admits(self, conn: Connection, upload: Upload, size: int) -> bool:
        """Whether another file of ``size`` bytes may come; it counts as there if so.

        Requests at once and other processes may let pass a little more: each process about a 32nd part.
        """
        with self._lock:
            known = self._known.pop(upload.id, None)
        if known is None or _is_old(known, upload) or _is_over(known, upload, size):
            there = uploads.arrived(conn, [upload.id]).get(upload.id)
            known = _Known(0, 0) if there is None else _Known(there.files, there.size)
        is_over = _is_over(known, upload, size)
        if not is_over:
            known = _Known(known.files + 1, known.size + size, known.files_since + 1, known.size_since + size)
        with self._lock:
            self._known[upload.id] = known
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return not is_over


def _is_old(known: _Known, upload: Upload) -> bool:
    return known.files_since * _PARTS > upload.files or known.size_since * _PARTS > upload.size


def _is_over(known: _Known, upload: Upload, size: int) -> bool:
    return known.files + 1 > upload.files or known.size + size > upload.size
