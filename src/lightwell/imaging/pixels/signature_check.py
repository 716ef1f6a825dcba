"""Checks whether frames that are stored verbatim begin as their transfer syntax requires.

Source: devguide/pixel-data-verification, which promises such a check for video.
"""

from __future__ import annotations

from lightwell.imaging.dataset.transfer_syntaxes import TransferSyntax
from lightwell.imaging.errors import cannot_transcode

SIGNATURE_BYTES = 512
"""Bytes at the beginning of a frame that `check_signature` needs."""

_PACKET, _BD_PACKET = 188, 192
_SIGNATURES = {
    "jpeg": (b"\xff\xd8\xff",),
    "jpeg2000": (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "),
    "jpegxl": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
    "mpeg2": (b"\x00\x00\x01\xb3", b"\x00\x00\x01\xba", b"\x00\x00\x00\x01\xb3"),
    "h264": (b"\x00\x00\x01", b"\x00\x00\x00\x01"),
    "h265": (b"\x00\x00\x01", b"\x00\x00\x00\x01"),
}


def check_signature(head: bytes, syntax: TransferSyntax) -> None:
    """Refuse a frame whose first bytes, ``head``, do not fit ``syntax``; raises `PixelFailure`."""
    if head.startswith(_SIGNATURES[syntax.codec]) or (syntax.video and _is_video_container(head)):
        return
    raise cannot_transcode(f"the pixel data does not begin as {syntax.name}, its transfer syntax, requires")


def _is_video_container(head: bytes) -> bool:
    """Whether this is an MP4 file or an MPEG transport stream, with or without Blu-ray timestamps."""
    if head[4:8] == b"ftyp":
        return True
    transport_stream = head[:1] == b"\x47" and head[_PACKET : _PACKET + 1] in (b"", b"\x47")
    timestamped_stream = head[4:5] == b"\x47" and head[4 + _BD_PACKET : 5 + _BD_PACKET] in (b"", b"\x47")
    return transport_stream or timestamped_stream
