"""Decodes codestreams with every bit of their headers wrong, one at a time, and cut at every byte; and with a
bit of every other byte wrong.

Run as ``python -m tests.unit.imaging.flips own|foreign``, so that a codec that hangs or dies takes nobody
with it. Prints, as JSON, how many of them were refused and how many came out, by the name of the codestream.
Of our own none may come out that is not exact; of foreign ones nobody knows, so any frame of the right shape
will do.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import imagecodecs
from numpy.typing import NDArray
from openjpeg.utils import encode_array

from lightwell.errors import DamagedError
from lightwell.imaging.dataset.image_description import ImageDescription
from lightwell.imaging.dataset.transfer_syntaxes import HTJ2K_RPCL, JPEG2000_LOSSLESS
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels import htj2k, jpeg2000
from lightwell.imaging.pixels.checksum import frame_checksum
from lightwell.imaging.pixels.decode import decode_frame
from lightwell.imaging.pixels.stored_frames import decode_verified
from tests.unit.imaging.pixel_files import image_of, noise

CPU_SECONDS, BYTES = 120, 768 << 20
Decode = Callable[[bytes], NDArray[Any]]

GREY, SIGNED, COLOUR = noise((20, 30), "u1"), noise((20, 30), "i2"), noise((20, 30, 3), "u1")
LARGER = noise((33, 40), "u1")
_SOT, _SOD = b"\xff\x90\0\x0a", b"\xff\x93"


def own() -> Iterator[tuple[str, bytes, Decode]]:
    """Frames as stores keep them, and how they are decoded."""
    for name, samples in (("grey", GREY), ("signed", SIGNED), ("colour", COLOUR)):
        description, checksum = image_of(samples), frame_checksum(samples)

        def decode(
            data: bytes,
            syntax: str,
            samples: NDArray[Any] = samples,
            known: tuple[Any, int] = (description, checksum),
        ) -> NDArray[Any]:
            found = decode_verified(data, 0, syntax, *known)
            assert htj2k.same_samples(found, samples), "a frame that is not exact"
            return found

        data, head = htj2k.encode(samples, description.photometric)
        yield f"htj2k-{name}", data[head:], partial(decode, syntax=HTJ2K_RPCL)
        data = jpeg2000.encode(samples, description.photometric)
        yield f"j2k-{name}", data, partial(decode, syntax=JPEG2000_LOSSLESS)


def foreign() -> Iterator[tuple[str, bytes, Decode]]:
    """Codestreams of other parameters, as an import decodes them."""
    made: dict[str, tuple[Any, NDArray[Any]]] = {
        "lossless": (imagecodecs.jpeg2k_encode(SIGNED, codecformat="j2k", reversible=True), SIGNED),
        "lossy": (imagecodecs.jpeg2k_encode(COLOUR, codecformat="j2k", level=40), COLOUR),
        "layers": (encode_array(LARGER, compression_ratios=[8, 4, 2], add_tlm=True, add_plt=True), LARGER),
        "ht-lossy": (imagecodecs.htj2k_encode(COLOUR, reversible=False), COLOUR),
        "ht-tiles": (imagecodecs.htj2k_encode(GREY, reversible=True, tile=(8, 8)), GREY),
    }
    for name, (data, samples) in made.items():
        yield name, bytes(data), partial(_decode_foreign, description=image_of(samples))


def _decode_foreign(data: bytes, description: ImageDescription) -> NDArray[Any]:
    return decode_frame(data, "jpeg2000", description)[0]


def header_places(data: bytes) -> Iterator[int]:
    """The bytes of the main header and of every tile-part's."""
    yield from range(data.index(_SOT))
    place = data.index(_SOT)
    while data[place : place + 4] == _SOT:
        yield from range(place, data.index(_SOD, place) + 2)
        place += int.from_bytes(data[place + 6 : place + 10])
    yield from range(place, len(data))


def tried(data: bytes, decode: Decode) -> dict[str, int]:
    """How the flips and the cuts of one codestream end."""
    shape = decode(data).shape
    counts = {f"{kind}{end}": 0 for kind in ("flips", "cuts", "samples") for end in ("", " refused")}

    def look(damaged: bytes, kind: str) -> None:
        counts[kind] += 1
        try:
            assert decode(damaged).shape == shape
        except (DamagedError, PixelFailure):
            counts[f"{kind} refused"] += 1

    header = set(header_places(data))
    for place in range(len(data)):
        if place not in header:
            look(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :], "samples")
    for place in header:
        for bit in range(8):
            look(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :], "flips")
    for length in range(len(data)):
        look(data[:length], "cuts")
    return counts


def main(kind: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    found = {}
    for name, data, decode in {"own": own, "foreign": foreign}[kind]():
        print(name, file=sys.stderr, flush=True)
        found[name] = tried(data, decode)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
