"""Messages, chunks and places of import jobs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightwell.domain.image_sets.search_columns import study_moment
from lightwell.domain.imports.jobs import (
    InputFile,
    clean_message,
    output_folder,
    pack_files,
    split_uri,
    unpack_files,
)
from lightwell.work.imports import chunking


@given(st.text())
def test_cleans_any_message_into_the_models_pattern(text: str) -> None:
    assert re.fullmatch(r"[\w -:`]{1,2048}", clean_message(text), re.ASCII)


def test_keeps_what_a_person_reads_in_a_message() -> None:
    assert (
        clean_message("no file below s3://b/k (5 > 4); try [again]\n")
        == "no file below s3://b/k (5 ) 4), try (again)"
    )


def test_gives_back_the_files_of_a_chunk() -> None:
    files = [
        InputFile(7, "a/ü\n😀", None, 5),
        InputFile(8, "z", ("zip", "/tmp/\udcff.zip", "m"), 1 << 40),
    ]
    assert unpack_files(pack_files(files), 7) == tuple(files)


def test_expands_the_output_uri() -> None:
    assert output_folder("s3://b", "d", "j") == "s3://b/d-DicomImport-j/"
    assert output_folder("s3://b/x//", "d", "j") == "s3://b/x/d-DicomImport-j/"
    assert split_uri("s3://b/x/y") == ("b", "x/y")
    assert split_uri("s3://b") == ("b", "")


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20, 63, 64, 65, 500, 501, 2000])
def test_cuts_a_job_into_even_chunks(count: int, workers: int) -> None:
    files = [InputFile(n, str(n), None, 1000) for n in range(count)]
    cut = list(chunking.chunks(iter(files), workers))
    assert [f for chunk in cut for f in chunk] == files
    sizes = [len(chunk) for chunk in cut]
    assert max(sizes) <= chunking.MOST_FILES
    assert sizes[:-1] == sizes[:1] * (len(sizes) - 1)
    if count >= 8 * workers:
        assert len(cut) >= workers


def test_shares_500_files_evenly_between_two_workers() -> None:
    cut = list(chunking.chunks((InputFile(n, "", None, 1) for n in range(500)), 2))
    assert len(cut) % 2 == 0
    assert sum(map(len, cut[::2])) - sum(map(len, cut[1::2])) <= 4


def test_cuts_by_bytes_too() -> None:
    big = chunking.MOST_BYTES // 2 + 1
    cut = list(chunking.chunks((InputFile(n, "", None, big) for n in range(3)), 1))
    assert [len(c) for c in cut] == [1, 1, 1]


@pytest.mark.parametrize(
    ("date", "time", "moment"),
    [
        ("20240229", "101112.123", "20240229101112.123000"),
        ("20240229", "10", "20240229100000.000000"),
        ("2024.02.29", "10:11:12", "20240229101112.000000"),
        ("20240229", None, "20240229000000.000000"),
        ("20240229", "noon", "20240229000000.000000"),
        ("20240229", "999999", "20240229000000.000000"),
        ("20240229", "235960.5", "20240229235960.500000"),
        ("20230229", "10", None),
        ("2024", "10", None),
        (None, "10", None),
        ("", "", None),
    ],
)
def test_makes_a_moment_that_sorts(date: str | None, time: str | None, moment: str | None) -> None:
    assert study_moment(date, time) == moment
