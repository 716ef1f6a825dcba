"""``keys``: access keys and whose they are.

A key's user is its name, as in ``lightwell key create --name``. Rights are IAM's: whoever may put a policy on
a user may give it any rights, as on AWS, so those actions are an administrator's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from lightwell.auth.administration import key_record
from lightwell.auth.administration.key_changes import revision
from lightwell.auth.administration.key_rotation import Ends
from lightwell.auth.policies.actions import (
    ADMINISTRATOR,
    ATTACH_USER_POLICY,
    CREATE_ACCESS_KEY,
    CREATE_USER,
    DELETE_ACCESS_KEY,
    DETACH_USER_POLICY,
    GET_USER_POLICY,
    LIST_ACCESS_KEYS,
    PUT_USER_POLICY,
    UPDATE_ACCESS_KEY,
    AuthorizationRequest,
)
from lightwell.auth.policies.policy import rights
from lightwell.errors import ConfigurationError, NotFoundError, ValidationError
from lightwell.observe.logs import event
from lightwell.web.console.route import Answer, Body, Call, Route, iso, next_page, place

if TYPE_CHECKING:
    from lightwell.stores.account.principals import AccessKey

log = logging.getLogger(__name__)

ACTIVE, INACTIVE = "Active", "Inactive"
"""As IAM calls them (API_AccessKeyMetadata)."""
_USERS = "user/*"
_LONGEST_NAME = 64
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)")


class Key(Answer):
    """An access key. ``policies`` are JSON texts; null where the caller may not read them, or there are none.

    ``access``: everything, or what policies allow. ``status``: Active, or Inactive while it is disabled.
    ``last_used_at`` is exact to a minute, null for a key that was not used since that is kept.
    ``replaced_by`` is the key that it was rotated to. ``revision`` is what `KeyPolicies` takes.
    """

    access_key_id: str
    name: str
    arn: str
    is_root: bool
    is_own: bool
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    last_used_from: str | None
    status: str
    replaced_by: str | None
    revision: int
    access: str
    policies: list[str] | None


class Keys(Answer):
    keys: list[Key]
    next_token: str | None


class NewKey(Body):
    """``policies`` are JSON texts; exactly one of ``policies`` and ``isAdministrator`` is given."""

    name: str
    policies: list[str] | None = None
    is_administrator: bool = False
    expires_at: str | None = None


class KeyStatus(Body):
    """``status``: Active or Inactive."""

    status: Literal["Active", "Inactive"]


class KeyPolicies(Body):
    """As of a new key. ``revision``: only if the key still has it."""

    policies: list[str] | None = None
    is_administrator: bool = False
    revision: int | None = None


class ChangedKey(Answer):
    warnings: list[str]


class Rotation(Body):
    """``overlap_seconds``: for how long the old key is good, too; ``expires_at``: when the new one ends."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)] = 86_400
    expires_at: str | None = None


class RotatedKey(Answer):
    """The new key with its secret, which nothing shows again, and when the old one ends."""

    access_key_id: str
    secret_access_key: str
    expires_at: str | None
    old_ends_at: str


class MadeKey(Answer):
    """A new key, with its secret, which nothing shows again."""

    access_key_id: str
    secret_access_key: str
    name: str
    arn: str
    expires_at: str | None
    warnings: list[str]


def list_keys(call: Call) -> Keys:
    """The keys whose users the caller may list. Refused if it may list none."""
    after, limit = place(call, int, str), call.page()
    found = call.state.administration.keys(None if after is None else (after[0], after[1]), limit + 1)
    shown = [key for key in found[:limit] if call.allows(_of(call, LIST_ACCESS_KEYS, key))]
    if not shown and after is None and len(found) <= limit:
        call.check(call.state.access_control.actions.iam(LIST_ACCESS_KEYS, _USERS))
    return Keys(
        keys=[_key(call, key) for key in shown],
        next_token=next_page(found, limit, lambda key: (key.created_at, key.id)),
    )


