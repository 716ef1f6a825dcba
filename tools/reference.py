"""Writes docs/reference/settings.md from the settings themselves; ``--check`` only compares.

Run by `make docs`; a test runs it with ``--check``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lightwell import settings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"


def page() -> str:
    lines = [
        "# Settings",
        "",
        "<!-- Written by tools/reference.py from settings.py: change it there, then `make docs`. -->",
        "",
        "A flag of a command wins over an environment variable, that over `lightwell.toml` in the current",
        "folder, that over the default. `lightwell config show` prints each effective value and where it",
        "came from. An unknown setting is an error. Sizes take `k`, `m` and `g`.",
        "",
        "| in `lightwell.toml` | in the environment | default | what it is |",
        "|---|---|---|---|",
    ]
    for name, field in settings.FIELDS.items():
        choices = field.metadata["choices"]
        text = field.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{name}` | `{settings.PREFIX}{name.upper()}` | {default} | {text} |")
    lines += [
        "",
        "`quotas = aws` sets these, where they are not set themselves:",
        "",
        "| setting | value |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {value:,} |" for name, value in settings.AWS_QUOTAS.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    if "--check" in sys.argv:
        current = PAGE.read_text() if PAGE.exists() else ""
        if current != page():
            print(f"{PAGE.name} is not what the settings say; run: make docs", file=sys.stderr)
            return 1
        return 0
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
