"""Whatever bytes a worker sends in place of a message, the engine is told so by one error."""

from __future__ import annotations

import socket

import pytest

from lightwell.codec_pool.messages import Channel
from lightwell.framing import NotAMessageError, frame

NO_MESSAGES = {
    "nothing": b"",
    "text that is not UTF-8": b"\x81\xa4\xff\xff\xff\xff\xa1a",
    "nested without end": b"\x82\xa4type\xaaConfigured\xa1a" + b"\x91" * 50_000 + b"\x90",
    "another type": b"\x81\xa4type\xa7Unknown",
}


@pytest.mark.parametrize("what", NO_MESSAGES)
def test_tells_what_is_no_message_from_one(what: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame(NO_MESSAGES[what]))
        with pytest.raises(NotAMessageError):
            Channel(ours).receive_from_worker(60)
