"""The most memory that a process takes while a 2 GB multi-frame file is imported."""

from __future__ import annotations

from bench import giants, server
from bench.jobs import ImportJob
from bench.outcome import Options, Outcome
from bench.processes import ServerFailed, command_line
from bench.server import Server

_MIB = 1 << 20


def run(options: Options) -> list[Outcome]:
    reason = server.missing()
    return [_one(kind, options, reason) for kind in giants.KINDS]


def _one(kind: str, options: Options, reason: str | None) -> Outcome:
    """One import by a new server: high-water marks (VmHWM) do not fall, so each file gets new processes."""
    if reason:
        return Outcome(f"memory-{kind}", skipped=reason)
    uri, frames = giants.giant(kind, giants.GIGA // 10 if options.quick else giants.GIGA)
    subject = Server("lightwell", settings={"LIGHTWELL_CODEC_WORKERS": "1"})
    peaks: dict[int, int] = {}
    names: dict[int, str] = {}

    def look() -> None:
        for pid, peak in subject.tree.peaks().items():
            if peak > peaks.get(pid, 0):
                peaks[pid] = peak
                names[pid] = names.get(pid) or command_line(pid)

    try:
        datastore = subject.datastore(kind)
        seconds: float = ImportJob(subject, datastore, uri).wait(1800, look)["seconds"]
        look()
        found = subject.client().search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
        if len(found) != 1:
            raise ServerFailed(f"the {kind} file of {frames} frames was not taken: {len(found)} image sets")
    finally:
        subject.stop()
    highest = max(peaks, key=lambda pid: peaks[pid])
    for pid, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        print(f"  {kind:13} {peak / _MIB:7.0f} MiB  {names[pid]}")
    detail = f"{frames} frames of 512×512 in {seconds:.0f} s; the process: `{names[highest][-60:]}`"
    return Outcome(
        f"memory-{kind}",
        [peaks[highest] / _MIB],
        detail,
        rounds=[{str(pid): peak for pid, peak in peaks.items()}],
    )
