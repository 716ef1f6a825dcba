"""What clients meet: authorizers, DICOMweb, the console and its sign-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightwell.setting_groups.declaration import setting
from lightwell.setting_groups.server import ServerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceSettings(ServerSettings):
    """What clients meet: authorizers, DICOMweb, the console and its sign-in."""

    authorizers_dir: Path | None = setting(
        None, "folder with the modules of `python:` authorizers; DATA/authorizers if unset"
    )
    authorizer_hosts: str | None = setting(
        None,
        "comma-separated names, addresses and networks at which authorizers may be called by http(s); if "
        "unset, this machine, and with https:// any public address",
    )
    authorizer_processes: int = setting(4, "maximum processes per `python:` authorizer in each HTTP worker")
    authorizer_cache: int = setting(0, "seconds to cache an authorizer's decision; 0 disables the cache")
    authorizer_leeway: int = setting(
        0, "seconds of clock difference to tolerate when checking tokens; at most 60"
    )
    expired_token_status: str = setting(
        "403",
        "status of a request with an expired bearer token: 403 as at AWS, or 401, on which viewers renew it",
        choices=("403", "401"),
    )
    ohif: Path | None = setting(
        None,
        "folder of an unpacked OHIF viewer (npm's @ohif/app, package/dist) to serve below /ohif/; "
        "DATA/ohif, where `lightwell ohif install` puts it, if unset",
    )
    empty_search: str = setting(
        "200", "status of a DICOMweb search without matches: 200 with [], or 204", choices=("200", "204")
    )
    retrieve_instance_as: str = setting(
        "single",
        "how a client that accepts anything gets one instance over DICOMweb: single, as application/dicom as "
        "at AWS, or multipart, as PS3.18 has it and Orthanc needs it",
        choices=("single", "multipart"),
    )
    strict_queries: bool = setting(
        False,
        "true: refuse what HealthImaging does not know in a DICOMweb search: unknown parameters, a limit "
        "above 1000, keywords in other letters, optional match keys, empty and multiple value matching",
    )
    oidc_issuer: str | None = setting(
        None, "OpenID provider whose people may sign in to the console and take roles, as its tokens name it"
    )
    oidc_client_id: str | None = setting(None, "client ID of the console at that provider, a public client")
    oidc_audiences: str | None = setting(
        None, "comma-separated IDs of other clients whose tokens are accepted for roles"
    )
    oidc_scope: str = setting("openid profile email", "scopes that the console asks that provider for")
    oidc_ca: Path | None = setting(
        None, "certificates of an authority, PEM, that the provider's is trusted by as well"
    )
    failed_proofs: int = setting(
        100,
        "signatures, tokens and links a minute that cannot be verified, from one address or for one key, "
        "above which others of that kind get 429 and an event tells of them; 0 means never",
    )
    cors_origins: str = setting("*", "comma-separated origins that browsers may call from")
    metadata_transfer_syntax: str = setting(
        "on", "on: include TransferSyntaxUID (0002,0010) in DICOMweb metadata", choices=("on", "off")
    )
