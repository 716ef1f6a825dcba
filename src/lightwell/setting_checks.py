"""What is wrong with settings, apart from their types, which `setting_values` sees to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_network
from typing import TYPE_CHECKING

from lightwell.setting_urls import (
    database_fault,
    endpoint_fault,
    feed_fault,
    issuer_fault,
    public_fault,
    storage_fault,
    syslog_fault,
)
from lightwell.setting_values import split_list

if TYPE_CHECKING:
    from lightwell.settings import Settings

LEAST_AUDIT_DAYS = 30
"""Somebody has to have a chance to read the audit trail before it goes."""

_HOST = re.compile(r"(?!-)[A-Za-z0-9._-]{1,253}")

_URLS = {
    "public_url": public_fault,
    "database_url": database_fault,
    "database_direct_url": database_fault,
    "database_replica_url": database_fault,
    "storage_url": storage_fault,
    "storage_endpoint_url": endpoint_fault,
    "s3_endpoint_url": endpoint_fault,
    "kms_endpoint_url": endpoint_fault,
    "oidc_issuer": issuer_fault,
    "audit_syslog": syslog_fault,
    "audit_fhir": feed_fault,
}


def faults(given: Settings) -> Iterator[tuple[str | None, str]]:
    """The name of each setting that is wrong and the rest of a sentence; without a name, a whole sentence."""
    if not re.fullmatch(r"\d{12}", given.account_id):
        yield "account_id", f"is {given.account_id!r}; expected 12 digits"
    if not re.fullmatch(r"[a-z0-9-]{1,32}", given.region):
        yield "region", f"is {given.region!r}; expected a name such as us-east-1"
    for name in ("port", "status_port"):
        if (port := getattr(given, name)) > 65535:
            yield name, f"is {port}; expected 0 to 65535"
    if (given.root_access_key_id is None) != (given.root_secret_access_key is None):
        yield None, "root_access_key_id and root_secret_access_key must be set together"
    if given.root_access_key_id and not re.fullmatch(r"\w{16,128}", given.root_access_key_id, re.ASCII):
        yield "root_access_key_id", "must be 16 to 128 letters, digits or underscores"
    if 0 < given.audit_keep < LEAST_AUDIT_DAYS:
        yield "audit_keep", f"is {given.audit_keep}; expected at least {LEAST_AUDIT_DAYS} days, or 0 for ever"
    if given.secret_key is not None and given.secret_key_file is not None:
        yield None, "secret_key and secret_key_file must not be set together"
    if (given.tls_cert is None) != (given.tls_key is None):
        yield None, "tls_cert and tls_key must be set together"
    if given.tls_client_certs != "off" and (given.tls_client_ca is None or given.tls_cert is None):
        yield (
            "tls_client_certs",
            f"is {given.tls_client_certs}, which needs tls_client_ca, tls_cert and tls_key",
        )
    if given.tls_client_ca is not None and given.tls_client_certs == "off":
        yield "tls_client_ca", "is set, but tls_client_certs is off: set it to optional or required"
    if given.encryption == "always" and given.key_provider == "none":
        yield "encryption", "is always, which needs a key_provider"
    if given.key_provider == "aws-kms" and find_spec("boto3") is None:
        yield "key_provider", "is aws-kms, which needs boto3: `pip install lightwell[kms]`"
    is_shared = not given.database.startswith("sqlite:")
    is_local = given.key_provider == "local"
    if given.encryption == "always" and is_local and is_shared and given.encryption_key_file is None:
        yield "encryption", "is always, which needs encryption_key_file, a file that all servers have"
    for name, fault in _URLS.items():
        url = getattr(given, name)
        if url and (words := fault(url)):
            yield name, words
    for text in split_list(given.trusted_proxies):
        try:
            network = ip_network(text)
        except ValueError as error:
            yield "trusted_proxies", f"must list addresses and networks such as 10.0.0.0/8: {error}"
        else:
            if network.prefixlen == 0:
                yield "trusted_proxies", f"contains {text}, which would trust headers from anyone"
    for text in split_list(given.authorizer_hosts):
        if not _HOST.fullmatch(text) and not _is_network(text):
            yield (
                "authorizer_hosts",
                f"lists {text[:80]!r}; expected names, addresses, networks; no ports",
            )
    for name in ("database_direct_url", "database_replica_url"):
        if str(getattr(given, name)).startswith("sqlite:"):
            yield name, "must be postgresql://…: SQLite has neither poolers nor replicas"
    if given.database_replica_lag < 2:
        yield "database_replica_lag", "must be 2 or more: it is looked at each second"
    if not 1 <= given.database_pool <= 1000:
        yield "database_pool", f"is {given.database_pool}; expected 1 to 1000"
    if given.worker_memory < 256 << 20:
        yield "worker_memory", "must be 256m or more"
    if given.authorizer_leeway > 60:
        yield "authorizer_leeway", f"is {given.authorizer_leeway}; expected 0 to 60 seconds"
    if given.authorizer_processes < 1:
        yield "authorizer_processes", "must be 1 or more"
    if (given.oidc_issuer is None) != (given.oidc_client_id is None):
        yield None, "oidc_issuer and oidc_client_id must be set together"
    if "openid" not in given.oidc_scope.split():
        yield "oidc_scope", "must contain openid: without it the provider issues no ID token"


def _is_network(text: str) -> bool:
    try:
        ip_network(text.strip("[]"))
    except ValueError:
        return False
    return True
