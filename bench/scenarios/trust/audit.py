"""Reads that are on record against the same reads of a server that keeps no audit trail of them, in pairs.

No setting turns the trail off: `bench.servers.unrecorded` starts a server without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results import Options, Outcome
from bench.scenarios.trust.read_pairs import Side, compare, loaded, metadata, native_frames, web_frames
from bench.servers import lightwell_server, unrecorded
from lightwell.observe.audit.segments import all_segments

_BARS = {
    "audited-frames": native_frames,
    "audited-web-frames": web_frames,
    "audited-metadata": metadata,
}
_SIDES: Mapping[str, Mapping[str, Any]] = {"recorded": {}, "unrecorded": {"starter": unrecorded.__file__}}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome(bar, skipped=reason) for bar in _BARS]
    with loaded(_SIDES, options) as sides:
        outcomes = [compare(bar, reads, sides, options) for bar, reads in _BARS.items()]
        _check(sides)
        return outcomes


def _check(loaded: Mapping[str, Side]) -> None:
    """One of them has all reads on record, and the other one none."""
    for side, kept in loaded.items():
        lines = b"".join(segment.read() for _, segment in all_segments(kept.series.server.data / "audit"))
        for operation in (b"GetImageFrame", b"GetDICOMInstanceFrames", b"GetImageSetMetadata"):
            if (b'"do":"%b"' % operation in lines) != (side == "recorded"):
                raise RuntimeError(f"the trail of the side {side} is not what it should be: {operation!r}")
