"""What befell a data target, as its owner sees it."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, select

from storage.database import Reader, Row
from storage.tables.targets import target_event

_LAST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_PAGE = (
    select(target_event)
    .where(
        target_event.c.target_id == bindparam("target_id"),
        target_event.c.event_id < bindparam("before_id"),
    )
    .order_by(target_event.c.event_id.desc())
    .limit(bindparam("limit"))
)


def list_of_target(
    reader: Reader, target_id: int, *, before_id: str | None, limit: int
) -> Sequence[Row]:
    """The target's events that were made before `before_id`, newest first."""
    parameters = {"target_id": target_id, "before_id": before_id or _LAST, "limit": limit}
    return reader.fetch_all(_PAGE, parameters)
