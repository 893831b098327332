"""The results of messages, and the one transaction that makes them true.

A *live* result (`position` set) is the first that is written of a message: it makes the message
row and takes the journal's entry. A result with `position` None settles jobs of a message whose row is
there: what was deferred (generation 0), or what failed and is replayed (generation n). Such a
result takes effect only for jobs that still are deferred, or still failed: a second copy of it,
after a recovery, changes nothing, and only jobs that moved make deliveries.

Readings will be written in this same transaction, between the jobs and the deliveries, from a field
`readings` of `MessageResult` that is still to come.
"""

from collections.abc import Collection, Sequence

import structlog

from protocols.errors import Conflict, RowRefused
from storage import events
from storage.database import Database
from storage.journal import Cursors, JournalReader
from storage.message_result import (
    CommitReport,
    DeliveryDraft,
    JobResult,
    JobState,
    MessageResult,
)
from storage.settlement import NeedsCare, Settlement

__all__ = [
    "CommitReport",
    "DeliveryDraft",
    "JobResult",
    "JobState",
    "MessageResult",
    "ResultStore",
]

_log = structlog.get_logger(__name__)


class ResultStore:
    """Writes results. One writer at a time, on the loop."""

    def __init__(self, database: Database, journal: JournalReader) -> None:
        self._database = database
        self._journal = journal

    async def flush(self) -> None:
        """Return when all that was handed over before is on the disk, whoever handed it over."""
        await self._database.write(lambda _transaction: None)

    async def commit(self, results: Sequence[MessageResult], *, cursors: Cursors) -> CommitReport:
        """Write messages, jobs, deliveries, device states, ledger and cursors in one transaction.

        Either all of it takes effect or nothing does. A result that the database refuses is
        set aside alone. Resolves after the commit; while storage is unavailable it waits.

        Raises:
            StorageUnavailable: the database was closed before the commit.
            ClaimLost: some results are for another process to write; `without` leaves them out.
            ValueError: a result without jobs.
        """
        if not all(result.jobs for result in results):
            raise ValueError("A result needs at least one job.")
        settlement = Settlement(results, cursors, self._journal.settling)
        try:
            report = await self._database.write(settlement.write_plainly)
        except (Conflict, RowRefused, NeedsCare):
            report = await self._database.write(settlement.write_carefully)
            _log_care(report)
        settled = settlement.settled
        self._journal.release(
            entries=settled.entries, size_bytes=settled.size_bytes, cursors=settled.cursors
        )
        return report

    def without(
        self, results: Sequence[MessageResult], partitions: Collection[int]
    ) -> list[MessageResult]:
        """Leave out the results that need one of these partitions."""
        partition = self._journal.settling.partition
        return [result for result in results if partition(result) not in partitions]


def _log_care(report: CommitReport) -> None:
    for message_id in report.repeated:
        _log.info(events.RESULT_MESSAGE_REPEAT, message_id=message_id)
    for message_id in report.set_aside:
        _log.error(events.RESULT_ROW_SET_ASIDE, message_id=message_id)
