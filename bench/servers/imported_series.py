"""A server that holds the CT series, with what the read scenarios ask for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence

import imagecodecs
import numpy as np

from bench.clients.http_load import Request
from bench.clients.import_jobs import ImportJob
from bench.clients.signed_requests import Signer
from bench.inputs.corpus import Corpus
from bench.servers.lightwell_server import Server
from bench.servers.process_tree import ServerFailed

_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ: where the JPEG 2000 codestream starts inside its boxes


class ImportedSeries:
    """``corpus`` as one image set of ``server``. ``frame_ids`` are in the order of the corpus."""

    def __init__(self, server: Server, corpus: Corpus) -> None:
        self.server = server
        self.corpus = corpus
        self.datastore = server.datastore("reads")
        ImportJob(server, self.datastore, corpus.uri).wait()
        self.client = server.client()
        self.sign = Signer(server.client())
        self.image_set = only_image_set(server, self.datastore, len(corpus.slices))
        answer = self.client.get_image_set_metadata(datastoreId=self.datastore, imageSetId=self.image_set)
        self.metadata: bytes = answer["imageSetMetadataBlob"].read()
        document = json.loads(gzip.decompress(self.metadata))
        instances = {
            uid: instance
            for series in document["Study"]["Series"].values()
            for uid, instance in series["Instances"].items()
        }
        self.frame_ids: list[str] = [
            instances[item.sop_instance_uid]["ImageFrames"][0]["ID"] for item in corpus.slices
        ]

    def move(self, server: Server) -> None:
        """Ask another server from now on, which has been started on the same data."""
        self.server, self.client = server, server.client()
        self.sign = Signer(server.client())

    def frame_requests(self, sizes: Sequence[int]) -> list[Request]:
        """GetImageFrame of each frame, signed now; ``sizes`` are the lengths that the answers must have."""
        return [
            Request(
                self.sign(
                    "get_image_frame",
                    datastoreId=self.datastore,
                    imageSetId=self.image_set,
                    imageFrameInformation={"imageFrameId": identity},
                ).data,
                size,
            )
            for identity, size in zip(self.frame_ids, sizes, strict=True)
        ]

    def frame(self, index: int) -> bytes:
        """The stored frame of slice ``index``, after a check that it decodes to the pixels of the file."""
        data: bytes = self.client.get_image_frame(
            datastoreId=self.datastore,
            imageSetId=self.image_set,
            imageFrameInformation={"imageFrameId": self.frame_ids[index]},
        )["imageFrameBlob"].read()
        pixels = imagecodecs.htj2k_decode(data[data.index(_CODESTREAM) :])
        if np.ascontiguousarray(pixels).tobytes() != self.corpus.pixels(index):
            raise ServerFailed(f"frame {index} decodes to other pixels than the file has")
        return data


def only_image_set(server: Server, datastore: str, instances: int) -> str:
    """The id of the one image set of ``datastore``, which must hold ``instances``."""
    found = server.client().search_image_sets(datastoreId=datastore)["imageSetsMetadataSummaries"]
    counts = [item["DICOMTags"].get("DICOMNumberOfStudyRelatedInstances") for item in found]
    if counts != [instances]:
        raise ServerFailed(f"expected one image set of {instances} instances, found sets of {counts}")
    identity: str = found[0]["imageSetId"]
    return identity
