"""Messages on a stream socket: each is led by its length, four bytes, big-endian.

Standard library only, like whoever loads it in `auth.python_authorizer_main`.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

_LENGTH = struct.Struct("!I")
_LONGEST = (1 << 32) - 1
_STEP = 1 << 18


class MessageTooLongError(ValueError):
    """The other end announces more bytes than a message may have."""


class NotAMessageError(ValueError):
    """The other end has sent what is none of the messages that it may send."""


def decoded(decode: Callable[[bytes], _T], message: bytes) -> _T:
    """What ``decode``, of one of msgspec's decoders, makes of a message. Raises `NotAMessageError`.

    For bytes that are no message those raise several errors: others than their own for text that is not UTF-8
    and for what is nested without end.
    """
    try:
        return decode(message)
    except (ValueError, RecursionError) as error:
        raise NotAMessageError(f"{type(error).__name__}: {error}") from None


def frame(message: bytes) -> bytes:
    """A message as it is sent."""
    return _LENGTH.pack(len(message)) + message


def frame_head(length: int) -> bytes:
    """What is sent before a message of so many bytes."""
    return _LENGTH.pack(length)


class MessageBuffer:
    """The bytes that have arrived, and the whole messages among them. Not for several threads at once."""

    def __init__(self, longest: int = _LONGEST) -> None:
        self._data = bytearray()
        self._start = 0
        self._longest = longest

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        if self._start:
            del self._data[: self._start]
            self._start = 0
        self._data += data

    def next(self) -> bytes | None:
        """The next message, None while it is not whole. Raises `MessageTooLongError`."""
        begin = self._start + _LENGTH.size
        if len(self._data) < begin:
            return None
        (length,) = _LENGTH.unpack_from(self._data, self._start)
        if length > self._longest:
            raise MessageTooLongError(f"a message of {length} bytes")
        end = begin + length
        if len(self._data) < end:
            return None
        message = bytes(memoryview(self._data)[begin:end])
        self._start = end
        if end == len(self._data):
            self._data, self._start = bytearray(), 0
        return message


def receive(sock: socket.socket, buffer: MessageBuffer, until: float | None = None) -> bytes | None:
    """The next message of a blocking socket, None where the stream ends before it is whole.

    ``until``, on the monotonic clock, is when waiting ends with TimeoutError; without it the socket's own
    timeout holds for each part that arrives.
    """
    while (message := buffer.next()) is None:
        if until is not None:
            sock.settimeout(max(0.001, until - time.monotonic()))
        data = sock.recv(_STEP)
        if not data:
            return None
        buffer.feed(data)
    return message