def _key(call: Call, key: Any) -> Key:
    may_read = key.policies is not None and call.allows(_of(call, GET_USER_POLICY, key))
    return Key(
        access_key_id=key.id,
        name=key.name,
        arn=call.state.access_control.actions.iam_arn(_resource(key)),
        is_root=key.is_root,
        is_own=key.id == (call.principal.parent or call.principal.access_key_id),
        created_at=iso(key.created_at),
        expires_at=None if key.expires_at is None else iso(key.expires_at),
        last_used_at=None if key.last_used_at is None else iso(key.last_used_at),
        last_used_from=key.last_used_from,
        status=ACTIVE if key.disabled_at is None else INACTIVE,
        replaced_by=key.replaced_by,
        revision=revision(key),
        access="everything" if key.policies is None else "policies",
        policies=list(key.policies) if may_read else None,
    )


def create_key(call: Call) -> MadeKey:
    """A new key. The secret is in this answer and nowhere else."""
    asked: NewKey = call.body
    _check_rights(asked)
    expires_at = _end(asked.expires_at, call.now)
    try:
        made, warnings = call.state.administration.create_key(
            asked.name, call.now, asked.policies, expires_at, emergency=call.principal.emergency
        )
    except ConfigurationError as error:
        raise ValidationError(f"{error}.") from None
    _tell(call, "access key made", made.access_key_id, asked.name, None, _rights(call, made.access_key_id))
    _tell_ends(call, (made.access_key_id, None, expires_at))
    return MadeKey(
        access_key_id=made.access_key_id,
        secret_access_key=made.secret_access_key,
        name=asked.name,
        arn=call.state.access_control.actions.iam_arn(f"user/{asked.name}"),
        expires_at=None if expires_at is None else iso(expires_at),
        warnings=warnings,
    )


def _required_to_create(call: Call) -> Sequence[AuthorizationRequest]:
    asked: NewKey = call.body
    actions, user = call.state.access_control.actions, f"user/{asked.name[:_LONGEST_NAME]}"
    # On record whether it is allowed or not.
    call.request.noted.asked_for(user)
    required = [
        *actions.iam(CREATE_ACCESS_KEY, user),
        *_to_give(call, user, everything=asked.is_administrator),
    ]
    if not call.state.administration.has_user(asked.name):
        required += actions.iam(CREATE_USER, user)
    return required


def revoke_key(call: Call) -> None:
    """Revoke a key for good, within a second on every server."""
    id = call.params["accessKeyId"]
    key = _found(call, id, DELETE_ACCESS_KEY)
    call.state.administration.revoke_key(id, call.now)
    _tell(call, "access key revoked", id, key.name, rights(key.policies))


def set_status(call: Call) -> None:
    """Disable a key, or enable it again, within a second on every server."""
    id, asked = call.params["accessKeyId"], call.body
    key = _found(call, id, UPDATE_ACCESS_KEY)
    is_enabled = asked.status == ACTIVE
    call.state.administration.set_key_enabled(id, call.now, is_enabled=is_enabled, asking=call.principal)
    call.state.authenticator.forget(id)
    _tell(call, f"access key {'enabled' if is_enabled else 'disabled'}", id, key.name)


def put_policies(call: Call) -> ChangedKey:
    """Replace what a key may do, for its running sessions, too."""
    id, asked = call.params["accessKeyId"], call.body
    _check_rights(asked)
    key = _found(call, id, ATTACH_USER_POLICY if asked.is_administrator else PUT_USER_POLICY)
    if key.policies is None and not asked.is_administrator:
        call.check(_on_administrators(call, DETACH_USER_POLICY, _resource(key)))
    administration = call.state.administration
    try:
        warnings = administration.put_key_policies(id, asked.policies, call.now, seen=asked.revision)
    except ConfigurationError as error:
        raise ValidationError(f"{str(error).rstrip('.')}.") from None
    call.state.authenticator.forget(id)
    changed = rights(key.policies), _rights(call, id)
    _tell(call, "access key given other policies", id, key.name, *changed)
    return ChangedKey(warnings=warnings)


