"""Creates the tables of what people set up: organizations down to connections, accounts, keys, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_organization()
    _create_application()
    _create_application_controlled_property()
    _create_application_device_type()
    _create_iot_device()
    _create_payload_decoder()
    _create_data_target()
    _create_connection()
    _create_connection_device()
    _create_user_account()
    _create_api_key()
    _create_audit_entry()


def _stamps() -> tuple[sa.Column[int], ...]:
    return (
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("updated_by", sa.Integer(), nullable=True),
    )


def _create_organization() -> None:
    op.create_table(
        "organization",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("open_data_dk_registered", sa.Boolean(), nullable=False),
        *_stamps(),
        sa.PrimaryKeyConstraint("id", name="pk_organization"),
        sa.UniqueConstraint("name", name="uq_organization_name"),
        sqlite_autoincrement=True,
    )


def _create_application() -> None:
    op.create_table(
        "application",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("organization_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("start_at", sa.BigInteger(), nullable=True),
        sa.Column("end_at", sa.BigInteger(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("contact_person", sa.Text(), nullable=True),
        sa.Column("contact_email", sa.Text(), nullable=True),
        sa.Column("contact_phone", sa.Text(), nullable=True),
        sa.Column("personal_data", sa.Boolean(), nullable=True),
        sa.Column("hardware", sa.Text(), nullable=True),
        *_stamps(),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name="fk_application_organization_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_application"),
        sa.UniqueConstraint("name", name="uq_application_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_application_organization_id", "application", ["organization_id"])


def _create_application_controlled_property() -> None:
    op.create_table(
        "application_controlled_property",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("application_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["application.id"],
            name="fk_application_controlled_property_application_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_application_controlled_property"),
    )
    op.create_index(
        "ix_application_controlled_property_application_id",
        "application_controlled_property",
        ["application_id"],
    )


def _create_application_device_type() -> None:
    op.create_table(
        "application_device_type",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("application_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["application.id"],
            name="fk_application_device_type_application_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_application_device_type"),
    )
    op.create_index(
        "ix_application_device_type_application_id", "application_device_type", ["application_id"]
    )


def _create_iot_device() -> None:
    op.create_table(
        "iot_device",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("application_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("comment_on_location", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("api_key", sa.Text(), nullable=True),
        *_stamps(),
        sa.UniqueConstraint("api_key", name="uq_iot_device_api_key"),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["application.id"],
            name="fk_iot_device_application_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_iot_device"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_iot_device_application_id", "iot_device", ["application_id"])
    op.create_index("ix_iot_device_application_id_name", "iot_device", ["application_id", "name"])


def _create_payload_decoder() -> None:
    op.create_table(
        "payload_decoder",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("organization_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("decoding_function", sa.Text(), nullable=False),
        *_stamps(),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name="fk_payload_decoder_organization_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_payload_decoder"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_payload_decoder_organization_id", "payload_decoder", ["organization_id"])


def _create_data_target() -> None:
    op.create_table(
        "data_target",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("application_id", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("last_message_at", sa.BigInteger(), nullable=True),
        *_stamps(),
        sa.PrimaryKeyConstraint("id", name="pk_data_target"),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["application.id"],
            name="fk_data_target_application_id",
            ondelete="CASCADE",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_data_target_application_id", "data_target", ["application_id"])


def _create_connection() -> None:
    op.create_table(
        "connection",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("data_target_id", sa.Integer(), nullable=False),
        sa.Column("payload_decoder_id", sa.Integer(), nullable=True),
        *_stamps(),
        sa.PrimaryKeyConstraint("id", name="pk_connection"),
        sa.ForeignKeyConstraint(
            ["data_target_id"],
            ["data_target.id"],
            name="fk_connection_data_target_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["payload_decoder_id"], ["payload_decoder.id"], name="fk_connection_payload_decoder_id"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_connection_data_target_id", "connection", ["data_target_id"])
    op.create_index("ix_connection_payload_decoder_id", "connection", ["payload_decoder_id"])


def _create_connection_device() -> None:
    op.create_table(
        "connection_device",
        sa.Column("connection_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("device_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("connection_id", "device_id", name="pk_connection_device"),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["iot_device.id"],
            name="fk_connection_device_device_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connection.id"],
            name="fk_connection_device_connection_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_connection_device_device_id", "connection_device", ["device_id"])


def _create_user_account() -> None:
    op.create_table(
        "user_account",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("credentials_version", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_administrator", sa.Boolean(), nullable=False),
        sa.Column("last_login_at", sa.BigInteger(), nullable=True),
        *_stamps(),
        sa.PrimaryKeyConstraint("id", name="pk_user_account"),
        sa.UniqueConstraint("email", name="uq_user_account_email"),
        sqlite_autoincrement=True,
    )


def _create_api_key() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("organization_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("levels", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        *_stamps(),
        sa.UniqueConstraint("key_hash", name="uq_api_key_key_hash"),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name="fk_api_key_organization_id",
            ondelete="CASCADE",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_api_key_organization_id", "api_key", ["organization_id"])


def _create_audit_entry() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor_type", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Integer(), nullable=True),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Integer(), nullable=True),
        sa.Column("entity_name", sa.Text(), nullable=True),
        sa.Column("organization_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entry"),
    )
    op.create_index("ix_audit_entry_at", "audit_entry", ["at"])
    op.create_index("ix_audit_entry_organization_id_at", "audit_entry", ["organization_id", "at"])
