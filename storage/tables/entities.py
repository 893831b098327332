"""What people set up: organizations, applications, devices, decoders, targets, accounts and keys.

Names on the wire are OS2iot's and live in `web/schemas`; here are the columns. Deleting a parent
deletes what belongs to it. An id is never given out again, because messages, deliveries and the
audit log name what they were about by id, long after it is gone.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
)

from storage.tables import metadata


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _stamps() -> tuple[Column[int], Column[int], Column[int], Column[int]]:
    """When and by which account; no foreign keys, because accounts may go and their traces stay."""
    return (
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("created_by", Integer),
        Column("updated_by", Integer),
    )


def _parent(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(
        name, Integer, ForeignKey(f"{target}.id", ondelete="CASCADE"), nullable=nullable, index=True
    )


organization = Table(
    "organization",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("open_data_dk_registered", Boolean, nullable=False),
    *_stamps(),
    sqlite_autoincrement=True,
)

application = Table(
    "application",
    metadata,
    _id(),
    _parent("organization_id", "organization"),
    # Unique over all organizations, as the clients expect.
    Column("name", Text, nullable=False, unique=True),
    Column("description", Text),
    Column("status", Text),
    Column("start_at", BigInteger),
    Column("end_at", BigInteger),
    Column("category", Text),
    Column("owner", Text),
    Column("contact_person", Text),
    Column("contact_email", Text),
    Column("contact_phone", Text),
    Column("personal_data", Boolean),
    Column("hardware", Text),
    *_stamps(),
    sqlite_autoincrement=True,
)

application_controlled_property = Table(
    "application_controlled_property",
    metadata,
    _id(),
    _parent("application_id", "application"),
    Column("type", Text, nullable=False),
)

application_device_type = Table(
    "application_device_type",
    metadata,
    _id(),
    _parent("application_id", "application"),
    Column("type", Text, nullable=False),
)

iot_device = Table(
    "iot_device",
    metadata,
    _id(),
    _parent("application_id", "application"),
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("longitude", Float),
    Column("latitude", Float),
    Column("comment_on_location", Text),
    Column("comment", Text),
    # A JSON object of texts, as text; None where there is none.
    Column("metadata", Text),
    # What a generic HTTP device names itself by; lower-case canonical UUID.
    Column("api_key", Text, unique=True),
    *_stamps(),
    # An application may have a hundred thousand devices, and people sort them by name.
    Index("ix_iot_device_application_id_name", "application_id", "name"),
    sqlite_autoincrement=True,
)

payload_decoder = Table(
    "payload_decoder",
    metadata,
    _id(),
    # None: every organization may use it.
    _parent("organization_id", "organization", nullable=True),
    Column("name", Text, nullable=False),
    Column("decoding_function", Text, nullable=False),
    *_stamps(),
    sqlite_autoincrement=True,
)

data_target = Table(
    "data_target",
    metadata,
    _id(),
    _parent("application_id", "application"),
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    # JSON objects as text, in the names of the API. What stands in `secrets` never leaves by it.
    Column("settings", Text, nullable=False),
    Column("secrets", Text, nullable=False),
    # When it last took something; the outbox moves it with the outcomes.
    Column("last_message_at", BigInteger),
    *_stamps(),
    sqlite_autoincrement=True,
)

open_data_dk_dataset = Table(
    "open_data_dk_dataset",
    metadata,
    _id(),
    Column(
        "data_target_id",
        Integer,
        ForeignKey("data_target.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    # A JSON array of texts, as text.
    Column("keywords", Text, nullable=False),
    Column("license", Text, nullable=False),
    Column("author_name", Text, nullable=False),
    Column("author_email", Text, nullable=False),
    Column("resource_title", Text, nullable=False),
    *_stamps(),
    sqlite_autoincrement=True,
)
"""A data target of any kind may have one: then its latest values are published."""

connection = Table(
    "connection",
    metadata,
    _id(),
    _parent("data_target_id", "data_target"),
    # None: the raw payload is passed on. A decoder in use cannot be deleted.
    Column(
        "payload_decoder_id",
        Integer,
        ForeignKey("payload_decoder.id"),
        index=True,
    ),
    *_stamps(),
    sqlite_autoincrement=True,
)

connection_device = Table(
    "connection_device",
    metadata,
    Column(
        "connection_id",
        Integer,
        ForeignKey("connection.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column(
        "device_id",
        Integer,
        ForeignKey("iot_device.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
        index=True,
    ),
)

user_account = Table(
    "user_account",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    # Lower-case: two accounts cannot differ in case only.
    Column("email", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    # Goes up with every change of the password and ends all tokens issued before.
    Column("credentials_version", Integer, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("is_administrator", Boolean, nullable=False),
    Column("last_login_at", BigInteger),
    *_stamps(),
    sqlite_autoincrement=True,
)

api_key = Table(
    "api_key",
    metadata,
    _id(),
    _parent("organization_id", "organization"),
    Column("name", Text, nullable=False),
    # SHA-256 in hexadecimal: a key has 122 random bits, so that nothing slower is needed.
    Column("key_hash", Text, nullable=False, unique=True),
    # Permission types, separated by blanks.
    Column("levels", Text, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    *_stamps(),
    sqlite_autoincrement=True,
)

audit_entry = Table(
    "audit_entry",
    metadata,
    _id(),
    Column("at", BigInteger, nullable=False),
    Column("actor_type", Text, nullable=False),
    Column("actor_id", Integer),
    Column("actor_name", Text, nullable=False),
    Column("address", Text),
    Column("action", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("entity_id", Integer),
    Column("entity_name", Text),
    Column("organization_id", Integer),
    Index("ix_audit_entry_organization_id_at", "organization_id", "at"),
    Index("ix_audit_entry_at", "at"),
)

__all__ = [
    "api_key",
    "application",
    "application_controlled_property",
    "application_device_type",
    "audit_entry",
    "connection",
    "connection_device",
    "data_target",
    "iot_device",
    "open_data_dk_dataset",
    "organization",
    "payload_decoder",
    "user_account",
]
