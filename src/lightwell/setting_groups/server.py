"""Where the server listens, who it is, and where it keeps what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightwell.setting_groups.declaration import GiB, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the server listens, who it is, and where it keeps what it is given."""

    data: Path = setting(Path("lightwell-data"), "folder for the database, stored objects, buckets and keys")
    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8085, "port to listen on; 0 picks a free one")
    workers: int = setting(0, "HTTP worker processes; 0 means one per core")
    work: str = setting(
        "on",
        "off: serve HTTP only, and leave import jobs and all other background work to `lightwell worker`",
        choices=("on", "off"),
    )
    pool: str = setting(
        "own",
        "codec workers that serve requests: own, or none, which refuses what needs one, such as uploads and "
        "rendered images",
        choices=("own", "none"),
    )
    codec_workers: int = setting(
        0, "processes that read and encode DICOM files, per kind of work; 0 means one per core"
    )
    status_port: int = setting(
        0, "port at which `lightwell worker` answers /healthz, /readyz and /metrics; 0 means none"
    )
    status_host: str = setting("127.0.0.1", "address of that port")
    public_url: str | None = setting(
        None, "URL at which clients reach the server, for links; taken from each request if unset"
    )
    tls_cert: Path | None = setting(None, "TLS certificate chain, PEM")
    tls_key: Path | None = setting(None, "private key of the TLS certificate, PEM")
    tls_minimum: str = setting("1.2", "oldest version of TLS to offer", choices=("1.2", "1.3"))
    tls_client_ca: Path | None = setting(
        None, "certificates of authorities, and their CRLs, PEM, that client certificates must be of"
    )
    tls_client_certs: str = setting(
        "off",
        "whether clients are asked for certificates of tls_client_ca, besides their signatures",
        choices=("off", "optional", "required"),
    )
    hsts: int = setting(
        0,
        "seconds for which browsers that came by TLS are told never to come without it "
        "(Strict-Transport-Security); 0 means not to tell them",
    )
    insecure_http: bool = setting(
        False, "true: listen without TLS even on addresses that other machines can reach"
    )
    trusted_proxies: str | None = setting(
        None,
        "comma-separated addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto "
        "headers are trusted",
    )
    region: str = setting("us-east-1", "Region in ARNs and events")
    account_id: str = setting("000000000000", "account ID in ARNs and events")
    root_access_key_id: str | None = setting(
        None, "ID of the root access key; created on first start if unset"
    )
    root_secret_access_key: str | None = setting(None, "secret of the root access key", secret=True)
    secret_key: str | None = setting(
        None,
        "key that encrypts secrets in the database, or several while it is replaced, the newest first; "
        "DATA/secret.key if unset",
        secret=True,
    )
    secret_key_file: Path | None = setting(
        None, "file with that key instead, such as a mounted secret; all servers of a database need one key"
    )
    database_url: str | None = setting(None, "sqlite:///PATH or postgresql://…; DATA/lightwell.db if unset")
    database_direct_url: str | None = setting(
        None, "the same PostgreSQL database without a pooler between, to be notified; database_url if unset"
    )
    database_replica_url: str | None = setting(
        None, "read replica of PostgreSQL for searches and lists, which may then miss the last changes"
    )
    database_replica_lag: int = setting(
        5, "seconds that the replica may be behind; otherwise the primary is asked"
    )
    database_pool: int = setting(
        8, "connections to PostgreSQL that each process keeps open; as many again under load"
    )
    database_pooler: str = setting(
        "none",
        "what stands between server and PostgreSQL: none, or transaction, such as PgBouncer in that mode",
        choices=("none", "transaction"),
    )
    database_prepared: str = setting(
        "auto",
        "prepared statements on PostgreSQL; auto: on, but off behind a pooler",
        choices=("auto", "on", "off"),
    )
    require_page_checksums: bool = setting(
        False,
        "true: refuse to start on a database whose pages have no checksums, instead of a warning in the log",
    )
    storage_url: str | None = setting(None, "file:///PATH or s3://BUCKET/PREFIX; DATA/objects if unset")
    storage_endpoint_url: str | None = setting(None, "S3 endpoint for s3:// storage; AWS if unset")
    storage_cache_dir: Path | None = setting(
        None, "folder that caches what is read from s3:// storage; DATA/cache if unset"
    )
    storage_cache_bytes: int = setting(
        8 * GiB, "maximum bytes of disk for that cache; 0 means a small cache in memory only"
    )
    buckets_dir: Path | None = setting(None, "folder whose subfolders are buckets; DATA/buckets if unset")
    s3_endpoint_url: str | None = setting(
        None, "S3 endpoint for buckets that have no local folder; AWS if unset"
    )
    console_bucket: str | None = setting(
        None,
        "bucket for files that the console uploads; the folder `lightwell-console` if unset, and needed "
        "where storage_url is of S3",
    )
    allow_other_user: bool = setting(
        False, "true: work on data owned by another user, who may be unable to read what is written"
    )
