"""The tables of a hub of several processes: who is there, who holds what, what was asked of whom."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, text

from storage.tables import metadata

lease = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("expires_at", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_lease_holder", "holder"),
)
"""What must exist once: one row for each, held until `expires_at` by the database's own clock. Each
change of holder raises `epoch`, so that what an earlier holder still writes is refused."""

process = Table(
    "process",
    metadata,
    Column("process_id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("is_well", Boolean, nullable=False),
    Column("cause", Text),
    Column("reason", Text, nullable=False),
    Column("report", LargeBinary, nullable=False),
    Index("ix_process_seen_at", "seen_at"),
)
"""One row for each process, written every few seconds: its health, and its actors as JSON (`report`)."""

process_order = Table(
    "process_order",
    metadata,
    Column("order_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("process_id", Text),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_process_order_process_id", "process_id"),
)
"""What one process asks of another; NULL asks whoever keeps house. Deleted by who carries it out."""

journal_topic = Table(
    "journal_topic",
    metadata,
    Column("name", Text, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("topic_id", Text),
    Column("cluster_id", Text),
    Column("partitions", Integer, nullable=False),
    Column("first_partition", Integer, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
)
"""The topic that is the journal, as it was when the hub began to use it. Its partition 0 is the
journal's `first_partition`: 1, until another topic takes this one's place, whose positions must
stand behind those of the old."""

unreadable_record = Table(
    "unreadable_record",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)
"""Records of the topic that no hub has written: passed over, and kept as they are."""

__all__ = ["journal_topic", "lease", "process", "process_order", "unreadable_record"]
