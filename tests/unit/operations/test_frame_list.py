"""How many frames of other versions one request may name."""

from __future__ import annotations

from typing import Any, cast

import pytest

from lightwell.domain.keys import ImageSetKey, PixelsKey
from lightwell.errors import ValidationError
from lightwell.operations.dicomweb.frames import InstancePixels
from lightwell.operations.frame_lists.frame_list import MOST_OTHER_IDS, FrameList, ListedFrame, Selection


def test_looks_up_some_frames_of_other_versions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = InstancePixels(ImageSetKey(1), PixelsKey(1), "1.2.840.10008.1.2.1", 1)
    asked = []

    def named(self: FrameList, reader: Any, id: str, *rest: Any) -> ListedFrame:
        asked.append(id)
        return ListedFrame(None, pixels, "1.2", 1)

    monkeypatch.setattr(FrameList, "_named", named)
    frames = FrameList(ImageSetKey(1), "d", "i", 1, 1, (), (), 0)
    reader = cast("Any", None)
    few = Selection(ids=[str(n) for n in range(MOST_OTHER_IDS)])
    assert frames.choose(reader, few, any_version=True)[0] == MOST_OTHER_IDS
    asked.clear()
    with pytest.raises(ValidationError, match="by versionId"):
        frames.choose(reader, Selection(ids=[str(n) for n in range(5000)]), any_version=True)
    assert len(asked) == MOST_OTHER_IDS + 1
