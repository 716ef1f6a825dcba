"""The files of chunks that the engine has opened or fetched for a codec worker, or is about to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from lightwell.codec_pool.far_storage.messages import ToWorker
from lightwell.domain.imports.jobs import InputFile
from lightwell.stores.buckets.registry import Buckets


@dataclass(slots=True)
class ChunkInputs:
    """The files of a chunk that are opened or fetched one by one; ``places`` are the others that hold some.

    ``waiting``: those that are not being fetched yet; ``coming``: those that were not sent yet; ``held``: the
    sizes of those that count as fetched ahead; ``let_go``: those of them that count until they are sent, and
    are not needed any more. ``sealed``: those on disk are encrypted. ``datastore``: what `ReadChunk` says.
    """

    task: int
    bucket: str
    buckets: Buckets
    waiting: deque[InputFile]
    known: frozenset[int]
    places: frozenset[str]
    coming: set[int]
    sealed: bool
    datastore: str
    held: dict[int, int] = field(default_factory=dict)
    let_go: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message, and the open descriptor or the bytes of the file that it announces."""

    message: ToWorker
    descriptor: int | None = None
    data: bytes | None = None
    chunk: ChunkInputs | None = None


def held_size(chunk: ChunkInputs, file: InputFile) -> int:
    """How many bytes are held of a file that is there; a local one is only opened."""
    if file.location is not None and file.location[0] == "file":
        return 0
    return 0 if chunk.buckets.is_local(file.location[1] if file.location else chunk.bucket) else file.size
