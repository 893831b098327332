"""Records that no hub has written: kept as they are, told once, and passed over."""

from collections.abc import Sequence
from datetime import datetime

import orjson
import structlog
from aiokafka import ConsumerRecord
from sqlalchemy import bindparam, select

from storage.database import BulkInsert, Database, Transaction
from storage.instants import microseconds
from storage.kafka import events
from storage.tables.fleet import unreadable_record

_SELECT_KNOWN = select(unreadable_record.c.position).where(
    unreadable_record.c.position.in_(bindparam("positions", expanding=True))
)
_INSERT = BulkInsert(
    unreadable_record,
    ("position", "key", "value", "headers", "reason", "seen_at"),
    {},
)

Unreadable = tuple[int, ConsumerRecord, str]
"""Its position, the record, and what is wrong with it."""

_log = structlog.get_logger(__name__)


async def keep_unreadable(
    database: Database, records: Sequence[Unreadable], *, seen_at: datetime
) -> None:
    """Return when they are on disk. Those that were kept before are neither kept nor told again."""
    rows = {
        position: (
            position,
            record.key,
            record.value,
            _headers(record),
            f"In partition {record.partition}, at offset {record.offset}: {reason}.",
            microseconds(seen_at),
        )
        for position, record, reason in records
    }

    def unit(transaction: Transaction) -> list[int]:
        known = transaction.fetch_all(_SELECT_KNOWN, {"positions": list(rows)})
        new = rows.keys() - {row.position for row in known}
        transaction.insert_many(_INSERT, [rows[position] for position in sorted(new)])
        return sorted(new)

    for position in await database.write(unit):
        _log.error(events.JOURNAL_RECORD_UNREADABLE, position=position, reason=rows[position][4])


def _headers(record: ConsumerRecord) -> str:
    """As JSON; what is not text stands as escapes."""
    pairs = [
        [name, None if value is None else value.decode("utf-8", "backslashreplace")]
        for name, value in record.headers
    ]
    # PostgreSQL's text has no NUL.
    return orjson.dumps(pairs).decode().replace("\\u0000", "\\\\0")
