"""``DATA/engine.lock``: which process works on the imports of a data folder."""

from __future__ import annotations

from pathlib import Path

from lightwell.stores.data_folder.process_lock import ENGINE, ProcessLock


class EngineLock(ProcessLock):
    """Held by the one engine of a data folder."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, ENGINE)
