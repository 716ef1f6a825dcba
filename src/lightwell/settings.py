"""Settings: flags > environment > ``lightwell.toml`` > defaults, and the source of each value.

Each field of `Settings` is one setting. Its environment variable is ``LIGHTWELL_`` followed by the name in
capitals; its key in ``lightwell.toml`` is the name itself. No other module reads the environment.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from lightwell.errors import ConfigurationError
from lightwell.setting_checks import faults
from lightwell.setting_file import read_settings_file
from lightwell.setting_urls import masked_url
from lightwell.setting_values import convert, split_list

PREFIX = "LIGHTWELL_"
FILE = "lightwell.toml"
MiB = 1 << 20
GiB = 1 << 30

# The limits that `LIGHTWELL_QUOTAS=aws` sets where there would be none. Source: devguide/endpoints-quotas.
AWS_QUOTAS: dict[str, int] = {
    "import_max_files": 5_000,
    "import_max_bytes": 10 * GiB,
    "import_max_file_bytes": 4 * GiB,
    "import_max_folders": 10_000,
}


def _setting(default: Any, help: str, *, secret: bool = False, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "secret": secret, "choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All effective settings. Sizes are bytes, times are seconds; 0 means no limit where the help says so."""

    data: Path = _setting(Path("lightwell-data"), "folder for the database, stored objects, buckets and keys")
    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8085, "port to listen on; 0 picks a free one")
    workers: int = _setting(0, "HTTP worker processes; 0 means one per core")
    work: str = _setting(
        "on",
        "off: serve HTTP only, and leave import jobs and all other background work to `lightwell worker`",
        choices=("on", "off"),
    )
    pool: str = _setting(
        "own",
        "codec workers that serve requests: own, or none, which refuses what needs one, such as uploads and "
        "rendered images",
        choices=("own", "none"),
    )
    codec_workers: int = _setting(
        0, "processes that read and encode DICOM files, per kind of work; 0 means one per core"
    )
    status_port: int = _setting(
        0, "port at which `lightwell worker` answers /healthz, /readyz and /metrics; 0 means none"
    )
    status_host: str = _setting("127.0.0.1", "address of that port")
    public_url: str | None = _setting(
        None, "URL at which clients reach the server, for links; taken from each request if unset"
    )
    tls_cert: Path | None = _setting(None, "TLS certificate chain, PEM")
    tls_key: Path | None = _setting(None, "private key of the TLS certificate, PEM")
    insecure_http: bool = _setting(
        False, "true: listen without TLS even on addresses that other machines can reach"
    )
    trusted_proxies: str | None = _setting(
        None,
        "comma-separated addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto "
        "headers are trusted",
    )
    region: str = _setting("us-east-1", "Region in ARNs and events")
    account_id: str = _setting("000000000000", "account ID in ARNs and events")
    root_access_key_id: str | None = _setting(
        None, "ID of the root access key; created on first start if unset"
    )
    root_secret_access_key: str | None = _setting(None, "secret of the root access key", secret=True)
    secret_key: str | None = _setting(
        None, "key that encrypts secrets in the database; DATA/secret.key if unset", secret=True
    )
    secret_key_file: Path | None = _setting(
        None, "file with that key instead, such as a mounted secret; all servers of a database need one key"
    )
    database_url: str | None = _setting(None, "sqlite:///PATH or postgresql://…; DATA/lightwell.db if unset")
    database_direct_url: str | None = _setting(
        None, "the same PostgreSQL database without a pooler between, to be notified; database_url if unset"
    )
    database_replica_url: str | None = _setting(
        None, "read replica of PostgreSQL for searches and lists, which may then miss the last changes"
    )
    database_replica_lag: int = _setting(
        5, "seconds that the replica may be behind; otherwise the primary is asked"
    )
    database_pool: int = _setting(
        8, "connections to PostgreSQL that each process keeps open; as many again under load"
    )
    database_pooler: str = _setting(
        "none",
        "what stands between server and PostgreSQL: none, or transaction, such as PgBouncer in that mode",
        choices=("none", "transaction"),
    )
    database_prepared: str = _setting(
        "auto",
        "prepared statements on PostgreSQL; auto: on, but off behind a pooler",
        choices=("auto", "on", "off"),
    )
    storage_url: str | None = _setting(None, "file:///PATH or s3://BUCKET/PREFIX; DATA/objects if unset")
    storage_endpoint_url: str | None = _setting(None, "S3 endpoint for s3:// storage; AWS if unset")
    storage_cache_dir: Path | None = _setting(
        None, "folder that caches what is read from s3:// storage; DATA/cache if unset"
    )
    storage_cache_bytes: int = _setting(
        8 * GiB, "maximum bytes of disk for that cache; 0 means a small cache in memory only"
    )
    buckets_dir: Path | None = _setting(None, "folder whose subfolders are buckets; DATA/buckets if unset")
    s3_endpoint_url: str | None = _setting(
        None, "S3 endpoint for buckets that have no local folder; AWS if unset"
    )
    console_bucket: str | None = _setting(
        None,
        "bucket for files that the console uploads; the folder `lightwell-console` if unset, and needed "
        "where storage_url is of S3",
    )
    allow_other_user: bool = _setting(
        False, "true: work on data owned by another user, who may be unable to read what is written"
    )
    authorizers_dir: Path | None = _setting(
        None, "folder with the modules of `python:` authorizers; DATA/authorizers if unset"
    )
    authorizer_processes: int = _setting(4, "maximum processes per `python:` authorizer in each HTTP worker")
    authorizer_cache: int = _setting(0, "seconds to cache an authorizer's decision; 0 disables the cache")
    authorizer_leeway: int = _setting(
        0, "seconds of clock difference to tolerate when checking tokens; at most 60"
    )
    expired_token_status: str = _setting(
        "403",
        "status of a request with an expired bearer token: 403 as at AWS, or 401, on which viewers renew it",
        choices=("403", "401"),
    )
    ohif: Path | None = _setting(
        None,
        "folder of an unpacked OHIF viewer (npm's @ohif/app, package/dist) to serve below /ohif/; "
        "DATA/ohif, where `lightwell ohif install` puts it, if unset",
    )
    empty_search: str = _setting(
        "200", "status of a DICOMweb search without matches: 200 with [], or 204", choices=("200", "204")
    )
    retrieve_instance_as: str = _setting(
        "single",
        "how a client that accepts anything gets one instance over DICOMweb: single, as application/dicom as "
        "at AWS, or multipart, as PS3.18 has it and Orthanc needs it",
        choices=("single", "multipart"),
    )
    strict_queries: bool = _setting(
        False,
        "true: refuse what HealthImaging does not know in a DICOMweb search: unknown parameters, a limit "
        "above 1000, keywords in other letters, optional match keys, empty and multiple value matching",
    )
    oidc_issuer: str | None = _setting(
        None, "OpenID provider whose people may sign in to the console and take roles, as its tokens name it"
    )
    oidc_client_id: str | None = _setting(None, "client ID of the console at that provider, a public client")
    oidc_audiences: str | None = _setting(
        None, "comma-separated IDs of other clients whose tokens are accepted for roles"
    )
    oidc_scope: str = _setting("openid profile email", "scopes that the console asks that provider for")
    oidc_ca: Path | None = _setting(
        None, "certificates of an authority, PEM, that the provider's is trusted by as well"
    )
    cors_origins: str = _setting("*", "comma-separated origins that browsers may call from")
    metadata_transfer_syntax: str = _setting(
        "on", "on: include TransferSyntaxUID (0002,0010) in DICOMweb metadata", choices=("on", "off")
    )
    engine: str = _setting(
        "auto",
        "what queues the work of import jobs; auto: pgqueuer on PostgreSQL, the tables themselves on SQLite",
        choices=("auto", "table", "pgqueuer", "local"),
    )
    quotas: str = _setting("off", "aws: enforce the published quotas", choices=("off", "aws"))
    throttle: str = _setting("off", "aws: enforce the published rates and bursts", choices=("off", "aws"))
    import_max_files: int = _setting(0, "maximum files in one import job; 0 means no limit")
    import_max_bytes: int = _setting(0, "maximum bytes in one import job; 0 means no limit")
    import_max_file_bytes: int = _setting(0, "maximum bytes in one file; 0 means no limit")
    import_max_folders: int = _setting(0, "maximum nested folders in one import job; 0 means no limit")
    inflate_max_bytes: int = _setting(16 * GiB, "maximum bytes that a deflated or zipped file may expand to")
    store_max_bytes: int = _setting(1 * GiB, "maximum bytes of DICOM data in one DICOMweb store request")
    worker_memory: int = _setting(
        1 * GiB, "maximum bytes of memory per codec worker; a file that needs more fails"
    )
    worker_sandbox: str = _setting(
        "on",
        "off: run codec workers without seccomp and Landlock, if these cause trouble",
        choices=("on", "off"),
    )
    fetch_ahead_files: int = _setting(32, "files of an import fetched from S3 ahead of each codec worker")
    fetch_ahead_memory: int = _setting(
        64 * MiB, "maximum bytes of memory that they take; files above 16 MiB go to DATA/spool"
    )
    fetch_ahead_disk: int = _setting(
        4 * GiB, "maximum bytes that they take there; one file alone may be larger"
    )
    upload_disk: int = _setting(
        1 * GiB, "bytes in DATA/spool that wait for their upload to S3, above which a codec worker waits, too"
    )
    upload_memory: int = _setting(128 * MiB, "maximum bytes of memory for such uploads, for all workers")
    file_timeout: int = _setting(600, "maximum seconds of processing for one file")
    deliver_events: str = _setting(
        "on",
        "off: leave the file of delivered events to other servers and workers of the database",
        choices=("on", "off"),
    )
    events_file: Path | None = _setting(None, "file of delivered events; DATA/events.ndjson if unset")
    events_rotate_bytes: int = _setting(64 * MiB, "size at which that file is begun anew; 0 means never")
    collect_interval: int = _setting(60, "seconds between rounds of the garbage collector")
    checksum_share: int = _setting(
        5,
        "percent of its time that a server may spend on checksums of frames stored before there were any",
    )
    collect_grace: int = _setting(
        86_400,
        "seconds to keep bytes that nothing refers to; longer than any one chunk of an import takes",
    )
    stray_interval: int = _setting(
        86_400, "seconds in which all stored packs are compared with the database; 0 means never"
    )
    keep_events: int = _setting(
        604_800, "seconds to keep delivered events in the database, too; 0 means forever"
    )
    keep_client_tokens: int = _setting(
        2_592_000, "seconds for which a request repeated with its client token is recognized; 0 means forever"
    )
    keep_outcomes: int = _setting(
        7_776_000,
        "seconds to keep what became of each file of a finished job in the database, too; 0 means forever",
    )
    log_level: str = _setting("info", "minimum level to log", choices=("debug", "info", "warning", "error"))
    log_format: str = _setting(
        "auto", "auto: text on a terminal, JSON otherwise", choices=("auto", "text", "json")
    )

    sources: Mapping[str, str] = field(default_factory=dict, repr=False, metadata={"internal": True})
    file: Path | None = field(default=None, repr=False, metadata={"internal": True})
    """The absolute path of the file that was read; None if there is none."""

    # Derived locations -------------------------------------------------------------------------------------

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data.resolve() / 'lightwell.db'}"

    @property
    def storage(self) -> str:
        return self.storage_url or f"file://{self.data.resolve() / 'objects'}"

    @property
    def upload_bucket(self) -> str:
        """`console_bucket`, or else a name that is for a folder only: in S3 it may be a stranger's."""
        return self.console_bucket or "lightwell-console"

    def read_secret_key(self) -> str | None:
        """The secret key as text, by value or from its file; None where it is in the data folder.

        Raises `ConfigurationError` if the file cannot be read.
        """
        if self.secret_key_file is None:
            return self.secret_key
        try:
            with self.secret_key_file.open(encoding="ascii") as stream:
                return stream.read(4096)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ConfigurationError(
                f"The file {self.secret_key_file} of secret_key_file cannot be read: {reason}; check "
                "the path, its owner and its mode"
            ) from None

    @property
    def storage_cache(self) -> Path:
        return self.storage_cache_dir or self.data / "cache"

    @property
    def buckets(self) -> Path:
        return self.buckets_dir or self.data / "buckets"

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of ``trusted_proxies``."""
        return tuple(ip_network(text) for text in split_list(self.trusted_proxies))

    @property
    def oidc_clients(self) -> frozenset[str]:
        """The clients of the OpenID provider whose tokens are accepted."""
        return frozenset([*split_list(self.oidc_client_id), *split_list(self.oidc_audiences)])

    @property
    def authorizers(self) -> Path:
        return self.authorizers_dir or self.data / "authorizers"

    @property
    def ohif_folder(self) -> Path:
        return self.ohif or self.data / "ohif"

    @property
    def events(self) -> Path:
        return self.events_file or self.data / "events.ndjson"

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def http_workers(self) -> int:
        return self.workers or self.cores

    @property
    def codec_processes(self) -> int:
        return self.codec_workers or self.cores


FIELDS = {f.name: f for f in dataclasses.fields(Settings) if not f.metadata.get("internal")}


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """The effective settings.

    ``flags`` holds the values given on the command line (None counts as absent), ``environ`` defaults to the
    environment of the process, ``file`` to ``lightwell.toml`` in the current folder, if there is one. Raises
    `ConfigurationError` naming the setting, its source and the expected value, or if anyone but this user and
    root can write to the file.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    path = file or Path(FILE)
    table = read_settings_file(path, required=file is not None)
    for key, raw in (table or {}).items():
        name = _known(key, f"{key} in {path}", str)
        values[name], sources[name] = _convert(name, raw, f"{path}"), f"{path.absolute()}"
    for variable, raw in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(f"{PREFIX}TEST_"):
            continue
        name = _known(variable.removeprefix(PREFIX).lower(), variable, lambda n: PREFIX + n.upper())
        if raw == "":
            continue
        values[name], sources[name] = _convert(name, raw, variable), variable
    for name, raw in (flags or {}).items():
        if raw is not None:
            flag = "--" + name.replace("_", "-")
            values[name], sources[name] = _convert(name, raw, flag), flag
    if values.get("quotas") == "aws":
        for name, limit in AWS_QUOTAS.items():
            if name not in values:
                values[name], sources[name] = limit, "quotas = aws"
    return _checked(Settings(**values, sources=sources, file=None if table is None else path.absolute()))


