"""Writes the pages of docs/reference that the code dictates; with ``--check`` only compares them.

Run by `make docs`; a test runs it with ``--check``.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from lightwell import settings
from lightwell.cli.command_line import CommandParser, help_text
from lightwell.cli.main import VERBS
from lightwell.observe.metrics import COUNTERS, GAUGES, Meter
from lightwell.web.console.table import ROUTES as CONSOLE_ROUTES

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def settings_page() -> str:
    lines = [
        "# Settings",
        "",
        "<!-- Written by tools/reference.py from settings.py: change it there, then `make docs`. -->",
        "",
        "A command's flag takes precedence over an environment variable, that over `lightwell.toml` in the",
        "current folder, that over the default. `lightwell config show` prints each effective value and",
        "where it came from. An unknown setting is an error. Sizes accept `k`, `m` and `g`.",
        "",
        "A file is obeyed only if it belongs to the user who runs lightwell or to root, and nobody else may",
        "write it (`chmod go-w lightwell.toml`); otherwise the command refuses to run. `lightwell serve`",
        "says which file it has read.",
        "",
        "| in `lightwell.toml` | in the environment | default | what it is |",
        "|---|---|---|---|",
    ]
    for name, field in settings.FIELDS.items():
        choices = field.metadata["choices"]
        text = field.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        default = "" if field.default is None else f"`{_default(field.default)}`"
        lines.append(f"| `{name}` | `{settings.PREFIX}{name.upper()}` | {default} | {text} |")
    lines += [
        "",
        "`quotas = aws` sets these, unless they are set themselves:",
        "",
        "| setting | value |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {value:,} |" for name, value in settings.AWS_QUOTAS.items()]
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def commands_page() -> str:
    lines = [
        "# Commands",
        "",
        "<!-- Written by tools/reference.py from the commands themselves: change them, then `make docs`. -->",
        "",
        "Every command has `--help` and `--verbose`, which shows stack traces. Exit codes: 0 done, 1 the",
        "work failed (reasons on stderr), 2 wrong usage or a wrong setting. Commands open the data folder",
        "directly, whether a server is running on it or not.",
    ]
    for verb, (module, text) in VERBS.items():
        parser = CommandParser(prog=f"lightwell {verb}")
        importlib.import_module(module).add(parser)
        lines += ["", f"## `lightwell {verb}`", "", f"{_sentence(text)}"]
        lines += _command(parser)
    return "\n".join(lines) + "\n"


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The lines of a command, and of its actions below it."""
    shown = [action for action in parser._actions if action.dest != "help"]
    below = [action for action in shown if isinstance(action, argparse._SubParsersAction)]
    mine = [action for action in shown if action not in below]
    own = [action for action in mine if not action.dest.startswith("setting_") and action.dest != "config"]
    given = {action.dest.removeprefix("setting_") for action in mine if action.dest.startswith("setting_")}
    if own:
        yield from ("", "| argument | what it is |", "|---|---|")
    for action in own:
        needed = " (required)" if action.required and action.option_strings else ""
        yield f"| `{_spelling(action)}` | {help_text(action).replace('|', '/')}{needed} |"
    if given:
        yield ""
        yield f"Settings that it accepts as flags, and `--config FILE`: {_flags(given)}."
    for group in below:
        texts = {choice.dest: choice.help for choice in group._choices_actions}
        for name, child in group.choices.items():
            positionals = [a for a in child._actions if not a.option_strings]
            words = " ".join([f"{parser.prog} {name}", *map(_spelling, positionals)])
            yield from ("", f"### `{words}`", "", _sentence(texts.get(name) or ""))
            yield from _command(child)


def _flags(names: set[str]) -> str:
    public = [name for name, field in settings.FIELDS.items() if not field.metadata["secret"]]
    if names == set(public):
        return "all in [settings.md](settings.md) except secrets"
    return ", ".join(f"`--{name.replace('_', '-')}`" for name in public if name in names)


