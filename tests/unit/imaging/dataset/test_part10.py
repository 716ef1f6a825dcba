from __future__ import annotations

import gc
import os
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from lightwell.errors import InputError
from lightwell.imaging.dataset import byte_source
from lightwell.imaging.dataset.part10 import BytesSource, FileSource, open_part10
from tests.unit.imaging import headers
from tests.unit.imaging.headers import element, image, opened, part10

NOT_DICOM = "DICOM attributes does not exist"


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def deflated(content: bytes) -> bytes:
    return part10(deflate(content), syntax=headers.DEFLATED)


@pytest.mark.parametrize("data", [b"", b"\0", b"GIF89a", bytes(132), bytes(127) + b"DICM", b"{}" * 500])
def test_refuses_what_is_not_a_part_10_file(data: bytes) -> None:
    with pytest.raises(InputError, match=NOT_DICOM):
        opened(data)


def test_refuses_a_data_set_without_preamble() -> None:
    with pytest.raises(InputError, match=NOT_DICOM):
        opened(headers.meta() + element(0x00080018, "UI", "1.2"))


def test_names_a_missing_transfer_syntax() -> None:
    with pytest.raises(InputError, match="DICOM attribute TransferSyntaxUID does not exist"):
        opened(part10(element(0x00080018, "UI", "1.2"), syntax=None))
    with pytest.raises(InputError, match="DICOM attribute TransferSyntaxUID does not exist"):
        opened(part10(syntax=" "))


def test_refuses_a_file_meta_group_cut_anywhere_but_between_elements() -> None:
    whole = part10()
    for length in range(132, len(whole)):
        try:
            found = opened(whole[:length])
        except InputError as error:
            assert "does not exist" in str(error)
        else:
            assert len(found.file_meta) == length - 132


def test_refuses_a_file_meta_group_without_end() -> None:
    endless = bytes(128) + b"DICM" + element(0x00020102, "OB", b"", length=1 << 30) + bytes(4000)
    with pytest.raises(InputError, match=NOT_DICOM):
        opened(endless)


def test_reads_a_long_file_meta_group() -> None:
    data = bytes(128) + b"DICM" + headers.meta(headers.EXPLICIT, element(0x00020102, "OB", bytes(20_000)))
    found = opened(data + element(0x00080018, "UI", "1.2"))
    assert len(found.file_meta) > 20_000
    assert found.source.read(found.dataset_offset, 4) == b"\x08\x00\x18\x00"


@pytest.mark.parametrize(
    ("syntax", "little", "implicit"),
    [
        (headers.EXPLICIT, True, False),
        (headers.IMPLICIT, True, True),
        (headers.BIG, False, False),
        (headers.JPEG, True, False),
        ("1.2.3.4.5", True, False),
    ],
)
def test_tells_the_encoding_by_the_transfer_syntax(syntax: str, little: bool, implicit: bool) -> None:
    found = opened(part10(syntax=syntax))
    assert (found.transfer_syntax, found.little_endian, found.implicit) == (syntax, little, implicit)


def test_inflates_a_deflated_data_set_into_a_file_without_a_name(tmp_path: Path) -> None:
    content = element(0x00080018, "UI", "1.2") + element(0x7FE00010, "OW", os.urandom(3 << 20))
    found = open_part10(BytesSource(deflated(content)), spool_dir=tmp_path, inflate_limit=4 << 20)
    assert found.dataset_offset == 0
    assert found.source.size == len(content)
    assert found.source.read(0, len(content)) == content
    assert list(tmp_path.iterdir()) == []


def test_inflates_to_the_limit_and_not_beyond(tmp_path: Path) -> None:
    content = element(0x7FE00010, "OW", bytes(1000))
    open_part10(BytesSource(deflated(content)), spool_dir=tmp_path, inflate_limit=len(content))
    with pytest.raises(InputError, match="larger than"):
        open_part10(BytesSource(deflated(content)), spool_dir=tmp_path, inflate_limit=len(content) - 1)


def test_refuses_what_inflates_to_all_room_that_the_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(free: int) -> None:
        monkeypatch.setattr(os, "fstatvfs", lambda fd: SimpleNamespace(f_bavail=free, f_frsize=1 << 10))

    monkeypatch.setattr(byte_source, "_LARGE", 2 << 20)
    whole = deflated(os.urandom(1 << 10) * (4 << 10))
    left(1 << 10)
    open_part10(BytesSource(whole), spool_dir=tmp_path, inflate_limit=1 << 30)
    left(400)
    with pytest.raises(InputError, match="the disk has no space"):
        open_part10(BytesSource(whole), spool_dir=tmp_path, inflate_limit=1 << 30)
    monkeypatch.setattr(byte_source, "_LARGE", 8 << 20)
    open_part10(BytesSource(whole), spool_dir=tmp_path, inflate_limit=1 << 30)


def test_stops_a_bomb_early(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = 20 * block + packer.flush()
    with pytest.raises(InputError, match="times"):
        open_part10(
            BytesSource(part10(bomb, syntax=headers.DEFLATED)), spool_dir=tmp_path, inflate_limit=1 << 40
        )
    assert list(tmp_path.iterdir()) == []


def test_names_a_deflated_data_set_that_is_cut_off_or_damaged(tmp_path: Path) -> None:
    whole = deflated(os.urandom(5000))
    with pytest.raises(InputError, match="ends too early"):
        open_part10(BytesSource(whole[:-100]), spool_dir=tmp_path, inflate_limit=1 << 20)
    with pytest.raises(InputError, match="ends too early"):
        open_part10(BytesSource(part10(syntax=headers.DEFLATED)), spool_dir=tmp_path, inflate_limit=1 << 20)
    with pytest.raises(InputError, match="damaged"):
        open_part10(
            BytesSource(part10(b"\xff" * 100, syntax=headers.DEFLATED)), spool_dir=tmp_path, inflate_limit=9
        )


def test_reads_files_at_any_place_as_from_memory(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    with FileSource(path) as on_disk, BytesSource(data) as in_memory:
        assert on_disk.size == in_memory.size == 200_000
        for offset, length in (
            (0, 10),
            (65_530, 6),
            (65_530, 12),
            (100_000, 50_000),
            (199_990, 100),
            (300_000, 5),
        ):
            assert on_disk.read(offset, length) == in_memory.read(offset, length)


def test_closes_files_that_nobody_closes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(image())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        FileSource(path).read(0, 10)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_refuses_to_open_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileSource(tmp_path / "nothing")
