"""Text in every character set of PS3.3 C.12.1.1.2; the names are those of PS3.5 Annexes H to K."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightwell.imaging.dataset.character_sets import charset_of

KANJI = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
HALF = (
    b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
)
KOREAN = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
CHINESE = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        (b"ISO_IR 101", b"W\xb3\xb1d", "Włąd"),
        (b"ISO_IR 109", b"\xa6", "Ĥ"),
        (b"ISO_IR 110", b"\xa2", "ĸ"),
        (b"ISO_IR 144", b"\xbb\xee\xda", "Люк"),
        (b"ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea", "\u0642\u0628\u0627\u0646\u064a"),
        (b"ISO_IR 126", b"\xc4\xe9\xef\xed", "Διον"),
        (b"ISO_IR 138", b"\xf9\xf8\xe5\xef", "שרון"),
        (b"ISO_IR 148", b"\xc7avu\xfeo\xf0lu", "Çavuşoğlu"),
        (b"ISO_IR 166", b"\xb9\xd2\xc2", "นาย"),
        (b"ISO_IR 203", b"\xa4", "€"),
        (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
        (b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        (b"GBK", "王^小东".encode("gbk"), "王^小东"),
        (b"\\ISO 2022 IR 87", KANJI, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (b"ISO 2022 IR 13\\ISO 2022 IR 87", HALF, "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (b"\\ISO 2022 IR 149", KOREAN, "Hong^Gildong=洪^吉洞=홍^길동"),
        (b"\\ISO 2022 IR 58", CHINESE, "Zhang^XiaoDong=张^小东="),
        (b"ISO 2022 IR 6\\ISO 2022 IR 144", b"A\x1b-L\xbb\xee", "AЛю"),
        (b"ISO 2022 IR 100\\ISO 2022 IR 126", b"\xe9\x1b-F\xc4^\xe9", "éΔ^é"),
        (b"\\ISO 2022 IR 159", b"\x1b$(D0!\x1b(B", "丂"),
    ],
)
def test_reads_text(charset: bytes, data: bytes, text: str) -> None:
    assert charset_of(charset).decode(data, "PN") == (text, "")


@pytest.mark.parametrize(
    "spelling", [b"ISO-IR 100", b"ISO_IR_100", b"ISO IR 100", b"iso_ir 100", b"ISO_IR 100 ", b"ISO_IR100"]
)
def test_understands_misspelled_terms(spelling: bytes) -> None:
    found = charset_of(spelling)
    assert (found.codec, found.unknown) == ("latin_1", ())


def test_tells_of_unknown_terms() -> None:
    assert charset_of(b"ISO_IR 1000").unknown == ("ISO IR 1000",)
    assert charset_of(b"ISO_IR 100\\klingon").unknown == ("KLINGON",)
    assert charset_of(b"ISO_IR 192\\ISO_IR 100").unknown == ("ISO IR 100",)


def test_keeps_backslashes_inside_characters() -> None:
    # 0x5C is the second byte of these, and no delimiter.
    text = "昞乗\\b"
    assert charset_of(b"GB18030").decode(text.encode("gb18030")) == (text, "")
    shift = b"\x1b$B!\\\x1b(B\\b"
    assert charset_of(b"\\ISO 2022 IR 87").decode(shift) == ("＋\\b", "")


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        (b"ISO_IR 192", b"J\xe9r\xf4me"),
        (b"ISO_IR 192", b"\xed\xa0\x80"),
        (b"ISO_IR 126", b"\xff"),
        (b"GB18030", b"\xff\xff"),
        (b"\\ISO 2022 IR 87", b"\x1b$B\x7f\x7f\x1b(B"),
        (b"\\ISO 2022 IR 149", b"\x1b$)C\xff\xff"),
        (b"\\ISO 2022 IR 87", b"\x1b%G\xc3\xa9"),
    ],
)
def test_replaces_what_cannot_be_read_and_says_so(charset: bytes, data: bytes) -> None:
    text, problem = charset_of(charset).decode(data)
    assert "\ufffd" in text
    assert "U+FFFD" in problem


def test_reads_letters_without_a_character_set_as_latin_1_and_says_so() -> None:
    for charset in (b"", b"ISO_IR 6", b"nonsense"):
        text, problem = charset_of(charset).decode(b"J\xe9r\xf4me")
        assert text == "Jérôme"
        assert "default repertoire" in problem


def test_reads_utf_8_without_a_character_set_and_says_so() -> None:
    for charset in (b"", b"ISO_IR 6", b"nonsense"):
        text, problem = charset_of(charset).decode("Jérôme^Люк=山田".encode(), "PN")
        assert text == "Jérôme^Люк=山田"
        assert "UTF-8" in problem


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        (b"\\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7", "洪^吉洞"),
        (b"\\ISO 2022 IR 149", b"\xc8\xab^\xb1\xe6\xb5\xbf", "홍^길동"),
        (b"\\ISO 2022 IR 58", b"Zhang=\xd5\xc5", "Zhang=张"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 100", b"J\xe9r", "Jér"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 87\\ISO 2022 IR 144", b"\xbb\xee\xda", "Люк"),
    ],
)
def test_reads_a_declared_set_that_was_not_escaped_to_and_says_so(
    charset: bytes, data: bytes, text: str
) -> None:
    found, problem = charset_of(charset).decode(data, "PN")
    assert found == text
    assert "no escape sequence" in problem


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        (b"\\ISO 2022 IR 149", b"\x1b$)C" + "똠방".encode("cp949"), "똠방"),
        (b"\\ISO 2022 IR 58", b"\x1b$)A" + "張镕".encode("gbk"), "張镕"),
        (b"GBK", "𠀀".encode("gb18030"), "𠀀"),
        (b"ISO_IR 13", "髙".encode("cp932"), "髙"),
        (b"\\ISO 2022 IR 87", b"\x1b$B-!\x1b(B", "①"),
    ],
)
def test_reads_letters_of_a_wider_set_of_the_kind_and_says_so(charset: bytes, data: bytes, text: str) -> None:
    found, problem = charset_of(charset).decode(data, "PN")
    assert found == text
    assert "superset" in problem


def test_reads_a_set_that_is_escaped_to_but_not_declared_and_says_so() -> None:
    text, problem = charset_of(b"ISO_IR 100").decode(b"\x1b$B;3ED\x1b(B")
    assert text == "山田"
    assert "does not declare" in problem


@given(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"",
            b"ISO_IR 192",
            b"GB18030",
            b"ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\\ISO 2022 IR 149\\ISO 2022 IR 58",
            b"ISO_IR 13",
            b"\xff\\\0",
        ]
    ),
    st.sampled_from(["PN", "LO", "LT"]),
)
def test_reads_any_bytes_to_text_that_utf_8_can_hold(data: bytes, charset: bytes, vr: str) -> None:
    text, _ = charset_of(charset).decode(data, vr)
    text.encode("utf-8")


@given(
    st.lists(
        st.sampled_from(
            [
                b"\x1b",
                b"\x1b$B",
                b"\x1b(B",
                b"\x1b(J",
                b"\x1b$)C",
                b"\x1b-F",
                b"\\",
                b"^",
                b"=",
                b"a",
                b"\xb1\xe6",
                b"0!",
                b"\r\n",
                b"\x1b$(D",
            ]
        ),
        max_size=12,
    )
)
def test_reads_any_mixture_of_escape_sequences(parts: list[bytes]) -> None:
    text, _ = charset_of(b"ISO 2022 IR 100\\ISO 2022 IR 87\\ISO 2022 IR 149").decode(b"".join(parts), "PN")
    text.encode("utf-8")
