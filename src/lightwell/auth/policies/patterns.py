"""Patterns in policies: wildcards, policy variables, and ARNs matched part by part.

Source: IAM User Guide, "IAM policy elements: Variables and tags", "IAM JSON policy elements: Resource" and
"… Condition operators" (ARN). ``*`` matches any run of characters, ``?`` any single one; ``${*}``, ``${?}``
and ``${$}`` are the characters themselves; in policies of Version 2012-10-17, ``${key}`` and ``${key,
'default'}`` are replaced by the value in the context of the request, which is taken literally.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from lightwell.auth.policies.condition_keys import Context, Unknown, is_supported

# A condition is true, false or unknown.
Truth = bool | None

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
# A key, which may begin with the address of an OpenID provider, and a default.
_NAMED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9./:_~-]*:[^\s,'}]+)\s*(?:,\s*'([^'}]*)'\s*)?")
ARN_PARTS = 6


class TemplateError(ValueError):
    """The text is not a valid pattern; the message says why."""


@dataclass(frozen=True, slots=True)
class Literal:
    text: str


class Wildcard(Enum):
    MANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    key: str  # in lower case
    default: str | None


Token = Literal | Wildcard | Variable


class NoValue:
    """The result of matching a pattern with a policy variable that has no value."""


NO_VALUE = NoValue()


def tokens(text: str, *, variables: bool, wildcards: bool) -> list[Token]:
    """The tokens of a pattern. Raises `TemplateError` for an invalid policy variable."""
    found: list[Token] = []
    place = 0
    if variables:
        for match in _VARIABLE.finditer(text):
            found += _plain(text[place : match.start()], wildcards)
            found.append(_variable(match[1]))
            place = match.end()
        if "${" in text[place:]:
            raise TemplateError(f"{text!r} has a policy variable without a closing brace")
    found += _plain(text[place:], wildcards)
    return found


def _plain(text: str, wildcards: bool) -> Iterator[Token]:
    if not wildcards:
        if text:
            yield Literal(text)
        return
    for part in re.split(r"([*?])", text):
        if part == "*":
            yield Wildcard.MANY
        elif part == "?":
            yield Wildcard.ONE
        elif part:
            yield Literal(part)


def _variable(inner: str) -> Token:
    if inner in ("*", "?", "$"):
        return Literal(inner)
    match = _NAMED.fullmatch(inner)
    if match is None:
        raise TemplateError(
            f"${{{inner}}} is not a policy variable; expected ${{key}} or ${{key, 'default'}}"
        )
    return Variable(match[1].lower(), match[2])


class Template:
    """A compiled pattern for one text; ``keys`` are the condition keys of its policy variables."""

    __slots__ = ("_fold", "_pattern", "_tokens", "keys", "text")

    def __init__(self, parts: list[Token], *, fold: bool = False) -> None:
        self._tokens = tuple(parts)
        self._fold = fold
        self.keys = frozenset(part.key for part in parts if isinstance(part, Variable))
        self._pattern: re.Pattern[str] | None = None
        self.text: str | None = None
        if not self.keys:
            if all(isinstance(part, Literal) for part in parts) and not fold:
                self.text = "".join(part.text for part in parts if isinstance(part, Literal))
            self._pattern = _compiled(parts, fold)

    @property
    def matches_all(self) -> bool:
        return bool(self._tokens) and all(part is Wildcard.MANY for part in self._tokens)

    def match(self, value: str, context: Context) -> Truth | NoValue:
        """Whether ``value`` matches; None if that depends on something unknown."""
        if self.text is not None:
            return value == self.text
        if self._pattern is not None:
            return self._pattern.fullmatch(value) is not None
        parts = self.resolve(context)
        if parts is None or isinstance(parts, NoValue):
            return parts
        return _compiled(parts, self._fold).fullmatch(value) is not None

    def match_some(self, prefix: str, context: Context) -> Truth | NoValue:
        """Whether some text that begins with ``prefix`` can match."""
        parts = self.resolve(context)
        if parts is None or isinstance(parts, NoValue):
            return parts
        # The first `*` can match the rest of the prefix, and anything may follow it.
        start: list[str | None] = []
        for part in parts:
            if part is Wildcard.MANY:
                break
            start += part.text if isinstance(part, Literal) else [None]
        else:
            if len(prefix) > len(start):
                return False
        fold = str.casefold if self._fold else str
        return all(one is None or fold(one) == fold(other) for one, other in zip(start, prefix, strict=False))

    def match_all(self, prefix: str, context: Context) -> Truth | NoValue:
        """Whether every text that begins with ``prefix`` matches."""
        parts = self.resolve(context)
        if parts is None or isinstance(parts, NoValue):
            return parts
        return bool(parts) and parts[-1] is Wildcard.MANY and self.match(prefix, context)

    def resolve(self, context: Context) -> list[Token] | NoValue | None:
        """The tokens with variables replaced; `NO_VALUE` if one has no value, None if a value is unknown."""
        parts: list[Token] = []
        missing = False
        for part in self._tokens:
            if not isinstance(part, Variable):
                parts.append(part)
                continue
            value = context.get(part.key)
            if isinstance(value, Unknown | tuple) or not is_supported(part.key):
                # A multivalued key cannot be used as text, even if it has one value here.
                return None
            if value is None:
                value = part.default
            if value is None:
                missing = True
            else:
                parts.append(Literal(value))
        return NO_VALUE if missing else parts


def _compiled(parts: list[Token], fold: bool) -> re.Pattern[str]:
    """Matches in linear time: each part between two `*` is searched for once, leftmost (atomic groups)."""
    chunks = [""]
    for part in parts:
        if part is Wildcard.MANY:
            chunks.append("")
        else:
            chunks[-1] += re.escape(part.text) if isinstance(part, Literal) else "."
    first, *rest = chunks
    middle = "".join(f"(?>.*?{chunk})" for chunk in rest[:-1] if chunk)
    pattern = first + middle + (f".*{rest[-1]}" if rest else "")
    return re.compile(pattern, re.DOTALL | (re.IGNORECASE if fold else 0))


def text_template(text: str, *, variables: bool, wildcards: bool, fold: bool = False) -> Template:
    """A pattern for any text, case-insensitive with ``fold``. Raises `TemplateError`."""
    return Template(tokens(text, variables=variables, wildcards=wildcards), fold=fold)


def action_template(text: str) -> Template:
    """A pattern for actions, which are case-insensitive and have no variables."""
    return Template(tokens(text, variables=False, wildcards=True), fold=True)


_MatchMethod = Callable[[Template, str, Context], Truth | NoValue]


class ArnTemplate:
    """A pattern for ARNs: each of the six parts between colons is matched separately.

    ``*`` alone matches everything, including the ``*`` of actions without a resource. With ``complete``,
    parts missing at the end count as ``*``, as in ``Resource``. Raises `TemplateError`.
    """

    __slots__ = ("_parts", "keys", "text")

    def __init__(self, text: str, *, variables: bool, complete: bool) -> None:
        self.text = text
        parts = _split(tokens(text, variables=variables, wildcards=True))
        templates = [Template(part) for part in parts]
        self._parts: list[Template] | None = templates
        if len(parts) == 1 and templates[0].matches_all:
            self._parts = None
        elif len(parts) < ARN_PARTS:
            if not complete or parts[0] not in ([Literal("arn")], [Wildcard.MANY]):
                raise TemplateError(
                    f"{text!r} is not an ARN; expected arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE or *"
                )
            self._parts = templates + [Template([Wildcard.MANY])] * (ARN_PARTS - len(parts))
        self.keys = frozenset(key for template in templates for key in template.keys)

    def match(self, value: str, context: Context) -> Truth | NoValue:
        """Whether ``value`` matches; None if that depends on something unknown."""
        return self._match(value, context, Template.match)

    def match_some(self, prefix: str, context: Context) -> Truth | NoValue:
        """Whether some ARN that begins with ``prefix``, which includes the last part, can match."""
        return self._match(prefix, context, Template.match_some)

    def match_all(self, prefix: str, context: Context) -> Truth | NoValue:
        """Whether every ARN that begins with ``prefix``, which includes the last part, matches."""
        return self._match(prefix, context, Template.match_all)

    def _match(self, value: str, context: Context, match_last: _MatchMethod) -> Truth | NoValue:
        if self._parts is None:
            return True
        values = value.split(":", ARN_PARTS - 1)
        if len(values) != ARN_PARTS:
            return False
        result: Truth | NoValue = True
        final = self._parts[-1]
        for template, part in zip(self._parts, values, strict=True):
            found = (
                match_last(template, part, context) if template is final else template.match(part, context)
            )
            if found is False:
                return False
            if found is None or (isinstance(found, NoValue) and result is True):
                result = found
        return result


def _split(parts: list[Token]) -> list[list[Token]]:
    """Split at the first five colons of the text; colons inside variables do not count."""
    split: list[list[Token]] = [[]]
    for part in parts:
        if not isinstance(part, Literal):
            split[-1].append(part)
            continue
        pieces = part.text.split(":", ARN_PARTS - len(split))
        if pieces[0]:
            split[-1].append(Literal(pieces[0]))
        split += [[Literal(piece)] if piece else [] for piece in pieces[1:]]
    return split
