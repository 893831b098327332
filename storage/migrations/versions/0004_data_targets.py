"""Gives deliveries what their engine needs, and makes the tables of targets and of open data."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ZERO = sa.text("0")
_UUID = sa.Uuid(as_uuid=False)
# SQLite makes a column its row number only when the type reads INTEGER.
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LEASED = sa.text("lease_id IS NOT NULL AND settled_at IS NULL")
_FROZEN = sa.text("batch_id IS NOT NULL AND settled_at IS NULL")
_DEAD_LETTER = sa.text("state IN ('dead', 'expired')")


def upgrade() -> None:
    _extend_delivery()
    _create_target_health()
    _create_target_event()
    _create_redelivery()
    _create_open_data_dk_dataset()


def _extend_delivery() -> None:
    op.add_column(
        "delivery",
        sa.Column("is_aside", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("delivery", sa.Column("batch_id", _UUID, nullable=True))
    op.add_column("delivery", sa.Column("leased_until", sa.BigInteger(), nullable=True))
    op.add_column("delivery", sa.Column("lease_id", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_delivery_dead_letter",
        "delivery",
        ["target_id", "delivery_id"],
        sqlite_where=_DEAD_LETTER,
        postgresql_where=_DEAD_LETTER,
    )
    op.create_index(
        "ix_delivery_lease",
        "delivery",
        ["lease_id"],
        sqlite_where=_LEASED,
        postgresql_where=_LEASED,
    )
    op.create_index(
        "ix_delivery_batch",
        "delivery",
        ["batch_id"],
        sqlite_where=_FROZEN,
        postgresql_where=_FROZEN,
    )
    op.add_column(
        "delivery_lane",
        sa.Column("held_us", sa.BigInteger(), server_default=_ZERO, nullable=False),
    )
    op.add_column("delivery_attempt", sa.Column("details", sa.Text(), nullable=True))


def _create_target_health() -> None:
    op.create_table(
        "target_health",
        sa.Column("target_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("breaker", sa.Text(), nullable=False),
        sa.Column("openings", sa.Integer(), server_default=_ZERO, nullable=False),
        sa.Column("open_until", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=_ZERO, nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("last_failure_at", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("target_id", name="pk_target_health"),
    )


def _create_target_event() -> None:
    op.create_table(
        "target_event",
        sa.Column("event_id", _UUID, nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_target_event"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_target_event_target_id_event_id", "target_event", ["target_id", "event_id"])


def _create_redelivery() -> None:
    op.create_table(
        "redelivery",
        sa.Column("redelivery_id", _ROW_NUMBER, nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("states", sa.Text(), nullable=False),
        sa.Column("delivery_ids", sa.Text(), nullable=True),
        sa.Column("from_at", sa.BigInteger(), nullable=True),
        sa.Column("to_at", sa.BigInteger(), nullable=True),
        sa.Column("settled_from", sa.BigInteger(), nullable=True),
        sa.Column("device_id", sa.BigInteger(), nullable=True),
        sa.Column("rate_per_s", sa.Integer(), nullable=False),
        sa.Column("after_id", _UUID, nullable=False),
        sa.Column("until_id", _UUID, nullable=False),
        sa.Column("estimate", sa.BigInteger(), nullable=True),
        sa.Column("made", sa.BigInteger(), server_default=_ZERO, nullable=False),
        sa.Column("skipped", sa.BigInteger(), server_default=_ZERO, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("is_stopped", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("redelivery_id", name="pk_redelivery"),
    )
    op.create_index("ix_redelivery_target_id", "redelivery", ["target_id"])


def _create_open_data_dk_dataset() -> None:
    op.create_table(
        "open_data_dk_dataset",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("data_target_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("keywords", sa.Text(), nullable=False),
        sa.Column("license", sa.Text(), nullable=False),
        sa.Column("author_name", sa.Text(), nullable=False),
        sa.Column("author_email", sa.Text(), nullable=False),
        sa.Column("resource_title", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Integer(), nullable=True),
        sa.Column("updated_by", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["data_target_id"],
            ["data_target.id"],
            name="fk_open_data_dk_dataset_data_target_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_open_data_dk_dataset"),
        sa.UniqueConstraint("data_target_id", name="uq_open_data_dk_dataset_data_target_id"),
        sqlite_autoincrement=True,
    )
