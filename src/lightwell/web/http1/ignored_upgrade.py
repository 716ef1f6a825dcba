"""Reading the body of a request with an ``Upgrade``, which the parser itself would not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightwell.web.http1.protocol import Protocol


class RestartedParser:
    """The callbacks of a parser that was given a made-up first head: they drop that head."""

    def __init__(self, protocol: Protocol) -> None:
        self.is_past_head = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete
        self._protocol = protocol

    def on_message_begin(self) -> None:
        if self.is_past_head:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.is_past_head:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_past_head:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.is_past_head:
            self._protocol.on_headers_complete()


def framing(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The header lines that say how long the body is; empty if there is no body."""
    lines = [
        name + b": " + value + b"\r\n"
        for name, value in headers
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
    ]
    return b"".join(lines)
