"""One condition of a statement: operator, key and values, compiled to a function of the request's context.

Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Set operators for multivalued
context keys". A condition is true, false or, if its operator, key or a value is not known, None.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Literal

from lightwell.auth.policies.condition_keys import Context, Unknown, is_supported
from lightwell.auth.policies.patterns import (
    ArnTemplate,
    NoValue,
    Template,
    TemplateError,
    Truth,
    text_template,
)

Quantifier = Literal["", "all", "any"]
"""ForAllValues is *all*, ForAnyValue is *any*; most conditions have neither."""

Test = Callable[[str, Context], Truth]
_Test = Callable[[str, Context], Truth | NoValue]

_QUANTIFIERS: dict[str, Quantifier] = {"forallvalues:": "all", "foranyvalue:": "any"}
_IF_EXISTS = "ifexists"


class ConditionError(ValueError):
    """The condition cannot be evaluated; the message says why."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A parsed operator. ``name`` is its base in lower case, ``quantifier`` its set operator, if any."""

    name: str
    quantifier: Quantifier
    if_exists: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """``operator`` and ``key`` as written; ``test`` returns true, false or, if that is unknown, None.

    ``keys`` are the condition keys it depends on, in lower case; ``why`` says why it can never be evaluated.
    """

    operator: str
    key: str
    values: tuple[str, ...]
    test: Callable[[Context], Truth]
    keys: frozenset[str]
    why: str | None = None


def negate(truth: Truth) -> Truth:
    return None if truth is None else not truth


def any_of(truths: Iterable[Truth]) -> Truth:
    """True if any is true, else None if any is unknown, else False."""
    result: Truth = False
    for truth in truths:
        if truth:
            return True
        if truth is None:
            result = None
    return result


def all_of(truths: Iterable[Truth]) -> Truth:
    """False if any is false, else None if any is unknown, else True."""
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


def read_operator(text: str) -> Operator:
    """Parse an operator. Raises `ConditionError` if IAM has no such operator."""
    name = text.lower()
    quantifier: Quantifier = ""
    for prefix, each in _QUANTIFIERS.items():
        if name.startswith(prefix):
            name, quantifier = name.removeprefix(prefix), each
    if_exists = name.endswith(_IF_EXISTS)
    name = name.removesuffix(_IF_EXISTS)
    if name not in _MATCHERS and name != "null":
        raise ConditionError(f"There is no condition operator {text!r}")
    if name == "null" and (if_exists or quantifier):
        raise ConditionError(f"Null cannot be combined with a set operator or IfExists, as in {text!r}")
    return Operator(name, quantifier, if_exists)


def compile_condition(operator: str, key: str, values: Sequence[str], *, variables: bool) -> Condition:
    """The condition; one that cannot be evaluated is unknown for every request. Never raises."""
    try:
        return checked_condition(operator, key, values, variables=variables)
    except ConditionError as error:
        return Condition(operator, key, tuple(values), lambda context: None, frozenset({"?"}), str(error))


def checked_condition(operator: str, key: str, values: Sequence[str], *, variables: bool) -> Condition:
    """The condition. Raises `ConditionError` if its operator, key or a value cannot be evaluated."""
    read = read_operator(operator)
    name = key.lower()
    if not values:
        raise ConditionError(f"{operator} on {key} has no value")
    if not is_supported(name):
        raise ConditionError(f"The condition key {key} is not supported")
    if read.name == "null":
        wanted = {_bool(value, operator) for value in values}
        return Condition(operator, key, tuple(values), _null(name, wanted), frozenset({name}))
    negated = read.name in _NEGATED
    try:
        matchers, keys = _MATCHERS[read.name](values, operator, variables)
    except TemplateError as error:
        raise ConditionError(str(error)) from None
    for used in keys:
        if not is_supported(used):
            raise ConditionError(f"The policy variable ${{{used}}} is not supported")
    match = _positive(matchers) if not negated else _negative(matchers)
    return Condition(operator, key, tuple(values), _over_key(name, read, match), frozenset({name, *keys}))


def _null(name: str, wanted: set[bool]) -> Callable[[Context], Truth]:
    def test(context: Context) -> Truth:
        value = context.get(name)
        return (value is None or value == ()) in wanted

    return test


def _positive(matchers: Sequence[_Test]) -> Test:
    """True if any value matches; a value whose policy variable has no value does not match."""

    def test(value: str, context: Context) -> Truth:
        return any_of(
            False if isinstance(found, NoValue) else found
            for found in (match(value, context) for match in matchers)
        )

    return test


def _negative(matchers: Sequence[_Test]) -> Test:
    """True if no value matches; unknown if a policy variable in one has no value."""

    def test(value: str, context: Context) -> Truth:
        found = any_of(
            None if isinstance(found, NoValue) else found
            for found in (match(value, context) for match in matchers)
        )
        return negate(found)

    return test


def _over_key(name: str, operator: Operator, match: Test) -> Callable[[Context], Truth]:
    """Apply the test for one value to the key, which may have no value, one or several."""
    negated, if_exists = operator.name in _NEGATED, operator.if_exists

    def single(context: Context) -> Truth:
        value = context.get(name)
        if isinstance(value, str):
            return match(value, context)
        if value is None or value == ():
            return negated or if_exists
        # What an operator without a quantifier does with several values is undefined.
        return match(value[0], context) if isinstance(value, tuple) and len(value) == 1 else None

    def for_all(context: Context) -> Truth:
        value = context.get(name)
        if isinstance(value, Unknown):
            return None
        given = (value,) if isinstance(value, str) else value or ()
        return all_of(match(each, context) for each in given)

    def for_any(context: Context) -> Truth:
        value = context.get(name)
        if isinstance(value, Unknown):
            return None
        given = (value,) if isinstance(value, str) else value or ()
        return any_of(match(each, context) for each in given) if given else if_exists

    return {"": single, "all": for_all, "any": for_any}[operator.quantifier]


