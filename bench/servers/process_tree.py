"""A server under test and all its processes: start, stop, CPU time, memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_LAUNCHER = Path(__file__).with_name("launcher.py")


class ServerFailed(Exception):
    """A server did not start, or ended too soon; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat. ``cpu`` is seconds, with that of children it has waited for, ``ended``."""

    pid: int
    parent: int
    cpu: float
    ended: float


def _processes() -> Iterator[Process]:
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a list of names is all that is needed here
        if entry.isdigit() and (found := _process(int(entry))):
            yield found


def _process(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text.rpartition(b")")[2].split()  # the name before it may hold anything
    times = [int(field) / _TICK for field in fields[11:15]]
    return Process(pid, int(fields[1]), sum(times), sum(times[2:]))


def _run_seconds(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


def cpu_below(root: int, names: Sequence[str]) -> dict[str, float]:
    """CPU seconds of the living descendants of a process, and of children they have waited for, by name."""
    children: dict[int, list[Process]] = {}
    for process in _processes():
        children.setdefault(process.parent, []).append(process)
    found, totals = list(children.get(root, [])), dict.fromkeys(names, 0.0)
    for process in found:  # grows while it is walked
        found += children.get(process.pid, [])
        try:
            name = Path(f"/proc/{process.pid}/comm").read_text().strip()
        except OSError:
            continue
        if name in totals:
            totals[name] += process.cpu
    return totals


class ProcessTree:
    """A command started below a launcher, see `launcher.py`.

    ``begun`` is the moment (``time.monotonic``) at which the command itself was spawned, ``pid`` its process
    id. Output goes to ``log``. Linux only.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        read, write = os.pipe()
        with log.open("wb") as output:
            self._launcher = subprocess.Popen(
                [sys.executable, "-S", "-E", str(_LAUNCHER), str(write), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                pass_fds=(write,),
            )
        os.close(write)
        with os.fdopen(read) as report:
            line = report.readline().split()
        if len(line) != 2:
            raise ServerFailed(f"{name} could not be started: {self.tail()}")
        self.pid, self.begun = int(line[0]), float(line[1])

    def alive(self) -> bool:
        return self._launcher.poll() is None

    def tail(self) -> str:
        """The last lines that the command wrote."""
        return self.log.read_bytes()[-2000:].decode("utf-8", "replace").strip() or "(it wrote nothing)"

    def pids(self) -> list[int]:
        """The command and its living descendants, without the launcher."""
        return [process.pid for process in self._members() if process.pid != self._launcher.pid]

    def cpu(self) -> float:
        """CPU seconds that the tree has used so far, those of its ended processes included."""
        return sum(process.cpu for process in self._members())

    def precise_cpu(self) -> float:
        """The same without rounding each process to ticks, for what uses hardly any CPU.

        Only what ended processes have used, and any threads beyond the first, is rounded or left out.
        """
        ended = sum(process.ended for process in self._members())
        return ended + sum(_run_seconds(pid) for pid in self.pids())

    def pss(self) -> int:
        """Proportional set size of all processes, bytes: shared pages are counted once."""
        return sum(_kilobytes(pid, "smaps_rollup", "Pss") for pid in self.pids())

    def peaks(self) -> dict[int, int]:
        """Highest resident size so far (VmHWM), bytes, of each process."""
        return {pid: _kilobytes(pid, "status", "VmHWM") for pid in self.pids()}

    def stop(self, patience: float = 40) -> int:
        """SIGTERM, then SIGKILL after ``patience`` seconds; the exit code."""
        if self.alive():
            self._launcher.send_signal(signal.SIGTERM)
        try:
            return self._launcher.wait(patience)
        except subprocess.TimeoutExpired:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return self._launcher.wait(10)

    def wait_for(self, what: str, seconds: float) -> Iterator[None]:
        """Yields every few milliseconds while the command lives; ServerFailed after ``seconds``."""
        end = time.monotonic() + seconds
        while self.alive():
            yield
            if time.monotonic() > end:
                raise ServerFailed(f"{self.name}: no {what} after {seconds:.0f} s: {self.tail()}")
            time.sleep(0.002)
        raise ServerFailed(f"{self.name} ended before {what}: {self.tail()}")

    def _members(self) -> list[Process]:
        children: dict[int, list[Process]] = {}
        root: Process | None = None
        for process in _processes():
            children.setdefault(process.parent, []).append(process)
            if process.pid == self._launcher.pid:
                root = process
        found = [root] if root else []
        for process in found:  # grows while it is walked
            found += children.get(process.pid, [])
        return found


def command_line(pid: int) -> str:
    """What ``pid`` was started as, shortened; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")[:160]
    except OSError:
        return ""


def _kilobytes(pid: int, file: str, key: str) -> int:
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
