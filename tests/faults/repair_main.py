"""`lightwell data verify --repair` that kills itself at the n-th step of its repair: `test_repair_kills`.

A step is a call that makes something durable, or a transaction, each counted before and after.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightwell.cli.main import main
from lightwell.stores.db.database import Database
from lightwell.work.verifying import repair


def _die_at(number: int) -> None:
    count = itertools.count(1)

    def step() -> None:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            step()
            result = call(*given, **named)
            step()
            return result

        return counted

    begin = repair.repair

    def counted_from_here(*given: Any, **named: Any) -> Any:
        os.fsync = around(os.fsync)
        Path.rename = around(Path.rename)  # type: ignore[method-assign]
        Database.write = around(Database.write)  # type: ignore[method-assign]
        return begin(*given, **named)

    repair.repair = counted_from_here


if __name__ == "__main__":
    _die_at(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
