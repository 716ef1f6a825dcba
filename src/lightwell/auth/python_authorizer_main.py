"""The process of a ``python:`` authorizer: loads the function, then calls it once per event.

Started by `web.authorizers.python_function` as ``python -m lightwell.auth.python_authorizer_main SOCKET
PARENT FOLDER MODULE FUNCTION ARN``. It needs only the standard library. Messages on the socket are framed by
`lightwell.framing`. Requests are the JSON ``[event, request id, milliseconds left]``; replies begin with one
byte: `READY`, `RESULT` followed by the function's return value as JSON, or `MISSING` or `FAILED` followed by
a reason.
"""

from __future__ import annotations

import importlib
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightwell.framing import MessageBuffer, frame, receive
from lightwell.process_death import die_with_parent

READY, RESULT, MISSING, FAILED = b"Y", b"R", b"M", b"F"

_ABOUT = 300

Handler = Callable[[Any, "LambdaContext"], Any]


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """The context object of a call, with Lambda's names; ``deadline`` is on the monotonic clock."""

    function_name: str
    invoked_function_arn: str
    aws_request_id: str
    deadline: float
    function_version: str = "$LATEST"
    memory_limit_in_mb: str = "0"
    log_group_name: str = ""
    log_stream_name: str = ""

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.monotonic()) * 1000))


def main(arguments: list[str]) -> int:
    """Serve until the socket is closed; returns the exit code."""
    descriptor, parent, folder, module, function, arn = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(int(parent))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    with socket.socket(fileno=int(descriptor)) as channel:
        handler, problem = _load(folder, module, function)
        _send(channel, problem if handler is None else READY)
        if handler is None:
            return 1
        name = arn.split(":function:")[-1].partition(":")[0]
        buffer = MessageBuffer()
        while (message := receive(channel, buffer)) is not None:
            event, request, left = json.loads(message)
            context = LambdaContext(name, arn, request, time.monotonic() + left / 1000)
            _send(channel, _outcome(handler, event, context))
    return 0


def _load(folder: str, module: str, function: str) -> tuple[Handler | None, bytes]:
    sys.path.insert(0, folder)
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        is_the_module = error.name is not None and f"{module}.".startswith(f"{error.name}.")
        return None, (MISSING if is_the_module else FAILED) + _about(error)
    except BaseException as error:
        logging.exception("the module cannot be loaded")
        return None, FAILED + _about(error)
    handler = getattr(loaded, function, None)
    if not callable(handler):
        return None, MISSING + f"{module} has no function {function}".encode()
    return handler, b""


def _outcome(handler: Handler, event: object, context: LambdaContext) -> bytes:
    try:
        return RESULT + json.dumps(handler(event, context)).encode()
    except Exception as error:
        logging.exception("the function raised")
        return FAILED + _about(error)


def _about(error: BaseException) -> bytes:
    return f"{type(error).__name__}: {error}"[:_ABOUT].encode("utf-8", "replace")


def _send(channel: socket.socket, message: bytes) -> None:
    channel.sendall(frame(message))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
