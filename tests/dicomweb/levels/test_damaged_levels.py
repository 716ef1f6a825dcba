"""Stored bytes that are not the ones that were stored: nothing is sent of what they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lightwell.clock import Clock
from lightwell.domain.image_sets.frame_checks import levels_at
from lightwell.domain.image_sets.frame_table import Frame, frame_id, unpack_entries
from lightwell.domain.keys import PixelsKey
from lightwell.errors import InternalError
from lightwell.operations.dicomweb.frames import InstanceFrames, InstancePixels
from lightwell.operations.frame_lists import reading
from lightwell.operations.frame_lists.cuts import cut
from lightwell.operations.frame_lists.frame_list import ListedFrame
from lightwell.operations.get_image_frame import FrameReader
from lightwell.stores.db.tables import datastore, frame_table, pixels, record
from lightwell.stores.objects.pack_objects import pack_name
from tests.dicomweb.levels.conftest import filled
from tests.dicomweb.levels.packed import frames, records
from tests.dicomweb.levels.test_levels import PACKED, image_set, native
from tests.dicomweb.support.sample_datastore import FRAMES, SampleDatastore
from tests.dicomweb.support.stored_files import StoredFiles
from tests.support import image_set_builders
from tests.support.server import Reply

SINGLE = "image/jphc; transfer-syntax=*"


class Stored:
    """The frame of ``s2`` as it lies in its pack."""

    def __init__(self, series: StoredFiles) -> None:
        self.series = series
        uid = str(series.files["s2"].SOPInstanceUID)
        with series.server.database() as db, db.read() as conn:
            self.key, pack, entries, checks = conn.execute(
                select(pixels.c.key, pixels.c.pack, frame_table.c.entries, frame_table.c.checks)
                .join(record, record.c.pixels == pixels.c.key)
                .join(frame_table, frame_table.c.pixels == pixels.c.key)
                .where(record.c.sop_instance_uid == uid)
                .where(
                    pixels.c.datastore
                    == select(datastore.c.key).where(datastore.c.id == series.datastore).scalar_subquery()
                )
            ).one()
        self.frame: Frame = unpack_entries(entries)[0]
        self.ends = [level.length for level in levels_at(checks, 0)]
        self.pack: Path = series.server.data / "objects" / pack_name(pack)
        self.whole = self.pack.read_bytes()

    def flip(self, place: int) -> None:
        """Another bit at this place of the stored frame, its boxes included, and no other."""
        data = bytearray(self.whole)
        data[self.frame.offset + place] ^= 16
        self.pack.write_bytes(data)

    def get(self, query: str, **headers: str) -> Reply:
        return self.series.get(f"{self.series.instance('s2')}/frames/1{query}", SINGLE, **headers)

    def native(self, **headers: str) -> Reply:
        body = json.dumps({"imageFrameId": frame_id(self.key, 0)}).encode()
        path = f"{self.series.root}/imageSet/{image_set(self.series)}/getImageFrame"
        return self.series.server.send(self.series.server.signed("POST", path, body, headers=headers))


@pytest.fixture(scope="module")
def stored(sample: SampleDatastore) -> Iterator[Stored]:
    found = Stored(filled(sample.server))
    yield found
    found.pack.write_bytes(found.whole)


def refused(reply: Reply) -> bool:
    assert (reply.status, reply.headers.get("x-amzn-errortype")) in (
        (200, None),
        (206, None),
        (500, "InternalServerException"),
    )
    return reply.status == 500


def test_refuses_a_cut_with_another_bit_and_gives_what_is_whole(stored: Stored) -> None:
    head, ends = stored.frame.head, [*stored.ends, stored.frame.length]
    good = [stored.get(f"?level={level}").body for level in range(4)]
    whole = good[3]
    places = [0, head - 1, head, head + 30, ends[-1] - 1]
    places += [end + by for end in ends[:-1] for by in (-1, 0, 1)]
    for place in places:
        stored.flip(place)
        for level, end in enumerate(ends):
            reply = stored.get(f"?level={level}")
            assert refused(reply) == (place < end), (place, level)
            assert refused(reply) or reply.body == good[level]
            packed = native(stored.series, level=level, imageFrameIds=[frame_id(stored.key, 0)])
            (record,) = frames(packed.body)
            assert (record.described["kind"] == "error") == (place < end)
        # A range is proved between the ends around it.
        for first, last in zip([head, *ends], ends, strict=False):
            reply = stored.get("", range=f"bytes={first - head}-{last - head - 1}")
            begin = 0 if first == head else first
            assert refused(reply) == (begin <= place < last), (place, first, last)
            assert refused(reply) or reply.body == whole[first - head : last - head]
            assert refused(stored.native(range=f"bytes={first}-{last - 1}")) == refused(reply)
    stored.pack.write_bytes(stored.whole)


def test_goes_on_after_a_damaged_frame(stored: Stored) -> None:
    before = frames(native(stored.series, level=0).body)
    stored.flip(stored.frame.head + 40)
    after = records(native(stored.series, level=0).body)[1:-1]
    kinds = [each.described["kind"] for each in after]
    assert kinds == ["frame", "error", *["frame"] * 6]
    assert [after[0], *after[2:]] == [before[0], *before[2:]]
    error = after[1].described
    assert error["id"] == before[1].described["id"] and error["position"] == 2 and not after[1].body
    assert error["type"] == "InternalServerException" and "lightwell data verify" in error["message"]
    # Parts cannot say so.
    path = f"{stored.series.series('s1')}/frames"
    assert stored.series.get(f"{path}?level=0", FRAMES + "*").status == 500
    assert stored.series.get(f"{path}?level=0&frames=3-", FRAMES + "*").status == 200
    assert stored.series.get(f"{path}?frames=2", PACKED).status == 200
    stored.pack.write_bytes(stored.whole)


def test_reads_long_cuts_in_pieces(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE", 200)
    monkeypatch.setattr(reading, "PIECE", 90)
    server = stored.series.server
    stores = image_set_builders.open_at(server.data, server.database_url)
    try:
        frames_of = InstanceFrames(FrameReader(stores, Clock()))
        place = frames_of.reader.locate(
            stored.series.datastore, image_set(stored.series), frame_id(stored.key, 0)
        )
        pixels = InstancePixels(place.image_set, PixelsKey(stored.key), place.page.stored_syntax, 1)
        listed = ListedFrame(1, pixels, "1.2", 1)
        for level in range(4):
            (sent,) = reading.sent_frames(frames_of, iter([listed]), level)
            assert sent.cut is not None
            pieces = list(sent.pieces)
            assert b"".join(pieces) == stored.get(f"?level={level}").body
            assert max(map(len, pieces)) == 90 and sent.cut.length == sum(map(len, pieces))
        stored.flip(stored.ends[1] - 1)
        (sent,) = reading.sent_frames(frames_of, iter([listed]), 2)
        with pytest.raises(InternalError, match="lightwell data verify"):
            list(sent.pieces)
    finally:
        stored.pack.write_bytes(stored.whole)
        stores.close()


def test_gives_the_whole_where_no_levels_are_known(stored: Stored) -> None:
    server, where = stored.series.server, frame_table.c.pixels == stored.key
    with server.database() as db:
        with db.read() as conn:
            checks = conn.execute(select(frame_table.c.checks).where(where)).scalar_one()
        # Another server than the one that has read the row already.
        db.write(lambda conn: conn.execute(update(frame_table).where(where).values(checks=None)))
        try:
            stores = image_set_builders.open_at(server.data, server.database_url)
            reader = FrameReader(stores, Clock())
            place = reader.locate(stored.series.datastore, image_set(stored.series), frame_id(stored.key, 0))
            found = cut(place, 0)
            assert found.level is None and found.ends == (place.length,) and not found.can_be_cut
            stores.close()
        finally:
            db.write(lambda conn: conn.execute(update(frame_table).where(where).values(checks=checks)))
