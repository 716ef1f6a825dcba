"""GetImageFrame, signed, against nginx serving the same bytes from files."""

from __future__ import annotations

from bench import corpus, nginx, server
from bench.load import Request
from bench.loaded import Loaded
from bench.nginx import Nginx
from bench.outcome import Options, Outcome
from bench.replay import replay
from bench.server import Server


def run(options: Options) -> list[Outcome]:
    reason = server.missing() or nginx.missing()
    if reason:
        return [Outcome("frames", skipped=reason), Outcome("frames-wrk", skipped=reason)]
    subject = Server("lightwell", workers=2)
    peer = Nginx()
    try:
        loaded = Loaded(subject, corpus.ct())
        frames = [loaded.frame(index) for index in range(len(loaded.frame_ids))]
        for index, data in enumerate(frames):
            peer.put(f"/frames/{index}", data)
        files = [Request(peer.get(f"/frames/{index}"), len(data)) for index, data in enumerate(frames)]

        sizes = [len(data) for data in frames]

        def sign() -> list[Request]:
            return loaded.frame_requests(sizes)

        return replay("frames", subject, peer, sign, files, options)
    finally:
        subject.stop()
        peer.stop()
