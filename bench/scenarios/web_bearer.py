"""A request with a bearer token against the same one signed: by a Python function and by an HTTP function."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

from bench.clients.dicomweb import DicomwebClient
from bench.clients.import_jobs import ImportJob
from bench.inputs import corpus
from bench.measure.latency import p50, show
from bench.results import Options, Outcome, noise, ratios, spread
from bench.scenarios.web_frames import path_of
from bench.servers import authorizers, lightwell_server
from bench.servers.lightwell_server import Server, command
from bench.workspace import new_folder

_ARN = "arn:aws:lambda:us-east-1:000000000000:function:bench-{}"
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "medical-imaging.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "medical-imaging:*", "Resource": "*"}],
}
_ACCEPT = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


def run(options: Options) -> list[Outcome]:
    if reason := lightwell_server.missing():
        return [Outcome(key, skipped=reason) for key in ("web-bearer-python", "web-bearer-http")]
    function = subprocess.Popen([sys.executable, "-m", "bench.servers.authorizers"], stdout=subprocess.PIPE)
    assert function.stdout is not None
    port = int(function.stdout.readline())
    root = str(Path(__file__).parents[2])
    subject = Server("lightwell", workers=2, settings={"LIGHTWELL_AUTHORIZERS_DIR": root})
    try:
        _register(subject.data, port)
        files = corpus.ct(16, "warm")
        rounds: list[dict[str, float]] = []
        webs = {}
        for kind in ("python", "http"):
            datastore = subject.client().create_datastore(
                datastoreName=f"bearer-{kind}", lambdaAuthorizerArn=_ARN.format(kind)
            )["datastoreId"]
            ImportJob(subject, datastore, files.uri).wait()
            webs[kind] = DicomwebClient(subject, datastore)
        path = path_of(files, 0, "warm") + "/frames/1"
        for number in range(-1, options.rounds):
            found: dict[str, float] = {"function": _own_time(port, options.seconds)}
            for kind, web in webs.items():
                ways = {
                    "signed": web.get(path, _ACCEPT),
                    "bearer": web.bearer(path, authorizers.token(), _ACCEPT),
                }
                for way, request in ways.items():
                    web.fetch(request)
                    found |= p50(f"{kind} {way}", subject, [request], options)
            if number >= 0:
                rounds.append(found)
                show(number, found)
    finally:
        subject.stop()
        function.terminate()
        function.wait()
    return [
        Outcome(
            "web-bearer-python",
            ratios(rounds, "python bearer", "python signed"),
            f"p50 at 1 connection: {spread(rounds, 'python bearer', 2)} ms, "
            f"signed {spread(rounds, 'python signed', 2)} ms; {noise(rounds)}",
            rounds=rounds,
        ),
        Outcome(
            "web-bearer-http",
            [entry["http bearer"] - entry["http signed"] - entry["function"] for entry in rounds],
            f"p50 at 1 connection: {spread(rounds, 'http bearer', 2)} ms, signed "
            f"{spread(rounds, 'http signed', 2)} ms, the function alone {spread(rounds, 'function', 2)} ms",
        ),
    ]


def _register(data: Path, port: int) -> None:
    """The role, and both functions under their ARNs."""
    folder = new_folder("role")
    trust, policy = folder / "trust.json", folder / "policy.json"
    trust.write_text(json.dumps(_TRUST))
    policy.write_text(json.dumps(_POLICY))
    lines = [
        ["role", "put", "bench", "--trust-policy", str(trust), "--policy", str(policy)],
        ["authorizer", "put", _ARN.format("python"), "python:bench.servers.authorizers:allow"],
        ["authorizer", "put", _ARN.format("http"), f"http://127.0.0.1:{port}/invoke"],
    ]
    for line in lines:
        subprocess.run([*command(), *line, "--data", str(data)], check=True, stdout=subprocess.DEVNULL)


def _own_time(port: int, seconds: float) -> float:
    """p50 of the HTTP function alone, in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        connection.request("POST", "/invoke", b"{}", {"Content-Type": "application/json"})
        connection.getresponse().read()
        times.append(time.perf_counter() - begun)
    connection.close()
    return 1000 * sorted(times)[len(times) // 2]