def rotate_key(call: Call) -> RotatedKey:
    """A second key of the same user; the old one ends by itself."""
    id, asked = call.params["accessKeyId"], call.body
    key = _found(call, id, UPDATE_ACCESS_KEY)
    call.check(call.state.access_control.actions.iam(CREATE_ACCESS_KEY, _resource(key)))
    # Whoever is given the secret may do what the key may.
    call.check(_to_give(call, _resource(key), everything=key.policies is None))
    expires_at = _end(asked.expires_at, call.now)
    ends = Ends(call.now + asked.overlap_seconds * 1000, expires_at)
    made = call.state.administration.rotate_key(id, call.now, ends, emergency=call.principal.emergency)
    call.state.authenticator.forget(id)
    new = made.credentials.access_key_id
    _tell(call, f"access key rotated to {new}", id, key.name)
    _tell_ends(call, (id, key.expires_at, made.old_ends_at), (new, None, made.expires_at))
    return RotatedKey(
        access_key_id=made.credentials.access_key_id,
        secret_access_key=made.credentials.secret_access_key,
        expires_at=None if made.expires_at is None else iso(made.expires_at),
        old_ends_at=iso(made.old_ends_at),
    )


def _check_rights(asked: NewKey | KeyPolicies) -> None:
    if (asked.policies is None) is not asked.is_administrator:
        raise ValidationError("Say what the key may do: either policies, or isAdministrator for everything.")
    if asked.policies is not None and not asked.policies:
        raise ValidationError("A key without policies may do nothing: give at least one.")


def _to_give(call: Call, user: str, *, everything: bool) -> Sequence[AuthorizationRequest]:
    """What it requires to give a user policies, or the right to do everything."""
    if everything:
        return _on_administrators(call, ATTACH_USER_POLICY, user)
    return call.state.access_control.actions.iam(PUT_USER_POLICY, user)


def _on_administrators(call: Call, action: str, user: str) -> Sequence[AuthorizationRequest]:
    """What it requires to attach to a user the policy that allows everything, or to detach it."""
    context = {"iam:policyarn": ADMINISTRATOR}
    required = call.state.access_control.actions.iam(action, user)
    return [AuthorizationRequest((action,), each.resource, None, context) for each in required]


def _found(call: Call, id: str, action: str) -> AccessKey:
    """The key, if the caller may do this to its user."""
    key = call.state.administration.key(id)
    if key is None:
        # Whoever may not do it to any key does not learn which there are.
        call.check(_required(call, action, _USERS))
        raise NotFoundError(f"There is no valid access key {id[:128]}.")
    call.check(_required(call, action, _resource(key)))
    return key


def _required(call: Call, action: str, user: str) -> Sequence[AuthorizationRequest]:
    if action == ATTACH_USER_POLICY:
        return _on_administrators(call, action, user)
    return call.state.access_control.actions.iam(action, user)


def _rights(call: Call, id: str) -> str | None:
    """A digest of what a key may do by now, as it is stored."""
    key = call.state.administration.key(id)
    return None if key is None else rights(key.policies)


def _tell(
    call: Call, what: str, key: str, user: str, before: str | None = None, after: str | None = None
) -> None:
    """Log and put on record what was done to a key; ``before`` and ``after`` are `rights`."""
    call.request.noted.changed(key_record.what(what, key, user), before, after)
    event(log, logging.INFO, what, request=call.request.id, caller=call.principal.arn, key=key, user=user)


def _tell_ends(call: Call, *keys: tuple[str, int | None, int | None]) -> None:
    for each in key_record.ends(*keys):
        call.request.noted.changed(*each)


