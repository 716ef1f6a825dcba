"""A name in every script of PS3.3 C.12.1.1.2, byte for byte as files have it, through an import and out.

The Japanese, Korean, Chinese and European ones are those of PS3.5 Annexes H to K; what is expected is written
as text, never decoded by what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import pytest
from sqlalchemy import select

from lightwell.stores.db import tables
from tests.imports.file_kinds.files import FORMS, file
from tests.imports.file_kinds.reading import ImportedFiles, imported
from tests.unit.imaging.headers import BIG, EXPLICIT, IMPLICIT, element

NAMES = {
    "none": ("", b"Plain^Name", "Plain^Name"),
    "ascii": ("ISO_IR 6", b"Plain^Name", "Plain^Name"),
    "western": ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    "central-european": ("ISO_IR 101", b"Wa\xb3\xeasa^\xa3ukasz=\xcfuri\xb9", "Wałęsa^Łukasz=Ďuriš"),
    "south-european": ("ISO_IR 109", b"\xc6apek^\xd8is", "Ĉapek^Ĝis"),
    "baltic": ("ISO_IR 110", b"Ka\xf3is^\xabirts \xac", "Kaķis^Ģirts Ŧ"),
    "cyrillic": ("ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
    "arabic": (
        "ISO_IR 127",
        b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1",
        "\u0642\u0628\u0627\u0646\u064a^\u0644\u0646\u0632\u0627\u0631",
    ),
    "greek": ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    "hebrew": (
        "ISO_IR 138",
        b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4",
        "\u05e9\u05e8\u05d5\u05df^\u05d3\u05d1\u05d5\u05e8\u05d4",
    ),
    "turkish": ("ISO_IR 148", b"\xc7avu\xfeo\xf0lu^\xddbrahim", "Çavuşoğlu^İbrahim"),
    "thai": (
        "ISO_IR 166",
        b"\xb9\xd2\xc1\xca\xa1\xd8\xc5^\xaa\xd7\xe8\xcd",
        "\u0e19\u0e32\u0e21\u0e2a\u0e01\u0e38\u0e25^\u0e0a\u0e37\u0e48\u0e2d",
    ),
    "euro": ("ISO_IR 203", b"\xbcuvre^\xb4i\xb8ka\xa4", "Œuvre^Žižka€"),
    "katakana": ("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "utf-8": (
        "ISO_IR 192",
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe4\xb8\x9c=\xf0\x9f\x98\x80",
        "Wang^XiaoDong=王^小东=😀",
    ),
    "gb18030": (
        "GB18030",
        b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=\x819\xef1\x952\x826",
        "Wang^XiaoDong=王^小东=㐂𠀀",
    ),
    "gbk": ("GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    "japanese": (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "japanese-katakana": (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "japanese-supplement": (
        "\\ISO 2022 IR 87\\ISO 2022 IR 159",
        b'A^B=\x1b$B;3\x1b(B\x1b$(D0!\x1b(B\x1b$BED\x1b(B^\x1b$(D0"\x1b(B',
        "A^B=山丂田^丄",
    ),
    "delimiters-inside-of-kanji": (
        "\\ISO 2022 IR 87",
        b"\x1b$BI=%==!\x1b(B^\x1b$BG=\x1b(B",
        "表ソ宗^能",
    ),
    "korean": (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "chinese": (
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    "hebrew-and-cyrillic": (
        "ISO 2022 IR 138\\ISO 2022 IR 144",
        b"\xf9x\x1b-L\xcey^\xf9",
        "\u05e9xЮy^\u05e9",
    ),
    "greek-by-escape": ("ISO 2022 IR 6\\ISO 2022 IR 126", b"a\x1b-F\xd9^b", "aΩ^b"),
    "backslash-inside-of-a-character": ("GB18030", b"\x82O\x85\\^\xd5\\", "侽匼^誠"),
}
LISTS = {
    "gbk": ("GBK", b"\x82O\x85\\\\x", ["侽匼", "x"]),
    "korean": ("\\ISO 2022 IR 149", b"\x1b$)C\xc8\xab\\abc\\\x1b$)C\xb1\xe6", ["홍", "abc", "길"]),
    "japanese": ("\\ISO 2022 IR 87", b"\x1b$B;3\x1b(B\\abc\\\x1b$BI=G=\x1b(B", ["山", "abc", "表能"]),
    "latin": ("ISO_IR 100", b"\xe9\\\xe8 ", ["é", "è"]),
}
TEXTS = {
    "greek-over-a-backslash": (
        "ISO 2022 IR 100\\ISO 2022 IR 126",
        b"\xe9\x1b-F\xc4\\\xd9^\r\n\xe9",
        "éΔ\\Ω^\r\né",
    ),
    "korean-over-a-backslash": ("ISO 2022 IR 100\\ISO 2022 IR 149", b"\x1b$)C\xc8\xab\\\xb1\xe6", "홍\\길"),
}
ALL = [
    *((f"name-{name}", 0x00100010, "PN", "PatientName", *found) for name, found in NAMES.items()),
    *((f"list-{name}", 0x00102000, "LO", "MedicalAlerts", *found) for name, found in LISTS.items()),
    *((f"text-{name}", 0x00104000, "LT", "PatientComments", *found) for name, found in TEXTS.items()),
]
SYNTAXES = [EXPLICIT, IMPLICIT, BIG]


def files() -> Iterator[tuple[str, bytes]]:
    for number, (name, tag, vr, _, charset, data, _) in enumerate(ALL):
        for index, syntax in enumerate(SYNTAXES):
            serial = 10 * number + index
            attributes = {
                0x00080005: ("CS", charset),
                tag: (vr, data),
                0x0020000D: ("UI", f"1.2.826.0.1.97.{serial}"),
            }
            yield f"{name}-{index}", file(serial, b"", syntax, attributes)[0]


@pytest.fixture(scope="module")
def imported_files(
    tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path
) -> Iterator[ImportedFiles]:
    folder = tmp_path_factory.mktemp("names")
    copy(_sqlite_template, folder / "lightwell.db")
    with imported(folder / "data", f"sqlite:///{folder / 'lightwell.db'}", files()) as made:
        yield made


def test_takes_every_file_without_a_warning(imported_files: ImportedFiles) -> None:
    assert imported_files.report.failure == []
    assert imported_files.report.warning == []
    assert len(imported_files.found) == len(ALL) * len(SYNTAXES)


@pytest.mark.parametrize("number", range(len(ALL)), ids=[row[0] for row in ALL])
def test_shows_and_finds_and_exports_the_text(imported_files: ImportedFiles, number: int) -> None:
    _, tag, vr, keyword, _, data, text = ALL[number]
    for index, syntax in enumerate(SYNTAXES):
        uid = f"1.2.826.0.1.99.{10 * number + index}"
        found = imported_files.found[uid]
        assert found.attributes[keyword] == text
        assert element(tag, vr, data, form=FORMS.get(syntax, "explicit")) in imported_files.exported(uid)
        if keyword == "PatientName":
            with imported_files.server.stores.db.read() as conn:
                column = tables.image_set.c.patient_name
                query = select(column).where(tables.image_set.c.key == found.key)
                assert conn.execute(query).scalar() == text
