"""Honest frames beside strangers who send heads that take much work, as fast as these are refused.

Against the same frames beside as many connections of honest ones: who is not let in may cost some times
what who is does, but not hundreds. The heads name a key that exists, as every presigned URL does, and are
as long as heads may be.
"""

from __future__ import annotations

from bench.clients.dicomweb import DicomwebClient
from bench.clients.forged_heads import beside
from bench.clients.http_load import Load, Request, drive
from bench.clients.import_jobs import ImportJob
from bench.clients.signed_requests import exchange
from bench.inputs import corpus
from bench.results import Options, Outcome, ratios, spread
from bench.scenarios.web_frames import path_of
from bench.servers import lightwell_server
from bench.servers.lightwell_server import Server

CONNECTIONS = 8
_ACCEPT = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
# What may be asked for at most: 8 KB of query and 200 of its parameters, 200 headers.
_PAIRS, _QUERY = 200, 8190


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome("hostile-heads", skipped=reason)]
    subject = Server("lightwell", workers=2)
    try:
        files = corpus.ct(16, "warm")
        datastore = subject.datastore("hostile")
        ImportJob(subject, datastore, files.uri).wait()
        web = DicomwebClient(subject, datastore)
        rounds: list[dict[str, float]] = []
        for number in range(-1, options.rounds):  # round -1 warms everybody
            frames = [web.get(path_of(files, n, "warm") + "/frames/1", _ACCEPT) for n in range(16)]
            heads = _heads(web)
            _check(subject, heads)
            found = {"alone": _p99(_drive(subject, frames, CONNECTIONS, options.seconds))}
            # Twice the connections, of which either half waits as long.
            found["honest"] = _p99(_drive(subject, frames, 2 * CONNECTIONS, options.seconds))
            with beside(subject.address, heads, CONNECTIONS, options.seconds + 1) as refused:
                found["hostile"] = _p99(_drive(subject, frames, CONNECTIONS, options.seconds))
            found["refused"] = refused[0]
            if number >= 0:
                rounds.append(found)
                print(f"  round {number + 1}  " + "  ".join(f"{n} {found[n]:.1f}" for n in found))
    finally:
        subject.stop()
    return [
        Outcome(
            "hostile-heads",
            ratios(rounds, "hostile", "honest"),
            f"p99 {spread(rounds, 'hostile', 1)} ms beside {spread(rounds, 'refused')} refused heads/s, "
            f"{spread(rounds, 'honest', 1)} ms beside frames, {spread(rounds, 'alone', 1)} ms alone",
            rounds=rounds,
        )
    ]


def _heads(web: DicomwebClient) -> list[Request]:
    """Heads signed for a key that exists, with a signature that is not its own."""
    pairs = ["+=%"] * _PAIRS
    longest = "&".join(pairs)
    escaped = "&".join(f"a{n}=" + "%2B+" * 8 for n in range(_PAIRS))[:_QUERY]
    plain = "&".join([*pairs[:-1], "a=" + "+" * (_QUERY - len(longest))])[:_QUERY]
    crowd = {f"X-Head-{n}": "a  b" for n in range(180)}
    made = [web.get(f"/studies?{query}") for query in (longest, escaped, plain)]
    made += [web.get("/studies?limit=1", crowd), web.get("/studies?" + "+=%&" * 15_000)]
    return [Request(_forged(each.data)) for each in made]


def _forged(data: bytes) -> bytes:
    place = data.index(b"Signature=") + len(b"Signature=")
    return data[:place] + b"0" * 64 + data[place + 64 :]


def _check(subject: Server, heads: list[Request]) -> None:
    """Each has to be refused, and for what it is."""
    statuses = [exchange(subject.address, head)[0] for head in heads]
    if statuses != [403] * (len(heads) - 1) + [414]:
        raise RuntimeError(f"hostile heads were answered {statuses}")


def _drive(subject: Server, requests: list[Request], connections: int, seconds: float) -> Load:
    load = drive(subject.address, requests, connections=connections, seconds=seconds)
    if load.errors:
        raise RuntimeError(f"frames: {load.errors}")
    return load


def _p99(load: Load) -> float:
    """In milliseconds."""
    return 1000 * load.quantile(0.99)
