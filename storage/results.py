"""The results of messages, and the one transaction that makes them true.

A *live* result (`position` set) is the first that is written of a message: it makes the message
row and takes the journal's entry. A result with `position` None settles jobs of a message whose row is
there: what was deferred (generation 0), or what failed and is replayed (generation n). Such a
result takes effect only for jobs that still are deferred, or still failed: a second copy of it,
after a recovery, changes nothing, and only jobs that moved make deliveries.

Readings will be written in this same transaction, between the jobs and the deliveries, from a field
`readings` of `MessageResult` that is still to come.
"""

from collections.abc import Sequence

import structlog

from protocols.errors import Conflict, RowRefused
from storage import events
from storage.database import Database
from storage.journal import Journal
from storage.message_result import (
    CommitReport,
    CursorClaim,
    DeliveryDraft,
    JobResult,
    JobState,
    MessageResult,
)
from storage.settlement import NeedsCare, Settlement, claim_cursor, release_cursor

__all__ = [
    "CommitReport",
    "CursorClaim",
    "DeliveryDraft",
    "JobResult",
    "JobState",
    "MessageResult",
    "ResultStore",
]

_log = structlog.get_logger(__name__)


class ResultStore:
    """Writes results. One writer at a time, on the loop."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal

    async def claim_cursor(self) -> CursorClaim:
        """Count this start and say how many starts before it ended without moving the cursor."""
        return await self._database.write(claim_cursor)

    async def release_cursor(self) -> None:
        """Say that the process ends in order, so that this start is not taken for a crash."""
        await self._database.write(release_cursor)

    async def flush(self) -> None:
        """Return when all that was handed over before is on the disk, whoever handed it over."""
        await self._database.write(lambda _transaction: None)

    async def commit(self, results: Sequence[MessageResult], *, cursor: int) -> CommitReport:
        """Write messages, jobs, deliveries, device states, ledger and cursor in one transaction.

        Either all of it takes effect or nothing does. A result that the database refuses is
        set aside alone. Resolves after the commit; while storage is unavailable it waits.

        Raises:
            StorageUnavailable: the database was closed before the commit.
            ValueError: a result without jobs.
        """
        if not all(result.jobs for result in results):
            raise ValueError("A result needs at least one job.")
        settlement = Settlement(results, cursor)
        try:
            report = await self._database.write(settlement.write_plainly)
        except (Conflict, RowRefused, NeedsCare):
            report = await self._database.write(settlement.write_carefully)
            _log_care(report)
        self._journal.release(*settlement.released)
        return report


def _log_care(report: CommitReport) -> None:
    for message_id in report.repeated:
        _log.info(events.RESULT_MESSAGE_REPEAT, message_id=message_id)
    for message_id in report.set_aside:
        _log.error(events.RESULT_ROW_SET_ASIDE, message_id=message_id)
