"""Counters of all processes of one server, in shared memory.

`Meter` is created before the processes are forked. Each joins with its own number and is the only one to
write to its part, so counting needs no lock between processes and takes less than a microsecond. A restarted
process continues with the counts of its predecessor. Rendered in Prometheus's text format 0.0.4.
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STATUSES = (
    200, 204, 206, 304, 400, 402, 403, 404, 405, 406, 408, 409, 411, 413, 415, 429, 431, 499, 500, 501, 503,
)  # fmt: skip
_STATUS_PLACE = {status: place for place, status in enumerate(STATUSES)}

_PHASES = ("list", "read", "commit", "report")

# Counters of background work: name → help, label, and the values of the label.
COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "lightwell_import_files_total": (
        "Files of import jobs: imported, refused for what is in the file (customer), failed here (server)",
        "outcome",
        ("imported", "customer", "server"),
    ),
    "lightwell_storage_reads_total": (
        "Reads of S3 storage by where the bytes came from",
        "from",
        ("warm", "disk", "joined", "s3", "failed"),
    ),
    "lightwell_storage_gets_total": (
        "GETs of S3 storage by how they ended; hedged ones were sent a second time",
        "outcome",
        ("answered", "failed", "hedged", "refused"),
    ),
    "lightwell_storage_bytes_total": ("Bytes of S3 storage by where they came from", "from", ("disk", "s3")),
    "lightwell_storage_circuit_total": (
        "Times that reading from S3 storage was given up, and taken up again",
        "state",
        ("opened", "closed"),
    ),
    "lightwell_import_jobs_total": ("Import jobs that have ended", "status", ("COMPLETED", "FAILED")),
    "lightwell_queue_claims_total": ("Units of work of import jobs that were taken", "phase", _PHASES),
    "lightwell_queue_redeliveries_total": ("Those that were taken before", "phase", _PHASES),
    "lightwell_failed_proofs_total": (
        "Signatures, tokens and links that could not be verified",
        "kind",
        ("signature", "bearer_token", "web_identity", "console_link"),
    ),
    "lightwell_damaged_reads_total": (
        "Reads of stored bytes that were not the stored ones",
        "of",
        ("frame", "database"),
    ),
    "lightwell_emergency_total": (
        "Sessions for emergencies that were begun, and requests that were made with them",
        "what",
        ("session", "request"),
    ),
    "lightwell_audit_records_total": (
        "Records of the audit trail: written, or lost since they could not be, which is counted in the trail",
        "outcome",
        ("written", "lost"),
    ),
    "lightwell_audit_forwarded_total": (
        "Records of the audit trail that have arrived where they are forwarded to",
        "target",
        ("syslog", "fhir"),
    ),
    "lightwell_audit_forward_missed_total": (
        "Those that never will: removed before they were sent, not readable, or refused by the target",
        "target",
        ("syslog", "fhir"),
    ),
}

# What background work measures now and then, of the whole database: name → help, label, and its values.
GAUGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "lightwell_queue_ready_units": ("Units of work of import jobs that wait", "phase", _PHASES),
    "lightwell_queue_claimed_units": ("Those that are under way", "phase", _PHASES),
    "lightwell_queue_dead_units": ("Those that were given up", "phase", _PHASES),
    "lightwell_queue_oldest_seconds": ("How long the oldest that waits has waited", "phase", _PHASES),
    "lightwell_audit_stopped": (
        "Processes that cannot write their part of the audit trail at the moment",
        "process",
        ("http", "work"),
    ),
    "lightwell_audit_forward_lag_seconds": (
        "Age of the oldest record of the audit trail that was to be forwarded and has not arrived",
        "target",
        ("syslog", "fhir"),
    ),
}

# Per operation: a counter per status and one for others, the histogram, sum of seconds, bytes in, bytes out.
_OTHER = len(STATUSES)
_HISTOGRAM = _OTHER + 1
_SECONDS = _HISTOGRAM + len(BUCKETS) + 1
_RECEIVED = _SECONDS + 1
_SENT = _RECEIVED + 1
_WIDTH = _SENT + 1

# Positions from the end of a process's part.
_CONNECTIONS, _IN_FLIGHT = -2, -1
_NOT_LISTENING = float("inf")


class Meter:
    """The counters of this many processes for these operations."""

    def __init__(self, operations: Iterable[str], processes: int) -> None:
        self.operations = tuple(operations)
        self._counters = {
            (name, value): index
            for index, (name, value) in enumerate(
                (name, value) for name, (_, _, values) in (COUNTERS | GAUGES).items() for value in values
            )
        }
        self._behind = len(self.operations) * _WIDTH
        self._part = self._behind + len(self._counters) + 2
        self._processes = processes
        self._numbers = memoryview(mmap.mmap(-1, max(1, processes) * self._part * 8)).cast("d")
        for process in range(processes):
            self._numbers[(process + 1) * self._part + _CONNECTIONS] = _NOT_LISTENING

    def join(self, process: int) -> Recorder:
        """The part of one process, numbered from 0."""
        start = process * self._part
        return Recorder(
            self._numbers[start : start + self._part],
            {name: place * _WIDTH for place, name in enumerate(self.operations)},
            {key: self._behind + index for key, index in self._counters.items()},
            self,
        )

    def render(self, info: Sequence[tuple[str, str]]) -> bytes:
        """All counters as text; ``info`` holds the labels of ``lightwell_build_info``."""
        return "".join(f"{line}\n" for line in self._lines(info)).encode()

    def fewest_connections(self) -> float:
        """How many connections the least busy of the listening processes has."""
        numbers, part = self._numbers, self._part
        return min(numbers[(process + 1) * part + _CONNECTIONS] for process in range(self._processes))

    def _sums(self) -> list[float]:
        numbers, part = self._numbers, self._part
        return [
            sum(numbers[process * part + place] for process in range(self._processes))
            for place in range(part)
        ]

    def _lines(self, info: Sequence[tuple[str, str]]) -> Iterator[str]:
        sums = self._sums()
        yield "# HELP lightwell_build_info Version of this server"
        yield "# TYPE lightwell_build_info gauge"
        yield "lightwell_build_info{" + ",".join(f'{name}="{value}"' for name, value in info) + "} 1"
        used = [
            (name, sums[place * _WIDTH : (place + 1) * _WIDTH]) for place, name in enumerate(self.operations)
        ]
        used = [(name, row) for name, row in used if any(row)]
        yield "# HELP lightwell_requests_total Requests answered"
        yield "# TYPE lightwell_requests_total counter"
        for name, row in used:
            for place, label in enumerate((*STATUSES, "other")):
                if row[place]:
                    labels = f'operation="{name}",status="{label}"'
                    yield f"lightwell_requests_total{{{labels}}} {_number(row[place])}"
        yield "# HELP lightwell_request_seconds Time from the head of a request to the end of its response"
        yield "# TYPE lightwell_request_seconds histogram"
        for name, row in used:
            total = 0.0
            for place, edge in enumerate((*BUCKETS, "+Inf")):
                total += row[_HISTOGRAM + place]
                yield f'lightwell_request_seconds_bucket{{operation="{name}",le="{edge}"}} {_number(total)}'
            yield f'lightwell_request_seconds_sum{{operation="{name}"}} {_number(row[_SECONDS])}'
            yield f'lightwell_request_seconds_count{{operation="{name}"}} {_number(total)}'
        for metric, text, column in (
            ("lightwell_received_bytes_total", "Bytes of request bodies", _RECEIVED),
            ("lightwell_sent_bytes_total", "Bytes of response bodies", _SENT),
        ):
            yield f"# HELP {metric} {text}"
            yield f"# TYPE {metric} counter"
            for name, row in used:
                yield f'{metric}{{operation="{name}"}} {_number(row[column])}'
        for metric, (text, label, values) in (COUNTERS | GAUGES).items():
            yield f"# HELP {metric} {text}"
            yield f"# TYPE {metric} {'counter' if metric in COUNTERS else 'gauge'}"
            for value in values:
                count = sums[self._behind + self._counters[metric, value]]
                yield f'{metric}{{{label}="{value}"}} {_number(count)}'
        yield "# HELP lightwell_requests_in_flight Requests being processed"
        yield "# TYPE lightwell_requests_in_flight gauge"
        yield f"lightwell_requests_in_flight {_number(sums[_IN_FLIGHT])}"
        open_now = (self._numbers[(p + 1) * self._part + _CONNECTIONS] for p in range(self._processes))
        yield "# HELP lightwell_connections Open connections"
        yield "# TYPE lightwell_connections gauge"
        yield f"lightwell_connections {_number(sum(n for n in open_now if n != _NOT_LISTENING))}"


class Recorder:
    """The counters of one process. `request` must be called from one thread, `count` from any."""

    def __init__(
        self,
        numbers: memoryview[float],
        operations: dict[str, int],
        counters: dict[tuple[str, str], int],
        meter: Meter,
    ) -> None:
        self._numbers = numbers
        # What is there of a predecessor; nobody else writes to it, and a list is read in a tenth of the time.
        self._known: list[float] = [*numbers]
        self._operations = operations
        self._counters = counters
        self._lock = threading.Lock()
        self.meter = meter
        self._in_flight = 0
        numbers[_IN_FLIGHT] = 0.0
        _recorders[:] = [self]

    def begin(self) -> None:
        """A request has arrived."""
        self._in_flight += 1
        self._numbers[_IN_FLIGHT] = self._in_flight

    def request(self, operation: str, status: int, seconds: float, received: int, sent: int) -> None:
        """A request that had begun has been answered."""
        numbers, known = self._numbers, self._known
        self._in_flight -= 1
        numbers[_IN_FLIGHT] = self._in_flight
        row = self._operations[operation]
        place = row + _STATUS_PLACE.get(status, _OTHER)
        numbers[place] = known[place] = known[place] + 1
        place = row + _HISTOGRAM + bisect_left(BUCKETS, seconds)
        numbers[place] = known[place] = known[place] + 1
        place = row + _SECONDS
        numbers[place] = known[place] = known[place] + seconds
        if received:
            place = row + _RECEIVED
            numbers[place] = known[place] = known[place] + received
        place = row + _SENT
        numbers[place] = known[place] = known[place] + sent

    def connections(self, number: int) -> None:
        """Set the number of open connections."""
        self._numbers[_CONNECTIONS] = number

    def measure(self, gauge: str, value: str, number: float) -> None:
        """Set one of `GAUGES`, for one value of its label."""
        self._numbers[self._counters[gauge, value]] = number

    def count(self, counter: str, value: str, by: int = 1) -> None:
        """Add to one of `COUNTERS`, for one value of its label."""
        with self._lock:
            self._numbers[self._counters[counter, value]] += by


_recorders: list[Recorder] = []


def count(counter: str, value: str, by: int = 1) -> None:
    """Add to one of `COUNTERS` in the part of this process, if it has one: for code that any process runs."""
    for recorder in _recorders:
        recorder.count(counter, value, by)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
