"""What must be allowed for a request: IAM actions, the resources they act on, and their condition keys.

Sources: Service Authorization Reference of medical-imaging (actions, resources, condition keys, dependent
actions), devguide/security_iam_service-with-iam (an action on an image set must be allowed on its data store,
too; a search concerns the data store alone). If several image sets change at once, each must be allowed.
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
"""What an import job does in buckets, checked against its role (`auth.data_access_role`)."""
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
"""Operations that are known both by another operation's action and by their own name.

AWS's reference lists only the former. A ``NotAction`` that excludes the former excludes the latter, too.
"""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One action on one resource that must be allowed before anything is done.

    ``actions`` are alternative names of one action: an Allow of any allows it, a Deny of any denies it.
    ``resource`` is an ARN or ``*``; ``tagged`` is the resource whose tags apply, None if it cannot have tags.
    """

    actions: tuple[str, ...]
    resource: str
    tagged: Resource | None = None
    context: Context = field(default_factory=dict)


class Actions:
    """The authorization requests of every operation, for one account and Region."""

    def __init__(self, region: str, account: str) -> None:
        self._region = region
        self._account = account
        self._stores = arn.datastore_arn(region, account, "")

    def native(self, operation: str, request: Any) -> list[AuthorizationRequest]:
        """What a native operation requires; ``request`` is its Struct from the service model."""
        return _NATIVE[operation](self, PREFIX + operation, request)

    def dicomweb(
        self, operation: str, action: str, datastore_id: str, context: Context
    ) -> list[AuthorizationRequest]:
        """What a DICOMweb operation requires. Statements may use its own name or its action's."""
        actions = (PREFIX + action,) if operation == action else (PREFIX + action, PREFIX + operation)
        return [
            AuthorizationRequest(actions, self._stores + datastore_id, self._resource(datastore_id), context)
        ]

    def image_sets(
        self, action: str, datastore_id: str, image_set_ids: Sequence[str]
    ) -> list[AuthorizationRequest]:
        """What an action on these image sets requires, first on the data store."""
        actions = (PREFIX + action,)
        store = self._stores + datastore_id
        return [
            AuthorizationRequest(actions, store, self._resource(datastore_id)),
            *(
                AuthorizationRequest(actions, f"{store}/imageset/{id}", self._resource(datastore_id, id))
                for id in image_set_ids
            ),
        ]

    def _resource(self, datastore_id: str, image_set_id: str | None = None) -> Resource:
        return Resource(self._region, self._account, datastore_id, image_set_id)

    def datastore(self, action: str, datastore_id: str) -> list[AuthorizationRequest]:
        """What an action on a data store requires; ``action`` with its prefix."""
        return [AuthorizationRequest((action,), self._stores + datastore_id, self._resource(datastore_id))]

    def iam(self, action: str, resource: str) -> list[AuthorizationRequest]:
        """What an action on a resource of IAM requires, such as ``role/NAME`` or ``user/*``."""
        return [AuthorizationRequest((action,), self.iam_arn(resource))]

    def iam_arn(self, resource: str) -> str:
        return f"arn:aws:iam::{self._account}:{resource}"

    def named(self, action: str, name: str) -> list[AuthorizationRequest]:
        """What an action on the resource of this ARN, or on ``*``, requires."""
        return self._named(action, name, {})

    def _named(self, action: str, name: str, context: Context) -> list[AuthorizationRequest]:
        """For an ARN given in the request; only ARNs of this account have tags here.

        Those are put into one spelling, whatever their partition, so that no spelling evades a Deny.
        """
        found = arn.parse(name)
        if found is None or (found.region, found.account) != (self._region, self._account):
            return [AuthorizationRequest((action,), name, None, context)]
        spelled = self._stores.removesuffix(arn.datastore_path("")) + found.path
        return [AuthorizationRequest((action,), spelled, found, context)]

    # One method for each shape of request -----------------------------------------------------------------

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
        required = [AuthorizationRequest((action,), ANY, None, context)]
        if tags:
            # The new data store has no ID yet.
            required.append(
                AuthorizationRequest((f"{PREFIX}TagResource",), self._stores + ANY, None, context)
            )
        if request.lambda_authorizer_arn:
            required.append(AuthorizationRequest((INVOKE,), request.lambda_authorizer_arn))
        return required

    def _start_import(self, action: str, request: Any) -> list[AuthorizationRequest]:
        pass_role = AuthorizationRequest(
            (PASS_ROLE,), request.data_access_role_arn, None, {"iam:passedtoservice": SERVICE}
        )
        return [*self._datastore(action, request), pass_role]

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

CREATE_USER, CREATE_ACCESS_KEY = "iam:CreateUser", "iam:CreateAccessKey"
PUT_USER_POLICY, ATTACH_USER_POLICY, DETACH_USER_POLICY = (
    "iam:PutUserPolicy", "iam:AttachUserPolicy", "iam:DetachUserPolicy",
)  # fmt: skip
DELETE_ACCESS_KEY, LIST_ACCESS_KEYS, GET_USER_POLICY, UPDATE_ACCESS_KEY = (
    "iam:DeleteAccessKey", "iam:ListAccessKeys", "iam:GetUserPolicy", "iam:UpdateAccessKey",
)  # fmt: skip
CREATE_ROLE, DELETE_ROLE, LIST_ROLES = "iam:CreateRole", "iam:DeleteRole", "iam:ListRoles"
GET_ROLE = "iam:GetRole"
PUT_ROLE_POLICY, PUT_TRUST_POLICY = "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy"
SIMULATE_PRINCIPAL, SIMULATE_CUSTOM = "iam:SimulatePrincipalPolicy", "iam:SimulateCustomPolicy"
LIST_FUNCTIONS, UPDATE_FUNCTION, DELETE_FUNCTION = (
    "lambda:ListFunctions", "lambda:UpdateFunctionCode", "lambda:DeleteFunction",
)  # fmt: skip
GET_METRICS = "cloudwatch:GetMetricData"

CONSOLE = (
    CREATE_USER, CREATE_ACCESS_KEY, PUT_USER_POLICY, ATTACH_USER_POLICY, DELETE_ACCESS_KEY, LIST_ACCESS_KEYS,
    GET_USER_POLICY, UPDATE_ACCESS_KEY, CREATE_ROLE, DELETE_ROLE, LIST_ROLES, GET_ROLE, PUT_ROLE_POLICY,
    PUT_TRUST_POLICY, SIMULATE_PRINCIPAL, SIMULATE_CUSTOM, LIST_FUNCTIONS, UPDATE_FUNCTION, DELETE_FUNCTION,
    GET_METRICS, DETACH_USER_POLICY,
)  # fmt: skip
"""What only the console's API asks for (`docs/reference/console-api.md`)."""

ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
"""The managed policy that a key without policies has, for conditions on ``iam:PolicyARN``."""

KNOWN = (
    *(PREFIX + name for name in sorted({*_NATIVE, *_DICOMWEB})),
    PASS_ROLE,
    INVOKE,
    ASSUME_ROLE,
    LIST_BUCKET,
    GET_OBJECT,
    PUT_OBJECT,
    "sts:GetCallerIdentity",
    *CONSOLE,
)
"""Every action that some request requires."""
