"""Where the benchmarks keep things: everything lies below one folder that git ignores."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path


def work_folder() -> Path:
    """``$BENCH_WORK``, by default ``./bench-work``; made if missing."""
    path = Path(os.environ.get("BENCH_WORK") or "bench-work").resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def buckets_folder() -> Path:
    """The folder whose subfolders the server takes for S3 buckets (``LIGHTWELL_BUCKETS_DIR``)."""
    path = work_folder() / "buckets"
    path.mkdir(exist_ok=True)
    return path


def new_folder(name: str) -> Path:
    """A new empty folder below the work folder, on the same disk as everything else."""
    parent = work_folder() / "run"
    parent.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
