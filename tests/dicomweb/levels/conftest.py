"""A series of slices that can be cut, and of frames that cannot, for all tests of levels."""

from __future__ import annotations

import uuid
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from tests.dicomweb.support.javascript_clients import imported
from tests.dicomweb.support.sample_datastore import JPEG, SampleDatastore
from tests.dicomweb.support.stored_files import StoredFiles
from tests.support.ct_files import ct, write
from tests.support.server import Server

SIDE = 300
"""Three decompositions: 300, 150, 75 and 38."""


def slices() -> dict[str, FileDataset]:
    """By name; in order of InstanceNumber: ``s1`` to ``s4``, ``many`` with three frames, ``lossy``."""
    files = {f"s{number}": ct(number, study="7", size=SIDE) for number in (3, 1, 4, 2)}
    many = ct(5, study="7", size=SIDE, NumberOfFrames=3)
    many.PixelData = np.random.default_rng(7).integers(-1000, 2000, (3, SIDE, SIDE), np.int16).tobytes()
    eight: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    lossy = ct(6, study="7", size=SIDE, **eight)
    lossy.PixelData = encapsulate([bytes(imagecodecs.jpeg8_encode(np.zeros((SIDE, SIDE), np.uint8)))])
    lossy["PixelData"].is_undefined_length = True
    lossy.file_meta.TransferSyntaxUID = UID(JPEG)
    return {**files, "many": many, "lossy": lossy}


def filled(server: Server) -> StoredFiles:
    """A new data store of the server with the series."""
    store = server.client().create_datastore(datastoreName=f"levels-{uuid.uuid4().hex[:8]}")["datastoreId"]
    files = slices()
    for name, data in files.items():
        write(server.data / "buckets" / "in-bucket" / "levels" / f"{name}.dcm", data)
    imported(server, store, "levels/")
    return StoredFiles(server, store, files)


@pytest.fixture(scope="session")
def series(sample: SampleDatastore) -> StoredFiles:
    return filled(sample.server)
