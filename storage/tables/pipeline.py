"""The tables of the way of a message: journal, message, outbox, ledger.

No foreign keys point from here to the entities: a message outlives the device, the decoder and the
target that it was made for. `decoder_id` 0 stands for no decoder. Ids of messages and deliveries
are UUIDv7, so their primary keys are also in order of time, and retention cuts by them.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    false,
    literal_column,
    text,
)

from storage.tables import metadata


def _id(name: str, *, is_key: bool = False) -> Column[str]:
    return Column(name, Uuid(as_uuid=False), primary_key=is_key, nullable=False)


def _number(name: str, *, is_key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=is_key, nullable=False, autoincrement=False)


def _uplink_columns() -> list[Column[Any]]:
    columns: list[Column[Any]] = [
        _number("device_id"),
        _number("organization_id"),
        _number("application_id"),
        Column("device_type", Text, nullable=False),
        _number("received_at"),
        Column("payload", LargeBinary, nullable=False),
        Column("source_key", Text),
    ]
    return columns


journal = Table(
    "journal",
    metadata,
    Column(
        "position",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    _id("message_id"),
    *_uplink_columns(),
)
"""Accepted and not settled yet: a row is deleted by the transaction that settles it."""

journal_cursor = Table(
    "journal_cursor",
    metadata,
    _number("partition", is_key=True),
    _number("position"),
    Column("tail", BigInteger, nullable=False, server_default=text("0")),
    Column("starts", Integer, nullable=False, server_default=text("0")),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("holder", Text),
)
"""How far everything of a partition is settled, and the last position that the embedded journal gave
(`tail`): entries settle out of order, so its own rows do not tell. `starts` counts the claims since
`position` last moved. Who settles a partition has claimed it: each claim raises `epoch`, so that
what an earlier holder still writes is refused."""

source_key = Table(
    "source_key",
    metadata,
    _number("device_id", is_key=True),
    Column("key", Text, primary_key=True),
    _id("message_id"),
    _number("seen_at"),
    Index("ix_source_key_seen_at", "seen_at"),
    sqlite_with_rowid=False,
)

message = Table(
    "message",
    metadata,
    _id("message_id", is_key=True),
    _number("position"),
    *_uplink_columns(),
    Index("ix_message_device_id_received_at", "device_id", "received_at"),
)

message_job = Table(
    "message_job",
    metadata,
    _id("message_id", is_key=True),
    _number("decoder_id", is_key=True),
    _number("position"),
    _number("device_id"),
    _number("organization_id"),
    Column("generation", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("decoder_version", Text),
    Column("body", LargeBinary),
    Column("warnings", Text),
    Column("error_code", Text),
    Column("error", Text),
    _number("settled_at"),
    sqlite_with_rowid=False,
)
# The states stand in the text of statements too, never as parameters: an engine uses a partial
# index only when it can see that the condition is the index's own.
is_deferred = message_job.c.state == literal_column("'deferred'")
is_failed = message_job.c.state == literal_column("'failed'")
Index(
    "ix_message_job_deferred",
    message_job.c.device_id,
    message_job.c.position,
    sqlite_where=is_deferred,
    postgresql_where=is_deferred,
)
Index(
    "ix_message_job_failed",
    message_job.c.decoder_id,
    message_job.c.message_id,
    sqlite_where=is_failed,
    postgresql_where=is_failed,
)

set_aside = Table(
    "set_aside",
    metadata,
    _id("message_id", is_key=True),
    _number("position"),
    *_uplink_columns(),
    Column("reason", Text, nullable=False),
    Column("error", Text, nullable=False),
    _number("set_aside_at"),
)
"""Messages whose results the database refuses: kept raw, with the reason."""

delivery = Table(
    "delivery",
    metadata,
    _id("delivery_id", is_key=True),
    _id("message_id"),
    _number("target_id"),
    _number("decoder_id"),
    _number("device_id"),
    _number("organization_id"),
    _number("position"),
    Column("generation", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger),
    _number("created_at"),
    _number("expires_at"),
    Column("settled_at", BigInteger),
    Column("is_aside", Boolean, nullable=False, server_default=false()),
    Column("batch_id", Uuid(as_uuid=False)),
    Column("leased_until", BigInteger),
    Column("lease_id", BigInteger),
    Index(
        "ix_delivery_message",
        "message_id",
        "target_id",
        "decoder_id",
        "generation",
        unique=True,
    ),
    sqlite_with_rowid=False,
)
"""`is_aside`: it has failed for so long that it waits outside of its lane. `batch_id`: with which others
it travels. `leased_until`: somebody who pulls has it in hand until then, and `lease_id` names that
reading, also afterwards. `decoder_id` -1 stands for an event about a data target, `message_id` then is
the event's."""
is_waiting = delivery.c.settled_at.is_(None)
# In the very order in which a target's deliveries are read: a planner that knows little of a table
# that fills and empties would otherwise sort everything that waits, for each page.
Index(
    "ix_delivery_waiting",
    delivery.c.target_id,
    delivery.c.position,
    delivery.c.decoder_id,
    sqlite_where=is_waiting,
    postgresql_where=is_waiting,
)
_is_in_back_off = delivery.c.next_at.is_not(None)
Index(
    "ix_delivery_due",
    delivery.c.target_id,
    delivery.c.next_at,
    sqlite_where=_is_in_back_off,
    postgresql_where=_is_in_back_off,
)
is_dead_letter = delivery.c.state.in_([literal_column("'dead'"), literal_column("'expired'")])
Index(
    "ix_delivery_dead_letter",
    delivery.c.target_id,
    delivery.c.delivery_id,
    sqlite_where=is_dead_letter,
    postgresql_where=is_dead_letter,
)
_is_leased = delivery.c.lease_id.is_not(None) & is_waiting
Index(
    "ix_delivery_lease",
    delivery.c.lease_id,
    sqlite_where=_is_leased,
    postgresql_where=_is_leased,
)
_is_frozen = delivery.c.batch_id.is_not(None) & is_waiting
Index(
    "ix_delivery_batch",
    delivery.c.batch_id,
    sqlite_where=_is_frozen,
    postgresql_where=_is_frozen,
)

