"""Jobs, their limits, codec workers, and what is kept and collected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightwell.setting_groups.declaration import GiB, MiB, setting
from lightwell.setting_groups.interfaces import InterfaceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings(InterfaceSettings):
    """Jobs, their limits, codec workers, and what is kept and collected."""

    engine: str = setting(
        "auto",
        "what queues the work of import jobs; auto: pgqueuer on PostgreSQL, the tables themselves on SQLite",
        choices=("auto", "table", "pgqueuer", "local"),
    )
    quotas: str = setting("off", "aws: enforce the published quotas", choices=("off", "aws"))
    throttle: str = setting("off", "aws: enforce the published rates and bursts", choices=("off", "aws"))
    throttle_principal: int = setting(
        0, "requests a second that one caller may make, twice as many at once; 0 means no limit"
    )
    import_max_files: int = setting(0, "maximum files in one import job; 0 means no limit")
    import_max_bytes: int = setting(0, "maximum bytes in one import job; 0 means no limit")
    import_max_file_bytes: int = setting(0, "maximum bytes in one file; 0 means no limit")
    import_max_folders: int = setting(0, "maximum nested folders in one import job; 0 means no limit")
    metadata_max_bytes: int = setting(
        128 * MiB, "maximum bytes of the metadata of one instance, as JSON without its pixels; at most 256 MB"
    )
    inflate_max_bytes: int = setting(16 * GiB, "maximum bytes that a deflated or zipped file may expand to")
    store_max_bytes: int = setting(1 * GiB, "maximum bytes of DICOM data in one DICOMweb store request")
    worker_memory: int = setting(
        1 * GiB, "maximum bytes of memory per codec worker; a file that needs more fails"
    )
    worker_sandbox: str = setting(
        "on",
        "off: run codec workers without seccomp and Landlock, if these cause trouble",
        choices=("on", "off"),
    )
    fetch_ahead_files: int = setting(32, "files of an import fetched from S3 ahead of each codec worker")
    fetch_ahead_memory: int = setting(
        64 * MiB, "maximum bytes of memory that they take; files above 16 MiB go to DATA/spool"
    )
    fetch_ahead_disk: int = setting(
        4 * GiB, "maximum bytes that they take there; one file alone may be larger"
    )
    upload_disk: int = setting(
        1 * GiB, "bytes in DATA/spool that wait for their upload to S3, above which a codec worker waits, too"
    )
    upload_memory: int = setting(128 * MiB, "maximum bytes of memory for such uploads, for all workers")
    file_timeout: int = setting(600, "maximum seconds of processing for one file")
    decoded_memory: int = setting(
        2 * GiB, "maximum bytes of frames that each HTTP process decodes at once; more wait, then get 503"
    )
    render_timeout: int = setting(
        120, "maximum seconds that a client waits for a picture or for frames that codec workers decode"
    )
    deliver_events: str = setting(
        "on",
        "off: leave the file of delivered events to other servers and workers of the database",
        choices=("on", "off"),
    )
    events_file: Path | None = setting(None, "file of delivered events; DATA/events.ndjson if unset")
    events_rotate_bytes: int = setting(64 * MiB, "size at which that file is begun anew; 0 means never")
    collect_interval: int = setting(60, "seconds between rounds of the garbage collector")
    checksum_share: int = setting(
        5,
        "percent of its time that a server may spend on checksums of frames stored before there were any",
    )
    verify_days: int = setting(
        30, "days within which servers verify all stored data by themselves, bit by bit; 0 means never"
    )
    verify_share: int = setting(2, "percent of its time that a server may spend on that")
    collect_grace: int = setting(
        86_400,
        "seconds to keep bytes that nothing refers to; longer than any one chunk of an import takes",
    )
    stray_interval: int = setting(
        86_400, "seconds in which all stored packs are compared with the database; 0 means never"
    )
    keep_events: int = setting(
        604_800, "seconds to keep delivered events in the database, too; 0 means forever"
    )
    keep_client_tokens: int = setting(
        2_592_000, "seconds for which a request repeated with its client token is recognized; 0 means forever"
    )
    keep_outcomes: int = setting(
        7_776_000,
        "seconds to keep what became of each file of a finished job in the database, too; 0 means forever",
    )
    log_level: str = setting("info", "minimum level to log", choices=("debug", "info", "warning", "error"))
    log_format: str = setting(
        "auto", "auto: text on a terminal, JSON otherwise", choices=("auto", "text", "json")
    )
    log_uids: str = setting(
        "masked",
        "plain: keep the UIDs in paths of requests, which identify patients",
        choices=("masked", "plain"),
    )