def function_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of an administrator's ``python:`` authorizer: without the server's keys and secrets."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if not name.startswith((PREFIX, "AWS_"))}


# What a program needs to start and to format its output; nothing that grants access to anything.
_PROGRAM = frozenset(("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"))
_PROGRAM_PREFIXES = ("LC_", "PYTHON")


def worker_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that reads untrusted bytes: no keys, no secrets."""
    environ = os.environ if environ is None else environ

    def may_have(name: str) -> bool:
        return name in _PROGRAM or name.startswith(_PROGRAM_PREFIXES)

    return {name: value for name, value in environ.items() if may_have(name)}


def masked(name: str, value: object) -> str:
    """``value`` for display: secrets, and passwords in URLs, are replaced by asterisks."""
    if value is None:
        return ""
    if FIELDS[name].metadata["secret"]:
        return "********"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return masked_url(text) if "://" in text else text


def _convert(name: str, raw: Any, where: str) -> Any:
    setting = FIELDS[name]
    return convert(name, raw, where, str(setting.type), setting.metadata["choices"])


def _known(name: str, where: str, spell: Any) -> str:
    if name in FIELDS:
        return name
    close = difflib.get_close_matches(name, FIELDS, n=1)
    hint = f"; did you mean {spell(close[0])}?" if close else "; `lightwell config show` lists the settings"
    raise ConfigurationError(f"unknown setting {where}{hint}")


def _checked(settings: Settings) -> Settings:
    for name, words in faults(settings):
        where = "" if name is None else f"{name} from {settings.sources.get(name, 'the defaults')} "
        raise ConfigurationError(where + words)
    return settings
