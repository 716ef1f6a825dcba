"""Messages led by their length, whole or in pieces."""

from __future__ import annotations

import socket
import time

import pytest

from lightwell.framing import MessageBuffer, MessageTooLongError, frame, receive

MESSAGES = [b"", b"a", b"bc" * 1000, bytes(range(256))]


def test_leads_a_message_with_its_length_in_four_bytes() -> None:
    assert frame(b"abc") == b"\0\0\0\3abc"


@pytest.mark.parametrize("step", [1, 3, 4, 5, 1000, 1 << 20])
def test_finds_the_messages_however_they_arrive(step: int) -> None:
    data = b"".join(map(frame, MESSAGES))
    buffer, found = MessageBuffer(), []
    for start in range(0, len(data), step):
        buffer.feed(data[start : start + step])
        while (message := buffer.next()) is not None:
            found.append(message)
    assert found == MESSAGES


def test_refuses_a_message_that_is_announced_too_long() -> None:
    buffer = MessageBuffer(longest=3)
    buffer.feed(frame(b"abc") + frame(b"abcd")[:4])
    assert buffer.next() == b"abc"
    with pytest.raises(MessageTooLongError):
        buffer.next()


def test_receives_until_the_stream_ends_or_the_time_is_up() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        buffer = MessageBuffer()
        theirs.sendall(frame(b"a") + frame(b"b"))
        assert [receive(ours, buffer), receive(ours, buffer)] == [b"a", b"b"]
        theirs.sendall(frame(b"half")[:6])
        with pytest.raises(TimeoutError):
            receive(ours, buffer, time.monotonic() + 0.01)
        ours.settimeout(None)
        theirs.close()
        assert receive(ours, buffer) is None
