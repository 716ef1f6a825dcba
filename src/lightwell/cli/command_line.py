"""The parser of command lines: its help shows defaults and choices, and its refusals say what was meant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator
from typing import Any, NoReturn

_LONG_USAGE = 400  # characters


def help_text(action: argparse.Action) -> str:
    """What an argument is, with its choices and its default unless the text names them."""
    text, notes = action.help or "", []
    if action.choices and action.option_strings and "[" not in text and action.metavar is not None:
        notes.append(f"one of {', '.join(map(str, action.choices))}")
    default = action.default
    is_shown = default not in (None, False, argparse.SUPPRESS) and not isinstance(default, list | dict)
    if is_shown and action.option_strings and "[default:" not in text:
        notes.append(f"default: {str(default).replace('%', '%%')}")
    return f"{text} [{'; '.join(notes)}]" if notes else text


class CommandHelp(argparse.HelpFormatter):
    """Shows defaults, and leaves a text with indented lines, such as examples, as it is."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return help_text(action) if action.help is not None else None

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n  " in text:
            return "\n".join(indent + line for line in text.splitlines())
        return super()._fill_text(text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """Parses ``lightwell``, a verb or an action; its actions are parsed by others of its kind."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": CommandHelp, "allow_abbrev": False, **options})

    def parse_known_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        found, rest = super().parse_known_args(args, namespace)
        if rest and not hasattr(found, "unknown_to"):
            # The innermost parser returns first, and argparse hands its attributes up.
            found.unknown_to = self
        return found, rest

    def parse_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None
    ) -> argparse.Namespace:
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            found.unknown_to.refuse(rest)
        return found

    def refuse(self, words: list[str]) -> NoReturn:
        """End with what is wrong with words that mean nothing here."""
        flag = next((word for word in words if word.startswith("-")), None)
        if flag is None:
            self.error(f"{' '.join(words)!r} is too much")
        name = flag.partition("=")[0]
        near = difflib.get_close_matches(name, self._flags(), n=1)
        self.error(f"there is no flag {name}{f'; did you mean {near[0]}?' if near else ''}")

    def error(self, message: str) -> NoReturn:
        """Print the message and how to go on, and end with 2."""
        commands = self.commands()
        if commands and message.startswith("the following arguments are required"):
            message = f"an action is missing: {', '.join(commands)}"
        usage = self.format_usage()
        if len(usage) > _LONG_USAGE:
            usage = f"usage: {self.prog} …; `{self.prog} --help` shows all flags\n"
        self.exit(2, f"{self.prog}: {message}\n{usage}")

    def commands(self) -> dict[str, CommandParser]:
        """The verbs or actions, by name; nothing if there are none."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}

    def everything_below(self) -> Iterator[CommandParser]:
        """This parser and those of all its verbs and actions."""
        yield self
        for parser in self.commands().values():
            yield from parser.everything_below()

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            near = difflib.get_close_matches(str(value), action.choices, n=1)
            known = f"did you mean {near[0]}?" if near else f"choose from {', '.join(action.choices)}"
            kind = "verb" if action.metavar == "VERB" else "action"
            raise argparse.ArgumentError(None, f"there is no {kind} {value}; {known}")
        super()._check_value(action, value)

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]
