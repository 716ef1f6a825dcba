"""Who used the processors while something was measured."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from types import TracebackType

from bench.servers.process_tree import ProcessTree, cpu_below

_TICK = os.sysconf("SC_CLK_TCK")


def busy() -> tuple[float, float]:
    """(CPU seconds that all processors worked, seconds that the host took away), since boot."""
    user, nice, system, _idle, _wait, irq, soft, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + soft) / _TICK, steal / _TICK


def _own() -> float:
    times = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(t.ru_utime + t.ru_stime for t in times)


class ServiceMeter:
    """CPU seconds that PostgreSQL and the S3 server have used in a span, those that this process started."""

    def __enter__(self) -> ServiceMeter:
        self._start = cpu_below(os.getpid(), ("postgres", "weed"))
        self.postgresql = self.s3 = 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        found = cpu_below(os.getpid(), ("postgres", "weed"))
        self.postgresql, self.s3 = (found[name] - self._start[name] for name in ("postgres", "weed"))


class CpuMeter:
    """A span of wall time and the CPU seconds spent in it.

    ``server`` by the given trees, ``client`` by this process and those of its children that ended in the
    span, ``others`` by everything else on the machine, in cores: a round in which this is not near 0 was
    disturbed. ``stolen`` is what the hypervisor gave to somebody else, in cores.
    """

    def __init__(self, *trees: ProcessTree) -> None:
        self._trees = trees
        self.wall = self.server = self.client = self.others = self.stolen = 0.0

    def __enter__(self) -> CpuMeter:
        self._start = (self._server(), _own(), *busy(), time.perf_counter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server, client, all_before, stolen, begun = self._start
        self.wall = time.perf_counter() - begun
        all_busy, all_stolen = busy()
        self.client = _own() - client
        self.server = self._server() - server
        self.others = max(0.0, all_busy - all_before - self.server - self.client) / self.wall
        self.stolen = (all_stolen - stolen) / self.wall

    def _server(self) -> float:
        return sum(tree.cpu() for tree in self._trees)
