"""The first schema.

Written out and never changed once it has been released: what follows from it is a revision of its own.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def small(name: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger, autoincrement=False, **{"nullable": False, **options})


def number(name: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, autoincrement=False, **{"nullable": False, **options})


def big(name: str, **options: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, autoincrement=False, **{"nullable": False, **options})


def flag(name: str, **options: Any) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, **{"nullable": False, **options})


def blob(name: str, **options: Any) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, **{"nullable": False, **options})


def text(name: str, **options: Any) -> sa.Column[str]:
    # By bytes, as SQLite compares, whatever the locale of the PostgreSQL database.
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, **{"nullable": False, **options})


def partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def upgrade() -> None:
    datastore()
    study()
    image_set()
    version()
    level_value()
    level()
    instance()
    pixels()
    frame_table()
    dictionary()
    record()
    member()
    pack()
    import_job()
    chunk()
    staged()
    outcome()
    outbox()
    token()
    tag()
    access_key()


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the migration")


def datastore() -> None:
    op.create_table(
        "datastore",
        big("key", primary_key=True),
        text("id", unique=True),
        text("name"),
        text("status"),
        text("storage_format"),
        text("kms_key_arn", nullable=True),
        text("lambda_authorizer_arn", nullable=True),
        big("created_at"),
        big("updated_at"),
    )
    op.create_index("datastore_by_age", "datastore", ["created_at", "key"])
    op.create_index("datastore_by_status", "datastore", ["status", "created_at", "key"])


def study() -> None:
    op.create_table(
        "study",
        big("key", primary_key=True),
        big("datastore"),
        text("study_instance_uid"),
        sa.UniqueConstraint("datastore", "study_instance_uid", name="study_by_uid"),
    )


def image_set() -> None:
    op.create_table(
        "image_set",
        big("key", primary_key=True),
        text("id", unique=True),
        big("datastore"),
        big("study"),
        text("series_instance_uid", nullable=True),
        text("origin"),
        flag("is_primary"),
        text("state"),
        number("latest_version"),
        number("readable_version"),
        big("created_at"),
        big("updated_at"),
        big("deleted_at", nullable=True),
        big("last_accessed_at"),
        big("listed_in", nullable=True),
        text("patient_id", nullable=True),
        text("patient_name", nullable=True),
        text("patient_birth_date", nullable=True),
        text("patient_sex", nullable=True),
        text("study_instance_uid", nullable=True),
        text("study_id", nullable=True),
        text("study_description", nullable=True),
        text("accession_number", nullable=True),
        text("study_date", nullable=True),
        text("study_time", nullable=True),
        text("study_moment", nullable=True),
        text("series_number", nullable=True),
        text("modality", nullable=True),
        text("body_part_examined", nullable=True),
        number("instance_count"),
    )
    op.create_index("search_primary", "image_set", ["listed_in", "is_primary", "updated_at", "key"])
    op.create_index("search_accession", "image_set", ["listed_in", "accession_number", "updated_at", "key"])
    op.create_index(
        "search_updated",
        "image_set",
        ["listed_in", "updated_at", "key", "created_at", "study_moment", "is_primary"],
    )
    op.create_index("search_patient", "image_set", ["listed_in", "patient_id", "updated_at", "key"])
    op.create_index("search_study_id", "image_set", ["listed_in", "study_id", "updated_at", "key"])
    partial_index(
        "one_primary_a_series",
        "image_set",
        ["datastore", "study_instance_uid", "series_instance_uid"],
        "is_primary AND state = 'ACTIVE'",
        unique=True,
    )
    op.create_index(
        "search_moment",
        "image_set",
        ["listed_in", "study_moment", "key", "updated_at", "created_at", "is_primary"],
    )
    op.create_index("image_set_by_series", "image_set", ["datastore", "series_instance_uid"])
    op.create_index(
        "search_series_uid", "image_set", ["listed_in", "series_instance_uid", "updated_at", "key"]
    )
    op.create_index("search_study_uid", "image_set", ["listed_in", "study_instance_uid", "updated_at", "key"])
    op.create_index("image_set_by_study", "image_set", ["study"])
    op.create_index(
        "search_created",
        "image_set",
        ["listed_in", "created_at", "key", "updated_at", "study_moment", "is_primary"],
    )


def version() -> None:
    op.create_table(
        "version",
        big("image_set", primary_key=True),
        number("number", primary_key=True),
        text("workflow_status"),
        text("message", nullable=True),
        flag("forced", nullable=True),
        text("caller"),
        big("created_at"),
    )


def level_value() -> None:
    op.create_table(
        "level_value",
        big("key", primary_key=True),
        big("datastore"),
        blob("hash"),
        blob("body_z"),
        sa.UniqueConstraint("datastore", "hash", name="level_value_by_hash"),
    )


def level() -> None:
    op.create_table(
        "level",
        big("image_set", primary_key=True),
        small("level", primary_key=True),
        number("valid_from", primary_key=True),
        number("valid_to", nullable=True),
        big("base"),
        blob("edits", nullable=True),
    )
    partial_index("one_open_level", "level", ["image_set", "level"], "valid_to IS NULL", unique=True)


def instance() -> None:
    op.create_table(
        "instance",
        big("key", primary_key=True),
        big("datastore"),
        text("sop_instance_uid"),
        sa.UniqueConstraint("datastore", "sop_instance_uid", name="instance_by_uid"),
    )


def pixels() -> None:
    op.create_table(
        "pixels",
        big("key", primary_key=True),
        big("datastore"),
        big("pack"),
        text("stored_syntax"),
        number("frame_count"),
        text("checksum_type"),
        number("width"),
        number("height"),
        blob("image"),
        text("decoder"),
    )
    op.create_index("pixels_by_pack", "pixels", ["pack"])


def frame_table() -> None:
    op.create_table(
        "frame_table",
        big("pixels", primary_key=True),
        number("first_frame", primary_key=True),
        blob("entries"),
    )


def dictionary() -> None:
    op.create_table(
        "dictionary",
        big("key", primary_key=True),
        blob("bytes"),
    )


def record() -> None:
    op.create_table(
        "record",
        big("key", primary_key=True),
        big("datastore"),
        big("pixels", nullable=True),
        big("patient_value"),
        big("study_value"),
        big("series_value"),
        text("sop_instance_uid"),
        text("sop_class_uid", nullable=True),
        number("instance_number", nullable=True),
        blob("fragment_z"),
        big("dictionary", nullable=True),
        big("pack"),
        big("original_offset"),
        big("original_length"),
        blob("override_z", nullable=True),
    )
    op.create_index("record_by_pixels", "record", ["pixels"])
    op.create_index("record_by_pack", "record", ["pack"])


def member() -> None:
    op.create_table(
        "member",
        big("image_set", primary_key=True),
        big("instance", primary_key=True),
        number("valid_from", primary_key=True),
        number("valid_to", nullable=True),
        big("record"),
        big("pixels", nullable=True),
        blob("edits", nullable=True),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            """
