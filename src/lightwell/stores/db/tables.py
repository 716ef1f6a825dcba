"""The tables, explained in docs/design/versions.md; one set for SQLite and PostgreSQL.

Conventions: ``key`` columns are random 63-bit integers made by ``context.ids``; ``id`` columns are the
32 lowercase hex digits that the API shows. Times are integers, milliseconds since the epoch. Blobs named
``*_z`` are zstd frames. A half-open range ``valid_from <= v < valid_to`` says in which versions of an image
set a row holds; ``valid_to`` is NULL while it does.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    UniqueConstraint,
    event,
    text,
)

from lightwell.stores.db.columns import TEXT as _TEXT
from lightwell.stores.db.columns import key as _key
from lightwell.stores.db.columns import metadata as metadata
from lightwell.stores.db.job_tables import chunk as chunk
from lightwell.stores.db.job_tables import import_job as import_job
from lightwell.stores.db.job_tables import outcome as outcome
from lightwell.stores.db.job_tables import staged as staged
from lightwell.stores.db.job_tables import unit as unit
from lightwell.stores.db.job_tables import upload as upload
from lightwell.stores.db.job_tables import uploaded_file as uploaded_file
from lightwell.stores.db.qido_tables import primary_instance as primary_instance
from lightwell.stores.db.qido_tables import primary_series as primary_series
from lightwell.stores.db.qido_tables import study as study
from lightwell.stores.db.server_tables import audit_head as audit_head
from lightwell.stores.db.server_tables import audit_owed as audit_owed
from lightwell.stores.db.server_tables import installation as installation
from lightwell.stores.db.server_tables import integrity_fault as integrity_fault
from lightwell.stores.db.server_tables import integrity_run as integrity_run
from lightwell.stores.db.server_tables import server as server

datastore = Table(
    "datastore",
    metadata,
    _key(primary_key=True),
    Column("id", _TEXT, nullable=False, unique=True),
    Column("name", _TEXT, nullable=False),
    Column("status", _TEXT, nullable=False),  # CREATING ACTIVE CREATE_FAILED DELETING DELETED
    Column("storage_format", _TEXT, nullable=False),  # HTJ2K JPEG_2000_LOSSLESS
    Column("kms_key_arn", _TEXT),
    Column("lambda_authorizer_arn", _TEXT),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("datastore_by_age", "created_at", "key"),
    Index("datastore_by_status", "status", "created_at", "key"),
)

image_set = Table(
    "image_set",
    metadata,
    _key(primary_key=True),
    Column("id", _TEXT, nullable=False, unique=True),
    _key("datastore", nullable=False),
    _key("study", nullable=False),
    Column("series_instance_uid", _TEXT),  # NULL once deleted
    Column("origin", _TEXT, nullable=False),  # import copy
    Column("is_primary", Boolean, nullable=False),
    Column("state", _TEXT, nullable=False),  # ACTIVE DELETED
    Column("latest_version", Integer, nullable=False),
    Column("readable_version", Integer, nullable=False),  # 0: none has content
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("last_accessed_at", BigInteger, nullable=False),
    # Searchable: the data store's key while the set can be found, else NULL. It leads every search index.
    _key("listed_in"),
    # Search columns: the readable version's attributes, padding trimmed; NULL where absent or empty.
    Column("patient_id", _TEXT),
    Column("patient_name", _TEXT),
    Column("patient_birth_date", _TEXT),
    Column("patient_sex", _TEXT),
    Column("study_instance_uid", _TEXT),
    Column("study_id", _TEXT),
    Column("study_description", _TEXT),
    Column("accession_number", _TEXT),
    Column("study_date", _TEXT),
    Column("study_time", _TEXT),
    Column("study_moment", _TEXT),  # YYYYMMDDHHMMSS.FFFFFF, sorts and ranges; NULL without a StudyDate
    Column("series_number", _TEXT),
    Column("modality", _TEXT),
    Column("body_part_examined", _TEXT),
    Column("instance_count", Integer, nullable=False),
    # What a search of DICOMweb shows besides.
    Column("patient_birth_time", _TEXT),
    Column("referring_physician_name", _TEXT),
    Column("series_description", _TEXT),
    Column("requests", _TEXT),  # JSON: [[scheduled step's id or null, requested procedure's or null], ...]
    Column("further", _TEXT),  # JSON, by keyword: see SearchColumns
    Index("image_set_by_series", "datastore", "series_instance_uid"),
    Index("image_set_by_study", "study"),
    Index(
        "one_primary_a_series",
        "datastore",
        "study_instance_uid",
        "series_instance_uid",
        unique=True,
        sqlite_where=text("is_primary AND state = 'ACTIVE'"),
        postgresql_where=text("is_primary AND state = 'ACTIVE'"),
    ),
    # What follows the key lets a range of one time be sorted by another without opening the rows.
    Index("search_updated", "listed_in", "updated_at", "key", "created_at", "study_moment", "is_primary"),
    Index("search_created", "listed_in", "created_at", "key", "updated_at", "study_moment", "is_primary"),
    Index("search_moment", "listed_in", "study_moment", "key", "updated_at", "created_at", "is_primary"),
    Index("search_primary", "listed_in", "is_primary", "updated_at", "key"),
    Index("search_patient", "listed_in", "patient_id", "updated_at", "key"),
    Index("search_accession", "listed_in", "accession_number", "updated_at", "key"),
    Index("search_study_id", "listed_in", "study_id", "updated_at", "key"),
    Index("search_study_uid", "listed_in", "study_instance_uid", "updated_at", "key"),
    Index("search_series_uid", "listed_in", "series_instance_uid", "updated_at", "key"),
)

version = Table(
    "version",
    metadata,
    _key("image_set", primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("workflow_status", _TEXT, nullable=False),  # a final one: CREATED IMPORTED IMPORT_FAILED ...
    Column("message", _TEXT),
    Column("forced", Boolean),
    Column("caller", _TEXT, nullable=False),  # ARN of who made it
    Column("created_at", BigInteger, nullable=False),
    Column("mark", BigInteger),  # random: see `stores.image_sets.lookups.MARK`; NULL in old rows
    Column("reverted_to", Integer),  # the version whose content it has again; NULL in old rows
    Column("copied_from", _TEXT),  # id of the image set that a copy was made of; NULL in old rows
)

level_value = Table(
    "level_value",
    metadata,
    _key(primary_key=True),
    _key("datastore", nullable=False),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of level number and body
    Column("body_z", LargeBinary, nullable=False),  # JSON object of one level, keys in order
    UniqueConstraint("datastore", "hash", name="level_value_by_hash"),
)

level = Table(
    "level",
    metadata,
    _key("image_set", primary_key=True),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),  # 0 patient, 1 study, 2 series
    Column("valid_from", Integer, primary_key=True, autoincrement=False),
    Column("valid_to", Integer),
    _key("base", nullable=False),  # level_value
    Column("edits", LargeBinary),
    Index(
        "one_open_level",
        "image_set",
        "level",
        unique=True,
        sqlite_where=text("valid_to IS NULL"),
        postgresql_where=text("valid_to IS NULL"),
    ),
)

instance = Table(
    "instance",
    metadata,
    _key(primary_key=True),
    _key("datastore", nullable=False),
    Column("sop_instance_uid", _TEXT, nullable=False),
    UniqueConstraint("datastore", "sop_instance_uid", name="instance_by_uid"),
)

pixels = Table(
    "pixels",
    metadata,
    _key(primary_key=True),
    _key("datastore", nullable=False),
    _key("pack", nullable=False),
    Column("stored_syntax", _TEXT, nullable=False),
    Column("frame_count", Integer, nullable=False),
    Column("checksum_type", _TEXT, nullable=False),  # DECOMPRESSED COMPRESSED
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("image", LargeBinary, nullable=False),  # JSON: the image description at import
    Column("decoder", _TEXT, nullable=False),  # name and version of what decoded the file
    Index("pixels_by_pack", "pack"),
)

frame_table = Table(
    "frame_table",
    metadata,
    _key("pixels", primary_key=True),
    Column("first_frame", Integer, primary_key=True, autoincrement=False),  # 0, 256, 512, ...
    Column("entries", LargeBinary, nullable=False),  # domain.image_sets.frame_table.pack_entries
    Column("checks", LargeBinary),  # domain.image_sets.frame_checks.pack_checks; NULL: not made yet
    Index(
        "frame_table_unchecked",
        "pixels",
        "first_frame",
        sqlite_where=text("checks IS NULL"),
        postgresql_where=text("checks IS NULL"),
    ),
)

dictionary = Table(
    "dictionary",
    metadata,
    _key(primary_key=True),
    Column("bytes", LargeBinary, nullable=False),
)

record = Table(
    "record",
    metadata,
    _key(primary_key=True),
    _key("datastore", nullable=False),
    _key("pixels"),
    _key("patient_value", nullable=False),
    _key("study_value", nullable=False),
    _key("series_value", nullable=False),
    Column("sop_instance_uid", _TEXT, nullable=False),
    Column("sop_class_uid", _TEXT),
    Column("instance_number", Integer),
    Column("fragment_z", LargeBinary, nullable=False),  # native JSON of the instance, see domain.document
    _key("dictionary"),
    _key("pack", nullable=False),  # holds the original
    Column("original_offset", BigInteger, nullable=False),
    Column("original_length", BigInteger, nullable=False),
    Column("override_z", LargeBinary),  # DICOM JSON applied to the file at import, if any
    # The whole data set without its pixels in the DICOM JSON Model; NULL: to be derived from the original.
    Column("dicom_z", LargeBinary),
    _key("dicom_dictionary"),
    Column("warnings", _TEXT),  # JSON array of the reason codes of its import
    Index("record_by_pack", "pack"),
)

# One B-tree on SQLite, since every copy of a set writes a row for each of its instances. An import gives
# instance and pixels the same key, so that most pixels are found by the primary key; those of instances
# that were imported again or got another UID are found by the index.
member = Table(
    "member",
    metadata,
    _key("image_set", primary_key=True),
    _key("instance", primary_key=True),
    Column("valid_from", Integer, primary_key=True, autoincrement=False),
    Column("valid_to", Integer),
    _key("record", nullable=False),
    _key("pixels"),
    Column("edits", LargeBinary),
    Index(
        "member_by_pixels",
        "image_set",
        "pixels",
        sqlite_where=text("pixels <> instance"),
        postgresql_where=text("pixels <> instance"),
    ),
    # On SQLite a trigger does the same, and writes nothing.
    Index(
        "one_open_member",
        "image_set",
        "instance",
        unique=True,
        postgresql_where=text("valid_to IS NULL"),
    ).ddl_if(dialect="postgresql"),
    sqlite_with_rowid=False,
)
event.listen(
    member,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]
        """
