"""Finding one message among those that wait in the embedded journal.

Its rows have no index but their position: one over the ids would cost every message that comes and
goes more than it gives to the few that are asked for. But ids are made in the order of time, and so
are positions, but for messages that arrive at once. So the place of an id is found by halving, and
the rows around it are looked through. Where that fails (a clock was set back, another process made
the ids) all of them are.
"""

from typing import Any, Final

from sqlalchemy import bindparam, select

from storage.database import Reader, Row
from storage.tables.pipeline import journal
from storage.uplinks import select_shown

# More than the messages that can be on their way into the journal at once.
_AROUND: Final = 5_000

# Two statements: for both edges in one, an engine may read all that lies between.
_FIRST = select(journal.c.position).order_by(journal.c.position).limit(1)
_LAST = select(journal.c.position).order_by(journal.c.position.desc()).limit(1)
_NEXT = (
    select(journal.c.position, journal.c.message_id)
    .where(journal.c.position >= bindparam("position"))
    .order_by(journal.c.position)
    .limit(1)
)
_ROW = select_shown(journal).where(journal.c.message_id == bindparam("message_id"))
_ROW_NEAR = _ROW.where(journal.c.position.between(bindparam("low"), bindparam("high")))


def find_waiting(reader: Reader, message_id: str) -> Row | None:
    """Return the message's row, or None when it does not wait in the journal."""
    first, last = reader.fetch_one(_FIRST), reader.fetch_one(_LAST)
    if first is None or last is None:
        return None
    place = _place(reader, message_id, first.position, last.position)
    near: dict[str, Any] = {
        "message_id": message_id,
        "low": place - _AROUND,
        "high": place + _AROUND,
    }
    found = reader.fetch_one(_ROW_NEAR, near)
    if found is not None or last.position - first.position < _AROUND:
        return found
    return reader.fetch_one(_ROW, {"message_id": message_id})


def _place(reader: Reader, message_id: str, low: int, high: int) -> int:
    """Return the first position from which on ids are not less, as far as they are in order."""
    while low < high:
        middle = (low + high) // 2
        row = reader.fetch_one(_NEXT, {"position": middle})
        if row is None or row.message_id >= message_id:
            high = middle
        else:
            low = row.position + 1
    return low