# The kinds of values --------------------------------------------------------------------------------------

_Compiled = tuple[list[_Test], frozenset[str]]


def _of_templates(templates: Sequence[Template | ArnTemplate]) -> _Compiled:
    return [template.match for template in templates], frozenset(
        key for template in templates for key in template.keys
    )


def _strings(*, wildcards: bool, fold: bool = False) -> Callable[[Sequence[str], str, bool], _Compiled]:
    def build(values: Sequence[str], operator: str, variables: bool) -> _Compiled:
        templates = [text_template(v, variables=variables, wildcards=wildcards, fold=fold) for v in values]
        return _of_templates(templates)

    return build


def _arns(values: Sequence[str], operator: str, variables: bool) -> _Compiled:
    return _of_templates([ArnTemplate(value, variables=variables, complete=False) for value in values])


def _without_variables(value: str, operator: str, variables: bool) -> str:
    if variables and "${" in value:
        raise ConditionError(f"{operator} does not support policy variables, as in {value!r}")
    return value


def _compared(
    read: Callable[[str], Decimal | None], what: str, holds: Callable[[Decimal, Decimal], bool]
) -> Callable[[Sequence[str], str, bool], _Compiled]:
    """An operator on numbers or dates."""

    def build(values: Sequence[str], operator: str, variables: bool) -> _Compiled:
        tests: list[_Test] = []
        for value in values:
            wanted = read(_without_variables(value, operator, variables))
            if wanted is None:
                raise ConditionError(f"{operator} expects {what}, not {value!r}")
            tests.append(_comparison(read, holds, wanted))
        return tests, frozenset()

    return build


def _comparison(
    read: Callable[[str], Decimal | None], holds: Callable[[Decimal, Decimal], bool], wanted: Decimal
) -> _Test:
    def test(value: str, context: Context) -> Truth | NoValue:
        given = read(value)
        return None if given is None else holds(given, wanted)

    return test


_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})", re.ASCII)
_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d))?)?)?", re.ASCII
)


def _number(text: str) -> Decimal | None:
    if _NUMBER.fullmatch(text) is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


@lru_cache(maxsize=256)
def _date(text: str) -> Decimal | None:
    """Seconds since the epoch, from W3C's profile of ISO 8601 (a day means its start, UTC) or a number."""
    match = _DATE.fullmatch(text)
    if match is None or (text.isdigit() and len(text) != 4):
        return _number(text) if text.isdigit() else None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    offset = 0
    if zone not in (None, "Z"):
        offset = (int(zone[1:3]) * 60 + int(zone[-2:])) * (-60 if zone[0] == "-" else 60)
    try:
        start = datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0),
            tzinfo=UTC,
        )  # fmt: skip
    except ValueError:
        return None
    return Decimal(int(start.timestamp()) - offset) + Decimal(fraction or "0")


def _bool(value: str, operator: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ConditionError(f"{operator} expects true or false, not {value!r}")
    return value.lower() == "true"


def _bools(values: Sequence[str], operator: str, variables: bool) -> _Compiled:
    wanted = {_bool(value, operator) for value in values}

    def test(value: str, context: Context) -> Truth | NoValue:
        given = value.lower()
        return (given == "true") in wanted if given in ("true", "false") else None

    return [test], frozenset()


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _addresses(values: Sequence[str], operator: str, variables: bool) -> _Compiled:
    networks: list[_Network] = []
    for value in values:
        text = _without_variables(value, operator, variables)
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ConditionError(
                f"{operator} expects an address or a network such as 203.0.113.0/24, not {value!r}"
            ) from None

    def test(value: str, context: Context) -> Truth | NoValue:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address.version == network.version and address in network for network in networks)

    return [test], frozenset()


def _binaries(values: Sequence[str], operator: str, variables: bool) -> _Compiled:
    """No condition key of this service holds bytes."""
    return [lambda value, context: None], frozenset()


_EXACT = _strings(wildcards=False)
_LIKE = _strings(wildcards=True)
_FOLDED = _strings(wildcards=False, fold=True)
_ORDER: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "equals": lambda given, wanted: given == wanted,
    "notequals": lambda given, wanted: given == wanted,
    "lessthan": lambda given, wanted: given < wanted,
    "lessthanequals": lambda given, wanted: given <= wanted,
    "greaterthan": lambda given, wanted: given > wanted,
    "greaterthanequals": lambda given, wanted: given >= wanted,
}

_DATE_EXAMPLE = "a date such as 2026-01-31T00:00:00Z"

_MATCHERS: dict[str, Callable[[Sequence[str], str, bool], _Compiled]] = {
    "stringequals": _EXACT,
    "stringnotequals": _EXACT,
    "stringequalsignorecase": _FOLDED,
    "stringnotequalsignorecase": _FOLDED,
    "stringlike": _LIKE,
    "stringnotlike": _LIKE,
    "bool": _bools,
    "binaryequals": _binaries,
    "ipaddress": _addresses,
    "notipaddress": _addresses,
    "arnequals": _arns,
    "arnlike": _arns,
    "arnnotequals": _arns,
    "arnnotlike": _arns,
    **{f"numeric{name}": _compared(_number, "a number", holds) for name, holds in _ORDER.items()},
    **{f"date{name}": _compared(_date, _DATE_EXAMPLE, holds) for name, holds in _ORDER.items()},
}
_NEGATED = frozenset(name for name in _MATCHERS if "not" in name)