CREATE TRIGGER one_open_member BEFORE INSERT ON member WHEN NEW.valid_to IS NULL
BEGIN
    SELECT RAISE(ABORT, 'UNIQUE constraint failed: one open member a set and instance')
    WHERE EXISTS (
        SELECT 1 FROM member
        WHERE image_set = NEW.image_set AND instance = NEW.instance AND valid_to IS NULL);
END
"""
    ).execute_if(dialect="sqlite"),
)

pack = Table(
    "pack",
    metadata,
    _key(primary_key=True),
    _key("datastore", nullable=False),
    Column("state", _TEXT, nullable=False),  # open live doomed
    Column("size", BigInteger),
    Column("checksum", BigInteger),  # CRC-32 of the whole object
    Column("created_at", BigInteger, nullable=False),
    Column("data_key", BigInteger),  # what it is sealed with; NULL where it is not
    Column("seal", LargeBinary),  # see `sealing.segments`; of a sealed pack that is live
    Index("pack_by_state", "state", "created_at"),
)

# What encrypts the packs of a data store, itself encrypted by a key provider.
data_key = Table(
    "data_key",
    metadata,
    _key(primary_key=True),
    _key("datastore", nullable=False),
    Column("number", Integer, nullable=False),  # from 1; the greatest seals
    Column("provider", _TEXT, nullable=False),  # local
    Column("keeper", _TEXT, nullable=False),  # what the provider calls the key that wrapped it
    Column("wrapped", LargeBinary),  # NULL once it was destroyed
    Column("created_at", BigInteger, nullable=False),
    Column("destroyed_at", BigInteger),
    UniqueConstraint("datastore", "number", name="data_key_by_number"),
)

# Rows that nothing may refer to any more, for the collector; see `stores.background.gc_candidates`.
leftover = Table(
    "leftover",
    metadata,
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    _key(primary_key=True),
    Column("mark", BigInteger, nullable=False),  # of the transaction that wrote it
)

outbox = Table(
    "outbox",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("event", _TEXT, nullable=False),  # JSON, the whole EventBridge envelope
    Column("delivered_at", BigInteger),
    Index(
        "outbox_waiting",
        "number",
        sqlite_where=text("delivered_at IS NULL"),
        postgresql_where=text("delivered_at IS NULL"),
    ),
)

token = Table(
    "token",
    metadata,
    Column("operation", _TEXT, primary_key=True),
    Column("account", _TEXT, primary_key=True),
    Column("token", _TEXT, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

tag = Table(
    "tag",
    metadata,
    Column("resource", _TEXT, primary_key=True),  # ARN path: datastore/ID or datastore/ID/imageset/ID
    Column("key", _TEXT, primary_key=True),
    Column("value", _TEXT, nullable=False),
)

access_key = Table(
    "access_key",
    metadata,
    Column("id", _TEXT, primary_key=True),
    Column("name", _TEXT, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # Fernet, under DATA/secret.key
    Column("session_token", LargeBinary),  # Fernet; only temporary credentials have one
    Column("is_root", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("policies", _TEXT),  # JSON array of IAM policies; NULL: may do everything
    Column("role", _TEXT),  # of temporary credentials: the role's name
    Column("session_name", _TEXT),
    Column("parent", _TEXT),  # of temporary credentials without a role: the key that they stand for
    Column("provider", _TEXT),  # of a role taken with an OpenID token: its issuer
    Column("subject", _TEXT),  # and its subject
    Column("taken_by", _TEXT),  # of a role taken with credentials: whose they were
    Column("last_used_at", BigInteger),  # to the minute; NULL: not since this is kept
    Column("last_used_from", _TEXT),  # the address it was used from then
    Column("disabled_at", BigInteger),  # NULL: it is good
    Column("updated_at", BigInteger),  # when its policies were changed; NULL: never
    Column("replaced_by", _TEXT),  # the key that it was rotated to
    Column("emergency", Boolean),  # of a session: see `stores.account.principals`; NULL before 0022
    Index("session_by_end", "expires_at"),
    Index("session_by_parent", "parent", "expires_at"),
    Index("session_by_person", "provider", "subject", "expires_at"),
)

role = Table(
    "role",
    metadata,
    Column("name", _TEXT, primary_key=True),
    Column("trust_policy", _TEXT, nullable=False),  # JSON
    Column("policies", _TEXT, nullable=False),  # JSON array of IAM policies
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("max_session_seconds", Integer),  # NULL: as long as AWS's longest
    Column("emergency", Boolean),
)

authorizer = Table(
    "authorizer",
    metadata,
    Column("arn", _TEXT, primary_key=True),  # of the Lambda function that it stands for
    Column("target", _TEXT, nullable=False),  # http(s)://… or python:package.module:function
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
