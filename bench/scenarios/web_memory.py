"""The memory that the server takes above idle while a study of 2 GB is retrieved."""

from __future__ import annotations

import socket

from bench.clients.dicomweb import DicomwebClient
from bench.clients.http_load import Request
from bench.clients.import_jobs import ImportJob
from bench.inputs import large_files
from bench.inputs.corpus import uid
from bench.results import Options, Outcome
from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server
from bench.workspace import new_folder

_MIB = 1 << 20
_WAYS = {
    "native": 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1',
    "stored": 'multipart/related; type="application/dicom"; transfer-syntax=*',
}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome("web-memory", skipped=reason)]
    size = large_files.PIXEL_BYTES // 10 if options.quick else large_files.PIXEL_BYTES
    uri, frames = large_files.large_file("native", size)
    data = new_folder("study") / "data"
    first = Server("lightwell", data=data)
    try:
        datastore = first.datastore("study")
        ImportJob(first, datastore, uri).wait(1800)
    finally:
        first.stop()
    rounds = []
    for way, accept in _WAYS.items():
        # A new server each time: the high-water marks of its processes do not fall.
        subject = Server("lightwell", data=data)
        try:
            web = DicomwebClient(subject, datastore)
            web.fetch(web.get("/studies", {"Accept": "application/dicom+json"}))
            idle = dict(subject.tree.peaks())
            received = _drain(
                subject.address, web.get(f"/studies/{uid('giant', 'native')}", {"Accept": accept})
            )
            if way == "native" and received < frames * 512 * 512 * 2:
                raise RuntimeError(f"the study came in {received:,} bytes, which are too few")
            grown = sum(peak - idle.get(pid, 0) for pid, peak in subject.tree.peaks().items())
        finally:
            subject.stop()
        rounds.append({way: grown / _MIB, f"{way} bytes": float(received)})
        print(f"  {way:8} {grown / _MIB:7.0f} MiB above idle for {received / 1e6:,.0f} MB")
    highest = max(value for found in rounds for key, value in found.items() if key in _WAYS)
    return [
        Outcome(
            "web-memory",
            [highest],
            f"{frames} frames of 512×512; "
            + ", ".join(
                f"{found[f'{way} bytes'] / 1e6:,.0f} MB {way}"
                for way, found in zip(_WAYS, rounds, strict=True)
            ),
            rounds=rounds,
        )
    ]


def _drain(address: tuple[str, int], request: Request) -> int:
    """Reads a whole answer and throws it away; how many bytes it had, head included."""
    received, head, tail = 0, b"", b""
    with socket.create_connection(address, timeout=600) as connection:
        connection.sendall(request.data.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nConnection: close\r\n", 1))
        while piece := connection.recv(_MIB):
            head = head or piece[:200]
            tail = (tail + piece)[-64:]
            received += len(piece)
    if not head.startswith(b"HTTP/1.1 200") or b"--" not in tail:
        raise RuntimeError(f"the study did not come whole: {head!r} … {tail!r}")
    return received
