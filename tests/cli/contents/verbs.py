"""Verbs called in this process, on the data of an `Importing`: what they print and return."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from lightwell.cli.main import main
from lightwell.operations.update_image_set_metadata import update_image_set_metadata
from lightwell.stores.account import datastores
from lightwell.wire import shapes
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance, BuiltSet
from tests.support.imports import Importing


@dataclass(slots=True)
class Verbs:
    """Calls ``lightwell`` on a server's data folder and database."""

    server: Importing
    capsys: pytest.CaptureFixture[str]
    err: str = ""

    def __call__(self, *words: str, status: int = 0) -> str:
        """What it prints; ``err`` is what it says on stderr."""
        settings = self.server.settings
        self.capsys.readouterr()
        places = ["--data", str(settings.data), "--database-url", settings.database]
        ended = main([*words, *places])
        out, self.err = self.capsys.readouterr()
        assert ended == status, (out, self.err)
        return out

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self(*words, "--json", status=status))

    def built(self, number: int, patient: str = "P1", *, modality: str = "CT", **more: Any) -> BuiltSet:
        """An image set of one instance, of its own study."""
        stores = self.server.stores
        with stores.db.read() as conn:
            store = datastores.get(conn, more.pop("store", self.server.datastore))
        assert store is not None
        uid = f"1.2.3.{number}"
        return image_set_builders.image_set(
            stores,
            [BuiltInstance(f"{uid}.1.1", 1, {"InstanceNumber": "1"}, [f"frame {number}".encode()])],
            store=(store.key, store.id),
            patient={"PatientID": patient, "PatientName": f"NAME^{patient}"},
            study={"StudyInstanceUID": uid, "StudyDate": "20240131", "StudyDescription": "HEAD"},
            series={"Modality": modality, "SeriesInstanceUID": f"{uid}.1"},
            **more,
        )

    def corrected(self, made: BuiltSet, patient: str) -> None:
        """Version 2 of a set that was built, not primary: it is about another patient."""
        blob = json.dumps({"SchemaVersion": "1.1", "Patient": {"DICOM": {"PatientID": patient}}}).encode()
        update_image_set_metadata(
            self.server.context,
            shapes.UpdateImageSetMetadataRequest(
                datastore_id=made.datastore_id,
                image_set_id=made.id,
                latest_version_id="1",
                update_image_set_metadata_updates=shapes.MetadataUpdates(
                    dicom_updates=shapes.DICOMUpdates(updatable_attributes=blob)
                ),
            ),
        )
