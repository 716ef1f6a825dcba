"""A question about a policy as a person asks it: the action's name, and the condition keys of the request."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lightwell.auth.policies.actions import KNOWN, PREFIX
from lightwell.auth.policies.condition_keys import MULTIVALUED, is_supported, nearest
from lightwell.errors import ConfigurationError

if TYPE_CHECKING:
    from lightwell.auth.policies.condition_keys import Value


def known_action(text: str) -> str:
    """The action as AWS spells it; ``medical-imaging:`` may be left out. Raises `ConfigurationError`."""
    spelled = {known.lower(): known for known in KNOWN}
    for name in (text, PREFIX + text):
        if name.lower() in spelled:
            return spelled[name.lower()]
    near = difflib.get_close_matches((text if ":" in text else PREFIX + text).lower(), spelled, n=1)
    hint = f"; did you mean {spelled[near[0]]}?" if near else ""
    raise ConfigurationError(f"{text[:200]} is not an action that any request needs{hint}")


def condition_keys(pairs: Iterable[tuple[str, str]]) -> dict[str, Value]:
    """Condition keys of a request, each with a value, or several times where a key may have several.

    Raises `ConfigurationError`.
    """
    context: dict[str, Value] = {}
    for key, value in pairs:
        name = key.lower()
        if not is_supported(name):
            hint = nearest(key)
            raise ConfigurationError(
                f"The condition key {key[:200]} is not supported{f'; did you mean {hint}?' if hint else ''}"
            )
        if name in MULTIVALUED:
            before = context.get(name, ())
            assert isinstance(before, tuple)
            context[name] = (*before, value)
        elif name in context:
            raise ConfigurationError(f"{key} is given twice, but this key has only one value")
        else:
            context[name] = value
    return context
