"""Keys of data stores under AWS KMS, which moto plays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from lightwell.errors import ConfigurationError
from lightwell.sealing.providers.aws_kms import AwsKmsKeys
from lightwell.sealing.providers.interface import KeyProviderAwayError, KeyProviderError, KeyPurpose
from tests.cli.running import lightwell_here
from tests.dicomweb.support.uploads import Store
from tests.support.ct_files import ct
from tests.support.server import REGION, running

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@dataclass(slots=True)
class Kms:
    server: ThreadedMotoServer
    url: str
    client: Any

    def key(self) -> str:
        return str(self.client.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kms]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    yield Kms(server, url, boto3.client("kms", region_name=REGION, endpoint_url=url))
    server.stop()


def test_keys_are_made_and_opened_for_their_data_store_alone(kms: Kms) -> None:
    arn, other = kms.key(), kms.key()
    keys = AwsKmsKeys(other, REGION, kms.url)
    purpose = KeyPurpose("a" * 32, 1, arn)
    made = keys.make(purpose)
    assert len(made.plain) == 32 and made.plain not in made.wrapped and made.keeper == arn
    assert keys.unwrap(made.wrapped, purpose, made.keeper) == made.plain
    for wrong in (replace(purpose, datastore="b" * 32), replace(purpose, number=2)):
        with pytest.raises(KeyProviderError):
            keys.unwrap(made.wrapped, wrong, made.keeper)
    wrapped, keeper = keys.wrap(made.plain, replace(purpose, kms_key_arn=None))
    assert keeper == other
    assert keys.unwrap(wrapped, purpose, keeper) == made.plain
    with pytest.raises(KeyProviderError, match="kms_key is not set"):
        AwsKmsKeys(None, REGION, kms.url).make(replace(purpose, kms_key_arn=None))


def test_a_key_that_is_not_there_or_forbidden_is_refused_and_a_service_that_is_away_is_said(kms: Kms) -> None:
    arn = kms.key()
    keys = AwsKmsKeys(None, REGION, kms.url)
    purpose = KeyPurpose("a" * 32, 1, arn)
    made = keys.make(purpose)
    missing = replace(purpose, kms_key_arn=f"{arn[:-12]}{'0' * 12}")
    with pytest.raises(KeyProviderError, match=r"refuses the key .*NotFound"):
        keys.make(missing)
    # Neither of which moto answers:
    answer = {"Error": {"Code": "AccessDeniedException", "Message": "not authorized to perform kms:Decrypt"}}
    for code in ("AccessDeniedException", "DisabledException"):
        answer["Error"]["Code"] = code
        with (
            mock.patch.object(keys, "_client") as client,
            pytest.raises(KeyProviderError, match=rf"{code}.*: not authorized .*key is enabled.* may use it"),
        ):
            client.return_value.decrypt.side_effect = ClientError(answer, "Decrypt")
            keys.unwrap(made.wrapped, purpose, arn)
    answer["Error"]["Code"] = "ThrottlingException"
    with mock.patch.object(keys, "_client") as client, pytest.raises(KeyProviderAwayError):
        client.return_value.decrypt.side_effect = ClientError(answer, "Decrypt")
        keys.unwrap(made.wrapped, purpose, arn)
    kms.server.stop()
    with pytest.raises(KeyProviderAwayError, match="cannot be asked"):
        keys.make(purpose)
    kms.server.start()


def test_without_boto3_it_says_what_to_install() -> None:
    with (
        mock.patch.dict("sys.modules", {"boto3": None}),
        pytest.raises(ConfigurationError, match=r"lightwell\[kms\]"),
    ):
        AwsKmsKeys(None, REGION, None)


def test_a_server_keeps_the_keys_of_its_data_stores_there_and_takes_them_from_the_file(
    kms: Kms, tmp_path: Path
) -> None:
    data, local = tmp_path / "data", {"LIGHTWELL_ENCRYPTION": "always"}
    done = lightwell_here("datastore", "create", "first", data=data, environ=local)
    assert done.status == 0, done.err
    done = lightwell_here("data", "keys", "rotate", "first", "--json", data=data, environ=local)
    assert done.status == 0 and json.loads(done.out)["number"] == 2, done.err
    there = {
        **local,
        **CREDENTIALS,
        "LIGHTWELL_KEY_PROVIDER": "aws-kms",
        "LIGHTWELL_KMS_KEY": kms.key(),
        "LIGHTWELL_KMS_ENDPOINT_URL": kms.url,
    }
    done = lightwell_here("data", "keys", "rewrap", data=data, environ=there)
    assert done.status == 0 and "wrapped 2 keys anew; 0 were so already" in done.out, done.out + done.err
    done = lightwell_here("data", "keys", "list", "--json", data=data, environ=there)
    listed = json.loads(done.out)
    assert [key["number"] for key in listed] == [1, 2]
    assert {(key["provider"], key["wrappedUnder"]) for key in listed} == {
        ("aws-kms", there["LIGHTWELL_KMS_KEY"])
    }
    done = lightwell_here("audit", "query", "--json", data=data, environ=there)
    assert done.out.count('"rotate"') and done.out.count('"rewrap"'), done.out[-2000:]
    (data / "encryption.key").unlink()  # needed no more
    with running(data, env=there) as server:
        client = server.client()
        arn = kms.key()
        named = client.create_datastore(datastoreName="named", kmsKeyArn=arn)["datastoreId"]
        for id in (listed[0]["datastoreId"], named):
            assert len(Store(server, id).store(ct(1, study="9" + id[:4].translate(DIGITS))).stored) == 1
        packs = list((data / "objects").rglob("*.pack"))
        assert len(packs) == 2 and all(path.read_bytes()[:4] == b"LWS1" for path in packs)
        with server.database() as db, db.read() as conn:
            keepers = conn.exec_driver_sql("SELECT DISTINCT keeper FROM data_key").scalars().all()
        assert set(keepers) == {there["LIGHTWELL_KMS_KEY"], arn}
        with pytest.raises(ClientError, match="refuses the key") as refused:
            client.create_datastore(datastoreName="lost", kmsKeyArn=f"{arn[:-12]}{'0' * 12}")
        assert refused.value.response["Error"]["Code"] == "ValidationException"
        (found,) = Store(server, named).sets()
        ask = {"datastoreId": named, "imageSetId": found["imageSetId"]}
        assert client.get_image_set_metadata(**ask)["imageSetMetadataBlob"].read()
        kms.server.stop()
        # Keys that are in memory are good for a while, and for all that they have sealed.
        frame = json.loads(server.send(server.signed("GET", f"{Store(server, named).path()}")).body)
        assert len(frame) == 1
        with pytest.raises(ClientError, match="cannot be asked") as away:
            client.create_datastore(datastoreName="late", kmsKeyArn=arn)
        assert away.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        kms.server.start()


DIGITS = str.maketrans("abcdef", "123456")