def _of(call: Call, action: str, key: Any) -> list[AuthorizationRequest]:
    """What an action on the user of a key requires."""
    return call.state.access_control.actions.iam(action, _resource(key))


def _resource(key: Any) -> str:
    return "root" if key.is_root else f"user/{key.name}"


def _end(text: str | None, now: int) -> int | None:
    end = None if text is None else _moment(text)
    if end is not None and end <= now:
        raise ValidationError("expiresAt is in the past.")
    return end


def _moment(text: str) -> int:
    """Milliseconds since the epoch."""
    if not _ISO.fullmatch(text):
        raise ValidationError("expiresAt must be a time such as 2027-01-31T00:00:00Z.")
    try:
        return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValidationError("expiresAt must be a time such as 2027-01-31T00:00:00Z.") from None


ROUTES = (
    Route(
        "ConsoleListKeys",
        "GET",
        "keys",
        list_keys,
        None,
        query=("maxResults", "nextToken"),
        action="`iam:ListAccessKeys` on `user/NAME`; a key's policies `iam:GetUserPolicy`, too",
        says="The access keys that are not revoked, newest first, without those whose users the caller may "
        "not list; so a page may be short. Temporary credentials are not among them.",
    ),
    Route(
        "ConsoleCreateKey",
        "POST",
        "keys",
        create_key,
        _required_to_create,
        body=msgspec.json.Decoder(NewKey),
        action="on `user/NAME` `iam:CreateAccessKey` and `iam:PutUserPolicy`; for `isAdministrator` in place "
        "of the latter `iam:AttachUserPolicy`, where `iam:PolicyARN` is "
        "`arn:aws:iam::aws:policy/AdministratorAccess`; for a name that no key has also `iam:CreateUser`",
        says="Make an access key, whose user is `name`. The answer alone has its secret. As on AWS, whoever "
        "may put policies on a user can give it any right: allow `iam:PutUserPolicy` to administrators only.",
    ),
    Route(
        "ConsoleRevokeKey",
        "DELETE",
        "keys/{accessKeyId}",
        revoke_key,
        None,
        action="`iam:DeleteAccessKey` on `user/NAME`",
        says="Revoke a key for good; requests signed with it are refused within a second, on every server. "
        "Root's is refused with 409.",
    ),
    Route(
        "ConsoleSetKeyStatus",
        "PUT",
        "keys/{accessKeyId}/status",
        set_status,
        None,
        body=msgspec.json.Decoder(KeyStatus),
        action="`iam:UpdateAccessKey` on `user/NAME`",
        says="Disable a key (`Inactive`), its sessions with it, or enable it again (`Active`), within a "
        "second on every server. Root's is refused with 409, and so is the key that asks.",
    ),
    Route(
        "ConsolePutKeyPolicies",
        "PUT",
        "keys/{accessKeyId}/policies",
        put_policies,
        None,
        body=msgspec.json.Decoder(KeyPolicies),
        action="on `user/NAME` `iam:PutUserPolicy`, or `iam:AttachUserPolicy` for `isAdministrator`; for a "
        "key that may do everything also `iam:DetachUserPolicy`",
        says="Replace what a key may do; it and its sessions may do so within a second on every server. "
        "Root's is refused with 409, and so is a key whose `revision` is another by now.",
    ),
    Route(
        "ConsoleRotateKey",
        "POST",
        "keys/{accessKeyId}/rotation",
        rotate_key,
        None,
        body=msgspec.json.Decoder(Rotation),
        action="on `user/NAME` `iam:UpdateAccessKey`, `iam:CreateAccessKey` and `iam:PutUserPolicy`, or "
        "`iam:AttachUserPolicy` for a key that may do everything",
        says="Make a second key with the same user and policies; both are good for `overlapSeconds`, then "
        "the old one has ended. The answer alone has the secret. Root's is refused with 409.",
    ),
)