delivery_lane = Table(
    "delivery_lane",
    metadata,
    _number("target_id", is_key=True),
    _number("device_id", is_key=True),
    _id("delivery_id"),
    _number("due_at"),
    Column("held_us", BigInteger, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,
)
"""The head that keeps a device's later deliveries to a target waiting, and until when. `held_us`: for
how long it has, by failures of its own. `device_id` 0 is the one lane of a target in strict order."""

delivery_attempt = Table(
    "delivery_attempt",
    metadata,
    Column("attempt_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _id("delivery_id"),
    _number("target_id"),
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False),
    _number("attempted_at"),
    Column("next_at", BigInteger),
    Column("status_code", Integer),
    Column("error_code", Text),
    Column("error", Text),
    Column("duration_us", BigInteger, nullable=False),
    Column("response_excerpt", Text),
    Column("details", Text),
    Index("ix_delivery_attempt_delivery_id", "delivery_id"),
    Index("ix_delivery_attempt_target_id_attempt_id", "target_id", "attempt_id"),
)

device_state = Table(
    "device_state",
    metadata,
    Column(
        "device_id",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("state", LargeBinary),
    Column("last_message_at", BigInteger),
)

_COUNTERS = (
    "accepted",
    "decoded",
    "failed",
    "no_decoder",
    "set_aside",
    "jobs_deleted",
    "deliveries_created",
    "delivered",
    "unconfirmed",
    "pulled",
    "dead",
    "expired",
    "cancelled",
    "deliveries_deleted",
)

ledger = Table(
    "ledger",
    metadata,
    _number("organization_id", is_key=True),
    _number("shard", is_key=True),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in _COUNTERS),
    sqlite_with_rowid=False,
)
"""What became of jobs and deliveries, in final states; those still on their way are counted from rows.
A balance is the sum over the shards: processes that write at once each have one of their own, so
that none waits for another's row."""
