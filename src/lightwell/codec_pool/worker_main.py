"""Starts a codec worker: ``python -m lightwell.codec_pool.worker_main PARENT FD FAR``.

PARENT is the engine's process id, FD the worker's end of a socket pair to the engine, FAR that of another, by
which it gets files and packs (`codec_pool.far_storage`). The limits are set before anything is loaded that
reads untrusted bytes.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from lightwell import process_memory
from lightwell.codec_pool.messages import Channel, Configure
from lightwell.process_death import die_with_parent
from lightwell.settings import Settings

# Thread pools of numerical libraries would take memory and fight the other workers for the cores.
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def _settings(configure: Configure) -> Settings:
    paths = {f.name for f in fields(Settings) if "Path" in str(f.type)}
    values: dict[str, Any] = dict(configure.settings)
    for name in paths & values.keys():
        if values[name] is not None:
            values[name] = Path(values[name])
    return Settings(**values)


def main(arguments: list[str]) -> int:
    parent, descriptor, far = map(int, arguments)
    os.umask(0o077)  # whoever started it: what it spools are patients' data
    die_with_parent(parent)
    # The engine decides when a worker ends; Ctrl-C on a terminal reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The arrays of frames come and go; to map and unmap each would be a fifth of all work.
    process_memory.keep_freed()
    for name in _POOLS:
        os.putenv(name, "1")
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    channel = Channel(socket.socket(fileno=descriptor))
    configure = channel.receive_from_engine()
    if not isinstance(configure, Configure):
        return 1
    settings = _settings(configure)
    resource.setrlimit(resource.RLIMIT_DATA, (settings.worker_memory, settings.worker_memory))
    # A dump of its memory would be a file of somebody's images.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    from lightwell.imaging import foreign_decoders

    foreign_decoders.keep_out()
    from lightwell.codec_pool import worker

    return 0 if worker.run(channel, settings, configure, far) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
