"""The tables of data targets beside the outbox: how they fare, what befell them, what is sent again.

No foreign keys point from here to the entities, as in `pipeline.py`.
"""

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
    text,
)

from storage.tables import metadata

target_health = Table(
    "target_health",
    metadata,
    Column("target_id", BigInteger, primary_key=True, autoincrement=False),
    Column("breaker", Text, nullable=False),
    Column("openings", Integer, nullable=False, server_default=text("0")),
    Column("open_until", BigInteger),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("failing_since", BigInteger),
    Column("last_failure_at", BigInteger),
    Column("last_error", Text),
    Column("disabled_at", BigInteger),
    Column("disabled_reason", Text),
)
"""One row for each target that has ever failed or been disabled. `breaker` is closed, open or
half_open; `openings` how often it opened since it was last closed, which sets how long it stays open.
`open_until`: nothing is tried until then, also because a receiver has asked for quiet.
`failures` and `failing_since` count from the last success. Written by who holds the target, and
by people who disable and enable it."""

target_event = Table(
    "target_event",
    metadata,
    Column("event_id", Uuid(as_uuid=False), primary_key=True, nullable=False),
    Column("target_id", BigInteger, nullable=False),
    Column("organization_id", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_target_event_target_id_event_id", "target_id", "event_id"),
    sqlite_with_rowid=False,
)
"""What befell a target, for people and for the targets that want to hear of it: `body` is pushed."""

redelivery = Table(
    "redelivery",
    metadata,
    Column("redelivery_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("target_id", BigInteger, nullable=False),
    Column("states", Text, nullable=False),
    Column("delivery_ids", Text),
    Column("from_at", BigInteger),
    Column("to_at", BigInteger),
    Column("settled_from", BigInteger),
    Column("device_id", BigInteger),
    Column("rate_per_s", Integer, nullable=False),
    Column("after_id", Uuid(as_uuid=False), nullable=False),
    Column("until_id", Uuid(as_uuid=False), nullable=False),
    Column("estimate", BigInteger),
    Column("made", BigInteger, nullable=False, server_default=text("0")),
    Column("skipped", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("is_stopped", Boolean, nullable=False, server_default=false()),
    Index("ix_redelivery_target_id", "target_id"),
)
"""What somebody asked to have sent again, and how far that has got: deliveries up to `after_id` have
been looked at, those after `until_id` were made later than the wish. Wanted are those in `states`, made
from `from_at` until before `to_at` and settled from `settled_from` on, or just `delivery_ids`, a JSON
list. `skipped`: wanted, but what they would say is not kept any more."""

__all__ = ["redelivery", "target_event", "target_health"]
