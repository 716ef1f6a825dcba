"""Image sets that are copied, through boto3."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from lightwell.stores import Stores
from lightwell.stores.account import datastores
from lightwell.stores.db import tables
from tests.support import image_set_builders
from tests.support.image_set_builders import BuiltInstance

STUDY, SERIES = "1.2.3.4", "1.2.4.5"
PATIENT_BLOCK = {"PatientID": "P1", "PatientName": "DOE^JANE", "PatientSex": "F"}
STUDY_BLOCK = {"AccessionNumber": "A1", "StudyDate": "20200102", "StudyID": "S1", "StudyInstanceUID": STUDY}
SERIES_BLOCK = {"Modality": "CT", "SeriesInstanceUID": SERIES, "SeriesNumber": "1"}


@dataclass(slots=True)
class Copied:
    """An image set of a data store."""

    client: Any
    datastore: str
    id: str

    @property
    def ids(self) -> dict[str, str]:
        return {"datastoreId": self.datastore, "imageSetId": self.id}

    def copy(
        self,
        version: int | str = 1,
        to: Copied | None = None,
        at: int | str = 1,
        *,
        only: Any = None,
        **flags: bool,
    ) -> Any:
        """One request; ``to`` a set at version ``at``. ``only`` is the subset, as an object or a text."""
        information: dict[str, Any] = {"sourceImageSet": {"latestVersionId": str(version)}}
        if only is not None:
            text = only if isinstance(only, str) else json.dumps(only)
            information["sourceImageSet"]["DICOMCopies"] = {"copiableAttributes": text}
        if to is not None:
            information["destinationImageSet"] = {"imageSetId": to.id, "latestVersionId": str(at)}
        return self.client.copy_image_set(
            datastoreId=self.datastore,
            sourceImageSetId=self.id,
            copyImageSetInformation=information,
            **flags,
        )

    def made(self, *arguments: Any, **options: Any) -> Copied:
        """The destination of a copy."""
        answer = self.copy(*arguments, **options)
        return Copied(self.client, self.datastore, answer["destinationImageSetProperties"]["imageSetId"])

    def update(self, version: int, document: Any, **flags: bool) -> None:
        blob = json.dumps({"SchemaVersion": 1.1, **document})
        self.client.update_image_set_metadata(
            **self.ids,
            latestVersionId=str(version),
            updateImageSetMetadataUpdates={"DICOMUpdates": {"updatableAttributes": blob}},
            **flags,
        )

    def properties(self, version: int | None = None) -> Any:
        more = {} if version is None else {"versionId": str(version)}
        found = self.client.get_image_set(**self.ids, **more)
        del found["ResponseMetadata"]
        return found

    def status(self) -> tuple[str, str, str]:
        found = self.properties()
        return found["versionId"], found["imageSetState"], found["imageSetWorkflowStatus"]

    def statuses(self) -> list[tuple[str, str]]:
        listed = self.client.list_image_set_versions(**self.ids)["imageSetPropertiesList"]
        return [(one["versionId"], one["ImageSetWorkflowStatus"]) for one in listed]

    def text(self, version: int | None = None) -> str:
        """The document, as it came."""
        more = {} if version is None else {"versionId": str(version)}
        answer = self.client.get_image_set_metadata(**self.ids, **more)
        return gzip.decompress(answer["imageSetMetadataBlob"].read()).decode()

    def document(self, version: int | None = None) -> Any:
        return json.loads(self.text(version))

    def instances(self, version: int | None = None) -> Any:
        (series,) = self.document(version)["Study"]["Series"].values()
        return series["Instances"]

    def frame(self, id: str) -> bytes:
        answer = self.client.get_image_frame(**self.ids, imageFrameInformation={"imageFrameId": id})
        data: bytes = answer["imageFrameBlob"].read()
        return data


class Maker:
    """Builds sets of one data store, by default not primary, of instances ``1.1`` and on."""

    def __init__(self, client: Any, stores: Stores, datastore: str) -> None:
        self.client = client
        self.stores = stores
        self.datastore = datastore

    def __call__(self, *given: BuiltInstance | str, **more: Any) -> Copied:
        with self.stores.db.read() as conn:
            store = datastores.get(conn, self.datastore)
        assert store is not None
        instances = [
            one
            if isinstance(one, BuiltInstance)
            else BuiltInstance(one, number, {"SliceLocation": f"{one}0"}, [f"frame {one}".encode()])
            for number, one in enumerate(given or ("1.1", "1.2", "1.3"), 1)
        ]
        blocks = {"patient": PATIENT_BLOCK, "study": STUDY_BLOCK, "series": SERIES_BLOCK}
        for name, block in blocks.items():
            more[name] = {**block, **more.get(name, {})}
        more.setdefault("is_primary", False)
        built = image_set_builders.image_set(self.stores, instances, store=(store.key, store.id), **more)
        return Copied(self.client, self.datastore, built.id)

    def events(self, *of: Copied) -> list[Any]:
        """Of these sets in order: type, id, version, state, status, whether primary, and of which source."""
        ids = [one.id for one in of]
        with self.stores.db.read() as conn:
            rows = conn.execute(select(tables.outbox.c.event).order_by(tables.outbox.c.number)).scalars()
            found = [json.loads(row) for row in rows]
        return [
            (
                event["detail-type"].removeprefix("Image Set "),
                ids.index(detail["imagesetId"]),
                detail["imageSetVersion"],
                detail["imageSetState"],
                detail["imageSetWorkflowStatus"],
                detail["isPrimary"],
                detail.get("sourceImageSetArn"),
            )
            for event in found
            if (detail := event["detail"]).get("imagesetId") in ids
        ]


def subset(*uids: str, series: str = SERIES, version: Any = "1.1") -> Any:
    named: dict[str, Any] = {"Instances": {uid: {} for uid in uids}}
    return {"SchemaVersion": version, "Study": {"Series": {series: named}}}
