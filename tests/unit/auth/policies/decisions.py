"""Decisions of policies, each with its reason: what is asked, of which statements, and what comes of it.

A verdict is "allow N" or "deny N" by statement N, or "none" where no statement allows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightwell.auth.policies.condition_keys import UNKNOWN

ACCOUNT, REGION = "000000000000", "us-east-1"
BASE = f"arn:aws:medical-imaging:{REGION}:{ACCOUNT}:datastore/"
A, B = "a" * 32, "b" * 32
STORE, OTHER = BASE + A, BASE + B
SET = f"{STORE}/imageset/{'1' * 32}"
GET, SEARCH, DELETE = (f"medical-imaging:{n}" for n in ("GetImageSet", "SearchImageSets", "DeleteImageSet"))
STUDY = "medical-imaging:StudyInstanceUID"
PASS = "iam:PassRole"

Statement = dict[str, Any]


@dataclass(frozen=True)
class Case:
    why: str
    statements: list[Statement]
    verdict: str
    context: dict[str, Any] = field(default_factory=dict)
    action: str = GET
    resource: str = STORE
    version: str = "2012-10-17"
    session: list[Statement] | None = None


def allow(action: Any = "*", resource: Any = "*", **condition: Any) -> Statement:
    return _statement("Allow", action, resource, condition)


def deny(action: Any = "*", resource: Any = "*", **condition: Any) -> Statement:
    return _statement("Deny", action, resource, condition)


def _statement(effect: str, action: Any, resource: Any, condition: Any) -> Statement:
    made = {"Effect": effect, "Action": action, "Resource": resource}
    if condition:
        made["Condition"] = condition["on"]
    return made


def on(operator: str, key: str, *values: Any) -> dict[str, Any]:
    return {operator: {key: list(values) if len(values) != 1 else values[0]}}


def when(operator: str, key: str, values: Any, held: Any, met: bool | None, why: str) -> list[Case]:
    """A condition alone: an Allow with it allows if it is met, a Deny with it denies unless it is not met."""
    context = {} if held is None else {key: held}
    listed = values if isinstance(values, list) else [values]
    condition = on(operator, key, *listed)
    said = f"{operator} {key}: {why}"
    return [
        Case(said, [allow(on=condition)], "allow 1" if met else "none", context),
        Case(
            f"{said} (Deny)",
            [allow(), deny(on=condition)],
            "allow 1" if met is False else "deny 2",
            context,
        ),
    ]


EFFECTS = [
    Case("without a statement nothing is allowed", [], "none"),
    Case("an Allow allows", [allow()], "allow 1"),
    Case("a Deny denies", [deny()], "deny 1"),
    Case("a Deny comes before an Allow", [allow(), deny()], "deny 2"),
    Case("whichever stands first", [deny(), allow()], "deny 1"),
    Case("a narrow Deny comes before a wide Allow", [allow(), deny(GET, STORE)], "deny 2"),
    Case("a wide Deny comes before a narrow Allow", [allow(GET, STORE), deny()], "deny 2"),
    Case("a Deny of another action does not matter", [allow(), deny(DELETE)], "allow 1"),
    Case("a Deny of another resource does not matter", [allow(), deny("*", OTHER)], "allow 1"),
    Case("one of two Allows is enough", [allow(DELETE), allow(GET)], "allow 2"),
    Case("an Allow of another action does not matter", [allow(DELETE)], "none"),
    Case("an Allow of another resource does not matter", [allow(GET, OTHER)], "none"),
]

ACTIONS = (
    [
        Case(why, [allow(pattern)], "allow 1" if matches else "none", action=action)
        for pattern, action, matches, why in (
            (GET, GET, True, "an action matches itself"),
            ("medical-imaging:getimageset", GET, True, "case does not matter in actions"),
            ("MEDICAL-IMAGING:GETIMAGESET", GET, True, "nor in the name of the service"),
            ("medical-imaging:*", GET, True, "* is every action of the service"),
            ("medical-imaging:Get*", GET, True, "* stands for the end"),
            ("medical-imaging:*Set", GET, True, "and for the beginning"),
            ("medical-imaging:G*t", GET, True, "and for the middle"),
            ("medical-imaging:*e*", GET, True, "there may be several"),
            ("medical-imaging:Get*", SEARCH, False, "another beginning does not match"),
            ("medical-imaging:GetImageSet*", "medical-imaging:GetImageSetMetadata", True, "a longer name"),
            ("medical-imaging:GetImageSet*", GET, True, "* may stand for nothing"),
            (
                "medical-imaging:GetImageSet",
                "medical-imaging:GetImageSetMetadata",
                False,
                "no wildcard, no end",
            ),
            ("medical-imaging:GetImageSe?", GET, True, "? is one character"),
            ("medical-imaging:GetImageSet?", GET, False, "? is not no character"),
            ("medical-imaging:GetImage??", GET, False, "two ? are not three characters"),
            ("medical-imaging:GetImage???", GET, True, "three are"),
            ("s3:*", GET, False, "another service does not matter"),
            ("iam:PassRole", PASS, True, "actions of other services that are asked for"),
            ("iam:*", PASS, True, "with wildcards too"),
            (["s3:*", GET], GET, True, "one of a list is enough"),
            ([DELETE, SEARCH], GET, False, "none of a list"),
            ("medical-imaging.GetImageSet", GET, False, "a dot is no wildcard"),
            ("medical-imaging:GetDICOM*", "medical-imaging:GetDICOMBulkdata", True, "DICOMweb's actions"),
            ("medical-imaging:*DICOMInstance*", "medical-imaging:GetDICOMInstanceFrames", True, "inner name"),
        )
    ]
    + [
        Case(
            why,
            [{"Effect": "Allow", "NotAction": pattern, "Resource": "*"}],
            "allow 1" if matches else "none",
            action=action,
        )
        for pattern, action, matches, why in (
            (DELETE, GET, True, "NotAction is every other action"),
            (DELETE, DELETE, False, "and not the action itself"),
            ("medical-imaging:delete*", DELETE, False, "in whichever case"),
            ("medical-imaging:*", PASS, True, "another service is another action"),
            (["medical-imaging:Delete*", GET], GET, False, "none of the list"),
            ("*", GET, False, "NotAction * is nothing"),
        )
    ]
    + [
        Case(
            "a Deny of NotAction leaves the named actions",
            [allow(), {"Effect": "Deny", "NotAction": "medical-imaging:Get*", "Resource": "*"}],
            verdict,
            action=action,
        )
        for action, verdict in ((GET, "allow 1"), (DELETE, "deny 2"))
    ]
)

RESOURCES = (
    [
        Case(why, [allow(GET, pattern)], "allow 1" if matches else "none", resource=resource)
        for pattern, resource, matches, why in (
            (STORE, STORE, True, "a resource matches itself"),
            (STORE, OTHER, False, "and no other"),
            (STORE, SET, False, "a data store is not what is in it"),
            (STORE + "/*", SET, True, "what is in a data store"),
            (STORE + "*", SET, True, "a data store and what is in it"),
            (STORE + "/imageset/*", SET, True, "the image sets of a data store"),
            (BASE + "*/imageset/*", SET, True, "image sets of any data store"),
            (BASE + "*", SET, True, "* goes over slashes"),
            (BASE + "*", STORE, True, "any data store"),
            (BASE.upper() + "*", STORE, False, "case matters in resources"),
            (BASE + "?" * 32, STORE, True, "? in resources"),
            (BASE + "?" * 31, STORE, False, "one ? too few"),
            (f"arn:aws:medical-imaging:*:{ACCOUNT}:datastore/{A}", STORE, True, "any Region"),
            (f"arn:aws:medical-imaging:{REGION}:*:datastore/{A}", STORE, True, "any account"),
            (f"arn:*:medical-imaging:{REGION}:{ACCOUNT}:datastore/{A}", STORE, True, "any partition"),
            (f"arn:aws:medical-imaging:eu-west-1:{ACCOUNT}:datastore/{A}", STORE, False, "another Region"),
            (f"arn:aws:medical-imaging:{REGION}:111111111111:datastore/{A}", STORE, False, "another account"),
            (f"arn:aws:s3:::{A}", STORE, False, "another service"),
            ("arn:aws:medical-imaging:*:*:*", STORE, True, "wildcards in every part"),
            ("arn:aws:medical-imaging:us-*:*:datastore/*", STORE, True, "wildcards inside of a part"),
            ("arn:aws:medical-imaging", STORE, True, "missing parts are *"),
            (f"arn:aws:medical-imaging:{REGION}", STORE, True, "missing parts are *, behind the Region"),
            ("arn:aws:medical-imaging:*", STORE, True, "missing parts are *, behind a wildcard"),
            (f"arn:aws:medical-imaging:*/{A}", STORE, False, "* does not go over the colons of an ARN"),
            (f"arn:aws:*:datastore/{A}", STORE, False, "* is one part only"),
            ("*", "*", True, "* matches an action that has no resource"),
            (BASE + "*", "*", False, "an ARN does not match an action that has no resource"),
            ("arn:aws:medical-imaging:*:*:*", "*", False, "not with wildcards either"),
            ([OTHER, STORE], STORE, True, "one of a list is enough"),
            ([OTHER, "arn:aws:s3:::x"], STORE, False, "none of a list"),
        )
    ]
    + [
        Case(
            why,
            [{"Effect": "Allow", "Action": "*", "NotResource": pattern}],
            "allow 1" if matches else "none",
            resource=resource,
        )
        for pattern, resource, matches, why in (
            (OTHER, STORE, True, "NotResource is every other resource"),
            (STORE, STORE, False, "and not the resource itself"),
            (BASE + "*", STORE, False, "with wildcards too"),
            (BASE + "*", "*", True, "an action without a resource is another one"),
            ([OTHER, STORE], STORE, False, "none of the list"),
        )
    ]
    + [
        Case(
            "a Deny of NotResource leaves the named ones",
            [allow(), {"Effect": "Deny", "Action": "*", "NotResource": STORE}],
            verdict,
            resource=resource,
        )
        for resource, verdict in ((STORE, "allow 1"), (OTHER, "deny 2"), (SET, "deny 2"))
    ]
)

STRINGS = [
    case
    for row in (
        ("StringEquals", STUDY, "1.2", "1.2", True, "the same"),
        ("StringEquals", STUDY, "1.2", "1.20", False, "not the same"),
        ("StringEquals", STUDY, "a", "A", False, "case matters"),
        ("StringEquals", STUDY, "1.*", "1.2", False, "* is no wildcard in it"),
        ("StringEquals", STUDY, "1.*", "1.*", True, "but a star"),
        ("StringEquals", STUDY, ["1.1", "1.2"], "1.2", True, "one of the values"),
        ("StringEquals", STUDY, "1.2", None, False, "an absent key is equal to nothing"),
        ("StringNotEquals", STUDY, "1.2", "1.3", True, "another"),
        ("StringNotEquals", STUDY, "1.2", "1.2", False, "the same"),
        ("StringNotEquals", STUDY, ["1.1", "1.2"], "1.2", False, "none of the values may be it"),
        ("StringNotEquals", STUDY, "1.2", None, True, "an absent key is unlike anything"),
        ("StringEqualsIgnoreCase", "aws:UserAgent", "Curl", "cURL", True, "case does not matter"),
        ("StringEqualsIgnoreCase", "aws:UserAgent", "Curl", "wget", False, "the letters do"),
        ("StringNotEqualsIgnoreCase", "aws:UserAgent", "Curl", "cURL", False, "case does not matter"),
        ("StringNotEqualsIgnoreCase", "aws:UserAgent", "Curl", "wget", True, "the letters do"),
        ("StringLike", STUDY, "1.2.*", "1.2.3", True, "* is a wildcard"),
        ("StringLike", STUDY, "1.2.*", "1.22", False, "a dot is no wildcard"),
        ("StringLike", STUDY, "1.?", "1.2", True, "? is a wildcard"),
        ("StringLike", STUDY, "1.?", "1.22", False, "for one character"),
        ("StringLike", STUDY, "*", "", True, "* is anything, nothing too"),
        ("StringLike", "aws:UserAgent", "curl*", "Curl/8", False, "case matters"),
        ("StringNotLike", STUDY, "1.2.*", "1.3.1", True, "another"),
        ("StringNotLike", STUDY, "1.2.*", "1.2.1", False, "one of them"),
        ("stringequals", STUDY, "1.2", "1.2", True, "case does not matter in operators"),
        ("StringEquals", STUDY.lower(), "1.2", "1.2", True, "nor in keys"),
    )
    for case in when(*row)
]

_NOW, _EPOCH = "aws:CurrentTime", "aws:EpochTime"
NUMBERS = [
    case
    for row in (
        ("NumericEquals", _EPOCH, "10", "10", True, "the same"),
        ("NumericEquals", _EPOCH, "10.0", "10", True, "the same number"),
        ("NumericEquals", _EPOCH, 10, "10", True, "a number in JSON"),
        ("NumericNotEquals", _EPOCH, "10", "11", True, "another"),
        ("NumericLessThan", _EPOCH, "10", "9", True, "less"),
        ("NumericLessThan", _EPOCH, "10", "10", False, "not less"),
        ("NumericLessThanEquals", _EPOCH, "10", "10", True, "the same"),
        ("NumericGreaterThan", _EPOCH, "10", "9", False, "not greater"),
        ("NumericGreaterThanEquals", _EPOCH, "10", "10", True, "the same"),
        ("NumericLessThan", _EPOCH, "9", "10", False, "numbers, no texts"),
        ("NumericLessThan", STUDY, "9", "x", None, "what is no number cannot be compared"),
        ("NumericGreaterThan", _EPOCH, "1", None, False, "an absent key is no number"),
        ("DateEquals", _NOW, "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", True, "the same moment"),
        ("DateEquals", _NOW, "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z", True, "in another zone"),
        ("DateNotEquals", _NOW, "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", True, "a second later"),
        ("DateLessThan", _NOW, "2026-02-01", "2026-01-31T23:59:59Z", True, "a day counts from its start"),
        ("DateLessThan", _NOW, "2026-02-01", "2026-02-01T00:00:00Z", False, "and so not before it"),
        ("DateLessThanEquals", _NOW, "2026-02-01", "2026-02-01T00:00:00Z", True, "the start itself"),
        ("DateGreaterThan", _NOW, "2026-02-01T00:00:00Z", "2026-02-01T00:00:01Z", True, "later"),
        ("DateGreaterThanEquals", _NOW, "2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z", False, "earlier"),
        ("DateGreaterThan", _EPOCH, "2026-01-01T00:00:00Z", "1767225601", True, "seconds of the epoch"),
        ("DateLessThan", _NOW, "1767225600", "2026-01-01T00:00:01Z", False, "or given as seconds"),
    )
    for case in when(*row)
]

_SECURE, _IP = "aws:SecureTransport", "aws:SourceIp"
PLACES = [
    case
    for row in (
        ("Bool", _SECURE, "true", "true", True, "true"),
        ("Bool", _SECURE, True, "true", True, "true in JSON"),
        ("Bool", _SECURE, "false", "true", False, "not false"),
        ("Bool", _SECURE, "False", "false", True, "in whichever case"),
        ("Bool", "aws:MultiFactorAuthPresent", "true", None, False, "an absent key is not true"),
        ("Bool", "aws:MultiFactorAuthPresent", "false", None, False, "and not false"),
        ("BoolIfExists", "aws:MultiFactorAuthPresent", "false", None, True, "…IfExists is true of it"),
        ("IpAddress", _IP, "203.0.113.0/24", "203.0.113.9", True, "in the network"),
        ("IpAddress", _IP, "203.0.113.0/24", "203.0.114.9", False, "not in it"),
        ("IpAddress", _IP, "203.0.113.9", "203.0.113.9", True, "an address is a network of one"),
        ("IpAddress", _IP, ["10.0.0.0/8", "192.168.0.0/16"], "192.168.1.1", True, "one of the networks"),
        ("IpAddress", _IP, "2001:db8::/32", "2001:db8::1", True, "IPv6"),
        ("IpAddress", _IP, "2001:db8::/32", "10.0.0.1", False, "not of the same kind"),
        ("IpAddress", _IP, "10.0.0.0/8", "::ffff:10.0.0.1", True, "IPv4 written as IPv6"),
        ("IpAddress", _IP, "10.0.0.0/8", None, False, "an unknown address is in no network"),
        ("IpAddress", _IP, "0.0.0.0/0", "10.0.0.1", True, "every address"),
        ("NotIpAddress", _IP, "10.0.0.0/8", "10.0.0.1", False, "in the network"),
        ("NotIpAddress", _IP, "10.0.0.0/8", "11.0.0.1", True, "not in it"),
        ("NotIpAddress", _IP, ["10.0.0.0/8", "11.0.0.0/8"], "11.0.0.1", False, "in one of them"),
        ("NotIpAddress", _IP, "10.0.0.0/8", None, True, "an unknown address is not in it"),
        ("IpAddress", _IP, "10.0.0.0/8", "unix", None, "what is no address cannot be decided"),
    )
    for case in when(*row)
]

_SOURCE = "aws:SourceArn"
ARNS = [
    case
    for row in (
        ("ArnEquals", _SOURCE, STORE, STORE, True, "the same"),
        ("ArnEquals", _SOURCE, BASE + "*", STORE, True, "has wildcards, as ArnLike"),
        ("ArnLike", _SOURCE, BASE + "*", STORE, True, "wildcards"),
        ("ArnLike", _SOURCE, "arn:aws:medical-imaging:*:*:datastore/*", STORE, True, "part by part"),
        ("ArnLike", _SOURCE, BASE + "*", "arn:aws:s3:::x", False, "another"),
        ("ArnLike", _SOURCE, f"arn:aws:medical-imaging:*:*:*/{B}", STORE, False, "another data store"),
        ("ArnLike", _SOURCE, BASE + "*", "text", False, "no ARN"),
        ("ArnNotEquals", _SOURCE, STORE, OTHER, True, "another"),
        ("ArnNotLike", _SOURCE, BASE + "*", STORE, False, "one of them"),
        ("ArnNotLike", _SOURCE, BASE + "*", None, True, "an absent key"),
        ("ArnLike", _SOURCE, BASE + "*", None, False, "an absent key is no ARN"),
        ("ArnLikeIfExists", _SOURCE, BASE + "*", None, True, "…IfExists of an absent key"),
    )
    for case in when(*row)
]

_TAGS, _TAG, _GIVEN = "aws:TagKeys", "aws:ResourceTag/Project", "aws:RequestTag/Project"
PRESENCE = [
    case
    for row in (
        ("Null", _TAG, "true", None, True, "not there"),
        ("Null", _TAG, "true", "x", False, "there"),
        ("Null", _TAG, "false", "x", True, "there"),
        ("Null", _TAG, "false", None, False, "not there"),
        ("Null", _TAGS, "true", (), True, "no values are none"),
        ("Null", _TAGS, "false", ("a",), True, "one value is"),
        ("StringEqualsIfExists", _TAG, "a", None, True, "not there"),
        ("StringEqualsIfExists", _TAG, "a", "b", False, "there, and another"),
        ("StringEqualsIfExists", _TAG, "a", "a", True, "there, and the same"),
        ("StringNotEqualsIfExists", _TAG, "a", None, True, "not there"),
        ("NumericLessThanIfExists", "aws:MultiFactorAuthAge", "60", None, True, "not there"),
        ("IpAddressIfExists", _IP, "10.0.0.0/8", "11.0.0.1", False, "there, and another"),
        ("StringEquals", _TAG, "x", "x", True, "a tag of the resource"),
        ("StringEquals", "aws:resourcetag/PROJECT", "x", "x", True, "case does not matter in tag keys"),
        ("StringEquals", _GIVEN, "x", "y", False, "a tag of the request"),
        ("StringEquals", _TAG, "x", UNKNOWN, None, "two tags whose keys differ in case only"),
    )
    for case in when(*row)
]

SETS = [
    case
    for row in (
        ("ForAllValues:StringEquals", _TAGS, ["a", "b"], ("a",), True, "each is one of the values"),
        ("ForAllValues:StringEquals", _TAGS, ["a", "b"], ("a", "b"), True, "all are"),
        ("ForAllValues:StringEquals", _TAGS, ["a", "b"], ("a", "c"), False, "one is not"),
        ("ForAllValues:StringEquals", _TAGS, ["a"], (), True, "of no values all are"),
        ("ForAllValues:StringEquals", _TAGS, ["a"], None, True, "of an absent key, too"),
        ("ForAllValues:StringLike", _TAGS, ["a*"], ("ab", "ac"), True, "with wildcards"),
        ("ForAllValues:StringNotEquals", _TAGS, ["a"], ("b", "c"), True, "none is it"),
        ("ForAllValues:StringNotEquals", _TAGS, ["a"], ("a", "c"), False, "one is it"),
        ("ForAnyValue:StringEquals", _TAGS, ["a", "b"], ("c", "b"), True, "one is one of the values"),
        ("ForAnyValue:StringEquals", _TAGS, ["a"], ("c", "b"), False, "none is"),
        ("ForAnyValue:StringEquals", _TAGS, ["a"], (), False, "of no values none is"),
        ("ForAnyValue:StringEquals", _TAGS, ["a"], None, False, "of an absent key neither"),
        ("ForAnyValue:StringNotEquals", _TAGS, ["a"], ("a", "b"), True, "one is not it"),
        ("ForAnyValue:StringNotEquals", _TAGS, ["a"], ("a",), False, "each is it"),
        ("ForAnyValue:StringEqualsIfExists", _TAGS, ["a"], None, True, "…IfExists of an absent key"),
        ("ForAllValues:StringEquals", STUDY, ["1.2"], "1.2", True, "one value is a set of one"),
        ("StringEquals", _TAGS, "a", ("a",), True, "one of one without a set operator"),
        ("StringEquals", _TAGS, "a", ("a", "b"), None, "which of two is meant is not defined"),
    )
    for case in when(*row)
]


def _store_of(variable: str) -> list[Statement]:
    return [allow(GET, BASE + variable)]


VARIABLES = [
    Case(
        "a variable stands for what the key holds",
        _store_of("${aws:username}"),
        "allow 1",
        resource=BASE + "bob",
    ),
    Case("and for nothing else", _store_of("${aws:username}"), "none", resource=BASE + "eve"),
    Case("among other text", _store_of("x-${aws:username}-*"), "allow 1", resource=BASE + "x-bob-1"),
    Case("case does not matter in its name", _store_of("${AWS:UserName}"), "allow 1", resource=BASE + "bob"),
    Case(
        "before 2012-10-17 it is plain text",
        _store_of("${aws:username}"),
        "none",
        resource=BASE + "bob",
        version="2008-10-17",
    ),
    Case(
        "namely itself",
        _store_of("${aws:username}"),
        "allow 1",
        resource=BASE + "${aws:username}",
        version="2008-10-17",
    ),
    Case("without a value nothing matches", _store_of("${aws:UserAgent}"), "none"),
    Case("a default stands in", _store_of(f"${{aws:UserAgent, '{A}'}}"), "allow 1"),
    Case(
        "and not where there is a value",
        _store_of(f"${{aws:UserAgent, '{A}'}}"),
        "none",
        {"aws:UserAgent": "curl"},
    ),
    Case("${*} is a star", _store_of("${*}"), "none"),
    Case("and nothing but a star", _store_of("${*}"), "allow 1", resource=BASE + "*"),
    Case("${?} is a question mark", _store_of("${?}"), "none", resource=BASE + "x"),
    Case("${$} is a dollar", _store_of("${$}"), "allow 1", resource=BASE + "$"),
    Case(
        "wildcards in a value are text",
        _store_of("${aws:UserAgent}"),
        "none",
        {"aws:UserAgent": "*"},
    ),
    Case(
        "in a condition, too",
        [allow(on=on("StringLike", STUDY, "${aws:UserAgent}"))],
        "none",
        {STUDY: "1.2", "aws:UserAgent": "*"},
    ),
    Case(
        "a variable in a condition",
        [allow(on=on("StringEquals", _TAG, "${aws:username}"))],
        "allow 1",
        {_TAG: "bob"},
    ),
    Case(
        "a tag as a variable",
        [allow(on=on("StringEquals", _GIVEN, "${aws:ResourceTag/Project}"))],
        "allow 1",
        {_TAG: "x", _GIVEN: "x"},
    ),
    Case(
        "a variable without a value is equal to nothing",
        [allow(on=on("StringEquals", _GIVEN, "${aws:ResourceTag/Project}"))],
        "none",
        {_GIVEN: "x"},
    ),
    Case(
        "and leaves open what is unlike it: no Allow",
        [allow(on=on("StringNotEquals", _GIVEN, "${aws:ResourceTag/Project}"))],
        "none",
        {_GIVEN: "x"},
    ),
    Case(
        "and a Deny",
        [allow(), deny(on=on("StringNotEquals", _GIVEN, "${aws:ResourceTag/Project}"))],
        "deny 2",
        {_GIVEN: "x"},
    ),
    Case(
        "a variable of a Deny",
        [allow(), deny("*", BASE + "${aws:username}")],
        "deny 2",
        resource=BASE + "bob",
    ),
    Case(
        "NotResource with a variable that has no value allows nothing",
        [{"Effect": "Allow", "Action": "*", "NotResource": BASE + "${aws:UserAgent}"}],
        "none",
    ),
    Case(
        "and denies",
        [allow(), {"Effect": "Deny", "Action": "*", "NotResource": BASE + "${aws:UserAgent}"}],
        "deny 2",
    ),
    Case(
        "a variable in another part of an ARN",
        [allow(GET, "arn:aws:medical-imaging:${aws:RequestedRegion}:*:*")],
        "allow 1",
    ),
    Case("who asks is a key, too", [allow(on=on("StringEquals", "aws:username", "bob"))], "allow 1"),
    Case(
        "by ARN", [allow(on=on("ArnLike", "aws:PrincipalArn", f"arn:aws:iam::{ACCOUNT}:user/*"))], "allow 1"
    ),
    Case("by kind", [deny(on=on("StringEquals", "aws:PrincipalType", "User"))], "deny 1"),
    Case("and the account", [allow(on=on("StringEquals", "aws:PrincipalAccount", ACCOUNT))], "allow 1"),
]

UNKNOWNS = [
    case
    for row in (
        ("StringEquals", "aws:Moon", "full", None, None, "an unknown key cannot be decided"),
        ("StringNotEquals", "aws:Moon", "full", None, None, "negated neither"),
        ("StringEqualsIfExists", "aws:Moon", "full", None, None, "with …IfExists neither"),
        ("Null", "aws:Moon", "true", None, None, "its absence neither"),
        ("ForAllValues:StringEquals", "aws:Moon", "full", None, None, "of all values neither"),
        ("StringEquals", "s3:ExistingObjectTag/a", "x", None, None, "a key of another service"),
        ("StringSounds", STUDY, "1.2", "1.2", None, "an unknown operator"),
        ("ForEachValue:StringEquals", STUDY, "1.2", "1.2", None, "an unknown set operator"),
        ("NullIfExists", STUDY, "true", None, None, "an operator that there is not"),
        ("NumericEquals", _EPOCH, "ten", "10", None, "a value that is no number"),
        ("DateLessThan", _NOW, "soon", "2026-01-01T00:00:00Z", None, "a value that is no date"),
        ("IpAddress", _IP, "10.0.0", "10.0.0.1", None, "a value that is no address"),
        ("Bool", _SECURE, "yes", "true", None, "a value that is neither true nor false"),
        ("StringEquals", STUDY, "${aws:Moon}", "1.2", None, "an unknown variable"),
        ("StringEquals", STUDY, "${aws:Moon", "1.2", None, "a variable without its end"),
        ("StringEquals", STUDY, "1.2", UNKNOWN, None, "a value that nobody knows"),
    )
    for case in when(*row)
] + [
    Case(
        "a condition that is not met makes up for an unknown one",
        [allow(), deny(on={"StringEquals": {"aws:Moon": "full", STUDY: "1.2"}})],
        "allow 1",
        {STUDY: "1.3"},
    ),
    Case(
        "one that is met does not",
        [allow(), deny(on={"StringEquals": {"aws:Moon": "full", STUDY: "1.2"}})],
        "deny 2",
        {STUDY: "1.2"},
    ),
    Case(
        "all conditions must be met",
        [allow(on={"StringEquals": {STUDY: "1.2"}, "Bool": {_SECURE: "true"}})],
        "none",
        {STUDY: "1.2", _SECURE: "false"},
    ),
    Case(
        "and then it is",
        [allow(on={"StringEquals": {STUDY: "1.2"}, "Bool": {_SECURE: "true"}})],
        "allow 1",
        {STUDY: "1.2", _SECURE: "true"},
    ),
    Case("an unknown element allows nothing", [{**allow(), "Moon": "full"}], "none"),
    Case("and denies", [allow(), {**deny(DELETE), "Moon": "full"}], "allow 1"),
    Case("what it names", [allow(), {**deny(GET), "Moon": "full"}], "deny 2"),
    Case("an unknown Effect denies", [allow(), {**allow(), "Effect": "Perhaps"}], "deny 2"),
    Case("an Allow without a resource allows nothing", [{"Effect": "Allow", "Action": "*"}], "none"),
    Case("a Deny without one denies", [allow(), {"Effect": "Deny", "Action": "*"}], "deny 2"),
    Case("an Allow without an action allows nothing", [{"Effect": "Allow", "Resource": "*"}], "none"),
    Case("a Deny without one denies all", [allow(), {"Effect": "Deny", "Resource": "*"}], "deny 2"),
    Case("an Allow of what is no ARN allows nothing", [allow(GET, "everything")], "none"),
    Case("a Deny of it denies", [allow(), deny(GET, "everything")], "deny 2"),
    Case("an unknown Version denies", [allow()], "deny 1", version="2030-01-01"),
]

SESSIONS = [
    Case("a session policy and an identity policy must both allow", [allow()], "allow 1", session=[allow()]),
    Case("a session policy does not add", [], "none", session=[allow()]),
    Case("and takes away what it does not allow", [allow()], "none", session=[]),
    Case("action by action", [allow()], "none", session=[allow(SEARCH)]),
    Case("its Deny denies", [allow()], "deny 1", session=[deny()]),
    Case("a Deny of the identity policy stays", [deny()], "deny 1", session=[allow()]),
    Case("resource by resource", [allow(GET, STORE)], "allow 1", session=[allow(GET, BASE + "*")]),
    Case("the narrower counts", [allow(GET, BASE + "*")], "none", session=[allow(GET, OTHER)]),
]

PASSED, TO = "arn:aws:iam::000000000000:role/Import", "iam:PassedToService"
ROLES = [
    Case(why, statements, verdict, {TO: "medical-imaging.amazonaws.com"}, PASS, PASSED)
    for why, statements, verdict in (
        ("a role may be passed by its ARN", [allow(PASS, PASSED)], "allow 1"),
        ("another may not", [allow(PASS, PASSED + "2")], "none"),
        ("any role", [allow(PASS, "arn:aws:iam::000000000000:role/*")], "allow 1"),
        (
            "to the service",
            [allow(PASS, PASSED, on=on("StringEquals", TO, "medical-imaging.amazonaws.com"))],
            "allow 1",
        ),
        ("to another", [allow(PASS, PASSED, on=on("StringEquals", TO, "ec2.amazonaws.com"))], "none"),
        ("all of medical-imaging is not PassRole", [allow("medical-imaging:*")], "none"),
    )
]

CASES = [
    *EFFECTS,
    *ACTIONS,
    *RESOURCES,
    *STRINGS,
    *NUMBERS,
    *PLACES,
    *ARNS,
    *PRESENCE,
    *SETS,
    *VARIABLES,
    *UNKNOWNS,
    *SESSIONS,
    *ROLES,
]
