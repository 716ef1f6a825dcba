"""Shows a series small first: asks for one resolution level of all frames of an image set, in one request.

    python packed_frames.py DATASTORE_ID IMAGE_SET_ID [LEVEL]

Needs botocore, and the environment that `lightwell env` prints.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session


def open_frames(datastore: str, image_set: str, **wanted: Any) -> IO[bytes]:
    """The answer to getImageFrames, signed like any other native request."""
    session, base = Session(), os.environ["AWS_ENDPOINT_URL_MEDICAL_IMAGING"]
    request = AWSRequest(
        "POST",
        f"{base}/datastore/{datastore}/imageSet/{image_set}/getImageFrames",
        data=json.dumps(wanted).encode(),
    )
    region = session.get_config_variable("region")
    SigV4Auth(session.get_credentials(), "medical-imaging", region).add_auth(request)
    signed = urllib.request.Request(request.url, request.data, dict(request.headers))  # noqa: S310
    found: IO[bytes] = urllib.request.urlopen(signed)  # noqa: S310
    return found


def records(stream: IO[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every frame as soon as it has arrived: what it is, and its codestream."""
    if stream.read(8) != b"LWFRAMES":
        raise ValueError("These are no packed frames.")
    while True:
        size, length = struct.unpack("<IQ", stream.read(12))
        described = json.loads(stream.read(size))
        if described["kind"] == "end":
            return
        body = stream.read(length)
        if described["kind"] in ("frame", "error"):
            yield described, body


def main() -> None:
    datastore, image_set, *level = sys.argv[1:]
    wanted = {"level": int(level[0]) if level else 0, "first": "middle"}
    with open_frames(datastore, image_set, **wanted) as stream:
        for described, codestream in records(stream):
            text = f"frame {described['position']}: "
            if described["kind"] == "frame":
                text += f"{described['width']} x {described['height']}, {len(codestream)} of"
                text += f" {described['levels'][-1]} bytes; halve it {described['reduce']} times"
            else:
                text += described["message"]
            sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