def _spelling(action: argparse.Action) -> str:
    """The argument as a person types it."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if not action.option_strings:
        name = action.metavar if isinstance(action.metavar, str) else action.dest
        return f"{name}..." if action.nargs in ("+", "*") else name
    takes_value = action.nargs != 0
    # A bar would end the cell of the table, even within a code span.
    metavar = metavar.replace("|", "\\|")
    return f"{action.option_strings[-1]} {metavar}" if takes_value else action.option_strings[-1]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def metrics_page() -> str:
    """Of every metric that a scrape can show: its name, its kind, its labels with their values, its text."""
    meter = Meter(["GetImageFrame"], processes=1)
    recorder = meter.join(0)
    recorder.begin()
    recorder.request("GetImageFrame", 200, 0.001, received=1, sent=1)
    texts: dict[str, str] = {}
    kinds: dict[str, str] = {}
    labels: dict[str, dict[str, list[str]]] = {}
    for line in meter.render((("version", ""),)).decode().splitlines():
        if line.startswith("# HELP "):
            name, texts[name] = line.removeprefix("# HELP ").split(" ", 1)
        elif line.startswith("# TYPE "):
            name, kinds[name] = line.removeprefix("# TYPE ").split(" ", 1)
        else:
            for label, value in re.findall(r'(\w+)="([^"]*)"', line):
                labels.setdefault(name, {}).setdefault(label, []).append(value)
    lines = [
        "# Metrics",
        "",
        "<!-- Written by tools/reference.py from observe/metrics.py: change it there, then `make docs`. -->",
        "",
        "`GET /metrics` of a server, and of a worker with `--status-port`, answers without a signature, in",
        "Prometheus's text format. Scrape each process at its own address, and do not let a proxy pass it",
        "on to everybody. No metric has a name, an ID or an address of a patient, a data store or a client.",
        "Units of work and the phases of an import: [design/leases.md](../design/leases.md).",
        "",
        "| metric | kind | labels | what it is |",
        "|---|---|---|---|",
    ]
    for name, text in texts.items():
        given = {label: values for label, values in labels.get(name, {}).items() if label != "le"}
        fixed = (COUNTERS | GAUGES).get(name)
        shown = "; ".join(f"`{x}`: {', '.join(given[x])}" if fixed else f"`{x}`" for x in given)
        lines.append(f"| `{name}` | {kinds[name]} | {shown} | {text} |")
    lines += [
        "",
        "Worth an alarm: any `lightwell_damaged_reads_total` (a disk, a bucket or the database gave back",
        "other bytes than were stored; the frame was refused; `lightwell data verify` says which),",
        "`lightwell_queue_dead_units` above 0 (`lightwell queue dead` says why),",
        "`lightwell_queue_oldest_seconds` that grows (too few workers), `lightwell_failed_proofs_total` that",
        "grows fast (somebody guesses, or a program has a wrong secret), `lightwell_requests_total` with a",
        "status from 500, and a process that does not answer `/readyz`.",
    ]
    return "\n".join(lines) + "\n"


def console_api_page() -> str:
    lines = [
        "# The console's API",
        "",
        "<!-- Written by tools/reference.py from web/console: change it there, then `make docs`. -->",
        "",
        "Below `/console/api/` lies what the web console needs and AWS's API lacks; everything else that it",
        "does goes by the native API, STS and DICOMweb. It belongs to the console of the same version, and",
        "may change with it. Requests are signed by Signature Version 4, as native ones are: service",
        "`medical-imaging`, this server's Region. Bodies and answers are JSON, names in camelCase, times in",
        "ISO 8601, UTC. An unknown member of a body is refused. Errors are those of the native API: a",
        'status, the name in `x-amzn-errortype`, and `{"message": …}`. Lists have pages of at most',
        "`maxResults` items; `nextToken` of an answer asks for the next. What is written `name?` may be",
        "left out.",
    ]
    for route in CONSOLE_ROUTES:
        query = f"?{'&'.join(f'{name}=…' for name in route.query)}" if route.query else ""
        lines += ["", f"## `{route.method} /console/api/{route.path}{query}`", "", route.says, ""]
        allows = route.action or ("a valid signature" if route.is_signed else "nothing, not even a signature")
        lines.append(f"- needs: {allows}; counted and logged as `{route.operation}`")
        if route.body is not None:
            lines.append(f"- body: `{_json_of(route.body.type)}`")
        answer = get_type_hints(route.perform).get("return")
        if isinstance(answer, type) and issubclass(answer, msgspec.Struct):
            lines.append(f"- answer: `{_json_of(answer)}`")
        elif answer is type(None):
            lines.append("- answer: 204, without a body")
    return "\n".join(lines) + "\n"


_JSON_TYPES = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def _json_of(kind: Any) -> str:
    """A type as JSON has it, in words."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = (
            f"{field.encode_name}{'' if field.required else '?'}: {_json_of(field.type)}"
            for field in msgspec.structs.fields(kind)
        )
        return f"{{{', '.join(fields)}}}"
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (list, tuple):
        return f"[{_json_of(inner[0])}, …]"
    if origin is dict:
        return f"{{{_json_of(inner[0])}: {_json_of(inner[1])}, …}}"
    if origin is Literal:
        return " / ".join(f'"{value}"' for value in inner)
    if inner:
        return " / ".join(map(_json_of, inner))
    return _JSON_TYPES.get(kind, "any")


PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "console-api.md": console_api_page,
}


def main() -> int:
    status = 0
    for name, page in PAGES.items():
        place = FOLDER / name
        if "--check" not in sys.argv:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(page(), "utf-8")
        elif not place.exists() or place.read_text("utf-8") != page():
            print(f"{name} is not what the code says; run: make docs", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main())
