"""A server on a faulty disk: one step after the other, and one fault in each until it has hurt somebody."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from random import Random

from tests.faults.disk.faulty_disk import CHANGES, GROWS, Call, Fault, FaultyDisk, Kind
from tests.faults.mixed_load import MixedLoad

_HOLD = 0.3  # for how many seconds a fault is in force after its first hit

STEPS = ("import_files", "store", "update", "revert", "copy", "promote", "delete", "back_up", "verify")
#: parts of paths: what is written is told apart by them
PLACES = (
    *("/lightwell.db", "/objects/", "/audit/", "/buckets/out", "/documents/", "/spool/", "/backup/"),
    "/events.ndjson",
)
#: faults by name, without the number of the call and its place
FAULTS = {
    "the disk is full": Fault(Kind.FAIL, GROWS, errno.ENOSPC),
    "the disk is full in the middle of a write": Fault(Kind.TEAR, GROWS, errno.ENOSPC),
    "a write is cut short": Fault(Kind.TEAR, Call.WRITE, errno.EIO, last=0),
    "the disk fails once": Fault(Kind.FAIL, CHANGES, errno.EIO, last=0),
    "the disk is read-only": Fault(Kind.FAIL, CHANGES, errno.EROFS),
    "an fsync fails": Fault(Kind.DROP, Call.SYNC, errno.EIO, last=0),
    "every fsync fails": Fault(Kind.DROP, Call.SYNC, errno.EIO),
    "the disk is slow": Fault(Kind.DELAY, CHANGES, delay=0.1),
    "the process dies": Fault(Kind.DIE, CHANGES, last=0),
    "the process dies in the middle of a write": Fault(Kind.DIE_TORN, Call.WRITE, last=0),
}


class Campaign:
    """``folder`` is on the faulty disk, ``scratch`` is not."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.disk = FaultyDisk(folder, scratch)
        self.load = MixedLoad(folder, env=self.disk.environment)
        self.hits = 0

    def step(self, name: str, chance: Random, fault: Fault) -> bool:
        """Make a step; whether the fault has hit anything."""
        self.load.said.append(f"{name}: {fault}")
        over = threading.Event()
        self.disk.set(fault)
        doctor = threading.Thread(target=self._mend, args=(over,))
        doctor.start()
        try:
            self.load.step(name, chance)
        finally:
            over.set()
            doctor.join()
            self.disk.mend()
        if not self.disk.hits:
            return False
        self.hits += 1
        self.load.said.append(f"  {self.disk.hits} of {self.disk.count} were hit: {self.disk.what}")
        return True

    def _mend(self, over: threading.Event) -> None:
        while not over.wait(0.02):
            if self.disk.hits:
                over.wait(_HOLD)
                self.disk.mend()
                return
