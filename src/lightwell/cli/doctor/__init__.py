"""``lightwell doctor``: one line per check: ok, or what is wrong and what to do about it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

from lightwell.cli import flags
from lightwell.cli.doctor import data, forwarding, machine, network, outgoing
from lightwell.cli.doctor.warning import DoctorWarning
from lightwell.errors import LightwellError
from lightwell.settings import Settings

# A check returns what it found, or raises a `DoctorWarning` or an error.
Check = Callable[[Settings], str]

CHECKS: dict[str, Check] = {
    "version": machine.version,
    "settings": machine.settings,
    "disk": machine.disk,
    "owner": data.owner,
    "database": data.database,
    "jobs": data.jobs,
    "storage": data.storage,
    "encryption": data.encryption,
    "buckets": data.buckets,
    "files": data.files,
    "secrets": data.secrets,
    "codecs": machine.codecs,
    "sandbox": machine.sandbox,
    "clock": machine.clock,
    "tls": network.tls,
    "sign-in": network.sign_in,
    "outgoing": outgoing.outgoing,
    "forwarding": forwarding.forwarding,
    "port": network.port,
}

# These open the stores, and so may create files that belong to this user in them.
_OPENS_STORES = ("database", "jobs", "storage", "encryption", "files", "secrets", "outgoing")


@dataclass(frozen=True, slots=True)
class _Result:
    name: str
    ok: bool
    warning: bool
    text: str


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    flags.add(parser)


def run(args: argparse.Namespace) -> int:
    settings = flags.settings(args)
    results = [_run(name, check, settings) for name, check in CHECKS.items()]
    if args.json:
        rows = [
            {"check": each.name, "ok": each.ok, "warning": each.warning, "says": each.text}
            for each in results
        ]
        print(json.dumps(rows, indent=2))
    else:
        for each in results:
            status = ("WARN" if each.warning else "ok") if each.ok else "WRONG"
            print(f"{status:<5}  {each.name:<10}  {each.text}")
    return 0 if all(each.ok for each in results) else 1


def _run(name: str, check: Check, settings: Settings) -> _Result:
    try:
        if name in _OPENS_STORES and data.belongs_to_others(settings):
            raise LightwellError("not checked: the data belongs to another user")
        return _Result(name, ok=True, warning=False, text=check(settings))
    except DoctorWarning as warning:
        return _Result(name, ok=True, warning=True, text=str(warning))
    except LightwellError as error:
        return _Result(name, ok=False, warning=False, text=str(error))
    except Exception as error:
        return _Result(name, ok=False, warning=False, text=f"{type(error).__name__}: {error}")
