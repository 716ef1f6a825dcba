"""Which policies are refused before they are kept, and with which sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lightwell.auth.policies.validation import (
    ValidatedPolicy,
    check_identity_policy,
    check_session_policy,
    check_trust_policy,
)
from lightwell.errors import ConfigurationError

ALLOW: dict[str, Any] = {"Effect": "Allow", "Action": "medical-imaging:*", "Resource": "*"}
TRUST: dict[str, Any] = {
    "Effect": "Allow",
    "Principal": {"Service": "medical-imaging.amazonaws.com"},
    "Action": "sts:AssumeRole",
}


def without(statement: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    return {**{name: value for name, value in statement.items() if name not in names}, **more}


def conditioned(**condition: Any) -> dict[str, Any]:
    return {**ALLOW, "Condition": condition}


def text(*statements: dict[str, Any], **more: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


@pytest.mark.parametrize(
    "policy",
    [
        text(ALLOW),
        text(ALLOW, Id="mine"),
        json.dumps({"Statement": ALLOW}),
        text(ALLOW, Version="2008-10-17"),
        text(without(ALLOW, "Action", NotAction=["medical-imaging:Delete*", "iam:*"])),
        text(without(ALLOW, "Resource", NotResource=["arn:aws:medical-imaging:us-east-1:*:datastore/x"])),
        text({**ALLOW, "Resource": "arn:aws:medical-imaging:*:*:datastore/${aws:username, 'none'}"}),
        text({**ALLOW, "Sid": "One"}, {**ALLOW, "Sid": "Two"}, {**ALLOW, "Sid": ""}, {**ALLOW, "Sid": ""}),
        text(conditioned(StringEquals={"aws:ResourceTag/Project": "${aws:PrincipalTag/Project}"})),
        text(conditioned(**{"ForAllValues:StringLikeIfExists": {"aws:TagKeys": ["a", "b*"]}})),
        text(conditioned(Bool={"aws:SecureTransport": True}, NumericLessThan={"aws:EpochTime": 5})),
        text(conditioned(IpAddress={"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]})),
        text(
            conditioned(
                DateLessThan={"aws:CurrentTime": "2030-01-01T00:00:00Z"}, Null={"aws:userid": "false"}
            )
        ),
        text({**ALLOW, "Action": ["s3:GetObject", "kms:*"], "Resource": "arn:aws:s3:::bucket/*"}),
    ],
)
def test_takes(policy: str) -> None:
    checked = check_identity_policy(policy)
    assert json.loads(checked.text) == json.loads(policy)
    assert checked.warnings == ()


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("", "not valid JSON"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "not valid JSON|nested too deeply|longer than"),
        ('{"Statement": [], "Statement": []}', "twice"),
        (text(), "no Statement"),
        (text(ALLOW, Version="2012-10-18"), 'expected "2012-10-17"'),
        (text(ALLOW, Statements=[]), "element 'Statements'"),
        ('{"Version": "2012-10-17", "Statement": ["x"]}', "Statement 1 .* not an object"),
        (text({**ALLOW, "Principal": "*"}), "cannot have Principal.*trust policy"),
        (text({**ALLOW, "NotPrincipal": "*"}), "cannot have NotPrincipal"),
        (text({**ALLOW, "Actions": []}), "no element 'Actions'; did you mean Action?"),
        (text({**ALLOW, "Effect": "allow"}), 'Effect is \'allow\'; expected "Allow" or "Deny"'),
        (text(without(ALLOW, "Effect")), "Effect is None"),
        (text(without(ALLOW, "Action")), "Action or NotAction is missing"),
        (text(without(ALLOW, "Resource")), "Resource or NotResource is missing"),
        (text({**ALLOW, "NotAction": "*"}), "cannot be used together"),
        (text({**ALLOW, "NotResource": "*"}), "cannot be used together"),
        (text({**ALLOW, "Action": []}), "non-empty"),
        (text({**ALLOW, "Action": 1}), "a string or a non-empty list of strings"),
        (text({**ALLOW, "Action": "GetImageSet"}), "'GetImageSet' is not an action.*SERVICE:NAME"),
        (text({**ALLOW, "Action": "medical-*:GetImageSet"}), "is not an action"),
        (text({**ALLOW, "Resource": "datastore/x"}), "not an ARN"),
        (text({**ALLOW, "Resource": "arn:aws:medical-*:*:*:x"}), "no wildcards"),
        (text({**ALLOW, "Resource": "arn:aws:medical-imaging:::datastore/${aws:username"}), "closing brace"),
        (
            text({**ALLOW, "Resource": "arn:aws:medical-imaging:::datastore/${user name}"}),
            "not a policy variable",
        ),
        (text({**ALLOW, "Sid": "my statement"}), "letters and digits"),
        (text({**ALLOW, "Sid": "A"}, {**ALLOW, "Sid": "A"}), "must be unique"),
        (text({**ALLOW, "Condition": []}), "Condition is not an object"),
        (text(conditioned(StringEqual={"aws:userid": "x"})), "did you mean StringEquals?"),
        (text(conditioned(StringEquals="x")), "condition keys and their values"),
        (text(conditioned(StringEquals={})), "condition keys and their values"),
        (text(conditioned(StringEquals={"aws:userid": []})), "no value"),
        (text(conditioned(StringEquals={"aws:userid": {}})), "not a valid condition value"),
        (text(conditioned(StringEquals={"aws:SourceIP4": "x"})), "SourceIP4 is not supported.*aws:SourceIp?"),
        (text(conditioned(StringEquals={"aws:ResourceTag/": "x"})), "not supported"),
        (text(conditioned(NumericEquals={"aws:EpochTime": "x"})), "expects a number, not 'x'"),
        (text(conditioned(DateEquals={"aws:CurrentTime": "today"})), "expects a date"),
        (text(conditioned(DateEquals={"aws:CurrentTime": "2026-13-01"})), "expects a date"),
        (text(conditioned(Bool={"aws:SecureTransport": "yes"})), "true or false"),
        (text(conditioned(IpAddress={"aws:SourceIp": "10.0.0"})), "an address or a network"),
        (text(conditioned(ArnLike={"aws:SourceArn": "arn:aws:s3"})), "not an ARN"),
        (text(conditioned(NullIfExists={"aws:userid": "true"})), "Null cannot be combined"),
        (text(conditioned(IpAddress={"aws:SourceIp": "${aws:username}"})), "does not support policy"),
        (text(conditioned(StringEquals={"aws:userid": "${aws:Moon}"})), "aws:moon.* is not supported"),
        (text({**ALLOW, "Resource": ["arn:aws:s3:::" + "x" * 11_000]}), "longer than"),
    ],
)
def test_refuses(policy: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why.replace("?", r"\?").replace("|", "|")):
        check_identity_policy(policy)


def test_names_the_statement_that_is_wrong() -> None:
    with pytest.raises(ConfigurationError, match=r"Statement 2 of an identity policy \(Second\): Effect"):
        check_identity_policy(text(ALLOW, {**ALLOW, "Sid": "Second", "Effect": "Maybe"}))
    with pytest.raises(ConfigurationError, match="Statement 1 of a session policy"):
        check_session_policy(text({**ALLOW, "Effect": "Maybe"}))


def warnings(policy: str) -> str:
    checked: ValidatedPolicy = check_identity_policy(policy)
    return " ".join(checked.warnings)


def test_warns_of_what_is_no_fault_but_probably_a_mistake() -> None:
    assert "did you mean medical-imaging:GetImageFrame?" in warnings(
        text({**ALLOW, "Action": "medical-imaging:GetImageFram"})
    )
    assert "not match any action" in warnings(text({**ALLOW, "Action": "medical-imaging:Fly"}))
    old = text(
        {**ALLOW, "Resource": "arn:aws:medical-imaging:*:*:datastore/${aws:username}"}, Version="2008-10-17"
    )
    assert "2012-10-17" in warnings(old)


@pytest.mark.parametrize(
    "principal",
    ["*", {"AWS": "*"}, {"AWS": "000000000000"}, {"AWS": ["arn:aws:iam::000000000000:root"]},
     {"AWS": "arn:aws:iam::000000000000:user/ana", "Service": ["medical-imaging.us-east-1.amazonaws.com"]},
     {"Federated": "arn:aws:iam::000000000000:saml-provider/x"}],
)  # fmt: skip
def test_takes_a_trust_policy(principal: object) -> None:
    check_trust_policy(text({**TRUST, "Principal": principal}))


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ({**TRUST, "Resource": "*"}, "cannot have Resource"),
        (without(TRUST, "Principal"), "Principal is missing"),
        ({**TRUST, "Principal": {}}, "Principal is empty"),
        ({**TRUST, "Principal": "ana"}, "must be"),
        ({**TRUST, "Principal": {"AWS": "ana"}}, "not a principal"),
        ({**TRUST, "Principal": {"AWS": "arn:aws:iam::000000000000:user/*"}}, "without wildcards"),
        ({**TRUST, "Principal": {"Servant": "x.y"}}, "no kind of principal"),
        ({**TRUST, "Principal": {"Service": "lambda"}}, "not a service"),
        (without(TRUST, "Principal", NotPrincipal={"AWS": "000000000000"}), "NotPrincipal"),
        ({**TRUST, "Action": "medical-imaging:GetImageSet"}, "about sts actions"),
        (without(TRUST, "Action"), "Action or NotAction is missing"),
        ({**TRUST, "Condition": {"StringEquals": {"sts:ExternalID": []}}}, "no value"),
    ],
)
def test_refuses_a_trust_policy(statement: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        check_trust_policy(text(statement))
