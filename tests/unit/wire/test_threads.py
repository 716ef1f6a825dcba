"""Requests in several threads: what msgspec has to know of a type is there before the first of them."""

from __future__ import annotations

import subprocess
import sys

from lightwell.wire import parse
from lightwell.wire.routes import ROUTES

# A value for each member, since msgspec reads members with what another thread has not found out yet.
_TOGETHER = """
import sys, threading
import msgspec
import lightwell.app
from lightwell.wire.routes import ROUTES

types = [route.request for route in ROUTES.values()]
values = {type: dict.fromkeys(type.__struct_encode_fields__, "x") for type in types}
gate = threading.Barrier(4)
sys.setswitchinterval(1e-6)

def run():
    for type in types:
        gate.wait()
        for _ in range(20):
            try:
                msgspec.convert(values[type], type)
            except msgspec.ValidationError:
                pass

threads = [threading.Thread(target=run) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


def test_survives_first_requests_of_every_kind_in_several_threads_at_once() -> None:
    # Without `READY` a third of such processes die.
    running = [
        subprocess.Popen([sys.executable, "-c", _TOGETHER], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    ended = [(process.communicate(timeout=120)[0], process.returncode) for process in running]
    assert ended == [("done\n", 0)] * len(running)


def test_prepares_every_request_before_there_are_threads() -> None:
    assert set(parse.READY) == {route.request for route in ROUTES.values()}
