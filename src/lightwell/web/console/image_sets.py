"""``datastores/{datastoreId}/imagesets/{imageSetId}/…``: what an image set is, its versions with who made
them, what differs between two of them, what an edit would change, and the deletion of what a person has seen.

They are changed by the native operations only, and deleted as by DeleteImageSet, which names no version.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lightwell.auth.policies.actions import AuthorizationRequest
from lightwell.documents.identity import note_image_sets
from lightwell.errors import ValidationError
from lightwell.operations import affected_image_sets
from lightwell.operations.console import image_set_versions
from lightwell.operations.console.differences import elements_json, instance_json, level_json, shortened
from lightwell.operations.console.image_set_diff import diff
from lightwell.operations.console.image_set_versions import VersionSummary
from lightwell.operations.console.update_preview import AffectedSet, UpdateRequest, level_name, preview_update
from lightwell.operations.delete_image_set import delete_image_set
from lightwell.operations.version_ids import NO_VERSION, version_number
from lightwell.web.console.route import Answer, Body, Call, Route, iso
from lightwell.wire.shapes import DeleteImageSetRequest

_PATH = "datastores/{datastoreId}/imagesets/{imageSetId}"
_PREVIEW_LIMIT = 256 * 1024


class Overview(Answer):
    """What a version of an image set is and holds.

    ``patient``, ``study`` and ``series`` are the ``DICOM`` objects of its native metadata. ``sopInstanceUid``
    is that of its middle image, null if it has no images; ``firstSopInstanceUid`` that of its first instance.
    """

    datastore_id: str
    image_set_id: str
    version_id: str
    latest_version_id: str
    is_primary: bool
    created_at: str
    updated_at: str
    last_accessed_at: str
    patient: dict[str, Any]
    study: dict[str, Any]
    series: dict[str, Any]
    instance_count: int
    image_count: int
    frame_count: int
    stored_transfer_syntax_uids: tuple[str, ...]
    sop_instance_uid: str | None
    first_sop_instance_uid: str | None


class VersionItem(Answer, omit_defaults=True):
    """A version. ``kind``: created, imported, updated, copied, reverted or failed.

    ``added``, ``removed`` and ``touched`` count instances: those more or fewer than in the version before,
    and all that begin with this version. ``levelsChanged`` are among Patient, Study and Series.
    """

    version_id: str
    kind: str
    workflow_status: str
    caller: str
    created_at: str
    instance_count: int
    added: int = 0
    removed: int = 0
    touched: int = 0
    levels_changed: tuple[str, ...] = ()
    forced: bool | None = None
    message: str | None = None
    reverted_to_version_id: str | None = None
    copied_from_image_set_id: str | None = None


class Versions(Answer):
    versions: tuple[VersionItem, ...]
    next_token: str | None


class Diff(Answer):
    """Part of the difference between two versions. ``versions`` and ``levels`` are in the first part only.

    ``added`` and ``removed`` count instances of the whole difference; instances that are only changed are
    found while they are listed.
    """

    old_version_id: str
    new_version_id: str
    old_instance_count: int
    new_instance_count: int
    added: int
    removed: int
    versions: tuple[VersionItem, ...]
    levels: tuple[dict[str, Any], ...]
    instances: tuple[dict[str, Any], ...]
    next_token: str | None


class PreviewRequest(Body):
    """The blobs of UpdateImageSetMetadata as JSON text, not in base64."""

    latest_version_id: str
    updatable_attributes: str | None = None
    removable_attributes: str | None = None
    include_study_image_sets: bool = False
    force: bool = False


class Affected(Answer):
    image_set_id: str
    version_id: str
    modality: str | None
    series_number: str | None
    instance_count: int


class Preview(Answer):
    """What an edit would change; see docs/reference/console-api.md."""

    next_version_id: str
    verdict: str
    message: str | None
    changes: tuple[dict[str, Any], ...]
    affected: tuple[Affected, ...]
    affected_count: int
    contradicting: tuple[Affected, ...]


def overview(call: Call) -> Overview:
    """What a version, by default the newest with content, is and holds."""
    found = image_set_versions.overview(call.ctx, *_named(call), call.query.get("version"))
    patient, study, series = (shortened(level) for level in found.levels)
    return Overview(
        datastore_id=call.params["datastoreId"],
        image_set_id=found.found.id,
        version_id=str(found.version),
        latest_version_id=str(found.found.latest_version),
        is_primary=found.found.is_primary,
        created_at=iso(found.found.created_at),
        updated_at=iso(found.found.updated_at),
        last_accessed_at=iso(found.found.last_accessed_at),
        patient=patient,
        study=study,
        series=series,
        instance_count=found.content.instances,
        image_count=found.content.images,
        frame_count=found.content.frames,
        stored_transfer_syntax_uids=found.content.syntaxes,
        sop_instance_uid=found.sop_instance_uid,
        first_sop_instance_uid=found.first,
    )


def versions(call: Call) -> Versions:
    """The versions of an image set, newest first, with who made each and what it changed."""
    found = image_set_versions.list_versions(
        call.ctx, *_named(call), next_token=call.query.get("nextToken"), limit=call.page(most=100)
    )
    return Versions(
        versions=tuple(_version_item(each) for each in found.versions),
        next_token=found.next_token,
    )


def difference(call: Call) -> Diff:
    """What differs between two versions, a part at a time."""
    if "from" not in call.query or "to" not in call.query:
        raise ValidationError("Name the two versions by from and to, as in ?from=1&to=2.")
    found = diff(
        call.ctx,
        *_named(call),
        (call.query["from"], call.query["to"]),
        next_token=call.query.get("nextToken"),
        most=call.page(most=100),
    )
    page = found.page
    return Diff(
        old_version_id=str(found.first),
        new_version_id=str(found.second),
        old_instance_count=page.old_count,
        new_instance_count=page.new_count,
        added=page.added,
        removed=page.removed,
        versions=tuple(_version_item(version) for version in found.versions),
        levels=tuple(level_json(level) for level in page.levels),
        instances=tuple(instance_json(each) for each in page.instances),
        next_token=found.next_token,
    )


def preview(call: Call) -> Preview:
    """What an UpdateImageSetMetadata would change, what it needs and what would be refused."""
    body: PreviewRequest = call.body
    found = preview_update(
        call.ctx,
        *_named(call),
        UpdateRequest(
            body.latest_version_id,
            _blob(body.removable_attributes),
            _blob(body.updatable_attributes),
            study_wide=body.include_study_image_sets,
            force=body.force,
        ),
    )
    return Preview(
        next_version_id=str(found.next_version),
        verdict=found.verdict,
        message=found.message,
        changes=tuple(
            {
                "level": level_name(each.level),
                "key": each.key,
                "SOPInstanceUID": each.sop_instance_uid,
                "verdict": each.verdict,
                "message": each.message,
                "instancesWithOwnValue": each.instances_with_own_value,
                **elements_json(each.elements),
            }
            for each in found.changes
        ),
        affected=tuple(_affected(each) for each in found.affected),
        affected_count=found.affected_count,
        contradicting=tuple(_affected(each) for each in found.contradicting),
    )


def delete(call: Call) -> None:
    """Delete an image set, if the version that the caller has seen is its latest still.

    They are compared in the transaction that deletes, so nothing that an import adds meanwhile goes unseen.
    """
    seen = version_number(call.query.get("latestVersionId", ""))
    if seen == NO_VERSION:
        raise ValidationError("Name the version that you have seen, as in ?latestVersionId=1.")
    datastore_id, image_set_id = _named(call)
    note_image_sets(call.ctx.stores, call.ctx.note, datastore_id, [image_set_id])
    request = DeleteImageSetRequest(datastore_id=datastore_id, image_set_id=image_set_id)
    delete_image_set(call.ctx, request, latest_version=seen)


def _affected(found: AffectedSet) -> Affected:
    return Affected(
        image_set_id=found.id,
        version_id=str(found.summary.version),
        modality=found.summary.modality,
        series_number=found.summary.series_number,
        instance_count=found.summary.instance_count,
    )


def _named(call: Call) -> tuple[str, str]:
    return call.params["datastoreId"], call.params["imageSetId"]


def _blob(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _version_item(found: VersionSummary) -> VersionItem:
    version = found.version
    return VersionItem(
        version_id=str(version.number),
        kind=found.kind,
        workflow_status=version.workflow_status,
        caller=version.caller,
        created_at=iso(version.created_at),
        instance_count=found.instances,
        added=found.added,
        removed=found.removed,
        touched=found.touched,
        levels_changed=found.levels,
        forced=version.forced,
        message=version.message,
        reverted_to_version_id=None if version.reverted_to is None else str(version.reverted_to),
        copied_from_image_set_id=version.copied_from,
    )


def _requires(*actions: str) -> Any:
    """Actions on the image set that the path names."""

    def required(call: Call) -> list[AuthorizationRequest]:
        known = call.state.access_control.actions
        datastore_id, image_set_id = _named(call)
        return [each for action in actions for each in known.image_sets(action, datastore_id, [image_set_id])]

    return required


def _requires_preview(call: Call) -> list[AuthorizationRequest]:
    """What the update itself requires, and to see what it would change."""
    datastore_id, image_set_id = _named(call)
    named: list[AuthorizationRequest] = _requires("GetImageSetMetadata", "UpdateImageSetMetadata")(call)
    if not call.body.include_study_image_sets:
        return named
    others = affected_image_sets.of_study(call.ctx.stores, datastore_id, image_set_id)
    known = call.state.access_control.actions
    return [*named, *known.image_sets("UpdateImageSetMetadata", datastore_id, others)]


ROUTES = (
    Route(
        "ConsoleImageSet",
        "GET",
        _PATH,
        overview,
        _requires("GetImageSet", "GetImageSetMetadata"),
        query=("version",),
        says="What an image set is: its patient, study and series attributes without sequences, and how many "
        "instances and frames it has; of the newest version or of the given one.",
        action="medical-imaging:GetImageSet and medical-imaging:GetImageSetMetadata on the image set",
    ),
    Route(
        "ConsoleImageSetVersions",
        "GET",
        f"{_PATH}/versions",
        versions,
        _requires("ListImageSetVersions"),
        query=("maxResults", "nextToken"),
        says="The versions, newest first, with who made each, what it was reverted to or copied from, and "
        "how much it changed.",
        action="medical-imaging:ListImageSetVersions on the image set",
    ),
    Route(
        "ConsoleImageSetDiff",
        "GET",
        f"{_PATH}/diff",
        difference,
        _requires("GetImageSetMetadata"),
        query=("from", "to", "maxResults", "nextToken"),
        says="What differs between two versions, element by element, as `lightwell sets diff` shows it. A "
        "part has at most 100 instances; values longer than 20,000 characters are cut, and their length is "
        "given.",
        action="medical-imaging:GetImageSetMetadata on the image set",
    ),
    Route(
        "ConsoleImageSetPreview",
        "POST",
        f"{_PATH}/preview",
        preview,
        _requires_preview,
        body=msgspec.json.Decoder(PreviewRequest),
        body_limit=_PREVIEW_LIMIT,
        says="What an UpdateImageSetMetadata with these blobs would change, element by element; what needs "
        "force; what would be refused, and why; which other image sets would get a new version; and "
        "which primary image sets of other series would not let this one be promoted. It changes nothing.",
        action="medical-imaging:GetImageSetMetadata and medical-imaging:UpdateImageSetMetadata on the image "
        "set; with `includeStudyImageSets` the latter on all primary image sets of the study",
    ),
    Route(
        "ConsoleDeleteImageSet",
        "DELETE",
        _PATH,
        delete,
        _requires("DeleteImageSet"),
        query=("latestVersionId",),
        says="DeleteImageSet, as long as `latestVersionId`, which has to be given, is the latest version: "
        "the one that the person has seen. After that nothing is deleted, and a `ConflictException` says "
        "how many instances there are by now.",
        action="medical-imaging:DeleteImageSet on the image set",
    ),
)
