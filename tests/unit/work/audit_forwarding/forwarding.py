"""A trail that is forwarded, and what the forwarder tells."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from time import monotonic, sleep

from lightwell.observe.audit.forms.meaning import Place
from lightwell.observe.audit.record import AuditRecord
from lightwell.work.audit_forwarding.forwarder import Telling
from tests.support.certificates import Authority

PLACE = Place("123456789012", "eu-central-1", "", "pacs-7")
RECORD = re.compile(rb"<ParticipantObjectName>([a-z0-9-]+) (\d+)</ParticipantObjectName>")
_SCRIPT = Path(__file__).with_name("syslog_receiver.py")


class Told:
    """What a forwarder has told."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()
        self.measured: dict[tuple[str, str], float] = {}
        self.records: list[AuditRecord] = []
        times = count(1_900_000_000_000)
        self.telling = Telling(self.records.append, self._count, self._measure, lambda: next(times))

    def _count(self, name: str, label: str, by: int) -> None:
        self.counted[name, label] += by

    def _measure(self, name: str, label: str, number: float) -> None:
        self.measured[name, label] = number


def until(is_so: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    end = monotonic() + seconds
    while not is_so():
        assert monotonic() < end, f"never: {what}"
        sleep(0.02)


class Receiver:
    """A strict receiver in a process of its own."""

    def __init__(self, folder: Path, authority: Authority, client_ca: Path | None = None) -> None:
        self._output = folder / "received"
        cert, key = authority.issue("receiver", hosts=["localhost"])
        self._arguments = [str(cert), str(key), str(self._output)]
        if client_ca is not None:
            self._arguments.append(str(client_ca))
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, _SCRIPT, str(self.port), *self._arguments], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def lines(self) -> list[str]:
        return self._output.read_text().splitlines() if self._output.exists() else []

    def messages(self) -> list[bytes]:
        return [bytes.fromhex(line[:-1]) for line in self.lines() if re.fullmatch("[0-9a-f]{20,}[.]", line)]

    def writers(self) -> set[str]:
        """The chains of which records have come."""
        return {RECORD.findall(message)[-1][0].decode() for message in self.messages()}

    def numbers(self, writer: str) -> list[int]:
        """The numbers of the records of a chain, in the order in which they came."""
        found = []
        for message in self.messages():
            chain, number = RECORD.findall(message)[-1]
            if chain.decode() == writer:
                found.append(int(number))
        return found


def in_order(numbers: list[int]) -> list[int]:
    """Each number once, where it came first; whatever comes again must come in order, too."""
    for before, after in pairwise(numbers):
        assert after <= before + 1, f"{after} came behind {before}"
    return list(dict.fromkeys(numbers))