CREATE TRIGGER one_open_member BEFORE INSERT ON member WHEN NEW.valid_to IS NULL
BEGIN
    SELECT RAISE(ABORT, 'UNIQUE constraint failed: one open member a set and instance')
    WHERE EXISTS (
        SELECT 1 FROM member
        WHERE image_set = NEW.image_set AND instance = NEW.instance AND valid_to IS NULL);
END
"""
        )
    else:
        partial_index("one_open_member", "member", ["image_set", "instance"], "valid_to IS NULL", unique=True)
    op.create_index("member_by_record", "member", ["record"])
    partial_index("member_by_pixels", "member", ["image_set", "pixels"], "pixels <> instance")


def pack() -> None:
    op.create_table(
        "pack",
        big("key", primary_key=True),
        big("datastore"),
        text("state"),
        big("size", nullable=True),
        big("checksum", nullable=True),
        big("created_at"),
    )
    op.create_index("pack_by_state", "pack", ["state", "created_at"])


def import_job() -> None:
    op.create_table(
        "import_job",
        big("key", primary_key=True),
        text("id", unique=True),
        big("datastore"),
        text("name", nullable=True),
        text("status"),
        text("phase"),
        text("message", nullable=True),
        text("role_arn"),
        text("input_uri"),
        text("output_uri"),
        text("input_owner", nullable=True),
        blob("configuration", nullable=True),
        blob("source", nullable=True),
        text("caller"),
        big("submitted_at"),
        big("ended_at", nullable=True),
        number("scanned"),
        number("read"),
        text("claim", nullable=True),
        big("claimed_until", nullable=True),
    )
    op.create_index("job_by_status", "import_job", ["datastore", "status", "submitted_at", "key"])
    op.create_index("job_by_phase", "import_job", ["phase"])
    op.create_index("job_by_store", "import_job", ["datastore", "submitted_at", "key"])


def chunk() -> None:
    op.create_table(
        "chunk",
        big("job", primary_key=True),
        number("number", primary_key=True),
        text("state"),
        number("first_file"),
        number("file_count"),
        blob("files_z"),
        blob("deaths", nullable=True),
        text("claim", nullable=True),
        big("claimed_until", nullable=True),
    )
    op.create_index("chunk_by_state", "chunk", ["state", "job", "number"])


def staged() -> None:
    op.create_table(
        "staged",
        big("job", primary_key=True),
        number("file", primary_key=True),
        big("record"),
        text("study_instance_uid"),
        text("series_instance_uid"),
        text("input_file"),
        text("grouping"),
        text("warnings", nullable=True),
    )
    op.create_index(
        "staged_by_series", "staged", ["job", "study_instance_uid", "series_instance_uid", "file"]
    )
    op.create_index("staged_by_record", "staged", ["record"])


def outcome() -> None:
    op.create_table(
        "outcome",
        big("job", primary_key=True),
        number("file", primary_key=True),
        text("input_file"),
        text("kind"),
        text("exception_type", nullable=True),
        text("message", nullable=True),
        text("image_set", nullable=True),
        number("version", nullable=True),
        flag("is_primary", nullable=True),
        text("warnings", nullable=True),
    )


def outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        text("event"),
        big("delivered_at", nullable=True),
    )
    partial_index("outbox_waiting", "outbox", ["number"], "delivered_at IS NULL")


def token() -> None:
    op.create_table(
        "token",
        text("operation", primary_key=True),
        text("account", primary_key=True),
        text("token", primary_key=True),
        blob("request_hash"),
        blob("answer"),
        big("created_at"),
    )


def tag() -> None:
    op.create_table(
        "tag",
        text("resource", primary_key=True),
        text("key", primary_key=True),
        text("value"),
    )


def access_key() -> None:
    op.create_table(
        "access_key",
        text("id", primary_key=True),
        text("name"),
        blob("secret"),
        blob("session_token", nullable=True),
        flag("is_root"),
        big("created_at"),
        big("expires_at", nullable=True),
        big("revoked_at", nullable=True),
    )
