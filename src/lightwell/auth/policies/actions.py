"""What must be allowed for a request: IAM actions, the resources they are asked on, and their context keys.

Sources: Service Authorization Reference of medical-imaging (actions, resources, condition keys, dependent
actions), devguide/security_iam_service-with-iam (an image set needs what its data store needs; search
looks at the data store alone). Where several image sets change at once, each must be allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightwell.auth.policies.condition_keys import Context, request_tags, tag_keys
from lightwell.domain import arn
from lightwell.domain.arn import Resource

PREFIX = "medical-imaging:"
PASS_ROLE, INVOKE, ASSUME_ROLE = "iam:PassRole", "lambda:InvokeFunction", "sts:AssumeRole"
LIST_BUCKET, GET_OBJECT, PUT_OBJECT = "s3:ListBucket", "s3:GetObject", "s3:PutObject"
"""What an import job does in buckets, asked of the role that it names (`data_access`)."""
SERVICE = "medical-imaging.amazonaws.com"
ANY = "*"

_DICOMWEB = (
    "GetDICOMBulkdata",
    "GetDICOMInstance",
    "GetDICOMInstanceFrames",
    "GetDICOMInstanceMetadata",
    "GetDICOMSeriesMetadata",
    "SearchDICOMAllInstances",
    "SearchDICOMAllSeries",
    "SearchDICOMInstances",
    "SearchDICOMSeries",
    "SearchDICOMStudies",
    "SearchDICOMStudyInstances",
    "StoreDICOM",
    "StoreDICOMStudy",
)

OTHER_NAMES = {
    f"{PREFIX}SearchDICOMAllInstances": f"{PREFIX}SearchDICOMInstances",
    f"{PREFIX}SearchDICOMStudyInstances": f"{PREFIX}SearchDICOMInstances",
    f"{PREFIX}SearchDICOMAllSeries": f"{PREFIX}SearchDICOMSeries",
}
"""Operations that go by the action of another and by their own name. What a ``NotAction`` leaves out under
the action's name, which is all that AWS's reference has, it leaves out under both.
"""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One thing that must be allowed, or nothing is done.

    ``actions`` are names for the same: any may allow it, and a Deny of any denies. ``resource`` is an ARN or
    ``*``; ``tagged`` is what its tags are kept under, None where it can have none.
    """

    actions: tuple[str, ...]
    resource: str
    tagged: Resource | None = None
    context: Context = field(default_factory=dict)


