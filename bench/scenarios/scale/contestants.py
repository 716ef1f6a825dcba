"""The engines that are compared: those of the product, and two others where they are installed."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from lightwell.stores import Stores
from lightwell.stores.jobs.units import Enqueue
from lightwell.work.dispatch import Dispatch

_OTHER = "bench.scenarios.scale.other_engines"


class OpenDispatch(Dispatch, Protocol):
    def open(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """``setting`` is the setting ``engine``, ``dispatch`` the class as MODULE:NAME.

    ``others`` is how functions of `other_engines` end: prepare_…, enqueue_….
    """

    setting: str
    dispatch: str
    others: str | None = None

    def make(self, stores: Stores, owner: str) -> OpenDispatch:
        module, _, name = self.dispatch.partition(":")
        return cast(Callable[[Stores, str], OpenDispatch], getattr(importlib.import_module(module), name))(
            stores, owner
        )

    def prepare(self, stores: Stores) -> None:
        if self.others is not None:
            self._function("prepare")(stores)

    def enqueue(self, stores: Stores) -> Enqueue:
        return stores.enqueue if self.others is None else cast(Enqueue, self._function("enqueue"))

    def _function(self, what: str) -> Any:
        return getattr(importlib.import_module(_OTHER), f"{what}_{self.others}")


def engines() -> dict[str, Engine]:
    """By name; the default is the first."""
    found = {
        "pgqueuer": Engine("pgqueuer", "lightwell.work.engines.pgqueuer_dispatch:PgQueuerDispatch"),
        "table": Engine("table", "lightwell.work.engines.table_dispatch:TableDispatch"),
    }
    if importlib.util.find_spec("procrastinate"):
        found["procrastinate"] = Engine("table", f"{_OTHER}:ProcrastinateDispatch", "procrastinate")
    if importlib.util.find_spec("nats") and "BENCH_NATS" in os.environ:
        found["nats"] = Engine("table", f"{_OTHER}:NatsDispatch", "nats")
    wanted = os.environ.get("BENCH_ENGINES", "")
    return {name: engine for name, engine in found.items() if not wanted or name in wanted.split(",")}
