"""Instances that were uploaded as metadata and bulk data: listed, and opened as if they were files.

In a codec worker. The file of the upload ends with a table of the parts that hold bulk data
(`imaging.assembly.bulk_parts.pack_parts`), which the HTTP process has written.
"""

from __future__ import annotations

from lightwell.codec_pool.requests import DocumentKind, InstancesListed, ListedInstance, ListInstances
from lightwell.errors import InputError, StorageError
from lightwell.imaging.assembly import model_text, native_model
from lightwell.imaging.assembly.assemble import AssembledSource, assemble, identification
from lightwell.imaging.assembly.bulk_parts import BulkPart, BulkParts, unpack_parts
from lightwell.imaging.assembly.encoded_elements import used_parts
from lightwell.imaging.dataset.byte_source import FileSource


def list_instances(upload: FileSource, request: ListInstances) -> InstancesListed:
    """Carry out `ListInstances`, and close the upload. Raises `InputError`, `StorageError`."""
    try:
        return _list_instances(upload, request)
    except MemoryError:
        raise InputError(
            "The metadata take more memory than a codec worker may use: send fewer instances in one request"
        ) from None


def _list_instances(upload: FileSource, request: ListInstances) -> InstancesListed:
    with upload:
        parts = _table(upload, request.table)
        listed: list[ListedInstance] = []
        used: list[BulkPart] = []
        for start, size in request.documents:
            text = upload.read(start, size)
            found = (
                model_text.each_data_set(text)
                if request.kind == "json"
                else iter(((0, size, native_model.data_set(text)),))
            )
            for offset, length, dataset in found:
                listed.append(ListedInstance(start + offset, length, *identification(dataset)))
                used += used_parts(dataset, parts)
        parts.check_all_used(used)
    return InstancesListed(listed)


class UploadedInstance(AssembledSource):
    """The file of one instance, which keeps the upload open until it is closed."""

    def __init__(self, upload: FileSource, dataset: model_text.Dataset, parts: BulkParts) -> None:
        super().__init__(assemble(dataset, parts), upload.read)
        self._upload = upload

    def close(self) -> None:
        self._upload.close()


class UploadedMetadata:
    """Opens instances; the table of an upload is read once for all of its instances."""

    def __init__(self) -> None:
        self._known: tuple[str, BulkParts] | None = None

    def open(
        self, kind: DocumentKind, path: str, upload: FileSource, offset: int, length: int, table: int
    ) -> UploadedInstance:
        """Of an upload, by its path, which the instance closes.

        Raises `InputError` for metadata that cannot be made a file, `StorageError`.
        """
        try:
            if self._known is None or self._known[0] != path:
                self._known = (path, _table(upload, table))
            text = upload.read(offset, length)
            dataset = model_text.data_set(text) if kind == "json" else native_model.data_set(text)
            return UploadedInstance(upload, dataset, self._known[1])
        except BaseException:
            upload.close()
            raise

    def forget(self) -> None:
        """Another upload may get the path of one that is gone."""
        self._known = None


def _table(upload: FileSource, place: int) -> BulkParts:
    data = upload.read(place, upload.size - place)
    if len(data) != upload.size - place:
        raise StorageError("The file of an upload is shorter than it was")
    return unpack_parts(data)
