"""Page tokens."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightwell.domain.page_tokens import decode, encode
from lightwell.errors import ValidationError

values = st.lists(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    max_size=6,
)


def token(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@given(values)
def test_reads_what_it_wrote(given_values: list[object]) -> None:
    assert decode(encode(given_values)) == given_values


@given(values)
def test_writes_what_the_model_takes_as_a_token(given_values: list[object]) -> None:
    made = encode(given_values)
    assert made.isascii() and made


@given(st.text())
def test_takes_no_text_for_a_token_but_its_own(text: str) -> None:
    try:
        found = decode(text)
    except ValidationError:
        return
    assert isinstance(found, list)


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "é", "A", token(b"{}"), token(b"1"), token(b"[1"), token(b"\xff"), token(b"[[]]"),
        token(b"[{}]"),
        token(b"[NaN]"), token(b"[Infinity]"), token(b"[9223372036854775808]"), token(b'["\\u0000"]'),
        token(b'["\\ud800"]'), token(b"[" * 5000), token(b"[" + b"1," * 9000 + b"1]"),
    ],
)  # fmt: skip
def test_refuses_what_no_database_could_take(text: str) -> None:
    with pytest.raises(ValidationError, match="nextToken"):
        decode(text)


def test_checks_kinds_and_their_number() -> None:
    assert decode(encode([1, "a", None]), int, str, (int, type(None))) == [1, "a", None]
    for wrong in ([1], [1, 2, 3], ["a", 1, None], [True, "a", 1], [1.0, "a", 1]):
        with pytest.raises(ValidationError):
            decode(encode(wrong), int, str, (int, type(None)))
    assert decode(encode([True]), bool) == [True]
