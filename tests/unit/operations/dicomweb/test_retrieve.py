"""Which transfer syntax an instance is sent in."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, cast

import pytest

from lightwell.domain.keys import PixelsKey
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, HTJ2K_RPCL, RLE
from lightwell.operations.dicomweb.retrieve import FoundInstance, RetrievedInstance, select_instances
from lightwell.stores.image_sets.part10_instances import StoredImage, StoredInstance
from tests.unit.imaging.pixel_files import image


def found(frames: int, stored_syntax: str = HTJ2K_RPCL, **changes: Any) -> FoundInstance:
    described = asdict(image(frames=frames, **changes)) | {"original_syntax": EXPLICIT_LITTLE}
    pixels = StoredImage(
        PixelsKey(1), 1, stored_syntax, frames, json.dumps(described).encode(), "DECOMPRESSED"
    )
    return FoundInstance(cast(Any, None), StoredInstance("1.2", 1, 0, 0, None, pixels))


@pytest.mark.parametrize("alone", [True, False])
def test_sends_as_stored_what_is_too_long_for_a_native_element(alone: bool) -> None:
    for frames, fits in ((1023, True), (1024, False)):
        slide = found(frames, rows=2048, columns=1024)
        for wanted, syntax in (
            (None, EXPLICIT_LITTLE if fits else HTJ2K_RPCL),
            (EXPLICIT_LITTLE, EXPLICIT_LITTLE if fits else None),
            (RLE, RLE),
            ("*", HTJ2K_RPCL),
        ):
            sent = select_instances([slide], wanted, alone=alone)
            assert [each.syntax for each in sent] == ([syntax] if syntax else []), (frames, wanted)


def test_sends_in_a_lossless_syntax_what_that_can_code() -> None:
    for bits, syntaxes in ((8, [RLE]), (16, [RLE]), (1, []), (32, [])):
        native = found(1, EXPLICIT_LITTLE, rows=1, bits_allocated=bits)
        assert [each.syntax for each in select_instances([native], RLE, alone=True)] == syntaxes
    subsampled = found(1, EXPLICIT_LITTLE, samples=3, bits_allocated=8, photometric="YBR_FULL_422")
    assert not select_instances([subsampled], RLE, alone=True)


def test_a_tag_of_a_file_is_that_of_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that was begun before an upgrade must not go on with bytes that another release writes."""
    tags = {syntax: RetrievedInstance(found(1), syntax).etag for syntax in (EXPLICIT_LITTLE, HTJ2K_RPCL, RLE)}
    assert [tag.startswith("W/") for tag in tags.values()] == [False, False, True]
    assert {syntax: RetrievedInstance(found(1), syntax).etag for syntax in tags} == tags
    monkeypatch.setattr("lightwell.operations.dicomweb.retrieve.__version__", "another")
    assert not {RetrievedInstance(found(1), syntax).etag for syntax in tags} & set(tags.values())
