"""Files written in each transfer syntax that an instance can have, without a server."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, ImplicitVRLittleEndian

from lightwell.documents.part10_files import open_instance
from lightwell.documents.retrieve_syntax import available_syntaxes
from lightwell.imaging.dataset.part10 import IMPLICIT_LITTLE
from lightwell.imaging.dataset.transfer_syntaxes import (
    EXPLICIT_LITTLE,
    HTJ2K_RPCL,
    JPEG2000_LOSSLESS,
    SYNTAXES,
)
from lightwell.imaging.pixels.decode import decode_frame
from lightwell.stores.account import datastores as store_rows
from lightwell.stores.image_sets import part10_instances
from lightwell.stores.image_sets.part10_instances import StoredInstance
from tests.support.ct_files import ct, write
from tests.support.imports import Importing
from tests.unit.imaging.pixel_files import image_of


def stored(server: Importing, *files: FileDataset) -> list[StoredInstance]:
    """Import files and find their instances again, by UID."""
    for number, data in enumerate(files):
        write(server.input / f"{number}.dcm", data)
    assert len(server.run().success) == len(files)
    with server.stores.db.read() as conn:
        store = store_rows.get(conn, server.datastore)
        assert store is not None
        found = [
            instance
            for each in part10_instances.readable_sets(conn, store.key)
            for instance in part10_instances.instances(conn, each.key, each.version)
        ]
    return sorted(found, key=lambda instance: instance.sop_instance_uid)


def written(server: Importing, instance: StoredInstance, syntax: str) -> FileDataset:
    file = open_instance(server.stores, instance, syntax)
    data = pydicom.dcmread(io.BytesIO(b"".join(file.pieces)))
    assert data.file_meta.TransferSyntaxUID == file.syntax == syntax
    return data


def test_writes_each_file_in_what_it_can_be(server: Importing) -> None:
    implicit, explicit, row, colour = ct(1), ct(2), ct(3, size=16), ct(4, size=16)
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    row.Rows = colour.Rows = 1
    row.PixelData = np.arange(-8, 8, dtype=np.int16).tobytes()
    pixels = np.random.default_rng(1).integers(0, 256, (1, 16, 3), np.uint8)
    _make_jpeg2000(colour, pixels)
    first, second, third, fourth = stored(server, implicit, explicit, row, colour)

    found = written(server, first, IMPLICIT_LITTLE)
    assert found.is_implicit_VR and found.PixelData == implicit.PixelData
    assert list(found) == list(pydicom.dcmread(server.input / "0.dcm"))
    assert open_instance(server.stores, second, IMPLICIT_LITTLE).syntax == EXPLICIT_LITTLE

    assert third.pixels is not None and third.pixels.stored_syntax == EXPLICIT_LITTLE
    available = available_syntaxes(EXPLICIT_LITTLE, bytes(third.pixels.image))
    assert JPEG2000_LOSSLESS in available and HTJ2K_RPCL not in available
    samples = row.pixel_array
    for syntax in available[1:]:
        (frame,) = generate_frames(written(server, third, syntax).PixelData, number_of_frames=1)
        decoded, _ = decode_frame(frame, SYNTAXES[syntax].codec, image_of(samples))
        assert np.array_equal(decoded, samples), syntax

    # The decoder has undone the colour transform that the data set names.
    found = written(server, fourth, EXPLICIT_LITTLE)
    assert (found.PhotometricInterpretation, found.PixelData) == ("RGB", pixels.tobytes())
    assert written(server, fourth, JPEG2000_LOSSLESS).PhotometricInterpretation == "YBR_RCT"


def _make_jpeg2000(data: FileDataset, pixels: NDArray[np.uint8]) -> None:
    data.SamplesPerPixel, data.PlanarConfiguration, data.PhotometricInterpretation = 3, 0, "YBR_RCT"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    coded = imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, mct=True, planar=False)
    data.PixelData = encapsulate([bytes(coded)])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = UID(JPEG2000_LOSSLESS)
