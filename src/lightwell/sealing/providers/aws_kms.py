"""Data keys wrapped by AWS KMS, or what speaks its API, through boto3.

The KMS key of a data store is its ``kmsKeyArn``, else that of the settings. The encryption context is its id,
the number of the data key and, by that, what CloudTrail shows of each use. A wrapped key is what KMS returns.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

from lightwell.errors import ConfigurationError
from lightwell.sealing.providers.interface import (
    DataKey,
    KeyProviderAwayError,
    KeyProviderError,
    KeyPurpose,
)
from lightwell.sealing.segments import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

_AWAY = frozenset(
    (
        *("DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException"),
        *("LimitExceededException", "ThrottlingException", "ServiceUnavailable", "InternalFailure"),
    )
)
_SECONDS = 5


class AwsKmsKeys:
    """The provider ``aws-kms``. ``key`` is the ARN, id or alias of the KMS key of data stores without a
    ``kmsKeyArn``, None where these cannot be encrypted.

    Credentials are found as boto3 finds them: ``AWS_…`` variables, a profile, a role of the machine.
    Raises `ConfigurationError` where boto3 is not installed.
    """

    name = "aws-kms"

    def __init__(self, key: str | None, region: str, endpoint_url: str | None) -> None:
        try:
            import boto3
            import botocore.config
        except ImportError:
            raise ConfigurationError(
                "key_provider = aws-kms needs boto3: install it with `pip install lightwell[kms]`"
            ) from None
        self._key = key
        config = botocore.config.Config(
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
            retries={"total_max_attempts": 2, "mode": "standard"},
        )
        self._open: Callable[[str], Any] = lambda place: boto3.client(
            "kms", region_name=place, endpoint_url=endpoint_url, config=config
        )
        self._region = region
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def keeper(self, purpose: KeyPurpose) -> str:
        return self._named(purpose)

    def make(self, purpose: KeyPurpose) -> DataKey:
        key = self._named(purpose)
        answer = self._call(
            "generate_data_key", purpose, KeyId=key, NumberOfBytes=KEY, EncryptionContext=_context(purpose)
        )
        return DataKey(bytes(answer["Plaintext"]), bytes(answer["CiphertextBlob"]), key)

    def wrap(self, plain: bytes, purpose: KeyPurpose) -> tuple[bytes, str]:
        key = self._named(purpose)
        answer = self._call(
            "encrypt", purpose, KeyId=key, Plaintext=plain, EncryptionContext=_context(purpose)
        )
        return bytes(answer["CiphertextBlob"]), key

    def unwrap(self, wrapped: bytes, purpose: KeyPurpose, keeper: str) -> bytes:
        answer = self._call(
            "decrypt",
            purpose,
            KeyId=keeper,
            CiphertextBlob=wrapped,
            EncryptionContext=_context(purpose),
        )
        return bytes(answer["Plaintext"])

    def _named(self, purpose: KeyPurpose) -> str:
        key = purpose.kms_key_arn or self._key
        if key is None:
            raise KeyProviderError(
                f"The data store {purpose.datastore} has no kmsKeyArn, and kms_key is not set: set it to the "
                "KMS key of data stores that name none"
            )
        return key

    def _call(self, operation: str, purpose: KeyPurpose, **parameters: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        key = parameters["KeyId"]
        try:
            return getattr(self._client(key), operation)(**parameters)
        except ClientError as error:
            _explain(error, key, purpose)
        except NoCredentialsError:
            raise KeyProviderError(
                f"AWS KMS cannot be asked for the key {key}: there are no AWS credentials"
            ) from None
        except BotoCoreError as error:
            raise KeyProviderAwayError(
                f"AWS KMS cannot be asked for the key {key} of data store {purpose.datastore} now: {error}"
            ) from None

    def _client(self, key: str) -> Any:
        parts = key.split(":")
        region = parts[3] if len(parts) > 5 and parts[3] else self._region
        with self._lock:
            if region not in self._clients:
                self._clients[region] = self._open(region)
            return self._clients[region]


def _explain(error: Any, key: str, purpose: KeyPurpose) -> NoReturn:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = error.response.get("Error", {}).get("Message", "") or code
    if code in _AWAY or status >= 500:
        raise KeyProviderAwayError(
            f"AWS KMS does not answer for the key {key} of data store {purpose.datastore} now: {said}"
        ) from None
    raise KeyProviderError(
        f"AWS KMS refuses the key {key} of data store {purpose.datastore} ({code}): {said}. Check that the "
        "key is enabled, and that this server may use it: kms:GenerateDataKey, kms:Decrypt and kms:Encrypt"
    ) from None


def _context(purpose: KeyPurpose) -> dict[str, str]:
    return {"lightwell:datastore": purpose.datastore, "lightwell:key": str(purpose.number)}
