"""Cuts the files of a job into chunks that workers share evenly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from lightwell.domain.imports.jobs import InputFile

MOST_FILES = 64
MOST_BYTES = 128 << 20
# A chunk costs one transaction and a few fsyncs; fewer files than this are not worth them.
_LEAST_FILES = 8
# With so many chunks for each worker, files of different cost even out.
_ROUNDS = 4
_LOOK = 2048


def chunks(files: Iterator[InputFile], workers: int) -> Iterator[list[InputFile]]:
    """Chunks of at most `MOST_FILES` files and `MOST_BYTES` (unless of a single file), in input order."""
    first = list(itertools.islice(files, _LOOK))
    most = MOST_FILES if len(first) == _LOOK else chunk_size(len(first), workers)
    chunk: list[InputFile] = []
    size = 0
    for file in itertools.chain(first, files):
        if chunk and (len(chunk) >= most or size + file.size > MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(file)
        size += file.size
    if chunk:
        yield chunk


def chunk_size(files: int, workers: int) -> int:
    """How many files a chunk has in a job of so many: chunks are equal, and each worker gets as many."""
    if files <= _LEAST_FILES:
        return max(files, 1)
    size = min(max(math.ceil(files / (workers * _ROUNDS)), _LEAST_FILES), MOST_FILES)
    count = math.ceil(math.ceil(files / size) / workers) * workers
    return math.ceil(files / count)
