"""``lightwell completion``: a script with which a shell completes verbs, actions, flags and their choices."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lightwell.settings import FIELDS

if TYPE_CHECKING:
    from lightwell.cli.command_line import CommandParser

SHELLS = ("bash", "zsh", "fish")
_PATHS = ("PATH", "FILE", "FOLDER", "DIST")
_INSTALLATION = """\
Every new shell has it after one of these; run it again after an upgrade:
  mkdir -p ~/.local/share/bash-completion/completions
  lightwell completion bash >~/.local/share/bash-completion/completions/lightwell
  lightwell completion zsh >"${fpath[1]}/_lightwell"
  lightwell completion fish >~/.config/fish/completions/lightwell.fish
"""


def add(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _INSTALLATION
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=f"one of {', '.join(SHELLS)}")


def run(args: argparse.Namespace) -> int:
    import shtab

    from lightwell.cli.main import whole_parser

    parser = whole_parser()
    for each in parser.everything_below():
        _mark_paths(each)
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _mark_paths(parser: CommandParser) -> None:
    """Let the shell offer files and folders where an argument is one."""
    import shtab

    for action in parser._actions:
        field = FIELDS.get(action.dest.removeprefix("setting_"))
        is_setting = field is not None and action.dest.startswith("setting_")
        is_path = str(field.type).startswith("Path") if field and is_setting else action.metavar in _PATHS
        if is_path or action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
