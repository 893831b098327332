"""Which processes the hub consists of, how they are, and what they show of themselves.

Each process keeps one row and writes it anew every few seconds, under the database's own clock.
Who has not written for `LOST_AFTER_S` is *lost*: killed, frozen, or cut off from the database. A lost
process stays in the list for a while, so that people can be told whom they miss, and is then
forgotten; should it come back, so does its row. A process that ends in order takes its row along.
"""

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import bindparam, delete, insert, select, update

from storage.database import Database, Row, Transaction
from storage.database_clock import database_now
from storage.instants import instant
from storage.tables.fleet import process, process_order

LOST_AFTER_S: Final = 6.0
"""Three beats. Longer than a commit waits on a busy database, shorter than leases take to move."""
FORGET_AFTER_S: Final = 300.0

_US_PER_S = 1_000_000
_NOTHING_YET = b"{}"

_ROW = process.c.process_id == bindparam("of_process")
_TOUCH = (
    update(process)
    .where(_ROW)
    .values(
        seen_at=database_now(),
        is_well=bindparam("well"),
        cause=bindparam("named"),
        reason=bindparam("because"),
    )
)
_TOUCH_AND_REPORT = _TOUCH.values(report=bindparam("shown"))
_INSERT = insert(process).values(started_at=database_now(), seen_at=database_now())
_LEAVE = delete(process).where(_ROW)
_LEAVE_ORDERS = delete(process_order).where(process_order.c.process_id == bindparam("of_process"))
_FORGET = delete(process).where(process.c.seen_at < database_now() - bindparam("silent_us"))
_FORGET_ORDERS = delete(process_order).where(
    process_order.c.process_id.is_not(None),
    process_order.c.process_id.not_in(select(process.c.process_id)),
)
_LIST = select(
    process.c.process_id,
    process.c.role,
    process.c.host,
    process.c.pid,
    process.c.version,
    process.c.started_at,
    (database_now() - process.c.started_at).label("age_us"),
    (database_now() - process.c.seen_at).label("silent_us"),
    process.c.is_well,
    process.c.cause,
    process.c.reason,
).order_by(process.c.started_at, process.c.process_id)
_LIST_WITH_REPORTS = _LIST.add_columns(process.c.report)
_FIND = _LIST_WITH_REPORTS.where(_ROW)


class ProcessRole(StrEnum):
    """What a process does in a hub of several."""

    WEB = "web"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One life of one process: whoever starts again is somebody else."""

    process_id: str
    role: ProcessRole
    host: str
    pid: int
    version: str

    @classmethod
    def of_this_process(
        cls, role: ProcessRole, *, version: str, name: str | None = None
    ) -> "ProcessIdentity":
        """Make one up; call it once, and name claims and leases by its `process_id` too.

        `name` is what people call it. A process that starts again under the same name is another.
        """
        return cls(
            process_id=f"{name or role}-{uuid.uuid4().hex[:8]}",
            role=role,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRow:
    """A process as it was when it last wrote, `silent_s` ago; it began `age_s` ago.

    `cause` is the path of the actor that makes it unwell. `report` is None where it was not asked
    for; it is what the process itself wrote there.
    """

    process_id: str
    role: str
    host: str
    pid: int
    version: str
    started_at: datetime
    age_s: float
    silent_s: float
    is_well: bool
    cause: str | None
    reason: str
    report: bytes | None

    @property
    def is_lost(self) -> bool:
        return self.silent_s > LOST_AFTER_S


class ProcessRegistry:
    """The rows of all processes, and the writing of one's own."""

    def __init__(self, database: Database, identity: ProcessIdentity) -> None:
        self._database = database
        self.identity = identity
        self._report = _NOTHING_YET

    async def beat(
        self, *, is_well: bool, cause: str | None, reason: str, report: bytes | None = None
    ) -> None:
        """Say that this process lives, and how it is; without a `report` the last one stays."""
        if report is not None:
            self._report = report

        def unit(transaction: Transaction) -> None:
            touched: dict[str, object] = {
                "of_process": self.identity.process_id,
                "well": is_well,
                "named": cause,
                "because": reason,
            }
            if report is None:
                found = transaction.execute(_TOUCH, touched)
            else:
                found = transaction.execute(_TOUCH_AND_REPORT, touched | {"shown": report})
            if not found:
                transaction.execute(_INSERT, self._new_row(is_well, cause, reason))

        await self._database.write(unit)

    async def leave(self) -> None:
        """Take the row away, with what was still asked of this process."""

        def unit(transaction: Transaction) -> None:
            row = {"of_process": self.identity.process_id}
            transaction.execute(_LEAVE, row)
            transaction.execute(_LEAVE_ORDERS, row)

        await self._database.write(unit)

    async def forget_lost(self) -> None:
        """Remove the rows of those that have been lost for long, and what was asked of them."""

        def unit(transaction: Transaction) -> None:
            transaction.execute(_FORGET, {"silent_us": int(FORGET_AFTER_S * _US_PER_S)})
            transaction.execute(_FORGET_ORDERS)

        await self._database.write(unit)

    async def list(self, *, with_reports: bool = False) -> "list[ProcessRow]":
        """Return the living and the lost, oldest first."""
        statement = _LIST_WITH_REPORTS if with_reports else _LIST
        rows = await self._database.read(lambda reader: reader.fetch_all(statement))
        return [_build(row) for row in rows]

    async def find(self, process_id: str) -> ProcessRow | None:
        """Return one process with its report."""
        parameters = {"of_process": process_id}
        row = await self._database.read(lambda reader: reader.fetch_one(_FIND, parameters))
        return None if row is None else _build(row)

    def _new_row(self, is_well: bool, cause: str | None, reason: str) -> dict[str, object]:
        identity = self.identity
        return {
            "process_id": identity.process_id,
            "role": str(identity.role),
            "host": identity.host,
            "pid": identity.pid,
            "version": identity.version,
            "is_well": is_well,
            "cause": cause,
            "reason": reason,
            "report": self._report,
        }


def _build(row: Row) -> ProcessRow:
    report = getattr(row, "report", None)
    return ProcessRow(
        process_id=row.process_id,
        role=row.role,
        host=row.host,
        pid=row.pid,
        version=row.version,
        started_at=instant(row.started_at),
        age_s=row.age_us / _US_PER_S,
        silent_s=row.silent_us / _US_PER_S,
        is_well=bool(row.is_well),
        cause=row.cause,
        reason=row.reason,
        report=None if report is None else bytes(report),
    )
