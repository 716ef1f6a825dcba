"""GetImageSetMetadata of a 500-instance set, warm, against nginx serving the same gzip."""

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
        return [Outcome("metadata", skipped=reason), Outcome("metadata-wrk", skipped=reason)]
    subject = Server("lightwell", workers=2)
    peer = Nginx()
    try:
        loaded = Loaded(subject, corpus.ct())
        size = len(loaded.metadata)
        peer.put("/metadata/set", loaded.metadata)
        file = Request(peer.get("/metadata/set"), size)

        def sign() -> list[Request]:
            signed = loaded.sign(
                "get_image_set_metadata", datastoreId=loaded.datastore, imageSetId=loaded.image_set
            )
            return [Request(signed.data, size)]

        detail = f"; {size:,} bytes of gzip"
        return replay("metadata", subject, peer, sign, [file], options, detail)
    finally:
        subject.stop()
        peer.stop()
