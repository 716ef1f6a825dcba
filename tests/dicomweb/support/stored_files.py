"""Files in a data store of a running server, found again by their names."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import FileDataset

from tests.support.server import Reply, Server


@dataclass(slots=True)
class StoredFiles:
    """A data store and the files in it, by name."""

    server: Server
    datastore: str
    files: dict[str, FileDataset]

    @property
    def root(self) -> str:
        return f"/datastore/{self.datastore}"

    def study(self, name: str) -> str:
        return f"/studies/{self.files[name].StudyInstanceUID}"

    def series(self, name: str) -> str:
        return f"{self.study(name)}/series/{self.files[name].SeriesInstanceUID}"

    def instance(self, name: str) -> str:
        return f"{self.series(name)}/instances/{self.files[name].SOPInstanceUID}"

    def get(self, path: str, accept: str | None = None, *, method: str = "GET", **headers: str) -> Reply:
        """Ask below the data store, signed. Header names are written with underscores."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if accept is not None:
            given["accept"] = accept
        return self.server.send(self.server.signed(method, self.root + path, headers=given))
