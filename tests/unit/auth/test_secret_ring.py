"""A secret key that is replaced by another while both are known, the newest first."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightwell.auth.bearer_token import read_token
from lightwell.auth.builtin_authorizer import BuiltinAuthorizer, TokenRequest
from lightwell.auth.key_sessions import ConsoleLinks
from lightwell.auth.principals import Principal
from lightwell.auth.secret_box import MOST_KEYS, SecretBox, open_secret_box
from lightwell.auth.viewer_token import ViewerTokens
from lightwell.domain.arn import datastore_arn
from lightwell.errors import AccessDeniedError, ConfigurationError

OLD, NEW = b"o" * 32, b"n" * 32
ACCOUNT, REGION, STORE, NOW = "000000000000", "us-east-1", "d" * 32, 1_700_000_000_000

BEFORE = SecretBox(OLD, "a test")
KNOWN = SecretBox(OLD, "a test", [NEW])
SWAPPED = SecretBox(NEW, "a test", [OLD])
AFTER = SecretBox(NEW, "a test")
STEPS = [(BEFORE, KNOWN), (KNOWN, SWAPPED), (SWAPPED, AFTER)]
"""At each step some servers have one box and some the other."""


def _text(*keys: bytes, between: str = "\n") -> str:
    return between.join(base64.b64encode(key).decode() for key in keys)


def _opens(box: SecretBox, token: bytes) -> bool:
    try:
        return box.decrypt(token) == "text"
    except ConfigurationError:
        return False


def _admits_link(box: SecretBox, token: str) -> bool:
    try:
        return bool(ConsoleLinks(box).access_key_id(token, NOW))
    except AccessDeniedError:
        return False


def _builtin(box: SecretBox) -> str:
    asked = TokenRequest(STORE, 1, "ana", 3600, may_store=False, now=NOW)
    return BuiltinAuthorizer(box, REGION, ACCOUNT).mint(asked)


def _admits_builtin(box: SecretBox, text: str) -> bool:
    token = read_token([(b"authorization", f"Bearer {text}".encode())], NOW + 1000)
    try:
        arn = datastore_arn(REGION, ACCOUNT, STORE)
        return BuiltinAuthorizer(box, REGION, ACCOUNT).principal(token, arn, 1, NOW + 1000) is not None
    except AccessDeniedError:
        return False


def _viewer(box: SecretBox) -> str:
    who = Principal("AKLW" + "A" * 16, "arn", "secret", None, None)
    return ViewerTokens(box, REGION, ACCOUNT).mint(who, STORE, NOW, may_store=False).text


def _admits_viewer(box: SecretBox, text: str) -> bool:
    token = read_token([(b"authorization", f"Bearer {text}".encode())], NOW + 1000)
    try:
        return ViewerTokens(box, REGION, ACCOUNT).access_key_id(token, STORE) == "AKLW" + "A" * 16
    except AccessDeniedError:
        return False


USES: dict[str, tuple[Callable[[SecretBox], Any], Callable[[SecretBox, Any], bool]]] = {
    "rows": (lambda box: box.encrypt("text"), _opens),
    "links": (lambda box: ConsoleLinks(box).make(NOW), _admits_link),
    "built-in": (_builtin, _admits_builtin),
    "viewers": (_viewer, _admits_viewer),
}


@pytest.mark.parametrize("use", USES)
def test_all_servers_take_what_any_has_made_at_every_step(use: str) -> None:
    make, admits = USES[use]
    for step in STEPS[:2]:
        assert [admits(one, make(other)) for one in step for other in step] == [True] * 4
    # What was made before the old key was left out is good no longer; `reencrypt` saves the rows.
    assert [admits(AFTER, make(other)) for other in (BEFORE, KNOWN, SWAPPED, AFTER)] == [
        False,
        False,
        True,
        True,
    ]
    assert not admits(BEFORE, make(AFTER))


def test_a_link_is_good_once_whichever_key_a_server_has_first() -> None:
    token = ConsoleLinks(KNOWN).make(NOW)
    ids = {ConsoleLinks(box).access_key_id(token, NOW) for box in (BEFORE, KNOWN, SWAPPED)}
    assert len(ids) == 1


def test_reads_several_keys_the_newest_first(tmp_path: Path) -> None:
    for between in ("\n", ",", " , ", "\n\n"):
        box = open_secret_box(_text(NEW, OLD, between=between) + "\n", tmp_path)
        assert box.names == SWAPPED.names and box.derive("x") == AFTER.derive("x") != BEFORE.derive("x")
    (tmp_path / "secret.key").write_text(_text(NEW, OLD))
    box = open_secret_box(None, tmp_path)
    assert [box.key_of(each.encrypt("text")) for each in (AFTER, BEFORE)] == [0, 1]
    assert box.key_of(SecretBox(b"x" * 32, "elsewhere").encrypt("text")) is None
    assert len(set(box.names)) == 2 and len(BEFORE.names) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a secret key"),
        (" \n", "is not a secret key"),
        (_text(NEW) + "\nnonsense", "is not a secret key"),
        (_text(NEW, b"short"), "is not a secret key"),
        (_text(*[bytes([n]) * 32 for n in range(MOST_KEYS + 1)]), "are the most"),
    ],
)
def test_refuses_what_is_no_list_of_keys(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        open_secret_box(text, tmp_path)
