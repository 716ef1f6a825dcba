"""Our own code against the library that could take its place: ``python -m bench.libraries``.

Prints one row a piece: CPU microseconds a call of both, and the ratio, as the median over rounds in which the
two take turns. What it decides is written down in docs/design/own-code.md.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pydicom import dcmread, dcmwrite

from bench.inputs.corpus import ct_file
from lightwell.auth.sigv4 import SignedRequest, read_signature, verify
from lightwell.imaging.dataset.byte_source import BytesSource
from lightwell.imaging.dataset.element_cache import SeriesCache
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.part10 import open_part10
from lightwell.imaging.instances.parse import parse_instance
from lightwell.imaging.pixels import rle
from lightwell.observe.metrics import Meter

ROUNDS = 9
SLICES = 40


@dataclass(frozen=True, slots=True)
class Piece:
    """Two ways to do the same; each call does it ``times`` times."""

    name: str
    library: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    times: int


def attributes() -> Piece:
    """A CT slice to its JSON texts: native blocks and DICOM JSON here, DICOM JSON alone by pydicom."""
    files = []
    for number in range(SLICES):
        stream = BytesIO()
        dcmwrite(stream, ct_file("libraries", number, SLICES)[0], enforce_file_format=True)
        files.append(stream.getvalue())
    spool = Path(tempfile.gettempdir())

    def ours() -> None:
        cache = SeriesCache()
        for data in files:
            parse_instance(open_part10(BytesSource(data), spool_dir=spool, inflate_limit=0), cache)

    def theirs() -> None:
        for data in files:
            json.dumps(dcmread(BytesIO(data), stop_before_pixels=True).to_json_dict())

    return Piece("attributes of a CT slice to JSON", "pydicom", ours, theirs, SLICES)


def run_lengths() -> Piece:
    """An RLE Lossless frame of 512×512 signed words to samples."""
    from rle.rle import decode_frame, encode_frame

    samples = np.arange(512 * 512, dtype="<i2").reshape(512, 512) // 37
    coded = bytes(encode_frame(samples.tobytes(), 512, 512, 1, 16, "<"))
    image = ImageDescription(512, 512, 1, 16, 16, True, "MONOCHROME2", 0, 1, False, "PixelData")
    decoded = np.frombuffer(decode_frame(coded, 512 * 512, 16, "<"), "<i2").reshape(512, 512)
    if not np.array_equal(rle.decode(coded, image), decoded):
        raise AssertionError("the two decode to other samples")
    return Piece(
        "an RLE frame of 512×512",
        "pylibjpeg-rle",
        lambda: rle.decode(coded, image),
        lambda: decode_frame(coded, 512 * 512, 16, "<"),
        1,
    )


def counters() -> Piece:
    """What is counted of one request, in memory or files that several processes share."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="bench-prometheus-")
    from prometheus_client import Counter, Histogram

    labels = ("operation",)
    requests = Counter("bench_requests", "requests", ("operation", "status"))
    received, sent = (Counter(f"bench_{name}_bytes", name, labels) for name in ("received", "sent"))
    seconds = Histogram("bench_seconds", "seconds", labels)
    recorder = Meter(["GetImageFrame"], 2).join(0)

    def ours() -> None:
        recorder.begin()
        recorder.request("GetImageFrame", 200, 0.004, 100, 200_000)

    def theirs() -> None:
        requests.labels("GetImageFrame", "200").inc()
        seconds.labels("GetImageFrame").observe(0.004)
        received.labels("GetImageFrame").inc(100)
        sent.labels("GetImageFrame").inc(200_000)

    return Piece("counting a request", "prometheus-client, multiprocess mode", ours, theirs, 1)


def signatures() -> Piece:
    """A signed GetImageFrame: verified here, signed once more and compared by botocore."""
    url, body = "http://127.0.0.1:8085/datastore/0/imageSet/1/getImageFrame", b'{"imageFrameId": "2"}'
    credentials, secret = Credentials("AKIDEXAMPLEEXAMPLE00", "secret"), "secret"
    request = AWSRequest("POST", url, {"host": "127.0.0.1:8085"}, body)
    signer = SigV4Auth(credentials, "medical-imaging", "us-east-1")
    signer.add_auth(request)
    headers = [(name.lower().encode(), str(value).encode()) for name, value in request.headers.items()]
    signed = SignedRequest("POST", b"/datastore/0/imageSet/1/getImageFrame", b"", headers)
    digest, now = signer.payload(request), time.time()

    def theirs() -> None:
        again = AWSRequest("POST", url, {"host": "127.0.0.1:8085"}, body)
        again.context["timestamp"] = request.context["timestamp"]
        text = signer.string_to_sign(again, signer.canonical_request(again))
        signer.signature(text, again)

    return Piece(
        "a signature (SigV4)",
        "botocore, signing again",
        lambda: verify(read_signature(signed), signed, secret, digest, now),
        theirs,
        1,
    )


def microseconds(call: Callable[[], object], times: int) -> float:
    """CPU time of one of the ``times`` that a call does, over at least 50 ms."""
    count, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < 0.05:
        call()
        count += times
    return spent / count * 1e6


def rows() -> Iterator[str]:
    for make in (attributes, run_lengths, counters, signatures):
        piece = make()
        pairs = [
            (microseconds(piece.ours, piece.times), microseconds(piece.theirs, piece.times))
            for _ in range(ROUNDS)
        ]
        ours, theirs = (median(pair[side] for pair in pairs) for side in (0, 1))
        ratio = median(theirs / ours for ours, theirs in pairs)
        yield f"{piece.name}: {ours:,.1f} µs, {piece.library} {theirs:,.1f} µs, {ratio:.1f} ×"


if __name__ == "__main__":
    for row in rows():
        print(row)
