"""The most memory that a process takes while a 2 GB multi-frame file is imported."""

from __future__ import annotations

import gzip
import json
import re

from bench.clients.import_jobs import ImportJob
from bench.inputs import large_files
from bench.results import Options, Outcome
from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server
from bench.servers.process_tree import ServerFailed, command_line

_MIB = 1 << 20


def run(options: Options) -> list[Outcome]:
    reason = lightwell_server.missing()
    return [_one(kind, options, reason) for kind in large_files.KINDS]


def _frames(server_: Server, datastore: str) -> int:
    """How many frames the one instance of the one image set has; 0 if there is none."""
    client = server_.client()
    found = client.search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
    if len(found) != 1:
        return 0
    answer = client.get_image_set_metadata(datastoreId=datastore, imageSetId=found[0]["imageSetId"])
    document = json.loads(gzip.decompress(answer["imageSetMetadataBlob"].read()))
    (series,) = document["Study"]["Series"].values()
    (instance,) = series["Instances"].values()
    return len(instance["ImageFrames"])


def _one(kind: str, options: Options, reason: str | None) -> Outcome:
    """One import by a new server: high-water marks (VmHWM) do not fall, so each file gets new processes."""
    if reason:
        return Outcome(f"memory-{kind}", skipped=reason)
    uri, frames = large_files.large_file(
        kind, large_files.PIXEL_BYTES // 10 if options.quick else large_files.PIXEL_BYTES
    )
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
        stored = _frames(subject, datastore)
        if stored != frames:
            raise ServerFailed(f"{stored} of the {frames} frames of the {kind} file were stored")
    finally:
        subject.stop()
    highest = max(peaks, key=lambda pid: peaks[pid])
    for pid, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        print(f"  {kind:13} {peak / _MIB:7.0f} MiB  {names[pid]}")
    module = re.search(r"-m (\S+)", names[highest])
    detail = f"{frames} frames of 512×512 in {seconds:.0f} s; highest in `{module[1] if module else '?'}`"
    return Outcome(
        f"memory-{kind}",
        [peaks[highest] / _MIB],
        detail,
        rounds=[{str(pid): peak for pid, peak in peaks.items()}],
    )
