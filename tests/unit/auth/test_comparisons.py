"""Secrets, signatures and what stands for them are compared in constant time: nothing measures a clock here.

Looked at is the source of what decides about requests. What libraries verify (the RSA and EC signatures of an
OpenID provider, the HMAC of tokens that this server signs) is not compared by lightwell at all.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightwell

SOURCE = Path(lightwell.__file__).parent
PLACES = ("auth", "web/authorizers", "web/requests", "web/sts.py", "web/console", "web/dicomweb")
LOOKED_AT = {
    path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8")
    for place in (*PLACES, "observe/audit/block.py", "observe/audit/sidecar.py")
    for path in ([SOURCE / place] if place.endswith(".py") else sorted((SOURCE / place).rglob("*.py")))
}
SECRET = re.compile(
    r"(secret|signature|password|mac|seal|digest|hexdigest|decrypt|token)s?(_access_key|_text)?"
)
COMPARES = {
    "auth/authentication.py": "the token of a session",
    "auth/key_sessions.py": "the MAC of a session of a key",
    "auth/sigv4.py": "a signature, the hash of a body",
    "observe/audit/block.py": "the MAC of a block of the trail",
    "observe/audit/sidecar.py": "the MAC of an index of the trail",
    "web/console/uploads.py": "the hash of an uploaded file that was signed",
}
ALLOWED = {
    # What the administrator of this machine has set, at the start of a server: no request gets there.
    "auth/principals.py": {
        "secret_box.decrypt(kept.secret) != given.secret_access_key",
        "secret_box.decrypt(kept.secret) == given.secret_access_key",
    },
    # A search in a sorted list, for what an administrator asks the trail for: no request gets there.
    "observe/audit/sidecar.py": {"self.digests[at] == digest"},
    # A checksum of a file that its sender states of it and could compute for any other.
    "web/console/uploads.py": {"stated != digest"},
}
"""Comparisons with == or != that stand for no proof, by module."""


def last_name(node: ast.expr) -> str:
    """What an operand is called: `b` of ``a.b``, ``b[…]`` and ``a.b(…)``."""
    while True:
        match node:
            case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.Await(value=inner):
                node = inner
            case ast.Attribute(value=inner, attr="encode" | "lower" | "hex"):
                node = inner
            case ast.Attribute(attr=name) | ast.Name(id=name):
                return name.lstrip("_")
            case _:
                return ""


def comparisons(source: str) -> Iterator[str]:
    """The comparisons by value of what is called as a secret or a proof is."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        operands = [node.left, *node.comparators]
        for left, how, right in zip(operands, node.ops, operands[1:], strict=False):
            is_by_value = isinstance(how, ast.Eq | ast.NotEq)
            against_none = any(isinstance(each, ast.Constant) for each in (left, right))
            if (
                is_by_value
                and not against_none
                and any(SECRET.fullmatch(last_name(x)) for x in (left, right))
            ):
                yield ast.unparse(node)


def test_compares_no_secret_with_an_operator() -> None:
    found = {module: set(comparisons(source)) for module, source in LOOKED_AT.items()}
    assert {module: some for module, some in found.items() if some} == ALLOWED, "hmac.compare_digest"


def test_compares_by_a_function_of_constant_time_where_proofs_are_judged() -> None:
    uses = {module for module, source in LOOKED_AT.items() if "hmac.compare_digest(" in source}
    assert uses == set(COMPARES)


@pytest.mark.parametrize(
    "source",
    [
        "signature.hex() == expected",
        "x if given != key.secret else y",
        "a < 1 or hasher.hexdigest() == b",
        "whole[-9:] == self._mac",
    ],
)
def test_would_find_one(source: str) -> None:
    assert list(comparisons(source))