class Actions:
    """The asks of every operation, for one account and Region."""

    def __init__(self, region: str, account: str) -> None:
        self._region = region
        self._account = account
        self._stores = arn.datastore_arn(region, account, "")

    def native(self, operation: str, request: Any) -> list[AuthorizationRequest]:
        """What a native operation asks for; ``request`` is its Struct of the service model."""
        return _NATIVE[operation](self, PREFIX + operation, request)

    def dicomweb(
        self, operation: str, action: str, datastore_id: str, context: Context
    ) -> list[AuthorizationRequest]:
        """What a DICOMweb operation asks for. A Deny or Allow of its own name counts like its action's."""
        actions = (PREFIX + action,) if operation == action else (PREFIX + action, PREFIX + operation)
        return [
            AuthorizationRequest(actions, self._stores + datastore_id, self._resource(datastore_id), context)
        ]

    def image_sets(
        self, action: str, datastore_id: str, image_set_ids: Sequence[str]
    ) -> list[AuthorizationRequest]:
        """What an action on these image sets asks for, the data store first."""
        full = (PREFIX + action,)
        store = self._stores + datastore_id
        asks = [AuthorizationRequest(full, store, self._resource(datastore_id))]
        for id in image_set_ids:
            asks.append(
                AuthorizationRequest(full, f"{store}/imageset/{id}", self._resource(datastore_id, id))
            )
        return asks

    def _resource(self, datastore_id: str, image_set_id: str | None = None) -> Resource:
        return Resource(self._region, self._account, datastore_id, image_set_id)

    def _named(self, action: str, name: str, context: Context) -> list[AuthorizationRequest]:
        """Of an ARN that the request names; only those of this account have tags here.

        One of ours is asked for in one spelling, whatever its partition: no Deny can be written around.
        """
        found = arn.parse(name)
        if found is None or (found.region, found.account) != (self._region, self._account):
            return [AuthorizationRequest((action,), name, None, context)]
        spelled = self._stores.removesuffix(arn.datastore_path("")) + found.path
        return [AuthorizationRequest((action,), spelled, found, context)]

    # One for each shape of request ------------------------------------------------------------------------

    def _nothing(self, action: str, request: Any) -> list[AuthorizationRequest]:
        return [AuthorizationRequest((action,), ANY)]

    def _datastore(self, action: str, request: Any) -> list[AuthorizationRequest]:
        return [
            AuthorizationRequest(
                (action,), self._stores + request.datastore_id, self._resource(request.datastore_id)
            )
        ]

    def _image_set(self, action: str, request: Any) -> list[AuthorizationRequest]:
        return self.image_sets(action.removeprefix(PREFIX), request.datastore_id, [request.image_set_id])

    def _create(self, action: str, request: Any) -> list[AuthorizationRequest]:
        tags: Mapping[str, str] = request.tags or {}
        context = request_tags(tags) if tags else {}
        asks = [AuthorizationRequest((action,), ANY, None, context)]
        if tags:
            # The new store has no id yet.
            asks.append(AuthorizationRequest((f"{PREFIX}TagResource",), self._stores + ANY, None, context))
        if request.lambda_authorizer_arn:
            asks.append(AuthorizationRequest((INVOKE,), request.lambda_authorizer_arn))
        return asks

    def _start_import(self, action: str, request: Any) -> list[AuthorizationRequest]:
        passed = AuthorizationRequest(
            (PASS_ROLE,), request.data_access_role_arn, None, {"iam:passedtoservice": SERVICE}
        )
        return [*self._datastore(action, request), passed]

    def _copy(self, action: str, request: Any) -> list[AuthorizationRequest]:
        destination = request.copy_image_set_information.destination_image_set
        ids = [request.source_image_set_id]
        if destination is not None:
            ids.append(destination.image_set_id)
        return self.image_sets(action.removeprefix(PREFIX), request.datastore_id, ids)

    def _tag(self, action: str, request: Any) -> list[AuthorizationRequest]:
        return self._named(action, request.resource_arn, request_tags(request.tags))

    def _untag(self, action: str, request: Any) -> list[AuthorizationRequest]:
        return self._named(action, request.resource_arn, tag_keys(tuple(request.tag_keys)))

    def _tags(self, action: str, request: Any) -> list[AuthorizationRequest]:
        return self._named(action, request.resource_arn, {})


_NATIVE: dict[str, Callable[[Actions, str, Any], list[AuthorizationRequest]]] = {
    "CopyImageSet": Actions._copy,
    "CreateDatastore": Actions._create,
    "DeleteDatastore": Actions._datastore,
    "DeleteImageSet": Actions._image_set,
    "GetDICOMImportJob": Actions._datastore,
    "GetDatastore": Actions._datastore,
    "GetImageFrame": Actions._image_set,
    "GetImageSet": Actions._image_set,
    "GetImageSetMetadata": Actions._image_set,
    "ListDICOMImportJobs": Actions._datastore,
    "ListDatastores": Actions._nothing,
    "ListImageSetVersions": Actions._image_set,
    "ListTagsForResource": Actions._tags,
    "SearchImageSets": Actions._datastore,
    "StartDICOMImportJob": Actions._start_import,
    "TagResource": Actions._tag,
    "UntagResource": Actions._untag,
    "UpdateImageSetMetadata": Actions._image_set,
}

KNOWN = (
    *(PREFIX + name for name in sorted({*_NATIVE, *_DICOMWEB})),
    PASS_ROLE,
    INVOKE,
    ASSUME_ROLE,
    LIST_BUCKET,
    GET_OBJECT,
    PUT_OBJECT,
    "sts:GetCallerIdentity",
)
"""Every action that is ever asked for."""
