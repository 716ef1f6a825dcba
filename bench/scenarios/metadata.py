"""GetImageSetMetadata of a 500-instance set, warm, against nginx serving the same gzip."""

from __future__ import annotations

from bench import corpus, nginx, server, wrk
from bench.load import Request
from bench.loaded import Loaded
from bench.nginx import Nginx
from bench.outcome import Options, Outcome, ratios, spread
from bench.scenarios.frames import CONNECTIONS, describe, measure, show
from bench.server import Server


def run(options: Options) -> list[Outcome]:
    reason = server.missing() or nginx.missing()
    if reason:
        return [Outcome("metadata", skipped=reason), Outcome("metadata-wrk", skipped=reason)]
    no_wrk = wrk.missing()
    subject = Server("lightwell", workers=2)
    peer = Nginx()
    rounds = []
    try:
        loaded = Loaded(subject, corpus.ct())
        size = len(loaded.metadata)
        peer.put("/metadata/set", loaded.metadata)
        file = Request(peer.get("/metadata/set"), size)
        for number in range(-1, options.rounds):  # round -1 warms both
            signed = loaded.sign(
                "get_image_set_metadata", datastoreId=loaded.datastore, imageSetId=loaded.image_set
            )
            contestants = [
                ("lightwell", subject.tree, subject.address, [Request(signed.data, size)]),
                ("nginx", peer.tree, peer.address, [file]),
            ]
            found: dict[str, float] = {}
            for name, tree, address, requests in contestants[:: 1 if number % 2 else -1]:
                found |= measure(name, tree, address, requests, options)
                if no_wrk is None:
                    found[f"{name} wrk"] = wrk.drive(
                        address, requests, connections=CONNECTIONS, seconds=options.seconds
                    )
            if number >= 0:
                show(number, found)
                rounds.append(found)
    finally:
        subject.stop()
        peer.stop()
    detail = f"{describe(rounds)}; {size:,} bytes of gzip"
    return [
        Outcome("metadata", ratios(rounds, "lightwell rate", "nginx rate"), detail, rounds=rounds),
        Outcome(
            "metadata-wrk",
            ratios(rounds, "lightwell wrk", "nginx wrk"),
            f"lightwell {spread(rounds, 'lightwell wrk')} requests/s, nginx {spread(rounds, 'nginx wrk')}",
            no_wrk or "",
        ),
    ]
