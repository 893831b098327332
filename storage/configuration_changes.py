"""What people changed, as every process of a hub learns it: by following the audit log.

Each change writes its line of the log in its own transaction. Theory of operation: lines are
numbered when they are written and seen when they are committed, so on an engine with several
writers a lower number may appear after a higher one. Every number that was jumped over is therefore
looked for until it appears, or until no transaction can be that old: then it was rolled back.
"""

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, func, select

from storage.database import Database, Reader, Row
from storage.tables.entities import audit_entry

# Engines end a transaction that has been idle, or waits for a row, far earlier than this.
_LONGEST_TRANSACTION_S: Final = 120.0
_READ_LIMIT: Final = 1_000
# More lines than these are not under way at once; a sequence that was set may leave a gap of any width.
_LOOK_BACK: Final = 1_000
_GAP_LIMIT: Final = 10_000

_ENTITIES: Final = frozenset(
    {
        "organization",
        "application",
        "iot_device",
        "payload_decoder",
        "data_target",
        "connection",
    }
)
ANNOUNCED_ACTIONS: Final = frozenset({"CREATE", "UPDATE", "DELETE", "ENABLE", "DISABLE", "ROTATE"})
"""What the processes of a hub have to know of, as the audit log names it."""

_LINE = select(
    audit_entry.c.id, audit_entry.c.action, audit_entry.c.entity, audit_entry.c.entity_id
)
_NEW = (
    _LINE.where(audit_entry.c.id > bindparam("after"))
    .order_by(audit_entry.c.id)
    .limit(bindparam("limit"))
)
_LATE = _LINE.where(audit_entry.c.id.in_(bindparam("ids", expanding=True))).order_by(
    audit_entry.c.id
)
_LAST = select(func.max(audit_entry.c.id).label("id"))
_IDS = select(audit_entry.c.id).where(audit_entry.c.id > bindparam("after"))


@dataclass(frozen=True, slots=True)
class ConfigurationChange:
    """Something that messages or deliveries depend on was made, changed or deleted."""

    entity: str
    entity_id: int
    action: str


class ConfigurationChanges:
    """One reader of the log. It outlives the actor that follows, so that nothing is missed between."""

    def __init__(
        self, database: Database, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._last: int | None = None
        self._missing: dict[int, float] = {}
        self._untold: dict[ConfigurationChange, None] = {}

    async def begin(self) -> None:
        """Follow from here. Call it before anything is read of what people set up.

        What `follow` tells is then what may differ from what was read. A second call does nothing.
        """
        if self._last is not None:
            return
        last, seen = await self._database.read(_end_of_log)
        self._last = last
        self._expect(range(max(1, last - _LOOK_BACK), last), seen)

    async def follow(self, tell: Callable[[ConfigurationChange], Awaitable[None]]) -> None:
        """Tell, one after the other, what was committed since the last call; there may be more.

        What `tell` raises is raised here, and what it was told is told again by the next call. The
        same change twice at once is told once. Not for two callers at a time.

        Raises: StorageUnavailable; nothing is missed by it.
        """
        await self.begin()
        self._untold |= dict.fromkeys(await self._news())
        for change in list(self._untold):
            await tell(change)
            del self._untold[change]

    async def _news(self) -> list[ConfigurationChange]:
        assert self._last is not None
        looked_for, after = list(self._missing), self._last

        def read(reader: Reader) -> tuple[list[Row], list[Row]]:
            late = reader.fetch_all(_LATE, {"ids": looked_for}) if looked_for else []
            return late, reader.fetch_all(_NEW, {"after": after, "limit": _READ_LIMIT})

        late, new = await self._database.read(read)
        self._note_late(looked_for, {row.id for row in late})
        if new:
            self._last = new[-1].id
            self._expect(range(after + 1, self._last), {row.id for row in new})
        return [
            ConfigurationChange(row.entity, row.entity_id, row.action)
            for row in (*late, *new)
            if row.entity_id is not None
            and row.entity in _ENTITIES
            and row.action in ANNOUNCED_ACTIONS
        ]

    def _expect(self, numbers: range, seen: Collection[int]) -> None:
        now_s = self._monotonic()
        for number in numbers[-_GAP_LIMIT:]:
            if number not in seen:
                self._missing[number] = now_s

    def _note_late(self, looked_for: list[int], found: Collection[int]) -> None:
        now_s = self._monotonic()
        for number in looked_for:
            if number in found or now_s - self._missing[number] > _LONGEST_TRANSACTION_S:
                del self._missing[number]


def _end_of_log(reader: Reader) -> tuple[int, set[int]]:
    row = reader.fetch_one(_LAST)
    last = 0 if row is None or row.id is None else int(row.id)
    rows = reader.fetch_all(_IDS, {"after": last - _LOOK_BACK - 1})
    return last, {row.id for row in rows}
