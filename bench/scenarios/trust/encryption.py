"""Frames of encrypted data stores against the same frames of data stores that are not, in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results import Options, Outcome
from bench.scenarios.trust.read_pairs import Side, compare, loaded, native_frames, web_frames
from bench.servers import lightwell_server

_BARS = {"encrypted-frames": native_frames, "encrypted-web-frames": web_frames}
_SIDES: Mapping[str, Mapping[str, Any]] = {
    "encrypted": {"settings": {"LIGHTWELL_ENCRYPTION": "always"}},
    "plain": {},
}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome(bar, skipped=reason) for bar in _BARS]
    with loaded(_SIDES, options) as sides:
        _check(sides)
        return [compare(bar, reads, sides, options) for bar, reads in _BARS.items()]


def _check(loaded: Mapping[str, Side]) -> None:
    """Both give the same frame, and one of them keeps it encrypted."""
    if loaded["plain"].series.frame(0) != loaded["encrypted"].series.frame(0):
        raise RuntimeError("an encrypted frame is another than the same frame in plain")
    for side, kept in loaded.items():
        packs = list(kept.series.server.data.rglob("*.pack"))
        sealed = sum(path.read_bytes()[:4] == b"LWS1" for path in packs)
        if sealed != (len(packs) if side == "encrypted" else 0) or not packs:
            raise RuntimeError(f"{sealed} of {len(packs)} packs of the side {side} are encrypted")
