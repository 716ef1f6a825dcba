"""GetImageFrame, signed, against nginx serving the same bytes from files."""

from __future__ import annotations

from bench.clients.http_load import Request
from bench.inputs import corpus
from bench.measure.against_nginx import compare_with_nginx
from bench.results import Options, Outcome
from bench.servers import lightwell_server, nginx
from bench.servers.imported_series import ImportedSeries
from bench.servers.lightwell_server import Server
from bench.servers.nginx import Nginx


def run(options: Options) -> list[Outcome]:
    reason = lightwell_server.missing() or nginx.missing()
    if reason:
        return [Outcome("frames", skipped=reason), Outcome("frames-wrk", skipped=reason)]
    subject = Server("lightwell", workers=2)
    peer = Nginx()
    try:
        loaded = ImportedSeries(subject, corpus.ct())
        frames = [loaded.frame(index) for index in range(len(loaded.frame_ids))]
        for index, data in enumerate(frames):
            peer.put(f"/frames/{index}", data)
        files = [Request(peer.get(f"/frames/{index}"), len(data)) for index, data in enumerate(frames)]

        sizes = [len(data) for data in frames]

        def sign() -> list[Request]:
            return loaded.frame_requests(sizes)

        return compare_with_nginx("frames", subject, peer, sign, files, options)
    finally:
        subject.stop()
        peer.stop()
