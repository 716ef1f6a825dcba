"""JPEG 2000 kept unchanged in a JPEG 2000 data store: only a codec worker decodes it."""

from __future__ import annotations

import io

import imagecodecs
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from lightwell.documents.part10_files import open_instance
from lightwell.errors import InputError, NotAcceptableError
from lightwell.imaging.dataset.transfer_syntaxes import EXPLICIT_LITTLE, JPEG2000_LOSSLESS
from lightwell.operations import datastores
from lightwell.operations.dicomweb.frames import InstanceFrames
from lightwell.operations.get_image_frame import FrameReader
from lightwell.stores.account import datastores as store_rows
from lightwell.stores.image_sets import part10_instances
from lightwell.wire import shapes
from tests.support.ct_files import ct, write
from tests.support.imports import Importing


@pytest.fixture
def filled(server: Importing) -> Importing:
    """One file imported as JPEG 2000, and one that lightwell encoded as JPEG 2000."""
    request = shapes.CreateDatastoreRequest(client_token="j", lossless_storage_format="JPEG_2000_LOSSLESS")
    server.datastore = datastores.create_datastore(server.context, request).datastore_id
    came = ct(1, study="1")
    coded = imagecodecs.jpeg2k_encode(came.pixel_array, codecformat="j2k", reversible=True)
    came.PixelData = encapsulate([bytes(coded)])
    came["PixelData"].is_undefined_length = True
    came.file_meta.TransferSyntaxUID = UID(JPEG2000_LOSSLESS)
    write(server.input / "1.dcm", came)
    write(server.input / "2.dcm", ct(1, study="2"))
    assert len(server.run().success) == 2
    return server


def test_decodes_foreign_codestreams_in_codec_workers_only(filled: Importing) -> None:
    frames = InstanceFrames(FrameReader(filled.stores, filled.context.clock))
    for study, foreign in (("1", True), ("2", False)):
        data = ct(1, study=study)
        uids = (data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID)
        pixels = frames.find(filled.datastore, *uids)
        assert pixels.stored_syntax == JPEG2000_LOSSLESS
        assert frames.needs_worker(pixels) is foreign
        native = frames.pieces(filled.context, pixels, 1, EXPLICIT_LITTLE, 1 << 20)
        if foreign:
            with pytest.raises(NotAcceptableError, match="codec workers"):
                list(native)
        else:
            assert b"".join(native) == data.PixelData
        stored = b"".join(frames.pieces(filled.context, pixels, 1, JPEG2000_LOSSLESS, 1 << 20))
        assert imagecodecs.jpeg2k_decode(stored).tobytes() == data.PixelData


def test_exports_foreign_codestreams_without_decoding_them(filled: Importing) -> None:
    with filled.stores.db.read() as conn:
        store = store_rows.get(conn, filled.datastore)
        assert store is not None
        found = [
            instance
            for each in part10_instances.readable_sets(conn, store.key)
            for instance in part10_instances.instances(conn, each.key, each.version)
        ]
    came, made = sorted(found, key=lambda instance: instance.sop_instance_uid)
    out = io.BytesIO()
    out.writelines(open_instance(filled.stores, came).pieces)
    out.seek(0)
    assert pydicom.dcmread(out).file_meta.TransferSyntaxUID == JPEG2000_LOSSLESS
    with pytest.raises(InputError, match="cannot be decoded here"):
        open_instance(filled.stores, came, EXPLICIT_LITTLE)
    out = io.BytesIO()
    out.writelines(open_instance(filled.stores, made, EXPLICIT_LITTLE).pieces)
    out.seek(0)
    assert pydicom.dcmread(out).PixelData == ct(1, study="2").PixelData
