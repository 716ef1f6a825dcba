"""Blocks: lines of a segment with a seal behind them, which proves them and all blocks before.

A segment begins with its head, one line that says whose it is and behind which seal it continues. A block is
what was written at once: that head, if it is the first, records, and the line of the seal. Its MAC covers the
MAC of the seal before, all bytes since, and the rest of its own line. Nothing of a block that misses its seal
is proved.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

FORMAT = 1
# Read at once: some thousand records. A block may be longer, and no block is longer than the second.
PART: Final = 1 << 20
LONGEST: Final = 64 << 20
# What the first seal of a chain continues.
START = bytes(32)
_SEAL = re.compile(rb'\{"seal":(\d{1,18}),"at":(\d{1,18}),"mac":"([0-9a-f]{64})"\}\n')
_SEAL_START = b'{"seal":'
_NEXT_SEAL = b"\n" + _SEAL_START
_MAC_HEX = 64
_CLOSE = b'"}\n'


class Left(Struct, frozen=True, omit_defaults=True):
    """Bytes behind the last seal of the segment before, which a crash or a fault left there.

    ``size`` and ``digest`` (SHA-256) are of all bytes between that seal and this segment. ``again`` is the
    number of the first record that is written a second time, since it is not known what the disk has kept of
    the segment before; then ``size`` says nothing.
    """

    size: int = 0
    digest: str = ""
    again: int = 0


class SegmentHead(Struct, frozen=True, omit_defaults=True):
    """The first line of a segment. ``first`` is the number of its first record.

    ``key`` is the id of the key, ``before`` the MAC of the seal that it continues, empty if it is the first.
    """

    audit: int
    node: str
    writer: str
    segment: int
    first: int
    key: str
    before: str
    left: Left | None = None


_HEAD_DECODER = msgspec.json.Decoder(SegmentHead)


@dataclass(frozen=True, slots=True)
class Block:
    """A block that is proved: where it is, the number of the last record until its end, when, and its MAC."""

    start: int
    end: int
    number: int
    at: int
    mac: bytes


def encode_head(head: SegmentHead) -> bytes:
    return msgspec.json.encode(head) + b"\n"


def decode_head(data: bytes) -> SegmentHead | None:
    """The head that a segment begins with; None if it does not."""
    line, end, _ = data.partition(b"\n")
    try:
        head = _HEAD_DECODER.decode(line)
    except ValueError:
        return None
    return head if end and head.audit == FORMAT else None


def seal(key: bytes, before: bytes, body: bytes, number: int, at: int) -> tuple[bytes, bytes]:
    """The line that seals ``body`` behind the seal with the MAC ``before``, and its own MAC."""
    start = b'{"seal":%d,"at":%d,"mac":"' % (number, at)
    mac = _mac(key, before, memoryview(body), start)
    return start + mac.hex().encode() + _CLOSE, mac


def before(head: SegmentHead) -> bytes:
    """The MAC that the first block of a segment continues, as its head states it; empty if that is no MAC."""
    try:
        return bytes.fromhex(head.before) if head.before else START
    except ValueError:
        return b""


def blocks(data: bytes, key: bytes, before: bytes, start: int = 0) -> Iterator[Block]:
    """The blocks of a segment from ``start`` on, up to the first that is not proved."""
    view = memoryview(data)
    while (line := _SEAL.match(data, _next_seal(data, start))) is not None:
        number, sealed_at, mac_hex = line.groups()
        mac = _mac(key, before, view[start : line.end() - len(_CLOSE) - _MAC_HEX], b"")
        if not hmac.compare_digest(mac.hex().encode(), mac_hex):
            return
        yield Block(start, line.end(), int(number), int(sealed_at), mac)
        before, start = mac, line.end()


def read_blocks(file: BinaryIO, key: bytes, before: bytes) -> Iterator[Block]:
    """As `blocks`, from where an open segment stands, in the memory of its longest block.

    Where blocks begin and end is counted from there. Raises what reading raises.
    """
    rest, at = b"", 0
    while len(rest) <= LONGEST and (part := file.read(PART)):
        rest += part
        end = 0
        for block in blocks(rest, key, before):
            before, end = block.mac, block.end
            yield Block(at + block.start, at + end, block.number, block.at, block.mac)
        if stated(rest, end) is not None:
            return  # More of the file proves nothing that is there already.
        rest, at = rest[end:], at + end


def stated(data: bytes, start: int) -> Block | None:
    """The block from ``start`` to the next seal that can be read, as that states it, proved or not."""
    at = _next_seal(data, start)
    while at < len(data):
        if (line := _SEAL.match(data, at)) is not None:
            number, sealed_at, mac_hex = line.groups()
            return Block(start, line.end(), int(number), int(sealed_at), bytes.fromhex(mac_hex.decode()))
        at = _next_seal(data, at + 1)
    return None


def _next_seal(data: bytes, start: int) -> int:
    """Where the next line that begins like a seal's begins; the end of the data if there is none."""
    if data.startswith(_SEAL_START, start):
        return start
    at = data.find(_NEXT_SEAL, start)
    return len(data) if at < 0 else at + 1


def _mac(key: bytes, before: bytes, body: memoryview, start: bytes) -> bytes:
    mac = hmac.new(key, before, sha256)
    mac.update(body)
    mac.update(start)
    return mac.digest()
