"""Reads that are on record against the same reads of a server that keeps no audit trail, in pairs.

No setting turns the trail off: `bench.servers.unrecorded` starts a server without it.
"""

from __future__ import annotations

from bench.inputs import corpus
from bench.results import Options, Outcome
from bench.scenarios.trust.read_pairs import compare, metadata, native_frames, web_frames
from bench.servers import lightwell_server, unrecorded
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server

_BARS = {
    "audited-frames": native_frames,
    "audited-web-frames": web_frames,
    "audited-metadata": metadata,
}
_SIDES = {"recorded": None, "unrecorded": unrecorded.__file__}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome(bar, skipped=reason) for bar in _BARS]
    servers: dict[str, Server] = {}
    try:
        files = corpus.ct(100 if options.quick else corpus.COUNT)
        loaded: dict[str, ImportedSeries] = {}
        for side, starter in _SIDES.items():
            servers[side] = Server(f"lightwell {side}", workers=2, starter=starter)
            loaded[side] = ImportedSeries(servers[side], files)
        outcomes = [compare(bar, reads, loaded, options) for bar, reads in _BARS.items()]
        _check(servers)
        return outcomes
    finally:
        for server in servers.values():
            server.stop()


def _check(servers: dict[str, Server]) -> None:
    """One of them has all reads on record, and the other one none."""
    for side, server in servers.items():
        lines = b"".join(path.read_bytes() for path in (server.data / "audit").rglob("*.jsonl"))
        for operation in (b"GetImageFrame", b"GetDICOMInstanceFrames", b"GetImageSetMetadata"):
            if (b'"do":"%b"' % operation in lines) != (side == "recorded"):
                raise RuntimeError(f"the trail of the side {side} is not what it should be: {operation!r}")
