"""What is encrypted at rest, and who keeps the key of the keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightwell.setting_groups.audit import AuditSettings
from lightwell.setting_groups.declaration import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionSettings(AuditSettings):
    """What is encrypted at rest, and who keeps the key of the keys."""

    encryption: str = setting(
        "off",
        "always: encrypt every data store; off: those that are created with a kmsKeyArn; "
        "volume: the same, and `doctor` is told that the disks are encrypted",
        choices=("off", "volume", "always"),
    )
    key_provider: str = setting(
        "local",
        "who keeps the key that encrypts the keys of data stores: local, a file; aws-kms, AWS KMS; "
        "none: nothing is encrypted",
        choices=("local", "aws-kms", "none"),
    )
    kms_key: str | None = setting(
        None,
        "ARN, id or alias of the KMS key of data stores without a kmsKeyArn, for key_provider = aws-kms",
    )
    kms_endpoint_url: str | None = setting(
        None, "URL of the key service, if it is not AWS's own in the Region of the key"
    )
    encryption_key_file: Path | None = setting(
        None,
        "file with that key; DATA/encryption.key if unset, which is made on SQLite only: all servers of a "
        "PostgreSQL database need the same, and encrypt nothing without",
    )
    key_cache: int = setting(3600, "seconds for which a key of a data store is kept in memory")
