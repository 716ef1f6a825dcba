"""From what a file, the environment or a flag says to the value of a setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lightwell.errors import ConfigurationError


def convert(name: str, raw: Any, where: str, kind: str, choices: tuple[str, ...]) -> Any:
    """The value of a setting of this kind (``Path``, ``int``, ``bool`` or ``str``, as its field says).

    Sizes accept ``k``, ``m`` and ``g``. Raises `ConfigurationError`, which names the setting and ``where`` it
    was given.
    """
    if re.search("[\0\ud800-\udfff]", str(raw)):
        # Other processes and the database are told of it, as UTF-8.
        raise ConfigurationError(
            f"{name} from {where} has a null character, or is not UTF-8: write it without"
        )
    if kind.startswith("Path"):
        if not isinstance(raw, str | Path) or str(raw) == "":
            raise ConfigurationError(f"{name} from {where} must be a path")
        try:
            return Path(raw).expanduser()
        except (RuntimeError, UnicodeError):
            raise ConfigurationError(
                f"{name} from {where} begins with the home folder of a user who does not exist: write ./~ if "
                "that is a name"
            ) from None
    if kind == "int":
        return _integer(name, raw, where)
    if kind == "bool":
        return _boolean(name, raw, where)
    if not isinstance(raw, str):
        raise ConfigurationError(f"{name} from {where} must be text, not {type(raw).__name__}")
    if choices and raw not in choices:
        raise ConfigurationError(f"{name} from {where} is {raw!r}; expected {' or '.join(choices)}")
    return raw


def _boolean(name: str, raw: Any, where: str) -> bool:
    words = dict.fromkeys(("true", "yes", "on", "1"), True)
    words |= dict.fromkeys(("false", "no", "off", "0"), False)
    if isinstance(raw, bool):
        return raw
    if not isinstance(raw, str) or raw.lower() not in words:
        raise ConfigurationError(f"{name} from {where} is {raw!r}; expected true or false")
    return words[raw.lower()]


def _integer(name: str, raw: Any, where: str) -> int:
    units = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    if isinstance(raw, int) and not isinstance(raw, bool):
        number = raw
    else:
        text = raw.strip() if isinstance(raw, str) else ""
        match = re.fullmatch(r"(\d{1,18})\s*([kKmMgG]?)(?:i?[bB])?", text)
        if match is None:
            raise ConfigurationError(f"{name} from {where} is {raw!r}; expected a whole number")
        number = int(match[1]) * units[match[2].lower()]
    if number < 0:
        raise ConfigurationError(f"{name} from {where} is {number}; expected 0 or more")
    return number


def split_list(text: str | None) -> list[str]:
    """The words of a setting that lists some with commas between them."""
    return [word for part in (text or "").split(",") if (word := part.strip())]
