"""What may go wrong with work in codec workers and around it, and what follows: the one table of it.

A mapping for each kind of work: `CHUNK`, the files of a chunk of an import job; `INSPECTION`, a file that a
job looks into while it lists its input; `PHASE`, a phase of a job that is done without a worker; `STORE` and
`DIRECT`, requests that clients wait for.

What is unavailable (a database, an object store, the network, room on a disk) may be back, and nothing is to
blame: a job pauses for as long as it takes (`work.imports.pauses`), and none of its tries is used up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from lightwell.codec_pool.requests import RequestError, RequestErrorKind
from lightwell.domain.imports.jobs import FORGED, NO_FILE, STORAGE
from lightwell.errors import (
    DamagedError,
    InputError,
    InternalError,
    NotFoundError,
    StorageError,
    StorageUnavailableError,
    UnavailableError,
)


class Cause(StrEnum):
    """Why a piece of work has come to nothing."""

    NOT_STARTED = "not started"
    """No codec worker could be started, perhaps for want of memory."""
    DIED = "died"
    """A worker ended on a file that it had announced."""
    TIMED_OUT = "timed out"
    """A worker was killed because it took too long over such a file."""
    DIED_BETWEEN_FILES = "died between files"
    """A worker ended, or was killed, when it was on no file."""
    FORGED = "forged"
    """A worker said what it cannot know, see `codec_pool.admission`: a file has taken it over."""
    UNAVAILABLE = "unavailable"
    """Something that the work needs is away."""
    STORAGE = "storage"
    """Storage failed, or does not have what was stored."""
    INPUT = "input"
    """The bytes that were to be read are at fault."""
    MEMORY = "memory"
    """A worker reached its limit of memory."""
    FAULT = "fault"
    """A fault in lightwell, met on a file or a request."""
    FAULT_BETWEEN_FILES = "fault between files"
    """A fault in lightwell, met when no file was being read."""


Blamed = Literal["file", "chunk", "request", "job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """What follows from a cause.

    The work is tried again until it has failed ``tries`` times, None for as long as it takes. Then whoever is
    ``blames`` fails with ``message``, in which ``{reason}``, ``{tries}`` and ``{name}`` are filled in. The
    failures of a chunk are counted under ``counter`` in `Chunk.deaths`, or under the file's number. ``kind``
    is what a client is answered.
    """

    tries: int | None = 1
    blames: Blamed | None = None
    message: str = "{reason}"
    counter: str | None = None
    kind: RequestErrorKind = "fault"

    def is_final(self, failures: int) -> bool:
        """Whether so many failures are the end of it."""
        return self.tries is not None and failures >= self.tries

    def text(self, reason: str, name: str = "") -> str:
        return self.message.format(reason=reason, tries=self.tries, name=name)

    def error(self, reason: str) -> RequestError:
        """The answer to a client whose request fails."""
        return RequestError(self.kind, self.text(reason))


def _file(message: str, tries: int = 1) -> Consequence:
    return Consequence(blames="file", tries=tries, message=message)


def _request(kind: RequestErrorKind, message: str = "{reason}", tries: int = 1) -> Consequence:
    return Consequence(blames="request", tries=tries, message=message, kind=kind)


_PAUSE = Consequence(tries=None)
# The first death may have been an operator's kill.
_FILE_DIED = _file("Reading this file ended its codec worker {tries} times: {reason}", tries=2)
_CHUNK_DIED = Consequence(
    blames="chunk", tries=6, counter=NO_FILE, message="Reading failed again and again: {reason}"
)

CHUNK: Mapping[Cause, Consequence] = {
    Cause.NOT_STARTED: _PAUSE,
    Cause.UNAVAILABLE: _PAUSE,
    Cause.DIED: _FILE_DIED,
    Cause.TIMED_OUT: _FILE_DIED,
    Cause.INPUT: _file("{reason}"),
    Cause.MEMORY: _file(
        "Reading this file takes more memory than a codec worker may use, {reason} bytes: raise "
        "LIGHTWELL_WORKER_MEMORY and import it again"
    ),
    Cause.FAULT: _file(
        "This file could not be read because of a fault in lightwell ({reason}): please report it"
    ),
    Cause.DIED_BETWEEN_FILES: _CHUNK_DIED,
    Cause.FAULT_BETWEEN_FILES: _CHUNK_DIED,
    # Which file it was only the worker could say. Twice, since it may have been one of another chunk.
    Cause.FORGED: Consequence(
        blames="chunk",
        tries=2,
        counter=FORGED,
        message="One of the files that were read together is hostile, and none of them was imported; the "
        "codec worker was ended: {reason} Import the others without it",
    ),
    Cause.STORAGE: Consequence(
        blames="chunk", tries=8, counter=STORAGE, message="The storage failed again and again: {reason}"
    ),
}

_INSPECTION_DIED = _file("{name} cannot be read: it ended its codec worker: {reason}", tries=2)

INSPECTION: Mapping[Cause, Consequence] = {
    Cause.NOT_STARTED: _PAUSE,
    Cause.UNAVAILABLE: _PAUSE,
    Cause.DIED: _INSPECTION_DIED,
    Cause.TIMED_OUT: _INSPECTION_DIED,
    Cause.DIED_BETWEEN_FILES: _INSPECTION_DIED,
    Cause.FORGED: _file("{name} is hostile, it took over the codec worker that read it: {reason}"),
    Cause.STORAGE: Consequence(blames="job"),  # its phase fails, see `PHASE`
    Cause.INPUT: _file("{reason}"),
    Cause.MEMORY: _file(
        "{name} takes more memory than a codec worker may use, {reason} bytes: raise "
        "LIGHTWELL_WORKER_MEMORY and import it again"
    ),
    Cause.FAULT: _file(
        "{name} could not be read because of a fault in lightwell ({reason}): please report it"
    ),
}

_PHASE_TRIES = 5
_PHASE_FAULT = Consequence(
    blames="job",
    tries=_PHASE_TRIES,
    message="A fault in lightwell ended the job ({reason}), please report it.",
)

PHASE: Mapping[Cause, Consequence] = {
    Cause.UNAVAILABLE: _PAUSE,
    Cause.STORAGE: Consequence(blames="job", tries=_PHASE_TRIES),
    Cause.INPUT: Consequence(blames="job", tries=_PHASE_TRIES),
    Cause.MEMORY: _PHASE_FAULT,
    Cause.FAULT: _PHASE_FAULT,
}
"""What a phase finds wrong with the job itself ends it at once, see `ImportPhases.work`."""

_NO_WORKER = "No codec worker can be started at the moment. Try again later."
_REQUEST_DIED = _request("died", "Codec workers ended again and again: {reason}.", tries=2)
_REQUEST_FORGED = _request(
    "died", "What was to be read is hostile, its codec worker was ended: {reason}", tries=2
)
_REQUEST_FAULT = _request("fault", "A fault in lightwell ({reason}): please report it.")

STORE: Mapping[Cause, Consequence] = {
    Cause.NOT_STARTED: _request("busy", _NO_WORKER),
    Cause.UNAVAILABLE: _request("storage", "Nothing was stored: {reason}"),
    Cause.STORAGE: _request("storage", "Nothing was stored: {reason}"),
    Cause.DIED: _file("Reading this file ended its codec worker: {reason}"),
    Cause.TIMED_OUT: _file("Reading this file ended its codec worker: {reason}"),
    Cause.DIED_BETWEEN_FILES: _REQUEST_DIED,
    Cause.FORGED: _REQUEST_FORGED,
    Cause.FAULT: _REQUEST_FAULT,
    Cause.FAULT_BETWEEN_FILES: _request("storage", "Nothing was stored because of {reason}."),
}
"""A client waits: a file is tried once."""

DIRECT: Mapping[Cause, Consequence] = {
    Cause.NOT_STARTED: _request("busy", _NO_WORKER),
    Cause.UNAVAILABLE: _request("storage"),
    Cause.STORAGE: _request("damaged"),  # lost, or not what was stored: asking again does not help
    Cause.DIED: _request("died", "The codec worker at this request ended: {reason}."),
    Cause.TIMED_OUT: _request("time", "The codec worker at this request ended: {reason}."),
    Cause.DIED_BETWEEN_FILES: _REQUEST_DIED,
    Cause.FORGED: _REQUEST_FORGED,
    Cause.INPUT: _request("input"),
    Cause.MEMORY: _request(
        "memory",
        "This takes more memory than a codec worker may use, {reason} bytes: raise LIGHTWELL_WORKER_MEMORY.",
    ),
    Cause.FAULT: _REQUEST_FAULT,
}

EXCEPTIONS: Mapping[RequestErrorKind, type[Exception]] = {
    "input": InputError,
    "damaged": DamagedError,
    "missing": NotFoundError,
    "busy": UnavailableError,
    "storage": UnavailableError,
    "memory": InternalError,
    "time": InternalError,
    "died": InternalError,
    "fault": InternalError,
}
"""What a client raises for the answer to a request that has failed."""

_CAUSES: tuple[tuple[type[BaseException], Cause], ...] = (
    (StorageUnavailableError, Cause.UNAVAILABLE),
    (StorageError, Cause.STORAGE),
    (InputError, Cause.INPUT),
    (MemoryError, Cause.MEMORY),
)


def cause_of(error: BaseException) -> Cause:
    """The cause that an exception stands for; `Cause.FAULT` where nobody foresaw it."""
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), Cause.FAULT)


def reason_of(error: BaseException, memory: int | None = None) -> str:
    """What is filled in for ``{reason}``; in a worker, ``memory`` is how much it may use, in bytes."""
    cause = cause_of(error)
    if cause is Cause.MEMORY and memory is not None:
        return str(memory)
    return type(error).__name__ if cause in (Cause.MEMORY, Cause.FAULT) else str(error)
