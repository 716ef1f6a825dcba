"""GetImageSetMetadata of a 500-instance set, warm, against nginx serving the same gzip."""

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
        return [Outcome("metadata", skipped=reason), Outcome("metadata-wrk", skipped=reason)]
    subject = Server("lightwell", workers=2)
    peer = Nginx()
    try:
        loaded = ImportedSeries(subject, corpus.ct())
        size = len(loaded.metadata)
        peer.put("/metadata/set", loaded.metadata)
        file = Request(peer.get("/metadata/set"), size)

        def sign() -> list[Request]:
            signed = loaded.sign(
                "get_image_set_metadata", datastoreId=loaded.datastore, imageSetId=loaded.image_set
            )
            return [Request(signed.data, size)]

        detail = f"; {size:,} bytes of gzip"
        return compare_with_nginx("metadata", subject, peer, sign, [file], options, detail)
    finally:
        subject.stop()
        peer.stop()
