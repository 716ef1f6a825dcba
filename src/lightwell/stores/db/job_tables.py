"""The tables of import jobs; see `tables` for the conventions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, SmallInteger, Table, text

from lightwell.stores.db.columns import TEXT as _TEXT
from lightwell.stores.db.columns import key as _key
from lightwell.stores.db.columns import metadata

import_job = Table(
    "import_job",
    metadata,
    _key(primary_key=True),
    Column("id", _TEXT, nullable=False, unique=True),
    _key("datastore", nullable=False),
    Column("name", _TEXT),
    Column("status", _TEXT, nullable=False),  # SUBMITTED IN_PROGRESS COMPLETED FAILED
    Column("phase", _TEXT, nullable=False),  # list read commit report done
    Column("message", _TEXT),
    Column("role_arn", _TEXT, nullable=False),
    Column("input_uri", _TEXT, nullable=False),
    Column("output_uri", _TEXT, nullable=False),  # expanded, with a slash at its end
    Column("input_owner", _TEXT),
    Column("configuration", LargeBinary),  # JSON of importConfiguration
    Column("source", LargeBinary),  # JSON: what `lightwell import` named, instead of a bucket
    Column("caller", _TEXT, nullable=False),
    Column("submitted_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("scanned", Integer, nullable=False),
    # Files that are settled, apart from those of units that are done: see `import_jobs.with_progress`.
    Column("read", Integer, nullable=False),
    Column("input_node", _TEXT),  # whose folders the input is in; see `domain.imports.jobs.Job`
    Column("output_node", _TEXT),
    Column("assumes_role", Boolean),  # it may do what role_arn may; NULL before 0006: whatever the server may
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),  # higher comes first
    Column("owner", _TEXT),  # see `operations.context.Caller`; NULL before 0017: as caller
    Column("emergency", Boolean),  # a session for an emergency started it; NULL before 0022
    Index("job_by_store", "datastore", "submitted_at", "key"),
    Index("job_by_status", "datastore", "status", "submitted_at", "key"),
    Index("job_by_phase", "phase"),
)

# What one worker does at a time, and whose it is now: see `domain.imports.units`. Narrow, since each row is
# written again when it is taken and when it is done.
unit = Table(
    "unit",
    metadata,
    _key("job", primary_key=True),
    Column("phase", _TEXT, primary_key=True),  # list read commit report
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", _TEXT, nullable=False),  # ready claimed done dead
    Column("files", Integer, nullable=False),  # that are settled once it is done
    Column("since", BigInteger, nullable=False),  # when it was queued
    Column("not_before", BigInteger, nullable=False),  # 0: at once
    Column("tries", Integer, nullable=False),  # how often it was taken
    Column("claim", _TEXT),  # of whom it is; see `domain.imports.units.Token`
    Column("claimed_at", BigInteger),
    Column("claimed_until", BigInteger),
    Column("content", LargeBinary),  # of commit: zstd of JSON [[StudyInstanceUID, SeriesInstanceUID], ...]
    Column("note", _TEXT),  # of dead ones: why it was given up
    Index(
        "unit_ready",
        "job",
        "phase",
        "number",
        sqlite_where=text("state = 'ready'"),
        postgresql_where=text("state = 'ready'"),
    ),
    Index(
        "unit_claimed",
        "job",
        "phase",
        sqlite_where=text("state = 'claimed'"),
        postgresql_where=text("state = 'claimed'"),
    ),
    Index(
        "unit_dead",
        "job",
        sqlite_where=text("state = 'dead'"),
        postgresql_where=text("state = 'dead'"),
    ),
)

# What a unit of *read* is about.
chunk = Table(
    "chunk",
    metadata,
    _key("job", primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first_file", Integer, nullable=False),
    Column("file_count", Integer, nullable=False),
    Column("files_z", LargeBinary, nullable=False),  # JSON: [[name, location, size], ...]
    Column("deaths", LargeBinary),  # JSON: {"file number": [why its worker died, ...]}
)

staged = Table(
    "staged",
    metadata,
    _key("job", primary_key=True),
    Column("file", Integer, primary_key=True, autoincrement=False),
    _key("record", nullable=False),
    Column("study_instance_uid", _TEXT, nullable=False),
    Column("series_instance_uid", _TEXT, nullable=False),
    Column("input_file", _TEXT, nullable=False),
    Column("grouping", _TEXT, nullable=False),  # JSON array of the seven grouping values
    Column("warnings", _TEXT),  # JSON array
    Index("staged_by_series", "job", "study_instance_uid", "series_instance_uid", "file"),
)

outcome = Table(
    "outcome",
    metadata,
    _key("job", primary_key=True),
    Column("file", Integer, primary_key=True, autoincrement=False),
    Column("input_file", _TEXT, nullable=False),
    Column("kind", _TEXT, nullable=False),  # imported customer server
    Column("exception_type", _TEXT),
    Column("message", _TEXT),
    Column("image_set", _TEXT),  # its id
    Column("version", Integer),
    Column("is_primary", Boolean),
    Column("warnings", _TEXT),
)

# Files that a browser sends for an import job: see `domain.imports.uploads`.
upload = Table(
    "upload",
    metadata,
    Column("id", _TEXT, primary_key=True),
    _key("datastore", nullable=False),
    Column("caller", _TEXT, nullable=False),  # its owner, who alone sees the upload
    Column("name", _TEXT, nullable=False),
    Column("files", Integer, nullable=False),  # that it is to have
    Column("size", BigInteger, nullable=False),  # bytes that it is to have
    Column("node", _TEXT),  # whose folder the files are in; see `domain.imports.jobs.Job`
    Column("created_at", BigInteger, nullable=False),
    Column("is_removed", Boolean, nullable=False),
    _key("cleared_job"),  # whose imported files are removed from the upload
    Column("bucket", _TEXT),  # NULL before 0017: that of the settings
    # Of the rows of `uploaded_file`: all that ever were, and those whose files are there.
    Column("claimed_files", Integer, nullable=False, server_default=text("0")),
    Column("arrived_files", Integer, nullable=False, server_default=text("0")),
    Column("claimed_size", BigInteger, nullable=False, server_default=text("0")),
    Column("arrived_size", BigInteger, nullable=False, server_default=text("0")),
    Column("last_at", BigInteger),  # when the last file arrived
    Index("upload_by_caller", "datastore", "caller", "created_at", "id"),
)

uploaded_file = Table(
    "uploaded_file",
    metadata,
    Column("upload", _TEXT, primary_key=True),
    Column("key", _TEXT, primary_key=True),  # below the upload's folder
    Column("name", _TEXT, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", _TEXT, nullable=False),  # hex; see `domain.imports.uploads.FileDigest`
    Column("arrived_at", BigInteger, nullable=False),  # 0: it was received, and may be there or not
)
